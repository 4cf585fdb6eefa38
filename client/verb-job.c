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
#include "client/suspects.h"
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

/* ListJobs' structs, by the names of the contract. */
static const char *const job_fields[] = { "id", "path", "version", "state", "reason", NULL };

static void print_jobs(const Tdxctl *t, JsonArray *jobs) {
        g_auto(Table) table = {};

        table_init(&table, 4, (const char *const[]) { "JOB", "VERSION", "STATE", "REASON" });
        for (unsigned i = 0; i < array_length(jobs); i++) {
                JsonObject *job = array_object(jobs, i);

                table_addf(&table, "%" PRIu64, dict_number(job, "id"));
                table_add(&table, dict_string(job, "version"));
                table_add(&table, dict_string(job, "state"));
                table_add(&table, dict_string(job, "reason"));
        }

        output_table(t, &table, "No unfinished jobs.\n");
}

int verb_jobs(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) structs = NULL, jobs = NULL;
        int r;

        r = bus_query(t, "ListJobs", CALL_PLAIN, &error, &structs);
        if (r < 0)
                return failure_bus(t, r, &error);

        jobs = array_named(structs, job_fields);
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
        g_autoptr(JsonObject) properties = NULL, entry = NULL;
        int r;

        r = bus_properties(t, path, BUS_JOB_INTERFACE, &error, &properties);
        /* Which TDs it may have harmed only the history knows. */
        if (r >= 0 && *dict_string(properties, "Result"))
                r = bus_find_history(t, job_id_of_path(path), &error, &entry);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF) {
                g_autoptr(JsonObject) object = dict_kebab(properties);

                if (dict_has(entry, "suspect-guests"))
                        json_object_set_member(object, "suspect-guests",
                                               json_node_copy(json_object_get_member(entry, "suspect-guests")));
                output_json_object(t, object);
        } else {
                g_autofree char *text = job_text(properties);

                output_text(t, text);
        }
        suspects_warn(entry);
        return EXIT_DONE;
}

int verb_show(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *path = NULL;
        uint32_t id;
        int r;

        if (request_id(argv[1], &id) < 0)
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

        r = bus_query(t, "ListJobs", CALL_PLAIN, &error, &structs);
        if (r < 0)
                return failure_bus(t, r, &error);

        jobs = array_named(structs, job_fields);
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
                if (request_id(argv[1], &id) < 0)
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
