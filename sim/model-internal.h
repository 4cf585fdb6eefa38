/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "base/util.h"
#include "sim/model.h"

/* enum fw_status of the firmware loader, as far as uploads use it; ABORTED is knobs.sticky. */
typedef enum Loader {
        LOADER_INIT,
        LOADER_LOADING,
        LOADER_DONE,            /* the worker has the data */
} Loader;

/* enum fw_upload_prog. */
typedef enum Progress {
        PROGRESS_IDLE,
        PROGRESS_RECEIVING,
        PROGRESS_PREPARING,
        PROGRESS_TRANSFERRING,
        PROGRESS_PROGRAMMING,
} Progress;

/* One run of the worker. Its times are those of the moment when it was queued. */
typedef struct Run {
        unsigned number;
        uint64_t entered;       /* the current progress state */
        uint64_t receive, prepare, transfer, program, critical;
        bool begun;             /* the checks are over, or failed */
        bool critical_going;    /* the old module is shut down, the new one not yet running */
        const char *lose_text;  /* the install will fail, and why; NULL: it will not */
        Version target;
        const char *name;       /* what the log calls the outcome */
} Run;

typedef struct Td {
        char *name;
        unsigned pid;
        struct Cgroup *cgroup;  /* which it is charged to */
        TdPhase phase;
        GChecksum *measured;    /* the module's running hash */
        GChecksum *expected;    /* what it should be */
        bool exposed;           /* in its build at some time of the critical section */
        bool corrupted;
} Td;

struct Model {
        ModelOps ops;
        Knobs knobs;
        Version bios_module;
        uint32_t bios_remaining;
        unsigned generation;
        uint64_t now;           /* of the last call */

        Loader loader;
        GByteArray *data;
        Progress progress;
        Run run;
        uint32_t remaining_size;
        char *error;            /* "transferring:device-busy", or NULL */

        GPtrArray *tds;
        GPtrArray *vms;
        GPtrArray *cgroups;     /* the root first */
        uint64_t vms_created;

        unsigned uploads;
        unsigned installs;
        unsigned aborts;
        unsigned corrupted;
        unsigned hardware_reads;
        unsigned uevents_dropped;
        unsigned refused_tds;
        uint64_t seqnum;
        GString *log;
};

void model_note(Model *m, uint64_t when, const char *format, ...) __attribute__((format(printf, 3, 4)));
int model_refuse(char **ret_text, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void model_emit(Model *m, const char *action, const char *devpath, const char *subsystem, const char *const *fields);

/* model-run.c */
void run_start(Model *m, uint64_t now);
void run_advance(Model *m, uint64_t now);
const char *progress_name(Progress progress);

/* model-guest.c */
void td_free(Td *td);
Td *model_building_td(const Model *m);          /* any, or NULL */
void model_expose_builds(Model *m);             /* the critical section begins */
void model_replace_module(Model *m, uint64_t when);
void model_kill_tds(Model *m, uint64_t when);
