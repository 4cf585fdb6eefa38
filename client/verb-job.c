/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <stdio.h>

#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/request.h"
#include "client/result.h"
#include "client/table.h"
#include "client/time-text.h"
#include "client/verb-job.h"
#include "client/verbs.h"

JsonObject *job_object(const char *path, JsonObject *properties) {
        JsonObject *job = json_object_new();

        json_object_set_int_member(job, "id", (int64_t) dict_number(properties, "Id"));
        json_object_set_string_member(job, "path", path);
        json_object_set_string_member(job, "version", dict_string(properties, "ToVersion"));
        json_object_set_string_member(job, "state", dict_string(properties, "State"));
        json_object_set_string_member(job, "reason", dict_string(properties, "Reason"));
        return job;
}

void job_line(GString *out, JsonObject *properties) {
        g_autofree char *from = escape_terminal(dict_string(properties, "FromVersion"));
        g_autofree char *to = escape_terminal(dict_string(properties, "ToVersion"));
        g_autofree char *state = escape_terminal(dict_string(properties, "State"));
        g_autofree char *reason = escape_terminal(dict_string(properties, "Reason"));

        g_string_append_printf(out, "Job %" PRIu64 ": TDX module %s -> %s, %s%s%s\n", dict_number(properties, "Id"),
                               from, to, state, *reason ? ": " : "", reason);
}

/* ListJobs' structs as objects with the names of the contract. */
static JsonNode *named_jobs(JsonNode *jobs) {
        static const char *const names[] = { "id", "path", "version", "state", "reason" };
        JsonArray *in = json_node_get_array(jobs), *out = json_array_new();
        JsonNode *node;

        for (unsigned i = 0; i < array_length(in); i++) {
                JsonArray *fields = json_array_get_array_element(in, i);
                JsonObject *job = json_object_new();

                for (unsigned k = 0; k < MIN(array_length(fields), G_N_ELEMENTS(names)); k++)
                        json_object_set_member(job, names[k], json_node_copy(json_array_get_element(fields, k)));
                json_array_add_object_element(out, job);
        }

        node = json_node_new(JSON_NODE_ARRAY);
        json_node_take_array(node, out);
        return node;
}

static void print_jobs(const Tdxctl *t, JsonArray *jobs) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_auto(Table) table = {};

        table_init(&table, 4, (const char *const[]) { "JOB", "VERSION", "STATE", "REASON" });
        for (unsigned i = 0; i < array_length(jobs); i++) {
                JsonObject *job = array_object(jobs, i);

                table_addf(&table, "%" PRIu64, dict_number(job, "id"));
                table_add(&table, dict_string(job, "version"));
                table_add(&table, dict_string(job, "state"));
                table_add(&table, dict_string(job, "reason"));
        }

        if (table_rows(&table) > 0)
                table_print(&table, out, t->options.legend ? colour(t, COLOUR_UNDERLINE) : NULL, colour(t, COLOUR_NONE));
        else if (t->options.legend)
                g_string_append(out, "No unfinished jobs.\n");
        output_text(t, out->str);
}

int verb_jobs(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) structs = NULL, jobs = NULL;
        int r;

        r = bus_query(t, "ListJobs", &error, &structs);
        if (r < 0)
                return failure_bus(t, r, &error);

        jobs = named_jobs(structs);
        if (t->options.json != JSON_OFF)
                output_json(t, jobs);
        else
                print_jobs(t, json_node_get_array(jobs));
        return EXIT_DONE;
}

static void add_time(GString *out, const char *label, JsonObject *p, const char *key) {
        g_autofree char *text = format_timestamp(dict_number(p, key));

        if (dict_number(p, key) > 0)
                field_add(out, label, text);
}

static void add_attempts(GString *out, JsonObject *p) {
        JsonArray *log = dict_array(p, "AttemptLog");

        for (unsigned i = 0; i < array_length(log); i++) {
                JsonObject *attempt = array_object(log, i);
                g_autofree char *when = format_timestamp(dict_number(attempt, "started"));
                g_autofree char *text = attempt_text(attempt), *label = NULL;

                label = g_strdup_printf("Attempt %" PRIu64, dict_number(attempt, "number"));
                field_addf(out, label, "%s, %s", when, text);
        }
}

