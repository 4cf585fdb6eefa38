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
#include "client/result.h"
#include "client/suspects.h"
#include "client/time-text.h"

char *attempt_text(JsonObject *attempt) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_autofree char *outcome = escape_terminal(dict_string(attempt, "outcome"));
        g_autofree char *status = escape_terminal(dict_string(attempt, "status"));
        g_autofree char *kernel = escape_terminal(dict_string(attempt, "kernel-error"));
        JsonObject *timings = dict_object(attempt, "timings");

        g_string_append(out, *outcome ? outcome : "not ended yet");
        if (*kernel)
                g_string_append_printf(out, ", the kernel said %s", kernel);
        else if (*status && !g_str_equal(status, "idle") && !g_str_equal(outcome, "success"))
                g_string_append_printf(out, ", status %s", status);
        if (dict_number(timings, "total") > 0) {
                g_autofree char *span = format_span(dict_number(timings, "total"));

                g_string_append_printf(out, " (%s)", span);
        }

        return g_string_free(g_steal_pointer(&out), false);
}

static void add_svn(GString *out, JsonObject *details) {
        if (!dict_has(details, "svn-before") || !dict_has(details, "svn-after"))
                return;
        if (dict_number(details, "svn-before") != dict_number(details, "svn-after"))
                g_string_append_printf(out, ", SVN 0x%" PRIx64 " -> 0x%" PRIx64,
                                       dict_number(details, "svn-before"), dict_number(details, "svn-after"));
}

static char *success_text(Tdxctl *t, JsonObject *details) {
        g_autofree char *from = escape_terminal(dict_string(details, "from")), *to = escape_terminal(dict_string(details, "to"));
        unsigned attempts = array_length(dict_array(details, "attempts"));
        uint64_t started = dict_number(details, "started"), finished = dict_number(details, "finished");
        g_autoptr(GString) out = g_string_new(NULL);
        g_autoptr(JsonObject) host = NULL;

        g_string_append_printf(out, "The TDX module is now %s%s%s (was %s)", colour(t, COLOUR_GREEN), to,
                               colour(t, COLOUR_NONE), from);
        if (attempts > 0)
                g_string_append_printf(out, ": %u attempt%s", attempts, attempts == 1 ? "" : "s");
        if (started > 0 && finished >= started) {
                g_autofree char *span = format_span(finished - started);

                g_string_append_printf(out, " in %s", span);
        }
        add_svn(out, details);
        /* Only a nicety: the job has ended well whether or not this can be read. */
        if (bus_properties(t, BUS_PATH, BUS_INTERFACE, NULL, &host) >= 0)
                g_string_append_printf(out, ", %" PRIu64 " updates left", dict_number(host, "RemainingUpdates"));
        g_string_append(out, ".\n");

        return g_string_free(g_steal_pointer(&out), false);
}

/* What runs after a failure only the daemon can tell: its own message follows. */
static const char *what_now(const char *result, const char *error_name) {
        if (g_str_equal(result, "lost"))
                return "The TDX module is lost and every TD with it; only a reboot brings it back.";
        if (g_str_equal(result, "expired"))
                return "The deadline came before a safe moment did; nothing was changed.";
        if (g_str_equal(result, "cancelled"))
                return "The job was cancelled; nothing was changed.";

        if (error_from_dbus_name(error_name) == ERROR_VERIFY_FAILED)
                return "The kernel reported success, but another TDX module than the wanted one runs.";

        return "The update failed.";
}

int result_show(Tdxctl *t, JsonObject *details) {
        const char *result = dict_string(details, "result"), *error_name, *message;
        JsonArray *error = dict_array(details, "error");

        error_name = array_string(error, 0);
        message = array_string(error, 1);

        if (t->options.json != JSON_OFF) {
                output_json_object(t, details);
        } else if (g_str_equal(result, "success")) {
                g_autofree char *text = success_text(t, details);

                fputs(text, stdout);
        } else if (g_str_equal(result, "already-current")) {
                g_autofree char *to = escape_terminal(dict_string(details, "to"));

                printf("already running %s\n", to);
        } else {
                g_autofree char *safe = escape_terminal(message);

                fflush(stdout);
                fprintf(stderr, "tdxctl: %s\n", what_now(result, error_name));
                if (*safe)
                        fprintf(stderr, "tdxctl: %s\n", safe);
        }
        suspects_warn(details);

        return exit_status_of_result(result, error_name);
}

int already_current(Tdxctl *t, const char *message) {
        g_autoptr(JsonObject) host = NULL, object = NULL;
        g_autofree char *version = NULL, *safe = escape_terminal(message);
        JsonArray *error;

        if (bus_properties(t, BUS_PATH, BUS_INTERFACE, NULL, &host) >= 0)
                version = escape_terminal(dict_string(host, "ModuleVersion"));

        if (t->options.json == JSON_OFF) {
                printf("already running %s%s%s\n", version ?: "it", *safe ? ": " : "", safe);
                return EXIT_DONE;
        }

        object = json_object_new();
        error = json_array_new();
        json_object_set_string_member(object, "from", version ?: "");
        json_object_set_string_member(object, "to", version ?: "");
        json_object_set_string_member(object, "result", "already-current");
        json_array_add_string_element(error, BUS_ERROR_PREFIX "AlreadyCurrent");
        json_array_add_string_element(error, message ?: "");
        json_object_set_array_member(object, "error", error);
        output_json_object(t, object);
        return EXIT_DONE;
}
