/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "manager-internal.h"

/*
 * After a start: what did a crash leave open? Nothing is decided from memory or from the
 * database alone; the kernel is read first, and nothing is repeated blindly.
 */

#define READABLE_HISTORY 32U
#define READABLE_USEC (3600 * USEC_PER_SEC)

static bool attempt_is_open(const AttemptRecord *a) {
        return a && (a->outcome == OUTCOME_NONE || a->outcome == OUTCOME_STUCK);
}

static void close_attempt(JobRecord *record, AttemptRecord *a, Outcome outcome, const char *text) {
        job_record_set_outcome(record, a, outcome);
        record_set(&a->kernel_error, text);
}

/* Back to the gate: nothing was handed over, so there is nothing that could happen twice. */
static void wait_again(Manager *m, Job *job) {
        if (job->record->state == JOB_VERIFYING)
                job_move(job, JOB_EVENT_RESUME);
        job_move(job, JOB_EVENT_LOOK_FAILED);
        job_set_reason(job, "The daemon was interrupted before the image was handed over; waiting for the next moment");
        (void) manager_save(m, job);
}

/*
 * The host went down in mid-update. Whether the update did that is not known, and a host that
 * tries it again at each boot would never come up.
 */
static void recover_after_reboot(Manager *m, Job *job, AttemptRecord *a) {
        if (a->outcome == OUTCOME_SUCCESS && job->record->state == JOB_VERIFYING) {
                dispatch_finish(m, job, RESULT_SUCCESS, ERROR_NONE, "The new module ran until the host was rebooted");
                return;
        }

        if (!a->handing_over) {
                close_attempt(job->record, a, OUTCOME_INTERRUPTED, "the host was rebooted before the image was handed over");
                wait_again(m, job);
                return;
        }

        close_attempt(job->record, a, OUTCOME_INTERRUPTED, "the host was rebooted during the attempt");
        dispatch_finish(m, job, RESULT_FAILED, ERROR_UPLOAD_FAILED,
                        "The host went down during the attempt, perhaps because of it; it is not repeated by itself");
}

static void recover_idle(Manager *m, Job *job, AttemptRecord *a, const UploadState *state, bool staged) {
        const HostFacts *host = inventory_facts(m->inventory);
        AttemptFacts facts = {
                .handed_over = a->handing_over && !staged,
                .idle = true,
                .error = state->error,
                .stale_error = a->stale_error,
                .have_remaining = state->have_remaining,
                .remaining = state->remaining,
                .size = a->size,
                .version_error = inventory_read(m->inventory),
                .before = a->before,
        };

        facts.version = host->running;
        (void) version_parse(job->record->to, &facts.target);

        /*
         * The same version, budget and error text: either it was never handed over, or nothing ran, or it was refused
         * in the same words as before. In each case the host is as it was, and the gate may be asked again.
         */
        if (facts.version_error == 0 && version_compare(facts.version, facts.before) == 0 && a->have_remaining &&
            host->have_remaining && host->remaining == a->remaining && g_strcmp0(state->error, a->stale_error) == 0)
                facts.handed_over = false;

        if (facts.handed_over)
                record_set(&a->kernel_error, state->error);
        if (job->record->state == JOB_VERIFYING && outcome_classify(&facts) != OUTCOME_SUCCESS)
                job_move(job, JOB_EVENT_RESUME);
        job->handed_over = facts.handed_over;
        attempt_conclude(m, job, &facts, facts.handed_over ? NULL : "the daemon was interrupted");
}

static void recover_attempt(Manager *m, Job *job) {
        AttemptRecord *a = job_record_last_attempt(job->record);
        g_auto(UploadState) state = {};
        bool staged;

        if (!a) {
                wait_again(m, job);
                return;
        }
        if (strcmp(a->boot_id, inventory_boot_id(m->inventory)) != 0) {
                recover_after_reboot(m, job, a);
                return;
        }
        if (!attempt_is_open(a) && job->record->state == JOB_UPLOADING) {
                wait_again(m, job);
                return;
        }

        upload_read_state(m->roots, &state);
        if (a->handing_over && state.status && strcmp(state.status, "idle") != 0 && !inventory_facts(m->inventory)->lost) {
                log_info("Job %u: its update is still running, following it", job->record->id);
                if (job->record->state == JOB_VERIFYING)
                        job_move(job, JOB_EVENT_RESUME);
                /* Not followed, not ended: the next start tries again. */
                if (attempt_resume(m, job) < 0)
                        (void) sd_event_exit(m->event, EXIT_FAILURE);
                return;
        }

        /* Staged, not handed over: ours, since the write-ahead record is open. */
        staged = state.loading;
        if (staged) {
                int r = upload_abort_staged(m->roots);

                if (r < 0)
                        log_warning(r, "Job %u: failed to drop the image that it had staged, ignoring", job->record->id);
        }
        log_info("Job %u: it was interrupted in an attempt; the kernel runs %s now", job->record->id,
                 inventory_facts(m->inventory)->have_running ? VERSION_STRING(inventory_facts(m->inventory)->running) : "no module");
        recover_idle(m, job, a, &state, staged);
}

