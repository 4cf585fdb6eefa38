/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "bus/bus-internal.h"

static Manager *look(Bus *bus) {
        manager_look(bus->manager);
        return bus->manager;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        Manager *m = look(userdata);
        const HostFacts *host = manager_host(m);
        g_autofree char *owned = NULL;
        char version[VERSION_STRING_MAX];
        const char *text = "";

        if (strcmp(property, "DaemonVersion") == 0)
                text = PROJECT_VERSION;
        else if (strcmp(property, "State") == 0)
                text = manager_state(m);
        else if (strcmp(property, "StateReason") == 0)
                text = owned = manager_state_reason(m);
        else if (strcmp(property, "ModuleVersion") == 0)
                text = host->have_running && !host->lost ? version_format(host->running, version) : "";
        else if (strcmp(property, "SeamldrVersion") == 0)
                text = host->have_seamldr ? version_format(host->seamldr, version) : "";
        else if (strcmp(property, "UnsupportedReason") == 0)
                text = host->unsupported ?: "";
        else if (strcmp(property, "BusyDetection") == 0)
                text = manager_busy_detection(m);

        return sd_bus_message_append(reply, "s", text);
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                      void *userdata, sd_bus_error *error) {
        Manager *m = look(userdata);
        const HostFacts *host = manager_host(m);
        uint32_t number = 0;
        size_t n;

        if (strcmp(property, "RemainingUpdates") == 0)
                number = host->have_remaining ? host->remaining : 0;
        else if (strcmp(property, "CpuSignature") == 0)
                number = host->n_cpus > 0 ? host->cpus[0] : 0;
        else if (strcmp(property, "Holds") == 0) {
                (void) manager_holds(m, &n);
                number = (uint32_t) n;
        }

        return sd_bus_message_append(reply, "u", number);
}

static int get_flag(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        const HostFacts *host = manager_host(look(userdata));

        return sd_bus_message_append(reply, "b", strcmp(property, "Lost") == 0 ? (int) host->lost : (int) !host->unsupported);
}

static int get_evidence(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *error) {
        g_auto(ActivityVerdict) verdict = {};

        manager_activity(((Bus *) userdata)->manager, &verdict);
        if (strcmp(property, "Idle") == 0)
                return sd_bus_message_append(reply, "b", verdict.activity == ACTIVITY_IDLE);
        if (strcmp(property, "Evidence") == 0)
                return sd_bus_message_append(reply, "s", tier_to_string(verdict.tier));
        return sd_bus_message_append(reply, "u", strcmp(property, "Guests") == 0 ? verdict.n_guests : verdict.n_building);
}

