/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/message-json.h"
#include "client/output.h"
#include "client/verbs.h"

/* Argument names as the contract has them, in their order; what is not here shows as "args". */
static const struct {
        const char *signal;
        const char *names[3];
} arguments[] = {
        { "JobNew", { "id", "job" } },
        { "JobRemoved", { "id", "job", "result" } },
        { "PrepareForUpdate", { "start" } },
        { "WindowClosed", { "reason" } },
        { "ModuleUpdated", { "from", "to", "job" } },
        { "ModuleLost", { "version", "detail" } },
        { "Finished", { "result", "details" } },
        { "PropertiesChanged", { "interface", "changed", "invalidated" } },
        { "InterfacesAdded", { "object", "interfaces" } },
        { "InterfacesRemoved", { "object", "interfaces" } },
        { "NameOwnerChanged", { "name", "old-owner", "new-owner" } },
};

typedef struct Monitor {
        Tdxctl *t;
        sd_event *event;
        char *owner;            /* the daemon's unique name, NULL while it is away */
} Monitor;

static const char *argument_name(const char *signal, unsigned i) {
        for (size_t k = 0; k < G_N_ELEMENTS(arguments); k++)
                if (g_str_equal(arguments[k].signal, signal))
                        return i < G_N_ELEMENTS(arguments[k].names) ? arguments[k].names[i] : NULL;

        return NULL;
}

static JsonObject *signal_object(sd_bus_message *m) {
        JsonObject *object = json_object_new();
        g_autoptr(JsonArray) rest = json_array_new();
        const char *member = sd_bus_message_get_member(m);
        JsonNode *node;

        json_object_set_int_member(object, "time", (int64_t) clock_realtime(&system_clock));
        json_object_set_string_member(object, "path", sd_bus_message_get_path(m) ?: "");
        json_object_set_string_member(object, "signal", member);

        for (unsigned i = 0; message_to_json(m, &node) >= 0; i++) {
                const char *name = argument_name(member, i);

                /* "interface" and "path" of a signal's own arguments never collide with ours. */
                if (name)
                        json_object_set_member(object, name, node);
                else
                        json_array_add_element(rest, node);
        }
        if (array_length(rest) > 0)
                json_object_set_array_member(object, "args", g_steal_pointer(&rest));

        return object;
}

static void append_value(GString *out, const char *name, JsonNode *node) {
        g_autofree char *raw = NULL, *safe = NULL;

        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
                raw = json_node_dup_string(node);
        else
                raw = json_to_string(node, false);
        safe = escape_terminal(raw);
        g_string_append_printf(out, " %s=%s", name, safe);
}

static void append_members(GString *out, JsonObject *object) {
        JsonObjectIter iter;
        const char *name;
        JsonNode *node;

        json_object_iter_init_ordered(&iter, object);
        while (json_object_iter_next_ordered(&iter, &name, &node))
                if (!g_str_equal(name, "time") && !g_str_equal(name, "path") && !g_str_equal(name, "signal"))
                        append_value(out, name, node);
}

static void print_text(const Tdxctl *t, JsonObject *object) {
        g_autoptr(GDateTime) now = g_date_time_new_now_local();
        g_autofree char *time = g_date_time_format(now, "%H:%M:%S");
        g_autofree char *path = escape_terminal(dict_string(object, "path")), *signal = escape_terminal(dict_string(object, "signal"));
        g_autoptr(GString) out = g_string_new(NULL);
        const char *place = g_str_has_prefix(path, BUS_PATH "/") ? path + strlen(BUS_PATH "/") : "manager";
        JsonObject *changed = dict_object(object, "changed");

        if (changed)
                append_members(out, changed);
        else
                append_members(out, object);
        printf("%s.%03d %-10s %s%s%s%s\n", time, g_date_time_get_microsecond(now) / 1000, place,
               colour(t, COLOUR_BOLD), signal, colour(t, COLOUR_NONE), out->str);
}

static void print(const Tdxctl *t, JsonObject *object) {
        if (t->options.json == JSON_OFF) {
                print_text(t, object);
        } else {
                g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);
                g_autofree char *text = json_text(node, false);

                puts(text);
        }
        fflush(stdout);
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Monitor *monitor = userdata;
        g_autoptr(JsonObject) object = NULL;

        /* Anybody can send us a signal that looks like the daemon's. */
        if (!monitor->owner || g_strcmp0(sd_bus_message_get_sender(m), monitor->owner) != 0)
                return 0;

        object = signal_object(m);
        print(monitor->t, object);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Monitor *monitor = userdata;
        const char *new;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &new) < 0)
                return 0;
        g_free(monitor->owner);
        monitor->owner = *new ? g_strdup(new) : NULL;

        if (monitor->t->options.json == JSON_OFF) {
                printf("-- The daemon %s --\n", *new ? "is there" : "went away");
                fflush(stdout);
        } else if (sd_bus_message_rewind(m, true) >= 0) {
                g_autoptr(JsonObject) object = signal_object(m);

                print(monitor->t, object);
        }
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Monitor *monitor = userdata;

        return sd_event_exit(monitor->event, -ECONNRESET);
}

static int monitor_subscribe(Monitor *monitor) {
        sd_bus *bus = monitor->t->bus;
        int r;

        r = sd_bus_add_match(bus, NULL,
                             "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                             "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'",
                             on_owner_changed, monitor);
        if (r < 0)
                return r;
        r = sd_bus_add_match(bus, NULL, "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_PATH "'", on_signal, monitor);
        if (r < 0)
                return r;

        return sd_bus_match_signal_async(bus, NULL, "org.freedesktop.DBus.Local", NULL,
                                         "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, monitor);
}

static int monitor_run(Monitor *monitor) {
        int r;

        r = sd_event_new(&monitor->event);
        if (r < 0)
                return r;
        r = bus_attach(monitor->t, monitor->event, NULL, NULL);
        if (r < 0)
                return r;

        r = sd_event_loop(monitor->event);
        (void) sd_bus_detach_event(monitor->t->bus);
        return r;
}

int verb_monitor(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        Monitor monitor = { .t = t };
        const char *name;
        int r;

        r = monitor_subscribe(&monitor);
        if (r < 0)
                return failure_errno(t, r);

        /* To look is no reason to start it. */
        if (sd_bus_get_name_creds(t->bus, BUS_NAME, SD_BUS_CREDS_UNIQUE_NAME, &creds) >= 0 &&
            sd_bus_creds_get_unique_name(creds, &name) >= 0)
                monitor.owner = g_strdup(name);
        else
                fprintf(stderr, "tdxctl: The daemon is not running; waiting for it.\n");

        r = monitor_run(&monitor);
        sd_event_unref(monitor.event);
        g_free(monitor.owner);
        if (r == -ECONNRESET)
                return failure_named(t, "Disconnected", EXIT_UNAVAILABLE, "The connection to the bus broke");

        return r < 0 ? failure_errno(t, r) : EXIT_DONE;
}
