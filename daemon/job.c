/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>

#include "job.h"

Job *job_new(JobRecord *record) {
        Job *job = g_new0(Job, 1);

        job->record = record;
        job->reason = g_strdup("");
        job->waits_for = -1;
        return job;
}

Job *job_free(Job *job) {
        if (!job)
                return NULL;

        job_record_free(job->record);
        g_free(job->reason);
        g_free(job);
        return NULL;
}

bool job_finished(const Job *job) {
        return job->record->state == JOB_FINISHED;
}

bool job_cancelable(const Job *job) {
        return job_may_finish(job->record->state, RESULT_CANCELLED, job->handed_over);
}

/* As sets; a request has no guest twice. */
static bool is_same_ignored(const GArray *a, const GArray *b) {
        unsigned n = a ? a->len : 0, found = 0;

        if (n != (b ? b->len : 0))
                return false;
        for (unsigned i = 0; i < n; i++)
                for (unsigned k = 0; k < n; k++)
                        if (g_array_index(a, IgnoredGuest, i).pid == g_array_index(b, IgnoredGuest, k).pid &&
                            g_array_index(a, IgnoredGuest, i).start_time == g_array_index(b, IgnoredGuest, k).start_time)
                                found++;

        return found == n;
}

bool job_is_same_request(const Job *job, const char *seam_hash, uid_t uid, const JobOptions *options) {
        const JobOptions *own = &job->record->options;

        return job->record->requester == uid && g_str_equal(job->record->seam_hash, seam_hash) &&
               own->deadline == options->deadline && own->drain == options->drain && own->now == options->now &&
               own->ignore_activity == options->ignore_activity && is_same_ignored(own->ignored, options->ignored);
}

void job_move(Job *job, JobEvent event) {
        int next = job_next_state(job->record->state, event);

        if (next < 0)
                g_error("Job %u: event %s in state %s", job->record->id, job_event_to_string(event),
                        job_state_to_string(job->record->state));

        job->record->state = (JobState) next;
}

bool job_set_reason(Job *job, const char *format, ...) {
        g_autofree char *reason = NULL;
        va_list ap;

        va_start(ap, format);
        reason = g_strdup_vprintf(format, ap);
        va_end(ap);

        if (g_str_equal(reason, job->reason))
                return false;

        g_free(job->reason);
        job->reason = g_steal_pointer(&reason);
        return true;
}
