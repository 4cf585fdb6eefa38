/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/* For the files that together are the manager: manager.c, images.c, request.c, dispatch.c, attempt.c, recover.c, status.c. */

#include "manager.h"
#include "platform/uevents.h"
#include "platform/upload.h"

/* The attempt that is under way. There is at most one: the kernel has one interface. */
typedef struct Attempt {
        Job *job;
        Upload *upload;
        int image_fd;
        sd_event_source *verify;        /* the kernel is done, the result is about to be checked */
        uint64_t began;                 /* boottime usec */
} Attempt;

struct Manager {
        sd_event *event;
        Roots *roots;
        Config *config;
        Store *store;
        Inventory *inventory;
        Uevents *uevents;
        Catalogue *catalogue;
        char *catalogue_stamp;          /* catalogue_fingerprint() of what is loaded */
        char *config_file;
        char **directories;
        char *import_directory;
        ManagerEvents events;

        GPtrArray *jobs;                /* of Job, by id */
        GHashTable *aside;              /* SEAM hash (hex) -> why: images that must not be tried again */
        Attempt *attempt;
        bool prepared;                  /* PrepareForUpdate(true) was sent */
        bool seen_busy;                 /* this kernel has answered busy in this boot */
        bool started;
        bool lost_noted;                /* that the module is lost was told, or was known from before this start */
        bool version_unsaved;           /* last_version could not be written */
        unsigned untold;                /* ManagerChange that is still to be told */
        uint64_t hardware_read;         /* boottime usec of the last P-SEAMLDR calls */
        uint64_t looked;                /* boottime usec of the last manager_observe() */
        uint64_t store_tried;           /* boottime usec of the last failed write, 0: none */
        int log_level;                  /* of the command line, -1: none */
        char last_version[VERSION_STRING_MAX];

        sd_event_source *kick;          /* deferred: run the queue */
        sd_event_source *tell;          /* deferred: tell what has changed, together */
        sd_event_source *timer;         /* the next time something may change by itself */
        sd_event_source *forget;        /* when the oldest finished job stops being readable */
};

/* manager.c */
void manager_remember_version(Manager *m);
void manager_observe(Manager *m);                               /* cheap read; notices what others did */
void manager_read_hardware(Manager *m);
void manager_note_lost(Manager *m, const char *detail);         /* latch, tell, once */
void manager_note_module(Manager *m, uint32_t job);             /* after a version change, ours (job) or others' (0) */
int manager_save(Manager *m, Job *job);
void manager_tell(Manager *m, unsigned changes);
void manager_tell_now(Manager *m);                              /* what is to be told, before what comes next */
void manager_tell_job(Manager *m, Job *job, unsigned changes);
void manager_prepare(Manager *m, bool start);
Policy manager_policy(const Manager *m);

/* images.c */
int manager_load_catalogue(Manager *m);
void manager_update_svn(Manager *m);                            /* of what runs, when it or the catalogue has changed */
void manager_image_facts(const Manager *m, const Image *image, ImageFacts *ret);
char *manager_image_hash(const Image *image);                   /* hexadecimal; the caller frees it */
Image *manager_find_image(Manager *m, const char *version);

/* dispatch.c */
void dispatch_kick(Manager *m);
Job *dispatch_head(const Manager *m);
void dispatch_moment(Manager *m, const Job *job, MomentFacts *ret, Evidence *evidence, char **foreign);
void dispatch_gate(Manager *m, const Job *job, BlockerList *ret, Evidence *ret_evidence);
bool dispatch_store_is_good(Manager *m);
bool dispatch_target_is_there(Manager *m, const Job *job);      /* the very image that was asked for */
int dispatch_cancel(Manager *m, Job *job);              /* then dispatch_announce_end() */
void dispatch_announce_end(Manager *m, Job *job);
void dispatch_finish(Manager *m, Job *job, JobResult result, ErrorId error, const char *text);
void dispatch_forget(Manager *m);

/* attempt.c */
int attempt_start(Manager *m, Job *job, Image *image);
int attempt_resume(Manager *m, Job *job);       /* follow an upload that runs already */
void attempt_conclude(Manager *m, Job *job, const AttemptFacts *facts, const char *text);
void attempt_verify(Manager *m, Job *job);      /* the target runs: check the rest, and finish */
void attempt_cancel(Manager *m);                /* before the handover only */
Attempt *attempt_free(Attempt *attempt);

/* recover.c */
int recover_jobs(Manager *m);
