/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

/*
 * The life of a job: pure, one table. doc/states.md is drawn from it.
 */
typedef enum JobState {
        JOB_QUEUED,             /* behind another job */
        JOB_WAITING,            /* at the head, something blocks */
        JOB_DRAINING,           /* new builds are kept off until the window opens */
        JOB_BACKOFF,            /* the kernel was busy or refused; the next attempt has a time */
        JOB_UPLOADING,          /* an attempt is under way */
        JOB_VERIFYING,          /* the kernel says it is done; the result is being checked */
        JOB_FINISHED,
        _JOB_STATE_MAX,
} JobState;

typedef enum JobEvent {
        JOB_EVENT_HEAD,         /* it came to the head of the queue */
        JOB_EVENT_GATE_OPEN,    /* no blocker is left: an attempt starts */
        JOB_EVENT_DRAIN,        /* a drain begins */
        JOB_EVENT_DRAIN_END,    /* the drain's time is over */
        JOB_EVENT_LOOK_FAILED,  /* the last look saw a blocker; nothing was handed over */
        JOB_EVENT_RETRY,        /* the outcome allows another attempt later */
        JOB_EVENT_RETRY_TIME,   /* the backoff is over, or an event cut it short */
        JOB_EVENT_UPLOADED,     /* the kernel reports success */
        JOB_EVENT_RESUME,       /* after a restart: an upload is still running */
        JOB_EVENT_FINISH,       /* a result is known */
        _JOB_EVENT_MAX,
} JobEvent;

typedef enum JobResult {
        RESULT_NONE,
        RESULT_SUCCESS,
        RESULT_ALREADY_CURRENT,
        RESULT_FAILED,
        RESULT_LOST,
        RESULT_CANCELLED,
        RESULT_EXPIRED,
        _RESULT_MAX,
} JobResult;

/* The state after @event, or -1 when the event cannot happen in that state. */
int job_next_state(JobState state, JobEvent event);

/*
 * May the job end in this state with this result? Nobody can cancel or expire a job
 * whose image the kernel has: an update cannot be stopped.
 */
bool job_may_finish(JobState state, JobResult result, bool handed_over);

const char *job_state_to_string(JobState state);
int job_state_from_string(const char *name);            /* -1: no such state */
const char *job_event_to_string(JobEvent event);
const char *job_result_to_string(JobResult result);     /* "" for RESULT_NONE */
int job_result_from_string(const char *name);