static void add_timings(GString *out, JsonObject *p) {
        JsonObject *timings = dict_object(p, "Timings");
        g_autoptr(GString) text = g_string_new(NULL);
        JsonObjectIter iter;
        const char *name;
        JsonNode *node;

        if (!timings)
                return;
        json_object_iter_init_ordered(&iter, timings);
        while (json_object_iter_next_ordered(&iter, &name, &node)) {
                g_autofree char *span = format_span(dict_number(timings, name));

                g_string_append_printf(text, "%s%s %s", text->len > 0 ? ", " : "", name, span);
        }
        field_add(out, "Timings", text->str);
}

static char *job_text(JsonObject *p) {
        g_autoptr(GString) out = g_string_new(NULL);
        JsonArray *error = dict_array(p, "Error");

        field_addf(out, "Job", "%" PRIu64, dict_number(p, "Id"));
        field_addf(out, "Update", "%s -> %s", dict_string(p, "FromVersion"), dict_string(p, "ToVersion"));
        field_add(out, "State", dict_string(p, "State"));
        field_add(out, "Reason", dict_string(p, "Reason"));
        field_add(out, "Result", dict_string(p, "Result"));
        if (*array_string(error, 0))
                field_addf(out, "Error", "%s: %s", array_string(error, 0), array_string(error, 1));
        field_addf(out, "Progress", "%.0f %%", dict_real(p, "Progress") * 100);
        field_addf(out, "Attempts", "%" PRIu64, dict_number(p, "Attempts"));
        add_attempts(out, p);
        add_time(out, "Next attempt", p, "NextAttempt");
        add_time(out, "Deadline", p, "Deadline");
        field_add(out, "Cancelable", dict_flag(p, "Cancelable") ? "yes" : "no");
        field_addf(out, "Requester", "uid %" PRIu64, dict_number(p, "Requester"));
        field_add(out, "Unit", dict_string(p, "Unit"));
        add_timings(out, p);

        return g_string_free(g_steal_pointer(&out), false);
}

static int show_path(Tdxctl *t, const char *path) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) properties = NULL;
        int r;

        r = bus_properties(t, path, BUS_JOB_INTERFACE, &error, &properties);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF) {
                g_autoptr(JsonObject) object = dict_kebab(properties);

                output_json_object(t, object);
        } else {
                g_autofree char *text = job_text(properties);

                output_text(t, text);
        }
        return EXIT_DONE;
}

int verb_show(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *path = NULL;
        uint32_t id;
        int r;

        if (request_job(argv[1], &id) < 0)
                return failure(t, ERROR_INVALID_ARGS, "\"%s\" is no job number", argv[1]);
        r = bus_find_job(t, id, &error, &path);
        if (r < 0)
                return failure_bus(t, r, &error);

        return show_path(t, path);
}

/* Which one was meant must be clear: with several jobs it has to be said. */
static int only_job(Tdxctl *t, uint32_t *ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) structs = NULL, jobs = NULL;
        JsonArray *array;
        int r;

        r = bus_query(t, "ListJobs", &error, &structs);
        if (r < 0)
                return failure_bus(t, r, &error);

        jobs = named_jobs(structs);
        array = json_node_get_array(jobs);
        if (array_length(array) == 0)
                return failure(t, ERROR_NO_SUCH_JOB, "There is no unfinished job");
        if (array_length(array) > 1)
                return failure(t, ERROR_INVALID_ARGS, "There are %u unfinished jobs; say which (tdxctl jobs)", array_length(array));

        *ret = (uint32_t) dict_number(array_object(array, 0), "id");
        return EXIT_DONE;
}

int verb_cancel(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        g_autofree char *path = NULL;
        uint32_t id;
        int r;

        if (argc > 1) {
                if (request_job(argv[1], &id) < 0)
                        return failure(t, ERROR_INVALID_ARGS, "\"%s\" is no job number", argv[1]);
        } else {
                r = only_job(t, &id);
                if (r != EXIT_DONE)
                        return r;
        }

        r = bus_find_job(t, id, &error, &path);
        if (r < 0)
                return failure_bus(t, r, &error);
        r = bus_message(t, path, BUS_JOB_INTERFACE, "Cancel", &m);
        if (r < 0)
                return failure_errno(t, r);
        r = bus_call(t, m, CALL_AUTH, &error, NULL);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF)
                return show_path(t, path);
        printf("Job %u is cancelled; nothing was changed.\n", id);
        return EXIT_DONE;
}
