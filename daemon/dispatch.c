/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/limit.h"
#include "base/log.h"
#include "base/names.h"
#include "base/util.h"
#include "core/backoff.h"
#include "manager-internal.h"
#include "platform/abi.h"

/*
 * How often the things are looked at that nothing reports (misc.current, CPUs, the upload
 * interface): only while a job waits for them, never when the queue is empty.
 */
#define POLL_USEC (250 * USEC_PER_MSEC)

/* When the database cannot be written. */
#define STORE_RETRY_USEC (5 * USEC_PER_SEC)

/* When an attempt could not even be begun, for want of memory or descriptors. */
#define START_RETRY_USEC (5 * USEC_PER_SEC)

/* The queue looks again after this at the latest: nobody's deadline is beyond what a timer takes. */
#define LONGEST_USEC (24 * 3600 * USEC_PER_SEC)

#define KEEP_FINISHED 32U
#define KEEP_FINISHED_USEC (3600 * USEC_PER_SEC)

static int on_kick(sd_event_source *source, void *userdata) {
        dispatch_run(userdata);
        return 0;
}

void dispatch_kick(Manager *m) {
        int r;

        if (!m->kick) {
                r = sd_event_add_defer(m->event, &m->kick, on_kick, m);
                if (r < 0) {
                        log_error(r, "Failed to schedule the queue");
                        return;
                }
        }

        r = sd_event_source_set_enabled(m->kick, SD_EVENT_ONESHOT);
        if (r < 0)
                log_error(r, "Failed to schedule the queue");
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        dispatch_run(userdata);
        return 0;
}

/* @when: realtime usec; deadlines are by the wall clock, as they were given. */
static void wake_at(Manager *m, uint64_t when) {
        uint64_t now = clock_realtime(&system_clock), delay = when > now ? MIN(when - now, LONGEST_USEC) : 0;
        int r;

        m->timer = sd_event_source_disable_unref(m->timer);
        r = sd_event_add_time_relative(m->event, &m->timer, CLOCK_BOOTTIME, delay, USEC_PER_MSEC, on_timer, m);
        if (r < 0) {
                /* A job that waits would sleep for ever. */
                log_error(r, "Failed to arm the queue's timer");
                (void) sd_event_exit(m->event, EXIT_FAILURE);
        }
}

Job *dispatch_head(const Manager *m) {
        for (unsigned i = 0; i < m->jobs->len; i++)
                if (!job_finished(m->jobs->pdata[i]))
                        return m->jobs->pdata[i];

        return NULL;
}

/* Is somebody else at the interface? Two writers are not kept apart by the kernel. */
static char *find_foreign(Manager *m) {
        g_auto(UploadState) state = {};

        if (m->attempt || inventory_facts(m->inventory)->unsupported)
                return NULL;

        upload_read_state(m->roots, &state);
        if (state.loading)
                return g_strdup("an image is being staged (if nothing does any more: echo -1 > /sys/" ABI_LOADING ")");
        if (!state.status)
                return g_strdup("its status cannot be read");
        if (strcmp(state.status, ABI_STATUS_IDLE) != 0)
                return g_strdup_printf("its status is \"%s\"", state.status);
        return NULL;
}

void moment_clear(Moment *moment) {
        activity_verdict_clear(&moment->activity);
        g_free(moment->foreign);
        *moment = (Moment) {};
}

/* What the answer rests on, for the history. That unknown was taken for idle is part of it. */
void moment_record(const Moment *moment, Job *job) {
        const ActivityVerdict *activity = &moment->activity;
        g_autofree char *seen = g_strdup_printf("%s: %s%s", tier_to_string(activity->tier), activity->text,
                                                activity->activity == ACTIVITY_IDLE ? "" : " (ignored on request)");

        record_set(&job->record->evidence, seen);
}

