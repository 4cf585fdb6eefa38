/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sys/types.h>

#include <glib.h>

#include "base/errors.h"
#include "core/activity.h"
#include "core/facts.h"
#include "core/job-machine.h"
#include "core/outcome.h"

/*
 * What is on disk about a job and its attempts. Strings are owned and never NULL after
 * job_record_new(). Times are realtime usec, 0: not yet or none.
 */
typedef struct AttemptRecord {
        uint32_t number;                /* 1 for the first */
        uint64_t started;
        Outcome outcome;
        char *status;                   /* the last word that was not idle */
        char *kernel_error;             /* the kernel's error text, or what else failed */
        uint64_t look_to_handover, kernel, verify, total; /* usec, 0: not reached */
        /* What recovery after a crash needs to know. */
        char *boot_id;
        bool handing_over;              /* on disk before the last look: from here on the kernel may have the image */
        char *stale_error;
        Version before;
        bool have_remaining;
        uint32_t remaining;
        uint64_t size;                  /* of the image, bytes */
        uint64_t looked;                /* realtime usec right before the last look, 0: there was none */
} AttemptRecord;

/* A VM whose TD may have been in its build while the module was replaced: its measurement may be wrong. */
typedef struct SuspectRecord {
        uint32_t pid;
        uint64_t start_time;            /* of the process, clock ticks since boot, 0: not known */
        char *name, *machine, *unit;
        uint64_t since;
        char *evidence;                 /* why it is suspect, in words */
} SuspectRecord;

typedef struct JobOptions {
        uint64_t deadline;              /* realtime usec as asked for, 0: none was */
        bool drain;
        bool now;
        bool ignore_activity;
        GArray *ignored;                /* of IgnoredGuest, NULL: none */
} JobOptions;

typedef struct JobRecord {
        uint32_t id;
        char *from, *to;                /* versions as text; "" when not known */
        uid_t requester;
        char *unit;                     /* systemd unit of the requester, "" when not known */
        char *why;                      /* the requester's reason */
        JobOptions options;
        JobState state;
        JobResult result;
        char *error_name, *error_text;  /* D-Bus error, "" when there was none */
        uint64_t created, finished, next_attempt;
        uint64_t expires;               /* the deadline in force, by the request or by the configuration; 0: none */
        char *seam_hash, *signer;       /* hexadecimal */
        bool have_svn_before;
        uint16_t svn_before, svn_after;
        char *evidence;                 /* tier and text of the last look */
        bool external;                  /* somebody else's update that was noticed */
        GPtrArray *suspects;            /* of SuspectRecord, may be empty */
        GPtrArray *attempts;            /* of AttemptRecord: the first and the last ATTEMPTS_KEPT - 1 */
        unsigned outcomes[_OUTCOME_MAX]; /* how many attempts ended so, those that are not kept too */
        uint32_t saved_attempts;        /* the store's: attempts up to this number are on disk as they are */
} JobRecord;

/* A host can be busy for weeks; what is kept in memory and sent around is bounded. */
#define ATTEMPTS_KEPT 64U

JobRecord *job_record_new(void);
JobRecord *job_record_free(JobRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JobRecord, job_record_free)

/* Appends one and returns it; the record owns it. */
AttemptRecord *job_record_add_attempt(JobRecord *record);
AttemptRecord *job_record_last_attempt(const JobRecord *record);        /* NULL: none */
uint32_t job_record_n_attempts(const JobRecord *record);                /* those that are not kept too */

/* The one way to set an attempt's outcome: it is counted. */
void job_record_set_outcome(JobRecord *record, AttemptRecord *attempt, Outcome outcome);

/* Appends one and returns it; the record owns it. Its texts are "" at first. */
SuspectRecord *job_record_add_suspect(JobRecord *record);

/* For an attempt that was never begun. */
void job_record_drop_last_attempt(JobRecord *record);

/* "" for NULL; frees what was there. */
void record_set(char **field, const char *value);
