/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "bus/bus-internal.h"

int bus_refuse(sd_bus_error *error, const Failure *failure) {
        return sd_bus_error_set(error, error_entry(failure->id)->dbus_name, failure->text);
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
        const char *action, *version = "";
        const Method *method;
        int r;

        /* A call may leave the interface out; the vtable that led here has said which it is by its methods. */
        method = find_method(manager_methods, interface ?: BUS_INTERFACE, member) ?:
                 find_method(job_methods, interface ?: BUS_JOB_INTERFACE, member);
        if (!method)
                return bus_refuse_id(error, ERROR_ACCESS_DENIED, "%s is in no table of permissions, so nobody may call it", member);

        action = method->action;
        if (method->choose) {
                r = method->choose(bus, message, &action, &version, error);
                if (r < 0)
                        return r;
        }

        if (action) {
                r = auth_check(bus->auth, message, action, version, error);
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