/* The evidence last: between that and the handover as little as possible must lie. */
void dispatch_moment(Manager *m, const JobOptions *options, uint64_t next_attempt, Moment *ret) {
        uint64_t now = clock_realtime(&system_clock), until = 0;
        const HoldFacts *holds;
        size_t n_holds;
        bool open;

        *ret = (Moment) { .foreign = find_foreign(m) };
        open = windows_open(m->config->windows, m->config->n_windows, now, &until);
        watch_judge(m, options, &ret->activity);
        if (!options || !options->ignored)
                watch_note(m, &ret->activity);
        holds = watch_holds(m, &n_holds);

        ret->facts = (MomentFacts) {
                .activity = &ret->activity,
                .holds = holds,
                .n_holds = n_holds,
                .delays_are_over = drain_delays_are_over(m),
                .delays_end = drain_delays_end(m),
                .outside_window = !open,
                .window_opens = until,
                .store_failed = store_failed(m->store),
                .foreign_upload = ret->foreign,
                .now = now,
                .next_attempt = next_attempt,
                .step_over_window = options && options->now,
                .ignore_activity = options && options->ignore_activity,
        };
}

void dispatch_gate(Manager *m, const Job *job, BlockerList *ret, Moment *ret_moment) {
        Image *image = manager_find_image(m, job->record->to);
        Policy policy = manager_policy(m);
        ImageFacts facts;

        if (image)
                manager_image_facts(m, image, &facts);
        dispatch_moment(m, &job->record->options, job->record->next_attempt, ret_moment);
        gate_evaluate(inventory_facts(m->inventory), image ? &facts : NULL, &policy, &ret_moment->facts, ret);
}

static void log_finished(const Job *job) {
        const JobRecord *record = job->record;
        g_autofree char *id = g_strdup_printf("%u", record->id);
        bool good = record->result == RESULT_SUCCESS || record->result == RESULT_ALREADY_CURRENT ||
                    record->result == RESULT_CANCELLED;

        log_full(good ? LOG_NOTICE : LOG_ERR, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_JOB_FINISHED, FIELD_JOB, id, FIELD_FROM, record->from, FIELD_TO, record->to,
                        FIELD_RESULT, job_result_to_string(record->result)),
                 "Job %s: %s%s%s", id, job_result_to_string(record->result), *record->error_text ? ": " : "", record->error_text);
}

/* The record alone; nobody is told yet. */
static void end_record(Job *job, JobResult result, ErrorId error, const char *text) {
        JobRecord *record = job->record;

        job_move(job, JOB_EVENT_FINISH);
        job->handed_over = false;
        record->result = result;
        record->finished = clock_realtime(&system_clock);
        record->next_attempt = 0;
        if (error != ERROR_NONE) {
                record_set(&record->error_name, error_entry(error)->dbus_name);
                record_set(&record->error_text, text);
        }
        job->progress = result == RESULT_SUCCESS ? 1 : job->progress;
        job_set_reason(job, "%s", text);
}

void dispatch_announce_end(Manager *m, Job *job) {
        log_finished(job);
        /* Who hears that the job has ended finds the module's properties as they are then. */
        manager_tell_now(m);
        manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_RESULT | JOB_CHANGED_ATTEMPTS | JOB_CHANGED_PROGRESS);
        if (m->started)
                m->events.job_finished(job, m->events.userdata);
        drain_stop(m);
        drain_prepare(m, false);
        manager_tell(m, MANAGER_CHANGED_JOBS | MANAGER_CHANGED_STATE);
        dispatch_forget(m);
        dispatch_kick(m);
}

void dispatch_finish(Manager *m, Job *job, JobResult result, ErrorId error, const char *text) {
        g_return_if_fail(job_may_finish(job->record->state, result, job->handed_over));

        end_record(job, result, error, text);
        (void) manager_save(m, job);
        dispatch_announce_end(m, job);
}

