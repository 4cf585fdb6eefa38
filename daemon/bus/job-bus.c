/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fileio.h"
#include "base/names.h"
#include "base/util.h"
#include "bus/bus-internal.h"
#include "bus/describe.h"

#define PROGRESS_GAP_USEC (250 * USEC_PER_MSEC)

static Job *job_of_path(Bus *bus, const char *path) {
        uint64_t id;

        if (!path || !g_str_has_prefix(path, BUS_JOB_PREFIX "/"))
                return NULL;
        path += strlen(BUS_JOB_PREFIX "/");
        if (*path == '0' || parse_u64(path, &id) < 0 || id > UINT32_MAX)
                return NULL;
        return manager_find_job(bus->manager, (uint32_t) id);
}

/*
 * The vtable's user data stays the Bus: a message that comes back from polkit is looked up again, since
 * its job may be gone by then.
 */
int job_bus_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *error) {
        if (!job_of_path(userdata, path))
                return 0;
        *ret = userdata;
        return 1;
}

int job_bus_enumerate(sd_bus *bus, const char *path, void *userdata, char ***ret, sd_bus_error *error) {
        Manager *m = ((Bus *) userdata)->manager;
        size_t n = manager_n_jobs(m);
        char **paths;

        /* sd-bus frees it with free(). */
        paths = calloc(n + 1, sizeof(char *));
        if (!paths)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                char path_buffer[JOB_PATH_MAX];

                paths[i] = strdup(job_path(manager_job(m, i)->record->id, path_buffer));
                if (!paths[i]) {
                        while (i > 0)
                                free(paths[--i]);
                        free(paths);
                        return -ENOMEM;
                }
        }

        *ret = paths;
        return 0;
}

static int on_cancel(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        Job *job = job_of_path(bus, sd_bus_message_get_path(message));
        g_auto(Failure) failure = {};
        int r;

        if (!job)
                return bus_refuse_id(error, ERROR_NO_SUCH_JOB, "The job has gone meanwhile");
        if (manager_cancel(bus->manager, job, &failure) < 0)
                return bus_refuse(error, &failure);

        /* The reply comes before the signals. */
        r = sd_bus_reply_method_return(message, NULL);
        manager_announce_end(bus->manager, job);
        return r;
}

static int choose_cancel(Bus *bus, sd_bus_message *message, const char **ret_action, const char **ret_version, sd_bus_error *error) {
        Job *job = job_of_path(bus, sd_bus_message_get_path(message));
        sd_bus_creds *creds = NULL;
        uid_t uid;
        int r;

        if (!job)
                return bus_refuse_id(error, ERROR_NO_SUCH_JOB, "The job has gone meanwhile");

        r = sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &creds);
        if (r >= 0)
                r = sd_bus_creds_get_euid(creds, &uid);
        sd_bus_creds_unref(creds);
        if (r < 0)
                return bus_refuse_id(error, ERROR_ACCESS_DENIED, "The sender of the request has gone");

        *ret_action = uid == job->record->requester ? NULL : ACTION_CANCEL;
        return 0;
}

const Method job_methods[] = {
        { BUS_JOB_INTERFACE, "Cancel", on_cancel, ACTION_CANCEL, choose_cancel },
        {},
};

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                    void *userdata, sd_bus_error *error) {
        Job *job = job_of_path(userdata, path);
        const JobRecord *record;
        const char *text = "";

        if (!job)
                return -ENOENT;
        record = job->record;

        if (strcmp(property, "FromVersion") == 0)
                text = record->from;
        else if (strcmp(property, "ToVersion") == 0)
                text = record->to;
        else if (strcmp(property, "State") == 0)
                text = job_state_to_string(record->state);
        else if (strcmp(property, "Reason") == 0)
                text = job->reason;
        else if (strcmp(property, "Unit") == 0)
                text = record->unit;
        else if (strcmp(property, "Result") == 0)
                text = job_result_to_string(record->result);

        return sd_bus_message_append(reply, "s", text);
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                      void *userdata, sd_bus_error *error) {
        Job *job = job_of_path(userdata, path);

        if (!job)
                return -ENOENT;
        if (strcmp(property, "NextAttempt") == 0)
                return sd_bus_message_append(reply, "t", job->record->next_attempt);
        if (strcmp(property, "Deadline") == 0)
                return sd_bus_message_append(reply, "t", job->record->expires);
        if (strcmp(property, "Attempts") == 0)
                return sd_bus_message_append(reply, "u", job_record_n_attempts(job->record));
        return sd_bus_message_append(reply, "u", strcmp(property, "Id") == 0 ? job->record->id : (uint32_t) job->record->requester);
}

