/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>

#include "base/clock.h"
#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/follow.h"
#include "client/output.h"
#include "client/request.h"
#include "client/result.h"
#include "client/time-text.h"
#include "client/verb-job.h"
#include "client/verbs.h"

static int read_deadline(Tdxctl *t, uint64_t *ret) {
        const char *text = t->options.deadline;
        int r;

        *ret = 0;
        if (!text)
                return EXIT_DONE;

        r = parse_deadline(text, clock_realtime(&system_clock), ret);
        if (r == -ETIME)
                return failure(t, ERROR_INVALID_ARGS, "The deadline \"%s\" has passed already", text);
        if (r < 0)
                return failure(t, ERROR_INVALID_ARGS,
                               "\"%s\" is no deadline; write a span like 10min or \"2h 30s\", or a time like "
                               "\"2026-07-01 04:00:00\" or 2026-07-01T04:00:00Z", text);
        return EXIT_DONE;
}

/* The job is there and nobody follows it: the same object as in "jobs". */
static int show_queued(Tdxctl *t, const char *path) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) p = NULL;
        int r;

        r = bus_properties(t, path, BUS_JOB_INTERFACE, &error, &p);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF) {
                g_autoptr(JsonObject) job = job_object(path, p);

                output_json_object(t, job);
        } else {
                g_autoptr(GString) out = g_string_new(NULL);

                job_line(out, p);
                output_text(t, out->str);
        }
        return EXIT_DONE;
}

static int apply(Tdxctl *t, const char *version, uint64_t deadline, sd_bus_error *error, char **ret_path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "ApplyVersion", &m);
        if (r < 0)
                return r;
        r = request_append(m, &t->options, version, deadline);
        if (r < 0)
                return r;

        return bus_call_path(t, m, CALL_AUTH, error, ret_path);
}

int verb_update(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(follow_freep) Follow *follow = NULL;
        g_autofree char *path = NULL;
        uint64_t deadline;
        int r;

        r = read_deadline(t, &deadline);
        if (r != EXIT_DONE)
                return r;
        r = request_find_guests(t);
        if (r != EXIT_DONE)
                return r;

        /* Before the call, or a job that ends at once would end unseen. */
        if (!t->options.no_wait) {
                r = follow_new(t, &follow);
                if (r < 0)
                        return failure_errno(t, r);
        }

        r = apply(t, argc > 1 ? argv[1] : NULL, deadline, &error, &path);
        if (r < 0 && sd_bus_error_has_name(&error, BUS_ERROR_PREFIX "AlreadyCurrent"))
                return already_current(t, error.message);
        if (r < 0)
                return failure_bus(t, r, &error);

        return follow ? follow_run(follow, path) : show_queued(t, path);
}

int verb_wait(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(follow_freep) Follow *follow = NULL;
        g_autofree char *path = NULL;
        uint32_t id = 0;
        int r;

        if (argc > 1 && request_id(argv[1], &id) < 0)
                return failure(t, ERROR_INVALID_ARGS, "\"%s\" is no job number", argv[1]);

        r = follow_new(t, &follow);
        if (r < 0)
                return failure_errno(t, r);
        r = bus_find_job(t, id, &error, &path);
        if (r < 0)
                return failure_bus(t, r, &error);

        return follow_run(follow, path);
}