/* Somebody is told that it is cancelled: then it is so on disk, or it is not cancelled. */
int dispatch_cancel(Manager *m, Job *job) {
        JobState state = job->record->state;
        int r;

        end_record(job, RESULT_CANCELLED, ERROR_NONE, "Cancelled");
        r = manager_save(m, job);
        if (r >= 0)
                return 0;

        job->record->state = state;
        job->record->result = RESULT_NONE;
        job->record->finished = 0;
        /* What it has gone back to is what must get to disk. */
        job->unsaved = true;
        job_set_reason(job, "It could not be cancelled, since the database cannot be written");
        manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_ATTEMPTS);
        dispatch_kick(m);
        return r;
}

static int on_forget(sd_event_source *source, uint64_t usec, void *userdata) {
        dispatch_forget(userdata);
        return 0;
}

/*
 * A finished job stays readable for an hour, and longer while it is among the last 32; but never more than
 * LIMIT_READABLE_JOBS of them.
 */
void dispatch_forget(Manager *m) {
        uint64_t now = clock_realtime(&system_clock), next = 0;
        unsigned finished = 0, i = 0;

        if (!m->started)
                return;

        m->forget = sd_event_source_disable_unref(m->forget);
        for (unsigned k = 0; k < m->jobs->len; k++)
                if (job_finished(m->jobs->pdata[k]))
                        finished++;

        while (finished > KEEP_FINISHED && i < m->jobs->len) {
                Job *job = m->jobs->pdata[i];
                uint64_t until = job->record->finished + KEEP_FINISHED_USEC;

                if (!job_finished(job) || job->unsaved || (now < until && now >= job->record->finished && finished <= LIMIT_READABLE_JOBS)) {
                        if (job_finished(job) && (next == 0 || until < next))
                                next = until;
                        i++;
                        continue;
                }

                m->events.job_forgotten(job, m->events.userdata);
                g_ptr_array_remove_index(m->jobs, i);
                finished--;
        }

        if (finished > KEEP_FINISHED && next > now)
                (void) sd_event_add_time_relative(m->event, &m->forget, CLOCK_BOOTTIME, next - now, USEC_PER_SEC, on_forget, m);
}

static void set_waiting(Manager *m, Job *job, const Blocker *blocker) {
        /*
         * Whoever listens to PrepareForUpdate has nothing to prepare for as long as something else blocks than those who
         * prepare, or than what a drain waits for.
         */
        drain_prepare(m, job->record->state == JOB_DRAINING || blocker->id == BLOCKER_DRAINING);
        if (!job_set_reason(job, "%s", blocker->text))
                return;

        /* The text may change all the time ("3 TDs", "4 TDs"); the journal has the kind. */
        if (job->waits_for != (int) blocker->id) {
                g_autofree char *id = g_strdup_printf("%u", job->record->id);

                log_full(LOG_INFO, 0,
                         FIELDS("MESSAGE_ID", MESSAGE_WAITING, FIELD_JOB, id, FIELD_FROM, job->record->from, FIELD_TO, job->record->to,
                                FIELD_BLOCKER, blocker_id_to_string(blocker->id)),
                         "Job %s waits: %s", id, blocker->text);
        }
        job->waits_for = (int) blocker->id;
        manager_tell_job(m, job, JOB_CHANGED_REASON);
}

/* A hard or policy blocker ends the job with the blocker's error. */
static void finish_refused(Manager *m, Job *job, const Blocker *refusal) {
        if (refusal->id == BLOCKER_ALREADY_CURRENT)
                dispatch_finish(m, job, RESULT_ALREADY_CURRENT, ERROR_NONE, refusal->text);
        else
                dispatch_finish(m, job, RESULT_FAILED, blocker_error(refusal->id), refusal->text);
}

void dispatch_move(Manager *m, Job *job, JobEvent event) {
        job_move(job, event);
        (void) manager_save(m, job);
        manager_tell_job(m, job, JOB_CHANGED_STATE);
}

static void end_backoff(Manager *m, Job *job) {
        job->record->next_attempt = 0;
        job_set_reason(job, "Looking again whether any TD is being built");
        dispatch_move(m, job, JOB_EVENT_RETRY_TIME);
}

