/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <string.h>

#include "base/errors.h"
#include "base/names.h"
#include "client/blockers.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/request.h"
#include "client/result.h"
#include "client/verbs.h"

/* Whose start is asked about, and what keeps it away. */
typedef struct Why {
        JsonObject *job;        /* its properties, NULL: an update that nobody has asked for yet */
        uint64_t behind;        /* the job that has to end first, 0: none */
        char *to;
        JsonArray *blockers;
} Why;

static void why_clear(Why *why) {
        g_clear_pointer(&why->job, json_object_unref);
        g_clear_pointer(&why->to, g_free);
        g_clear_pointer(&why->blockers, json_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Why, why_clear)

static void add(JsonArray *blockers, JsonObject *blocker) {
        json_array_add_object_element(blockers, json_object_ref(blocker));
}

/* What only the job itself has (its backoff, its drain) is in no plan; what it is, the job's reason says. */
static JsonObject *blocker_of_job(const char *id, JsonObject *job) {
        JsonObject *blocker = json_object_new();

        json_object_set_string_member(blocker, "id", id);
        json_object_set_string_member(blocker, "severity", blocker_refuses(id) ? "hard" : "wait");
        json_object_set_string_member(blocker, "text", dict_string(job, "Reason"));
        if (g_str_equal(id, "backoff") && dict_number(job, "NextAttempt") > 0)
                json_object_set_int_member(blocker, "until", (int64_t) dict_number(job, "NextAttempt"));
        return blocker;
}

/* BlockedBy is exactly what blocks the first job, in ids; the plan has the words for them. */
static JsonArray *of_first_job(JsonArray *ids, JsonArray *planned, JsonObject *job) {
        JsonArray *blockers = json_array_new();

        for (unsigned i = 0; i < array_length(ids); i++) {
                const char *id = array_string(ids, i);
                bool seen = false, found = false;

                for (unsigned k = 0; k < i && !seen; k++)
                        seen = g_str_equal(array_string(ids, k), id);
                for (unsigned k = 0; k < array_length(planned) && !seen; k++)
                        if (blocker_blocks(array_object(planned, k)) &&
                            g_str_equal(dict_string(array_object(planned, k), "id"), id)) {
                                add(blockers, array_object(planned, k));
                                found = true;
                        }
                if (!seen && !found) {
                        g_autoptr(JsonObject) blocker = blocker_of_job(id, job);

                        add(blockers, blocker);
                }
        }

        return blockers;
}

static JsonArray *of_plan(JsonArray *planned) {
        JsonArray *blockers = json_array_new();

        for (unsigned i = 0; i < array_length(planned); i++)
                if (blocker_blocks(array_object(planned, i)))
                        add(blockers, array_object(planned, i));

        return blockers;
}

static bool under_way(JsonObject *job) {
        const char *state = dict_string(job, "State");

        return g_str_equal(state, "uploading") || g_str_equal(state, "verifying");
}

/* What refuses decides, as for a plan; that the version runs already is a success, as everywhere. */
static int exit_status(const Why *why) {
        bool waits = why->behind > 0;

        for (unsigned i = 0; i < array_length(why->blockers); i++) {
                if (!g_str_equal(dict_string(array_object(why->blockers, i), "severity"), "wait"))
                        return exit_status_of_blockers(why->blockers);
                waits = true;
        }

        return waits ? EXIT_NOT_NOW : EXIT_DONE;
}

static void add_subject(GString *out, const Why *why) {
        g_autofree char *to = escape_terminal(why->to), *state = NULL;

        if (!why->job) {
                g_string_append_printf(out, "an update%s%s", *to ? " to " : "", to);
                return;
        }
        state = escape_terminal(dict_string(why->job, "State"));
        g_string_append_printf(out, "job %" PRIu64 " (to %s, %s)", dict_number(why->job, "Id"), to, state);
}

static void show_text(const Tdxctl *t, const Why *why) {
        g_autoptr(GString) out = g_string_new(NULL);

        if (why->behind == 0 && under_way(why->job)) {
                g_autofree char *reason = escape_terminal(dict_string(why->job, "Reason"));

                g_string_append_printf(out, "Job %" PRIu64 " has started: %s\n", dict_number(why->job, "Id"), reason);
        } else if (array_length(why->blockers) == 0 && why->behind == 0) {
                g_string_append(out, "Nothing keeps ");
                add_subject(out, why);
                g_string_append(out, " from starting.\n");
        } else {
                g_string_append(out, "What keeps ");
                add_subject(out, why);
                g_string_append(out, " from starting:\n");
        }
        if (why->behind > 0)
                g_string_append_printf(out, "%16s  job %" PRIu64 " is before it in the queue; what keeps that one:\n", "wait", why->behind);
        for (unsigned i = 0; i < array_length(why->blockers); i++)
                blocker_line(t, out, array_object(why->blockers, i));
        output_text(t, out->str);
}

static void show_json(const Tdxctl *t, const Why *why) {
        g_autoptr(JsonObject) object = json_object_new();

        if (why->job)
                json_object_set_int_member(object, "job", (int64_t) dict_number(why->job, "Id"));
        if (why->behind > 0)
                json_object_set_int_member(object, "behind", (int64_t) why->behind);
        json_object_set_string_member(object, "to", why->to);
        json_object_set_array_member(object, "blockers", json_array_ref(why->blockers));
        output_json_object(t, object);
}

static int show(const Tdxctl *t, const Why *why) {
        if (t->options.json != JSON_OFF)
                show_json(t, why);
        else
                show_text(t, why);

        return exit_status(why);
}

static JsonArray *of_nothing(const char *text) {
        g_autoptr(JsonObject) blocker = json_object_new();
        JsonArray *blockers = json_array_new();

        json_object_set_string_member(blocker, "id", "no-image");
        json_object_set_string_member(blocker, "severity", "hard");
        json_object_set_string_member(blocker, "text", text);
        add(blockers, blocker);
        return blockers;
}

static int ask_update(Tdxctl *t, const char *version, Why *why) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) plan = NULL;
        int r;

        r = request_plan(t, version, &error, &plan);
        if (r < 0 && sd_bus_error_has_name(&error, BUS_ERROR_PREFIX "AlreadyCurrent"))
                return already_current(t, error.message);
        /* An empty catalogue has nothing that could be planned. */
        if (r < 0 && (!version || !*version) && sd_bus_error_has_name(&error, BUS_ERROR_PREFIX "NoSuchVersion")) {
                why->to = g_strdup("");
                why->blockers = of_nothing(error.message);
                return show(t, why);
        }
        if (r < 0)
                return failure_bus(t, r, &error);

        why->to = g_strdup(dict_string(json_node_get_object(plan), "to"));
        why->blockers = of_plan(dict_array(json_node_get_object(plan), "blockers"));
        return show(t, why);
}

