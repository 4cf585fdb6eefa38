/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "base/log.h"
#include "bus/bus-internal.h"

/* org.freedesktop.LogControl1(5), for systemctl service-log-level. Root only, by the vtable and by the bus policy. */

static int get_level(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                     void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", log_level_to_string(log_get_level()));
}

static int set_level(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *value,
                     void *userdata, sd_bus_error *error) {
        const char *name;
        int level, r;

        r = sd_bus_message_read(value, "s", &name);
        if (r < 0)
                return r;

        level = log_level_from_string(name);
        if (level < 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "There is no log level \"%.32s\"", name);
        log_set_level(level);
        return 0;
}

static int get_constant(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", strcmp(property, "LogTarget") == 0 ? "journal" : "tdx-updated");
}

static int refuse_target(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *value,
                         void *userdata, sd_bus_error *error) {
        return bus_refuse_id(error, ERROR_NOT_SUPPORTED, "The log goes to the journal, or to standard error where there is none");
}

const sd_bus_vtable log_control_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_level, set_level, 0, 0),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_constant, refuse_target, 0, 0),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", get_constant, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};