/* Has the store come back? A failed save is tried again; what is on disk must not be behind. */
bool dispatch_store_is_good(Manager *m) {
        uint64_t now = clock_boottime(&system_clock);

        if (m->store_tried != 0 && now < m->store_tried + STORE_RETRY_USEC)
                return false;
        m->store_tried = 0;

        for (unsigned i = 0; i < m->jobs->len; i++)
                if (((Job *) m->jobs->pdata[i])->unsaved && manager_save(m, m->jobs->pdata[i]) < 0)
                        break;
        if (m->version_unsaved || store_failed(m->store))
                manager_remember_version(m);
        if (store_failed(m->store))
                m->store_tried = now;

        return !store_failed(m->store);
}

static bool expire(Manager *m, Job *job, uint64_t now) {
        if (job->record->expires == 0 || now < job->record->expires || job->handed_over)
                return false;

        dispatch_finish(m, job, RESULT_EXPIRED, ERROR_DEADLINE_EXPIRED,
                        "The deadline has passed before there was a moment for the update; nothing was changed");
        return true;
}

bool dispatch_target_is_there(Manager *m, const Job *job) {
        Image *image = manager_find_image(m, job->record->to);
        g_autofree char *hash = image ? manager_image_hash(image) : NULL;

        return g_strcmp0(hash, job->record->seam_hash) == 0;
}

/* The target is looked at again before each attempt. Returns true if that has ended the job. */
static bool check_target(Manager *m, Job *job) {
        const HostFacts *host = manager_host(m);

        if (host->lost)
                return false;
        if (host->have_running && strcmp(VERSION_STRING(host->running), job->record->to) == 0) {
                dispatch_finish(m, job, RESULT_ALREADY_CURRENT, ERROR_NONE, "The target runs already; no update was spent");
                return true;
        }
        if (!manager_find_image(m, job->record->to)) {
                dispatch_finish(m, job, RESULT_FAILED, ERROR_NO_SUCH_VERSION,
                                "The image has gone from the catalogue; nothing was changed");
                return true;
        }
        if (!dispatch_target_is_there(m, job)) {
                dispatch_finish(m, job, RESULT_FAILED, ERROR_PLAN_STALE,
                                "The catalogue has another image of this version now; nothing was changed, ask again if that is right");
                return true;
        }
        return false;
}

/* 0: none */
static uint64_t next_deadline(Manager *m) {
        uint64_t next = 0;

        for (unsigned i = 0; i < m->jobs->len; i++) {
                Job *job = m->jobs->pdata[i];

                /* The one whose attempt runs is asked at its last look. */
                if (!job_finished(job) && (!m->attempt || m->attempt->job != job) && job->record->expires != 0 &&
                    (next == 0 || job->record->expires < next))
                        next = job->record->expires;
        }

        return next;
}

/* Of two times, of which 0 is none. */
static uint64_t earlier(uint64_t a, uint64_t b) {
        return a == 0 || (b != 0 && b < a) ? b : a;
}

/* What it waits for may have come: a window that opened, a hold that ended, or another budget cut a backoff short. */
static bool is_cut_short(Manager *m, Job *job, const BlockerList *blockers) {
        bool closed = false;

        for (size_t i = 0; i < blockers->n; i++)
                closed = closed || (blockers->items[i].severity == SEVERITY_WAIT && blockers->items[i].id != BLOCKER_BACKOFF);

        if (closed)
                job->closed = true;
        return !closed && (job->closed || m->cut_short);
}

static void start_attempt(Manager *m, Job *job, const Moment *moment) {
        moment_record(moment, job);
        if (attempt_start(m, job, manager_find_image(m, job->record->to)) >= 0)
                return;

        drain_fail(m, job);
        wake_at(m, clock_realtime(&system_clock) + START_RETRY_USEC);
}