static int get_other(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                     void *userdata, sd_bus_error *error) {
        Job *job = job_of_path(userdata, path);

        if (!job)
                return -ENOENT;
        if (strcmp(property, "Progress") == 0)
                return sd_bus_message_append(reply, "d", job->progress);
        if (strcmp(property, "AttemptLog") == 0)
                return describe_attempts(reply, job->record);
        if (strcmp(property, "Timings") == 0)
                return describe_timings(reply, job_record_last_attempt(job->record));
        if (strcmp(property, "Error") == 0)
                return sd_bus_message_append(reply, "(ss)", job->record->error_name, job->record->error_text);
        return sd_bus_message_append(reply, "b", job_cancelable(job));
}

#define TELLS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONST SD_BUS_VTABLE_PROPERTY_CONST

/* Kept in step with dbus/org.tdx.Update1.Job.xml by a test. */
const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Cancel", NULL, NULL, door_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_NAMES("Finished", "sa{sv}", SD_BUS_PARAM(result) SD_BUS_PARAM(details), 0),
        SD_BUS_PROPERTY("Id", "u", get_number, 0, CONST),
        SD_BUS_PROPERTY("FromVersion", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("ToVersion", "s", get_text, 0, CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("Reason", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("Progress", "d", get_other, 0, TELLS),
        SD_BUS_PROPERTY("Attempts", "u", get_number, 0, TELLS),
        SD_BUS_PROPERTY("AttemptLog", "aa{sv}", get_other, 0, TELLS),
        SD_BUS_PROPERTY("NextAttempt", "t", get_number, 0, TELLS),
        SD_BUS_PROPERTY("Deadline", "t", get_number, 0, CONST),
        SD_BUS_PROPERTY("Cancelable", "b", get_other, 0, TELLS),
        SD_BUS_PROPERTY("Requester", "u", get_number, 0, CONST),
        SD_BUS_PROPERTY("Unit", "s", get_text, 0, CONST),
        SD_BUS_PROPERTY("Result", "s", get_text, 0, TELLS),
        SD_BUS_PROPERTY("Error", "(ss)", get_other, 0, TELLS),
        SD_BUS_PROPERTY("Timings", "a{st}", get_other, 0, TELLS),
        SD_BUS_VTABLE_END,
};

void job_bus_changed(Bus *bus, Job *job, unsigned changes) {
        static const struct {
                unsigned change;
                const char *property;
        } table[] = {
                { JOB_CHANGED_STATE, "State" },
                { JOB_CHANGED_STATE | JOB_CHANGED_REASON, "Reason" },
                { JOB_CHANGED_STATE, "Cancelable" },
                { JOB_CHANGED_STATE, "NextAttempt" },
                { JOB_CHANGED_PROGRESS, "Progress" },
                { JOB_CHANGED_ATTEMPTS, "FromVersion" },
                { JOB_CHANGED_ATTEMPTS, "Attempts" },
                { JOB_CHANGED_ATTEMPTS, "AttemptLog" },
                { JOB_CHANGED_ATTEMPTS, "Timings" },
                { JOB_CHANGED_RESULT, "Result" },
                { JOB_CHANGED_RESULT, "Error" },
        };
        const char *names[G_N_ELEMENTS(table) + 1];
        char path[JOB_PATH_MAX];
        size_t n = 0;

        if (changes == JOB_CHANGED_PROGRESS) {
                uint64_t now = clock_boottime(&system_clock);

                if (now < bus->progress_told + PROGRESS_GAP_USEC)
                        return;
                bus->progress_told = now;
        }

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (changes & table[i].change)
                        names[n++] = table[i].property;
        names[n] = NULL;

        (void) sd_bus_emit_properties_changed_strv(bus->bus, job_path(job->record->id, path), BUS_JOB_INTERFACE, (char **) names);
}

void job_bus_finished(Bus *bus, Job *job) {
        sd_bus_message *signal = NULL;
        char path[JOB_PATH_MAX];
        int r;

        job_path(job->record->id, path);
        r = sd_bus_message_new_signal(bus->bus, &signal, path, BUS_JOB_INTERFACE, "Finished");
        if (r >= 0)
                r = sd_bus_message_append(signal, "s", job_result_to_string(job->record->result));
        if (r >= 0)
                r = describe_history(signal, job->record);
        if (r >= 0)
                (void) sd_bus_send(bus->bus, signal, NULL);
        sd_bus_message_unref(signal);

        (void) sd_bus_emit_signal(bus->bus, BUS_PATH, BUS_INTERFACE, "JobRemoved", "uos", job->record->id, path,
                                  job_result_to_string(job->record->result));
}
