/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "core/job-machine.h"

/* Absent entries are 0 = no such edge, so states are stored plus one. */
#define TO(state) ((state) + 1)

static const unsigned char edges[_JOB_STATE_MAX][_JOB_EVENT_MAX] = {
        [JOB_QUEUED] = {
                [JOB_EVENT_HEAD] = TO(JOB_WAITING),
                [JOB_EVENT_FINISH] = TO(JOB_FINISHED),
        },
        [JOB_WAITING] = {
                [JOB_EVENT_GATE_OPEN] = TO(JOB_UPLOADING),
                [JOB_EVENT_DRAIN] = TO(JOB_DRAINING),
                [JOB_EVENT_FINISH] = TO(JOB_FINISHED),
        },
        [JOB_DRAINING] = {
                [JOB_EVENT_GATE_OPEN] = TO(JOB_UPLOADING),
                [JOB_EVENT_DRAIN_END] = TO(JOB_WAITING),
                [JOB_EVENT_FINISH] = TO(JOB_FINISHED),
        },
        [JOB_BACKOFF] = {
                [JOB_EVENT_RETRY_TIME] = TO(JOB_WAITING),
                [JOB_EVENT_FINISH] = TO(JOB_FINISHED),
        },
        [JOB_UPLOADING] = {
                [JOB_EVENT_LOOK_FAILED] = TO(JOB_WAITING),
                [JOB_EVENT_RETRY] = TO(JOB_BACKOFF),
                [JOB_EVENT_UPLOADED] = TO(JOB_VERIFYING),
                [JOB_EVENT_RESUME] = TO(JOB_UPLOADING),
                [JOB_EVENT_FINISH] = TO(JOB_FINISHED),
        },
        [JOB_VERIFYING] = {
                [JOB_EVENT_RESUME] = TO(JOB_UPLOADING),
                [JOB_EVENT_FINISH] = TO(JOB_FINISHED),
        },
};

static const char *const states[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "queued",       [JOB_WAITING] = "waiting",     [JOB_DRAINING] = "draining",
        [JOB_BACKOFF] = "backoff",     [JOB_UPLOADING] = "uploading", [JOB_VERIFYING] = "verifying",
        [JOB_FINISHED] = "finished",
};

static const char *const events[_JOB_EVENT_MAX] = {
        [JOB_EVENT_HEAD] = "head",               [JOB_EVENT_GATE_OPEN] = "gate-open",
        [JOB_EVENT_DRAIN] = "drain",             [JOB_EVENT_DRAIN_END] = "drain-end",
        [JOB_EVENT_LOOK_FAILED] = "look-failed", [JOB_EVENT_RETRY] = "retry",
        [JOB_EVENT_RETRY_TIME] = "retry-time",   [JOB_EVENT_UPLOADED] = "uploaded",
        [JOB_EVENT_RESUME] = "resume",           [JOB_EVENT_FINISH] = "finish",
};

static const char *const results[_RESULT_MAX] = {
        [RESULT_NONE] = "",
        [RESULT_SUCCESS] = "success",
        [RESULT_ALREADY_CURRENT] = "already-current",
        [RESULT_FAILED] = "failed",
        [RESULT_LOST] = "lost",
        [RESULT_CANCELLED] = "cancelled",
        [RESULT_EXPIRED] = "expired",
};

static int lookup(const char *const *names, int max, const char *name) {
        for (int i = 0; i < max; i++)
                if (strcmp(names[i], name) == 0)
                        return i;

        return -1;
}

int job_next_state(JobState state, JobEvent event) {
        if (state >= _JOB_STATE_MAX || event >= _JOB_EVENT_MAX)
                return -1;

        return (int) edges[state][event] - 1;
}

bool job_may_finish(JobState state, JobResult result, bool handed_over) {
        if (job_next_state(state, JOB_EVENT_FINISH) < 0 || result == RESULT_NONE)
                return false;

        switch (result) {
        case RESULT_SUCCESS:
                return state == JOB_VERIFYING;
        case RESULT_CANCELLED:
        case RESULT_EXPIRED:
                return !handed_over && state != JOB_VERIFYING;
        default:
                return true;
        }
}

const char *job_state_to_string(JobState state) {
        return states[state];
}

int job_state_from_string(const char *name) {
        return lookup(states, _JOB_STATE_MAX, name);
}

const char *job_event_to_string(JobEvent event) {
        return events[event];
}

const char *job_result_to_string(JobResult result) {
        return results[result];
}

int job_result_from_string(const char *name) {
        return lookup(results, _RESULT_MAX, name);
}