/* Nothing of what blocks refuses it: begin, or wait for what ends that. */
static void go_on_or_wait(Manager *m, Job *job, const BlockerList *blockers, const Moment *moment) {
        uint64_t now = clock_realtime(&system_clock), next;
        const Blocker *blocker;

        if (job->record->state == JOB_BACKOFF && is_cut_short(m, job, blockers))
                end_backoff(m, job);

        blocker = blocker_list_wait(blockers);
        if (blocker && blocker->id == BLOCKER_BACKOFF && job->record->state != JOB_BACKOFF)
                blocker = NULL; /* it has just ended */
        if (!blocker) {
                /* It may have ended while the gate was being asked. */
                if (job->record->state == JOB_BACKOFF)
                        end_backoff(m, job);
                start_attempt(m, job, moment);
                return;
        }

        if (job->record->state != JOB_BACKOFF && !drain_step(m, job, blockers))
                set_waiting(m, job, blocker);

        next = job->record->state == JOB_BACKOFF ? job->record->next_attempt : now + POLL_USEC;
        wake_at(m, earlier(next, next_deadline(m)));
        watch_poll(m, &moment->activity);
}

/* One step for the job at the head. Returns true if it left the head, so that the next one gets its turn. */
static bool run_head(Manager *m, Job *job) {
        g_auto(BlockerList) blockers = {};
        g_auto(Moment) moment = {};
        uint64_t now = clock_realtime(&system_clock);
        const Blocker *refusal;

        if (job->record->state == JOB_QUEUED) {
                job_set_reason(job, "Looking whether any TD is being built");
                dispatch_move(m, job, JOB_EVENT_HEAD);
        }
        if (job->waiting_since == 0)
                job->waiting_since = clock_boottime(&system_clock);
        if (expire(m, job, now))
                return true;
        /* The wall clock may have been set back. */
        if (job->record->state == JOB_BACKOFF &&
            (now >= job->record->next_attempt || job->record->next_attempt > now + BACKOFF_MAX_USEC))
                end_backoff(m, job);

        (void) dispatch_store_is_good(m);
        manager_observe(m);
        if (check_target(m, job))
                return true;

        dispatch_gate(m, job, &blockers, &moment);
        refusal = blocker_list_refusal(&blockers);
        if (refusal) {
                finish_refused(m, job, refusal);
                return true;
        }

        go_on_or_wait(m, job, &blockers, &moment);
        m->cut_short = false;
        return false;
}

/* Those behind the head only wait, but their time can run out. */
static void expire_queued(Manager *m) {
        uint64_t now = clock_realtime(&system_clock);

        for (unsigned i = 0; i < m->jobs->len; i++) {
                Job *job = m->jobs->pdata[i];

                if (!job_finished(job) && job != dispatch_head(m))
                        (void) expire(m, job, now);
        }
}

static bool has_unsaved(const Manager *m) {
        if (store_failed(m->store) || m->version_unsaved)
                return true;

        for (unsigned i = 0; i < m->jobs->len; i++)
                if (((Job *) m->jobs->pdata[i])->unsaved)
                        return true;

        return false;
}

/* Before the next attempt begins: whoever has waited for the last one to be over gets its turn. */
static void admit_builds(Manager *m) {
        bool admits = manager_admits_builds(m);

        if (m->admitted == admits)
                return;

        m->admitted = admits;
        if (admits && m->started)
                m->events.admit(m->events.userdata);
}

void dispatch_run(Manager *m) {
        uint64_t next;
        Job *job;

        m->timer = sd_event_source_disable_unref(m->timer);
        watch_rest(m);
        admit_builds(m);
        expire_queued(m);

        while (!m->attempt && (job = dispatch_head(m)))
                if (!run_head(m, job))
                        break;

        admit_builds(m);

        if (m->timer)
                return;

        /* While an attempt runs deadlines still count, and an end that is not on disk must get there. */
        next = next_deadline(m);
        if (has_unsaved(m) && !dispatch_store_is_good(m))
                next = earlier(next, clock_realtime(&system_clock) + STORE_RETRY_USEC);
        if (next != 0)
                wake_at(m, next);
}
