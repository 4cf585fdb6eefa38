/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "store/record.h"

/*
 * One update request in memory: its record, and what is not worth keeping on disk.
 * Owned by the manager; others borrow it.
 */
typedef struct Job {
        JobRecord *record;
        char *reason;           /* why it is in this state and what comes next; never NULL */
        double progress;        /* 0..1, of the running attempt */
        bool handed_over;       /* the kernel has the image: neither cancel nor deadline count any more */
        bool unsaved;           /* the last save failed: try again before anything else */
        uint64_t waiting_since; /* boottime usec when it came to the head of the queue, 0: not yet */
        unsigned drains;        /* how often new builds were kept off for it, in vain */
        uint64_t next_drain;    /* boottime usec before which that is not done again */
        bool closed;            /* something else than the backoff has blocked since it began */
        int waits_for;          /* the BlockerId that was logged last, -1: none */
} Job;

/* What changed, for whoever tells others about it. */
typedef enum JobChange {
        JOB_CHANGED_STATE = 1 << 0,     /* State, Reason, Cancelable, NextAttempt */
        JOB_CHANGED_REASON = 1 << 1,
        JOB_CHANGED_PROGRESS = 1 << 2,
        JOB_CHANGED_ATTEMPTS = 1 << 3,  /* Attempts, AttemptLog, Timings */
        JOB_CHANGED_RESULT = 1 << 4,    /* Result, Error */
} JobChange;

Job *job_new(JobRecord *record);        /* takes the record */
Job *job_free(Job *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Job, job_free)

bool job_finished(const Job *job);
bool job_cancelable(const Job *job);

/* The same target (the image, not its version's name), user and options, the reason apart. */
bool job_is_same_request(const Job *job, const char *seam_hash, uid_t uid, const JobOptions *options);

/* Moves the job along one edge of the table; an edge that is not there is a bug and aborts. */
void job_move(Job *job, JobEvent event);

/* True if the reason is another one now. */
bool job_set_reason(Job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
