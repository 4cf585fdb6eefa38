/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "base/names.h"
#include "bus/bus-internal.h"

static void on_job_new(Job *job, void *userdata) {
        Bus *bus = userdata;
        char path[JOB_PATH_MAX];

        job_path(job->record->id, path);
        (void) sd_bus_emit_object_added(bus->bus, path);
        (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "JobNew", "uo", job->record->id, path);
}

static void on_job_changed(Job *job, unsigned changes, void *userdata) {
        job_bus_changed(userdata, job, changes);
}

static void on_job_finished(Job *job, void *userdata) {
        job_bus_finished(userdata, job);
}

static void on_job_forgotten(Job *job, void *userdata) {
        Bus *bus = userdata;
        char path[JOB_PATH_MAX];

        (void) sd_bus_emit_object_removed(bus->bus, job_path(job->record->id, path));
}

static void on_changed(unsigned changes, void *userdata) {
        static const struct {
                unsigned change;
                const char *property;
        } table[] = {
                { MANAGER_CHANGED_STATE, "State" },
                { MANAGER_CHANGED_STATE, "StateReason" },
                { MANAGER_CHANGED_MODULE, "ModuleVersion" },
                { MANAGER_CHANGED_MODULE, "SeamldrVersion" },
                { MANAGER_CHANGED_MODULE, "RemainingUpdates" },
                { MANAGER_CHANGED_MODULE, "CpuSignature" },
                { MANAGER_CHANGED_MODULE, "BusyDetection" },
                { MANAGER_CHANGED_SUPPORT, "UpdateSupported" },
                { MANAGER_CHANGED_SUPPORT, "UnsupportedReason" },
                { MANAGER_CHANGED_SUPPORT, "Lost" },
                { MANAGER_CHANGED_JOBS, "Jobs" },
                { MANAGER_CHANGED_HOLDS, "Holds" },
        };
        const char *names[G_N_ELEMENTS(table) + 1];
        Bus *bus = userdata;
        size_t n = 0;

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (changes & table[i].change)
                        names[n++] = table[i].property;
        names[n] = NULL;

        (void) sd_bus_emit_properties_changed_strv(bus->bus, BUS_PATH, BUS_INTERFACE, (char **) names);
        if (changes & MANAGER_CHANGED_STATE)
                bus_notify_status(bus);
}

void bus_notify_status(Bus *bus) {
        g_autofree char *reason = manager_state_reason(bus->manager);

        /* It quotes what users have said; a line break would begin another assignment (sd_notify(3)). */
        for (char *p = reason; *p; p++)
                if (g_ascii_iscntrl(*p))
                        *p = ' ';

        (void) sd_notifyf(false, "STATUS=%s", reason);
}

static void on_prepare(bool start, void *userdata) {
        Bus *bus = userdata;

        (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "PrepareForUpdate", "b", (int) start);
}

static void on_window(bool open, const char *reason, void *userdata) {
        Bus *bus = userdata;

        if (open)
                (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "WindowOpened", NULL);
        else
                (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "WindowClosed", "s", reason);
}

static void on_admit(void *userdata) {
        hold_bus_admit(userdata);
}

static void on_module_updated(const char *from, const char *to, uint32_t job, void *userdata) {
        Bus *bus = userdata;

        (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "ModuleUpdated", "ssu", from, to, job);
}

static void on_module_lost(const char *version, const char *detail, void *userdata) {
        Bus *bus = userdata;

        (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "ModuleLost", "ss", version, detail);
}

ManagerEvents bus_events(Bus *bus) {
        return (ManagerEvents) {
                .job_new = on_job_new,
                .job_changed = on_job_changed,
                .job_finished = on_job_finished,
                .job_forgotten = on_job_forgotten,
                .changed = on_changed,
                .prepare = on_prepare,
                .window = on_window,
                .admit = on_admit,
                .module_updated = on_module_updated,
                .module_lost = on_module_lost,
                .userdata = bus,
        };
}

static int add_objects(Bus *bus) {
        int r;

        r = sd_bus_add_object_vtable(bus->bus, NULL, BUS_PATH, BUS_INTERFACE, manager_vtable, bus);
        if (r >= 0)
                r = sd_bus_add_fallback_vtable(bus->bus, NULL, BUS_JOB_PREFIX, BUS_JOB_INTERFACE, job_vtable, job_bus_find, bus);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(bus->bus, NULL, BUS_JOB_PREFIX, job_bus_enumerate, bus);
        if (r >= 0)
                r = sd_bus_add_object_manager(bus->bus, NULL, BUS_PATH);
        if (r >= 0)
                r = sd_bus_add_object_vtable(bus->bus, NULL, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1",
                                             log_control_vtable, bus);
        return r;
}

static int on_exit_event(sd_event_source *source, void *userdata) {
        hold_bus_stop(userdata);
        return 0;
}

/* While the bus is still there: sd-bus closes it at the loop's exit, with the normal priority. */
static int watch_exit(Bus *bus, sd_event *event) {
        int r;

        r = sd_event_add_exit(event, &bus->exit, on_exit_event, bus);
        return r < 0 ? r : sd_event_source_set_priority(bus->exit, SD_EVENT_PRIORITY_IMPORTANT);
}

int bus_new(sd_event *event, Manager *manager, Bus **ret) {
        g_autoptr(Bus) bus = g_new0(Bus, 1);
        int r;

        bus->manager = manager;
        bus->builds = g_ptr_array_new();
        r = sd_bus_open_system(&bus->bus);
        if (r < 0)
                return log_error(r, "Failed to connect to the system bus");

        /* Jobs are durable: without a bus it is best to be started again with one. */
        r = sd_bus_set_exit_on_disconnect(bus->bus, true);
        if (r >= 0)
                r = sd_bus_attach_event(bus->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = watch_exit(bus, event);
        if (r >= 0)
                r = add_objects(bus);
        if (r < 0)
                return log_error(r, "Failed to set the bus up");

        bus->auth = auth_new(bus->bus);
        *ret = g_steal_pointer(&bus);
        return 0;
}

int bus_request_name(Bus *bus) {
        int r;

        r = sd_bus_request_name(bus->bus, BUS_NAME, 0);
        if (r == -EEXIST || r == -EALREADY)
                return log_error(r, "%s is taken already: another tdx-updated runs", BUS_NAME);
        if (r < 0)
                return log_error(r, "Failed to take the name %s on the bus (is its policy file installed?)", BUS_NAME);
        return 0;
}

Bus *bus_free(Bus *bus) {
        if (!bus)
                return NULL;

        sd_event_source_disable_unref(bus->exit);
        hold_bus_stop(bus);
        g_clear_pointer(&bus->builds, g_ptr_array_unref);
        auth_free(bus->auth);
        sd_bus_flush_close_unref(bus->bus);
        g_free(bus);
        return NULL;
}