static void adopt(Manager *m, GPtrArray *records) {
        while (records->len > 0) {
                JobRecord *record = g_ptr_array_steal_index(records, 0);

                /* Somebody else's update is history, it never was a job. */
                if (record->external || manager_find_job(m, record->id)) {
                        job_record_free(record);
                        continue;
                }

                Job *job = job_new(record);

                job_set_reason(job, "%s", *record->error_text ? record->error_text :
                               record->state == JOB_FINISHED  ? job_result_to_string(record->result) :
                                                                "Loaded after a restart of the daemon");
                job->progress = record->result == RESULT_SUCCESS ? 1 : 0;
                g_ptr_array_add(m->jobs, job);
        }
}

/* What this kernel has answered in this boot is still true. */
static void note_busy(Manager *m, const JobRecord *record) {
        for (unsigned i = 0; i < record->attempts->len; i++) {
                const AttemptRecord *a = record->attempts->pdata[i];

                if (a->outcome == OUTCOME_BUSY && strcmp(outcome_error_word(a->kernel_error), "device-busy") == 0 &&
                    strcmp(a->boot_id, inventory_boot_id(m->inventory)) == 0)
                        m->seen_busy = true;
        }
}

/* Whoever delays was told while the job waited, or is told again. */
static bool is_delayed(const Manager *m) {
        const HoldFacts *holds;
        size_t n;

        holds = holds_get(m->holds, &n);
        for (size_t i = 0; i < n; i++)
                if (holds[i].what == HOLD_UPDATE && holds[i].mode == HOLD_DELAY)
                        return true;

        return false;
}

/*
 * The daemon that went away has sent PrepareForUpdate(true) in an attempt, and perhaps in a backoff. In an attempt it
 * holds until that is settled; a backoff begins anew without.
 */
static void settle_prepare(Manager *m, const Job *job) {
        JobState state = job->record->state;

        if (state != JOB_UPLOADING && state != JOB_VERIFYING && state != JOB_BACKOFF && state != JOB_DRAINING &&
            (state != JOB_WAITING || !is_delayed(m)))
                return;

        m->prepared = true;
        if (state == JOB_BACKOFF || state == JOB_DRAINING || state == JOB_WAITING)
                drain_prepare(m, false);
}

static int compare_jobs(const void *a, const void *b) {
        const Job *const *x = a, *const *y = b;

        return (*x)->record->id < (*y)->record->id ? -1 : (*x)->record->id > (*y)->record->id;
}

int recover_jobs(Manager *m) {
        g_autoptr(GPtrArray) unfinished = NULL, recent = NULL, last = NULL;
        uint64_t now = clock_realtime(&system_clock);
        int r;

        r = store_load_unfinished(m->store, &unfinished);
        if (r >= 0)
                r = store_load_history(m->store, now > READABLE_USEC ? now - READABLE_USEC : 0, STORE_HISTORY_MAX, &recent);
        if (r >= 0)
                r = store_load_history(m->store, 0, READABLE_HISTORY, &last);
        if (r < 0)
                return log_error(r, "Failed to load the jobs (%s)", store_error(m->store));

        adopt(m, unfinished);
        adopt(m, recent);
        adopt(m, last);
        g_ptr_array_sort(m->jobs, compare_jobs);

        /* Only one can be in an attempt; the others are where they were. */
        for (unsigned i = 0; i < m->jobs->len; i++) {
                Job *job = m->jobs->pdata[i];

                note_busy(m, job->record);
                settle_prepare(m, job);
                /* A drain begins anew, if it is still wanted. */
                if (job->record->state == JOB_DRAINING)
                        dispatch_move(m, job, JOB_EVENT_DRAIN_END);
                if (job->record->state == JOB_UPLOADING || job->record->state == JOB_VERIFYING)
                        recover_attempt(m, job);
        }

        return 0;
}
