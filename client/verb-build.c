/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <stdio.h>

#include "base/errors.h"
#include "base/names.h"
#include "base/span.h"
#include "base/util.h"
#include "client/bus.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/request.h"
#include "client/verbs.h"

#define DEFAULT_WAIT "20s"
#define DEFAULT_HOLD "2min"
/* BeginBuild answers after at most its wait; the contract says how much longer a caller should listen. */
#define ANSWER_USEC (5 * USEC_PER_SEC)

static int append_match(sd_bus_message *m, const Options *options) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && options->pid > 0)
                r = sd_bus_message_append(m, "{sv}", "pid", "u", options->pid);
        if (r >= 0 && options->machine)
                r = sd_bus_message_append(m, "{sv}", "machine", "s", options->machine);
        if (r >= 0 && options->unit)
                r = sd_bus_message_append(m, "{sv}", "unit", "s", options->unit);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(m);
}

static int read_span(const Tdxctl *t, const char *option, const char *text, uint64_t *ret) {
        if (span_parse(text, ret) >= 0)
                return EXIT_DONE;

        return failure(t, ERROR_INVALID_ARGS, "--%s wants a span like 20s or 2min, not \"%s\"", option, text);
}

static int begin(Tdxctl *t, uint64_t wait, uint64_t hold, sd_bus_error *error, uint32_t *ret_id) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        uint64_t timeout = wait > USEC_INFINITY - ANSWER_USEC ? USEC_INFINITY : wait + ANSWER_USEC;
        int r;

        r = sd_bus_set_method_call_timeout(t->bus, timeout);
        if (r < 0)
                return r;
        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "BeginBuild", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "stt", t->options.who, wait, hold);
        if (r >= 0)
                r = append_match(m, &t->options);
        if (r >= 0)
                r = bus_call(t, m, CALL_AUTH, error, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "u", ret_id);

        return r < 0 ? r : 0;
}

static void show_id(const Tdxctl *t, uint32_t id) {
        g_autoptr(JsonObject) object = NULL;

        if (t->options.json == JSON_OFF) {
                printf("%" PRIu32 "\n", id);
                return;
        }

        object = json_object_new();
        json_object_set_int_member(object, "id", id);
        output_json_object(t, object);
}

int verb_begin_build(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t wait, hold;
        uint32_t id;
        int r;

        if (!t->options.who)
                return failure(t, ERROR_INVALID_ARGS, "begin-build wants --who=NAME, who announces the build");
        r = read_span(t, "wait", t->options.wait ?: DEFAULT_WAIT, &wait);
        if (r != EXIT_DONE)
                return r;
        r = read_span(t, "hold", t->options.hold ?: DEFAULT_HOLD, &hold);
        if (r != EXIT_DONE)
                return r;

        r = begin(t, wait, hold, &error, &id);
        if (r < 0)
                return failure_bus(t, r, &error);

        show_id(t, id);
        return EXIT_DONE;
}

int verb_end_build(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint32_t id;
        int r;

        if (request_id(argv[1], &id) < 0)
                return failure(t, ERROR_INVALID_ARGS, "\"%s\" is no number of an announced build", argv[1]);

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "EndBuild", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "u", id);
        if (r >= 0)
                r = bus_call(t, m, CALL_AUTH, &error, NULL);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF)
                show_id(t, id);
        return EXIT_DONE;
}