/* Nothing is decided here: the job's own target is planned for the words, whether it is kept is the daemon's BlockedBy. */
static int ask_first_job(Tdxctl *t, const char *path, JsonArray *ids, Why *why) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) first = NULL;
        g_autoptr(JsonNode) plan = NULL;
        JsonArray *planned;
        int r;

        r = bus_properties(t, path, BUS_JOB_INTERFACE, &error, &first);
        if (r < 0)
                return failure_bus(t, r, &error);
        r = request_plan(t, dict_string(first, "ToVersion"), &error, &plan);
        if (r < 0 && !error.name)
                return failure_bus(t, r, &error);

        /* That there is no plan of it any more is among the reasons, and the job will be told. */
        planned = plan ? dict_array(json_node_get_object(plan), "blockers") : NULL;
        why->blockers = of_first_job(under_way(first) ? NULL : ids, planned, first);
        if (!why->job)
                why->job = g_steal_pointer(&first);
        why->to = g_strdup(dict_string(why->job, "ToVersion"));
        return show(t, why);
}

static int ask_job(Tdxctl *t, uint32_t id, Why *why) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) host = NULL;
        g_autofree char *path = NULL;
        const char *first;
        int r;

        r = bus_find_job(t, id, &error, &path);
        if (r >= 0)
                r = bus_properties(t, path, BUS_JOB_INTERFACE, &error, &why->job);
        if (r >= 0)
                r = bus_properties(t, BUS_PATH, BUS_INTERFACE, &error, &host);
        if (r < 0)
                return failure_bus(t, r, &error);

        first = array_string(dict_array(host, "Jobs"), 0);
        if (*dict_string(why->job, "Result") || !*first)
                return failure(t, ERROR_INVALID_ARGS, "Job %u has ended; \"tdxctl show %u\" says how", id, id);

        if (!g_str_equal(first, path))
                why->behind = job_id_of_path(first);
        return ask_first_job(t, first, dict_array(host, "BlockedBy"), why);
}

int verb_why(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) host = NULL;
        g_auto(Why) why = {};
        uint32_t id;
        int r;

        r = request_find_guests(t);
        if (r != EXIT_DONE)
                return r;
        /* A version has dots. */
        if (argc > 1 && request_id(argv[1], &id) >= 0)
                return ask_job(t, id, &why);
        if (argc > 1)
                return ask_update(t, argv[1], &why);

        r = bus_properties(t, BUS_PATH, BUS_INTERFACE, &error, &host);
        if (r < 0)
                return failure_bus(t, r, &error);
        if (array_length(dict_array(host, "Jobs")) == 0)
                return ask_update(t, NULL, &why);

        return ask_first_job(t, array_string(dict_array(host, "Jobs"), 0), dict_array(host, "BlockedBy"), &why);
}
