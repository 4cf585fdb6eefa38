/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/*
 * For the files that together are the manager: manager.c, images.c, request.c, dispatch.c, drain.c, watch.c, attempt.c,
 * misc-gate.c, suspects.c, admission.c, recover.c, status.c.
 */

#include "manager.h"
#include "platform/build-gate.h"
#include "platform/evidence.h"
#include "platform/upload.h"

/* The attempt that is under way. There is at most one: the kernel has one interface. */
typedef struct Attempt {
        Job *job;
        Upload *upload;
        int image_fd;
        sd_event_source *verify;        /* the kernel is done, the result is about to be checked */
        uint64_t began;                 /* boottime usec */
        BuildGate *gate;                /* what keeps builds from beginning around the handover, NULL: nothing */
        char *gate_problem;             /* why it could not be closed */
        uint64_t looked;                /* boottime usec: when the last look began to read the evidence */
} Attempt;

/* The moment as it is, with what its facts point to. */
typedef struct Moment {
        MomentFacts facts;
        ActivityVerdict activity;
        char *foreign;
} Moment;

void moment_clear(Moment *moment);
void moment_record(const Moment *moment, Job *job);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Moment, moment_clear)

struct Manager {
        sd_event *event;
        Roots *roots;
        Config *config;
        Store *store;
        Inventory *inventory;
        Evidence *evidence;
        Holds *holds;
        Catalogue *catalogue;
        char *catalogue_stamp;          /* catalogue_fingerprint() of what is loaded */
        char *config_file;
        char **directories;
        char *import_directory;
        char *probes;
        ManagerEvents events;

        GPtrArray *jobs;                /* of Job, by id */
        GHashTable *aside;              /* SEAM hash (hex) -> why: images that must not be tried again */
        Attempt *attempt;
        bool prepared;                  /* PrepareForUpdate(true) was sent */
        uint64_t delays_end;            /* boottime usec when those who delay have had their time, 0: they were not told */
        bool draining;                  /* new builds are kept off */
        uint64_t drain_end;             /* boottime usec */
        bool admitted;                  /* what manager_admits_builds() was when it was told last */
        bool marked;                    /* evidence_mark() was called for the attempt that is judged */
        bool cut_short;                 /* what a backoff waits for may have come */
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
        bool window_known, window_open, window_told;    /* is it certain that no TD is being built; what was told of that */
        char *window_reason;

        sd_event_source *kick;          /* deferred: run the queue */
        sd_event_source *tell;          /* deferred: tell what has changed, together */
        sd_event_source *timer;         /* the next time something may change by itself */
        sd_event_source *poll;          /* looks at VMs that may be building, only while a job waits for them */
        uint64_t judged;                /* boottime usec of the last judgement of what was reported */
        bool hinted;                    /* something was reported since */
        sd_event_source *forget;        /* when the oldest finished job stops being readable */
};

/* manager.c */
void manager_remember_version(Manager *m);
void manager_observe(Manager *m);                               /* cheap read; notices what others did */
void manager_read_hardware(Manager *m);
void manager_note_lost(Manager *m, const char *detail);         /* latch, tell, once */
void manager_note_module(Manager *m, uint32_t job);             /* after a version change, ours (job) or others' (0) */
int manager_save(Manager *m, Job *job);
int manager_note(Manager *m, Job *job);                         /* without waiting for the disk, see store_note_job() */
void manager_tell(Manager *m, unsigned changes);
void manager_tell_now(Manager *m);                              /* what is to be told, before what comes next */
void manager_tell_job(Manager *m, Job *job, unsigned changes);
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
void dispatch_moment(Manager *m, const JobOptions *options, uint64_t next_attempt, Moment *ret);
void dispatch_gate(Manager *m, const Job *job, BlockerList *ret, Moment *ret_moment);
void dispatch_run(Manager *m);
void dispatch_move(Manager *m, Job *job, JobEvent event);       /* saves and tells it */
bool dispatch_store_is_good(Manager *m);
bool dispatch_target_is_there(Manager *m, const Job *job);      /* the very image that was asked for */
int dispatch_cancel(Manager *m, Job *job);              /* then dispatch_announce_end() */
void dispatch_announce_end(Manager *m, Job *job);
void dispatch_finish(Manager *m, Job *job, JobResult result, ErrorId error, const char *text);
void dispatch_forget(Manager *m);

/* watch.c */
int watch_start(Manager *m);
void watch_judge(const Manager *m, const JobOptions *options, ActivityVerdict *ret);    /* options NULL: nobody is ignored */
void watch_note(Manager *m, const ActivityVerdict *verdict);    /* for WindowOpened and WindowClosed; told later */
void watch_tell(Manager *m);
void watch_hint(Manager *m);                                    /* something was reported: look, now or very soon */
void watch_poll(Manager *m, const ActivityVerdict *verdict);    /* look again soon at those who may be building */
const HoldFacts *watch_holds(Manager *m, size_t *ret_n);        /* as of the last judgement */
void watch_rest(Manager *m);                                    /* nobody waits for them */

/* drain.c: prepares for an update, keeps new builds off */
uint64_t drain_delays_end(const Manager *m);                    /* realtime usec, for people; 0: not told */
bool drain_delays_are_over(const Manager *m);
void drain_prepare(Manager *m, bool start);                     /* PrepareForUpdate */
bool drain_step(Manager *m, Job *job, const BlockerList *blockers);     /* true: the job's state is another one now */
void drain_fail(Manager *m, Job *job);                          /* the attempt that it was for cannot be begun */
void drain_stop(Manager *m);                                    /* an attempt begins (which keeps builds off itself), or the job ends */

/* suspects.c: the promise that nobody is hurt silently */
void suspects_find(Manager *m, Job *job, const AttemptRecord *record);

/* misc-gate.c: BuildGate=misc */
int misc_gate_close(Manager *m, Attempt *attempt);
void misc_gate_open(Manager *m, Attempt *attempt);
void misc_gate_recover(Manager *m);                             /* what a crash has left closed */

/* attempt.c */
int attempt_start(Manager *m, Job *job, Image *image);
int attempt_resume(Manager *m, Job *job);       /* follow an upload that runs already */
void attempt_conclude(Manager *m, Job *job, const AttemptFacts *facts, const char *text);
void attempt_verify(Manager *m, Job *job);      /* the target runs: check the rest, and finish */
void attempt_cancel(Manager *m);                /* before the handover only */
Attempt *attempt_free(Attempt *attempt);

/* recover.c */
int recover_jobs(Manager *m);
