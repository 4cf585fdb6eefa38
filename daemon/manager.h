/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-event.h>

#include "catalogue/catalogue.h"
#include "config.h"
#include "core/activity.h"
#include "failure.h"
#include "hold.h"
#include "job.h"
#include "platform/inventory.h"
#include "store/store.h"

/*
 * Owns the queue, the catalogue and the picture of the platform, and decides. It knows
 * nothing of the bus: who wants to be told registers for its events.
 */
typedef struct Manager Manager;

typedef enum ManagerChange {
        MANAGER_CHANGED_STATE = 1 << 0,         /* State, StateReason */
        MANAGER_CHANGED_MODULE = 1 << 1,        /* ModuleVersion, SeamldrVersion, RemainingUpdates, CpuSignature, BusyDetection */
        MANAGER_CHANGED_SUPPORT = 1 << 2,       /* UpdateSupported, UnsupportedReason, Lost */
        MANAGER_CHANGED_JOBS = 1 << 3,
        MANAGER_CHANGED_HOLDS = 1 << 4,
} ManagerChange;

typedef struct ManagerEvents {
        void (*job_new)(Job *job, void *userdata);
        void (*job_changed)(Job *job, unsigned changes, void *userdata);
        void (*job_finished)(Job *job, void *userdata);         /* after the last job_changed */
        void (*job_forgotten)(Job *job, void *userdata);        /* no longer readable; freed after it */
        void (*changed)(unsigned changes, void *userdata);
        void (*prepare)(bool start, void *userdata);
        void (*window)(bool open, const char *reason, void *userdata);  /* it became (not) proven that no TD is being built */
        void (*admit)(void *userdata);                          /* manager_admits_builds() has become true */
        void (*module_updated)(const char *from, const char *to, uint32_t job, void *userdata);
        void (*module_lost)(const char *version, const char *detail, void *userdata);
        void *userdata;
} ManagerEvents;

typedef struct ManagerOptions {
        sd_event *event;
        Roots *roots;                   /* taken */
        Config *config;                 /* taken */
        Store *store;                   /* taken */
        const char *config_file;        /* for a reload; NULL: the usual ones */
        char **directories;             /* catalogue directories of the command line, or NULL */
        const char *import_directory;
        const char *probes;             /* directory of the pinned maps (tdx-updated-probe) */
        int log_level;                  /* of the command line, over the configuration's; -1: none */
} ManagerOptions;

int manager_new(const ManagerOptions *options, Manager **ret);
Manager *manager_free(Manager *manager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Manager, manager_free)

/* Loads the queue, settles what a crash has left open, begins to work. After the events are set. */
int manager_start(Manager *manager, const ManagerEvents *events);

/* Drops what is staged, keeps what is open, tells nobody any more. The kernel goes on with what it has. */
void manager_stop(Manager *manager);

/* What is asked of a request. */
typedef struct Request {
        const char *version;            /* "" = the newest eligible */
        JobOptions options;             /* deadline 0: the configured default */
        const char *why, *unit, *plan;  /* never NULL; plan "" = none */
        uid_t uid;
} Request;

void request_clear(Request *request);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Request, request_clear)

typedef struct Plan {
        char *from, *to, *token;
        bool allowed;                   /* nothing refuses it (it may still have to wait) */
        char **steps;
        bool have_remaining, have_svn_before, have_svn_after;
        uint32_t cost, remaining_after;
        uint16_t svn_before, svn_after;
        BlockerList blockers;
} Plan;

void plan_clear(Plan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Plan, plan_clear)

/* All of these: 0, or -errno with the failure set. */
int manager_plan(Manager *manager, const Request *request, Plan *ret, Failure *failure);
int manager_apply(Manager *manager, const Request *request, Job **ret, bool *ret_new, Failure *failure);
int manager_cancel(Manager *manager, Job *job, Failure *failure);       /* then manager_announce_end() */
int manager_import(Manager *manager, int image_fd, int mapping_fd, const char *version, char **ret_version, Failure *failure);
int manager_inspect(Manager *manager, int image_fd, Image **ret, Failure *failure);
int manager_refresh(Manager *manager, Failure *failure);
int manager_history(Manager *manager, uint64_t since, uint32_t max, GPtrArray **ret, Failure *failure);

/*
 * Holds. A build (or migration) hold and an announced build are refused with ERROR_BUSY while an update is in its
 * critical section or keeps new builds off: manager_admits_builds() says so, and the event admit when that is over.
 */
int manager_hold(Manager *manager, const HoldRequest *request, int *ret_fd, Failure *failure);
int manager_announce_build(Manager *manager, const HoldRequest *request, const BuildMatch *match, uint64_t hold_usec,
                           uint32_t *ret_id, Failure *failure);
int manager_end_build(Manager *manager, uint32_t id, uid_t uid, Failure *failure);
bool manager_admits_builds(const Manager *manager);
const HoldFacts *manager_holds(Manager *manager, size_t *ret_n);        /* as of now, oldest first */

/* The announcement of a new job, after whoever asked has been answered. */
void manager_announce(Manager *manager, Job *job);
void manager_announce_end(Manager *manager, Job *job);

/* Before the module's or the host's properties are read: nothing in the kernel tells when they change. */
void manager_look(Manager *manager);

/* Reads the configuration again; the old one stays in force if the new one is bad. */
int manager_reload(Manager *manager);

/* Jobs: unfinished ones first in the queue first, then those that are still readable. */
size_t manager_n_jobs(const Manager *manager);
Job *manager_job(const Manager *manager, size_t index);
Job *manager_find_job(const Manager *manager, uint32_t id);

/* The picture as it is now. */
const HostFacts *manager_host(const Manager *manager);
const Config *manager_config(const Manager *manager);
const Catalogue *manager_catalogue(Manager *manager);           /* read again first if it changed */
void manager_image_blockers(Manager *manager, const Image *image, ImageFacts *ret_facts, BlockerList *ret);
void manager_activity(Manager *manager, ActivityVerdict *ret);  /* as of now; the guests' verdicts go with manager_guests() */
const GuestFacts *const *manager_guests(const Manager *manager, size_t *ret_n);
void manager_blocked_by(Manager *manager, BlockerList *ret);    /* the head job, else a hypothetical Apply */
const char *manager_state(const Manager *manager);
char *manager_state_reason(const Manager *manager);
const char *manager_busy_detection(const Manager *manager);
