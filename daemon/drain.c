/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/clock.h"
#include "base/log.h"
#include "base/names.h"
#include "base/util.h"
#include "manager-internal.h"

/*
 * Preparing for an update. Those who delay updates are told and get HoldMaxSec=. On a host on which builds always
 * overlap no window opens by itself: then new builds are kept off (BeginBuild waits, build holds are refused), those that
 * run finish, and the window opens. A drain is bounded by DrainMaxSec=; the pauses between drains grow, so that a host that
 * never gets idle (a VMM that asks nobody, a VM that hangs) is not kept from building for ever.
 */
#define FIRST_PAUSE_USEC (30 * USEC_PER_SEC)
#define LONGEST_PAUSE_USEC (3600 * USEC_PER_SEC)

/* A sum that stays at "never". */
static uint64_t after(uint64_t when, uint64_t usec) {
        uint64_t sum;

        return usec == UINT64_MAX || __builtin_add_overflow(when, usec, &sum) ? UINT64_MAX : sum;
}

void drain_prepare(Manager *m, bool start) {
        /* Also where a daemon before this one has sent it: their time begins anew. */
        if (!start)
                m->delays_end = 0;
        else if (m->delays_end == 0)
                m->delays_end = after(clock_boottime(&system_clock), m->config->hold_max);
        if (m->prepared == start)
                return;

        m->prepared = start;
        if (m->started)
                m->events.prepare(start, m->events.userdata);
}

bool drain_delays_are_over(const Manager *m) {
        return m->delays_end != 0 && clock_boottime(&system_clock) >= m->delays_end;
}

/* A boottime as realtime, as of now. */
static uint64_t as_realtime(uint64_t boottime) {
        uint64_t now = clock_boottime(&system_clock), realtime = clock_realtime(&system_clock);

        if (boottime == 0 || boottime == UINT64_MAX)
                return 0;
        return boottime > now ? after(realtime, boottime - now) : realtime;
}

uint64_t drain_delays_end(const Manager *m) {
        return as_realtime(m->delays_end);
}

/*
 * Only if what runs, and who prepares, is all that is in the way: what else blocks, keeping builds off does not end. Something must
 * be building to begin with; while a drain goes on a moment in which that is not known ends nothing.
 */
static bool would_help(const BlockerList *blockers, bool going) {
        bool building = false;

        for (size_t i = 0; i < blockers->n; i++) {
                const Blocker *b = &blockers->items[i];

                if (b->severity != SEVERITY_WAIT)
                        continue;
                switch (b->id) {
                case BLOCKER_TD_BUILDING:
                        building = true;
                        break;
                case BLOCKER_TD_MIGRATING:
                case BLOCKER_ACTIVITY_UNKNOWN:
                case BLOCKER_DRAINING:
                        break;
                default:
                        return false;
                }
        }

        return building || going;
}

static bool is_due(const Manager *m, const Job *job, uint64_t now) {
        if (now < job->next_drain)
                return false;
        return job->record->options.drain || now >= after(job->waiting_since, m->config->drain_after);
}

static void log_drain(const Job *job, const char *what) {
        g_autofree char *id = g_strdup_printf("%u", job->record->id);

        log_full(LOG_INFO, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_DRAIN, FIELD_JOB, id, FIELD_FROM, job->record->from, FIELD_TO, job->record->to),
                 "Job %s: %s", id, what);
}

static void begin(Manager *m, Job *job, uint64_t now) {
        m->draining = true;
        m->drain_end = after(now, m->config->drain_max);
        log_drain(job, "keeping new builds off until those that run are over");
        job_set_reason(job, "New builds are kept off until those that run are over");
        drain_prepare(m, true);
        dispatch_move(m, job, JOB_EVENT_DRAIN);
}

static void end_in_vain(Manager *m, Job *job, uint64_t now) {
        uint64_t pause = FIRST_PAUSE_USEC << MIN(job->drains, 7U);

        job->drains++;
        job->next_drain = after(now, MIN(pause, LONGEST_PAUSE_USEC));
        m->draining = false;
        log_drain(job, "new builds are let in again, no moment without one has come");
        job_set_reason(job, "New builds are let in again, no moment without one has come; waiting for the next one");
        drain_prepare(m, false);
        dispatch_move(m, job, JOB_EVENT_DRAIN_END);
}

bool drain_step(Manager *m, Job *job, const BlockerList *blockers) {
        uint64_t now = clock_boottime(&system_clock);

        if (job->record->state == JOB_WAITING && would_help(blockers, false) && is_due(m, job, now))
                begin(m, job, now);
        else if (job->record->state == JOB_DRAINING && (now >= m->drain_end || !would_help(blockers, true)))
                end_in_vain(m, job, now);
        else
                return false;

        return true;
}

void drain_fail(Manager *m, Job *job) {
        if (job->record->state == JOB_DRAINING)
                end_in_vain(m, job, clock_boottime(&system_clock));
}

void drain_stop(Manager *m) {
        m->draining = false;
}
