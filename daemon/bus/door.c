/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "bus/bus-internal.h"

int bus_refuse(sd_bus_error *error, const Failure *failure) {
        /* A text may quote, and cut, what somebody sent; a string that is not UTF-8 could not be sent at all. */
        g_autofree char *text = g_utf8_make_valid(failure->text, -1);

        return sd_bus_error_set(error, error_entry(failure->id)->dbus_name, text);
}

int bus_refuse_id(sd_bus_error *error, ErrorId id, const char *format, ...) {
        g_auto(Failure) failure = {};
        va_list ap;

        va_start(ap, format);
        failure.id = id;
        failure.text = g_strdup_vprintf(format, ap);
        va_end(ap);

        return bus_refuse(error, &failure);
}

const char *job_path(uint32_t id, char buffer[static JOB_PATH_MAX]) {
        snprintf(buffer, JOB_PATH_MAX, BUS_JOB_PREFIX "/%u", id);
        return buffer;
}

static const Method *find_method(const Method *methods, const char *interface, const char *member) {
        for (const Method *m = methods; m->member; m++)
                if (strcmp(m->interface, interface) == 0 && strcmp(m->member, member) == 0)
                        return m;

        return NULL;
}

int door_on_call(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        const char *interface = sd_bus_message_get_interface(message), *member = sd_bus_message_get_member(message);
        g_autoptr(AuthAnswer) answer = auth_take_answer(bus->auth, message);
        const char *action, *version = "";
        const Method *method = NULL;
        int r;

        if (interface)
                method = find_method(manager_methods, interface, member) ?: find_method(job_methods, interface, member);
        if (!method)
                return bus_refuse_id(error, ERROR_ACCESS_DENIED, "%s is in no table of permissions, so nobody may call it", member);

        action = method->action;
        if (method->choose) {
                r = method->choose(bus, message, &action, &version, error);
                if (r < 0)
                        return r;
        }

        if (action) {
                r = auth_check(bus->auth, message, answer, action, version, error);
                if (r < 0)
                        return r;
                if (r == 0)
                        return 1; /* goes on when polkit has answered */
        }

        if (method->choose) {
                r = sd_bus_message_rewind(message, true);
                if (r < 0)
                        return r;
        }

        return method->handler(bus, message, error);
}