static int get_blocked_by(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                          void *userdata, sd_bus_error *error) {
        g_auto(BlockerList) blockers = {};
        BlockerId last = _BLOCKER_MAX;
        int r;

        manager_blocked_by(((Bus *) userdata)->manager, &blockers);
        r = sd_bus_message_open_container(reply, 'a', "s");
        for (size_t i = 0; r >= 0 && i < blockers.n; i++) {
                const Blocker *b = &blockers.items[i];

                /* One for each VM, but the same id: they are in the order of the ids. */
                if (b->severity == SEVERITY_NOTE || b->id == last)
                        continue;
                last = b->id;
                r = sd_bus_message_append(reply, "s", blocker_id_to_string(b->id));
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_jobs(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        Manager *m = ((Bus *) userdata)->manager;
        char job[JOB_PATH_MAX];
        int r;

        r = sd_bus_message_open_container(reply, 'a', "o");
        for (size_t i = 0; r >= 0 && i < manager_n_jobs(m); i++)
                if (!job_finished(manager_job(m, i)))
                        r = sd_bus_message_append(reply, "o", job_path(manager_job(m, i)->record->id, job));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define METHOD(name, in, in_names, out, out_names) \
        SD_BUS_METHOD_WITH_NAMES(name, in, in_names, out, out_names, door_on_call, SD_BUS_VTABLE_UNPRIVILEGED)
#define P1(a) SD_BUS_PARAM(a)
#define TELLS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

/* Kept in step with dbus/org.tdx.Update1.xml by a test. */
const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),

        METHOD("Apply", NULL, , "o", P1(job)),
        METHOD("ApplyVersion", "sa{sv}", P1(version) P1(options), "o", P1(job)),
        METHOD("Plan", "sa{sv}", P1(version) P1(options), "a{sv}", P1(plan)),
        METHOD("ListImages", NULL, , "aa{sv}", P1(images)),
        METHOD("InspectImage", "h", P1(image), "a{sv}", P1(facts)),
        METHOD("ListJobs", NULL, , "a(uosss)", P1(jobs)),
        METHOD("GetJob", "u", P1(id), "o", P1(job)),
        METHOD("GetHistory", "tu", P1(since) P1(max), "aa{sv}", P1(history)),
        METHOD("Hold", "ssss", P1(what) P1(who) P1(why) P1(mode), "h", P1(fd)),
        METHOD("BeginBuild", "stta{sv}", P1(who) P1(wait_usec) P1(hold_usec) P1(match), "u", P1(id)),
        METHOD("EndBuild", "u", P1(id), NULL, ),
        METHOD("ListHolds", NULL, , "a(sssssuut)", P1(holds)),
        METHOD("ListGuests", NULL, , "aa{sv}", P1(guests)),
        METHOD("ImportImage", "ha{sv}", P1(image) P1(options), "s", P1(version)),
        METHOD("SetDesiredVersion", "s", P1(version), NULL, ),
        METHOD("Diagnose", NULL, , "aa{sv}", P1(checks)),
        METHOD("GetMetrics", NULL, , "s", P1(text)),
        METHOD("DescribeConfig", NULL, , "aa{sv}", P1(keys)),
        SD_BUS_METHOD("Refresh", NULL, NULL, door_on_call, SD_BUS_VTABLE_UNPRIVILEGED),

        SD_BUS_SIGNAL_WITH_NAMES("JobNew", "uo", P1(id) P1(job), 0),
        SD_BUS_SIGNAL_WITH_NAMES("JobRemoved", "uos", P1(id) P1(job) P1(result), 0),
        SD_BUS_SIGNAL_WITH_NAMES("PrepareForUpdate", "b", P1(start), 0),
        SD_BUS_SIGNAL("WindowOpened", NULL, 0),
        SD_BUS_SIGNAL_WITH_NAMES("WindowClosed", "s", P1(reason), 0),
        SD_BUS_SIGNAL_WITH_NAMES("ModuleUpdated", "ssu", P1(from) P1(to) P1(job), 0),
        SD_BUS_SIGNAL_WITH_NAMES("ModuleLost", "ss", P1(version) P1(detail), 0),

        SD_BUS_PROPERTY("DaemonVersion", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("StateReason", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("ModuleVersion", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("SeamldrVersion", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("RemainingUpdates", "u", get_number, 0, TELLS),
        SD_BUS_PROPERTY("CpuSignature", "u", get_number, 0, TELLS),
        SD_BUS_PROPERTY("UpdateSupported", "b", get_flag, 0, TELLS),
        SD_BUS_PROPERTY("UnsupportedReason", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("BusyDetection", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("Holds", "u", get_number, 0, TELLS),
        SD_BUS_PROPERTY("Jobs", "ao", get_jobs, 0, TELLS),
        SD_BUS_PROPERTY("DesiredVersion", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("Lost", "b", get_flag, 0, TELLS),
        SD_BUS_PROPERTY("Idle", "b", get_evidence, 0, 0),
        SD_BUS_PROPERTY("Evidence", "s", get_evidence, 0, 0),
        SD_BUS_PROPERTY("BlockedBy", "as", get_blocked_by, 0, 0),
        SD_BUS_PROPERTY("Guests", "u", get_evidence, 0, 0),
        SD_BUS_PROPERTY("Building", "u", get_evidence, 0, 0),

        SD_BUS_VTABLE_END,
};
