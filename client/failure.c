/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/output.h"

/* Errors of the bus, of sd-bus and of systemd; the API's own are in base/errors.c. */
static const struct {
        const char *prefix;
        int exit_status;
} foreign_errors[] = {
        { "org.freedesktop.DBus.Error.AuthFailed", EXIT_NOT_AUTHORISED },
        { "org.freedesktop.PolicyKit1.Error.", EXIT_NOT_AUTHORISED },
        { "org.freedesktop.DBus.Error.LimitsExceeded", EXIT_NOT_NOW },
        { "org.freedesktop.DBus.Error.InvalidSignature", EXIT_BAD_USAGE },
        { "org.freedesktop.DBus.Error.ServiceUnknown", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.NameHasNoOwner", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.NoReply", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.Timeout", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.TimedOut", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.Disconnected", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.NoServer", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.NoNetwork", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.BadAddress", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.FileNotFound", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.NotSupported", EXIT_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.Unknown", EXIT_UNAVAILABLE }, /* ...Method, ...Object, an older daemon */
        { "org.freedesktop.DBus.Error.Spawn.", EXIT_UNAVAILABLE },
        { "org.freedesktop.systemd1.", EXIT_UNAVAILABLE },          /* activation failed */
        { "System.Error.ENOTCONN", EXIT_UNAVAILABLE },
        { "System.Error.ECONNRESET", EXIT_UNAVAILABLE },
        { "System.Error.ETIMEDOUT", EXIT_UNAVAILABLE },
        { "System.Error.ECONNREFUSED", EXIT_UNAVAILABLE },
        { "System.Error.EPIPE", EXIT_UNAVAILABLE },
};

static const struct {
        const char *id;
        ErrorId error;
} blocker_errors[] = {
        { "module-lost", ERROR_MODULE_LOST },
        { "unsupported", ERROR_NOT_SUPPORTED },
        { "already-current", ERROR_ALREADY_CURRENT },
        { "image-invalid", ERROR_IMAGE_INVALID },
        { "image-untrusted", ERROR_IMAGE_UNTRUSTED },
        { "downgrade", ERROR_DOWNGRADE },
        { "incompatible-module", ERROR_INCOMPATIBLE_MODULE },
        { "incompatible-seamldr", ERROR_INCOMPATIBLE_SEAMLDR },
        { "incompatible-cpu", ERROR_INCOMPATIBLE_CPU },
        { "svn-lower", ERROR_DOWNGRADE },
        { "no-budget", ERROR_NO_BUDGET },
        { "debug-image", ERROR_DEBUG_IMAGE },
        { "no-image", ERROR_NO_SUCH_VERSION },
        { "stepping-unlisted", ERROR_INCOMPATIBLE_CPU },
        { "reserve", ERROR_NO_BUDGET },
};

/* The daemon's own texts say what to do; when it is not there it cannot. */
static const char *hint(const char *name, int exit_status) {
        return exit_status == EXIT_UNAVAILABLE && error_from_dbus_name(name) == ERROR_NONE ?
               "Is the daemon there? See \"systemctl status tdx-updated\"." : NULL;
}

static const char *last_part(const char *name) {
        const char *dot = strrchr(name, '.');

        return dot ? dot + 1 : name;
}

static void failure_json(const Tdxctl *t, const char *name, int exit_status, const char *text) {
        g_autoptr(JsonObject) top = json_object_new();
        JsonObject *error = json_object_new();

        json_object_set_string_member(error, "name", name);
        json_object_set_string_member(error, "message", text);
        json_object_set_int_member(error, "exit-status", exit_status);
        json_object_set_object_member(top, "error", error);
        output_json_object(t, top);
}

static int failure_full(const Tdxctl *t, const char *name, int exit_status, const char *advice, const char *text) {
        g_autofree char *safe = escape_terminal(text);

        fflush(stdout);
        fprintf(stderr, "tdxctl: %s\n", safe);
        if (advice)
                fprintf(stderr, "tdxctl: %s\n", advice);
        if (t->options.json != JSON_OFF)
                failure_json(t, name, exit_status, text);

        return exit_status;
}

int failure(const Tdxctl *t, ErrorId id, const char *format, ...) {
        int exit_status = error_entry(id)->exit_status;
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);

        return failure_full(t, error_short_name(id), exit_status, NULL, text);
}

int failure_named(const Tdxctl *t, const char *name, int exit_status, const char *text) {
        return failure_full(t, name, exit_status, NULL, text);
}

int failure_printf(const Tdxctl *t, const char *name, int exit_status, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);

        return failure_full(t, name, exit_status, NULL, text);
}

int failure_bus(const Tdxctl *t, int r, const sd_bus_error *error) {
        const char *name = error && error->name ? error->name : NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error made = SD_BUS_ERROR_NULL;
        g_autofree char *text = NULL;
        int exit_status;

        if (!name) {
                sd_bus_error_set_errno(&made, r);
                error = &made;
                name = made.name ?: "org.freedesktop.DBus.Error.Failed";
        }

        exit_status = exit_status_of_error(name);
        text = g_strdup_printf("%s%s", g_str_has_prefix(name, "System.Error.") ? "The daemon cannot be asked: " : "",
                               error->message && *error->message ? error->message : g_strerror(-r));
        return failure_full(t, last_part(name), exit_status, hint(name, exit_status), text);
}

int failure_connect(const Tdxctl *t, int r) {
        g_autofree char *text = NULL;

        if (t->options.transport == TRANSPORT_LOCAL)
                text = g_strdup_printf("The system bus cannot be reached: %s", g_strerror(-r));
        else
                text = g_strdup_printf("The bus of %s cannot be reached: %s", t->options.host, g_strerror(-r));

        return failure_full(t, "Disconnected", EXIT_UNAVAILABLE, NULL, text);
}

int failure_errno(const Tdxctl *t, int r) {
        return failure_full(t, "Failed", EXIT_OTHER, NULL, g_strerror(-r));
}

int exit_status_of_error(const char *dbus_name) {
        ErrorId id = error_from_dbus_name(dbus_name);

        if (id != ERROR_NONE)
                return error_entry(id)->exit_status;

        for (size_t i = 0; i < G_N_ELEMENTS(foreign_errors); i++)
                if (g_str_has_prefix(dbus_name, foreign_errors[i].prefix))
                        return foreign_errors[i].exit_status;

        return EXIT_OTHER;
}

int exit_status_of_result(const char *result, const char *error_name) {
        ErrorId id = error_from_dbus_name(error_name);

        if (g_str_equal(result, "success") || g_str_equal(result, "already-current"))
                return EXIT_DONE;
        if (g_str_equal(result, "lost"))
                return EXIT_LOST;
        if (g_str_equal(result, "expired"))
                return EXIT_NOT_NOW;
        if (!g_str_equal(result, "failed"))
                return EXIT_OTHER; /* cancelled: neither done nor failed */

        /* Not an error of ours: whatever kept it from its end, it failed and nothing is lost. */
        if (id == ERROR_NONE || error_entry(id)->exit_status == EXIT_DONE ||
            !g_str_has_prefix(error_name, BUS_ERROR_PREFIX))
                return EXIT_FAILED;

        return error_entry(id)->exit_status;
}

static int exit_status_of_blocker(const char *id) {
        for (size_t i = 0; i < G_N_ELEMENTS(blocker_errors); i++)
                if (g_str_equal(id, blocker_errors[i].id))
                        return error_entry(blocker_errors[i].error)->exit_status;

        return EXIT_BLOCKED; /* a newer daemon's */
}

bool blocker_refuses(const char *id) {
        for (size_t i = 0; i < G_N_ELEMENTS(blocker_errors); i++)
                if (g_str_equal(id, blocker_errors[i].id))
                        return true;

        return false;
}

int exit_status_of_blockers(JsonArray *blockers) {
        for (unsigned i = 0; i < array_length(blockers); i++) {
                JsonObject *blocker = array_object(blockers, i);
                const char *severity = dict_string(blocker, "severity");

                if (g_str_equal(severity, "hard") || g_str_equal(severity, "policy"))
                        return exit_status_of_blocker(dict_string(blocker, "id"));
        }

        return EXIT_DONE;
}
