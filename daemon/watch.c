/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "manager-internal.h"

/* Between two judgements when no job waits and only the signals WindowOpened and WindowClosed hang on it. */
#define IDLE_GAP_USEC (50 * USEC_PER_MSEC)

/* Whether a TD is being built: who is asked, when it is asked again, and who is told. */

static void on_interface(void *userdata) {
        Manager *m = userdata;

        if (m->attempt)
                return; /* it is looked at in the attempt, and after it */
        manager_observe(m);
        dispatch_kick(m);
}

static void arm(Manager *m, uint64_t delay);

/*
 * Something was reported. It is judged at once, unless that was done just now: then a moment later, once for all that
 * comes together. A host that starts a hundred VMs in a second must not spend its time here.
 */
void watch_hint(Manager *m) {
        uint64_t now = clock_boottime(&system_clock);
        uint64_t next = m->judged + (dispatch_head(m) ? ACTIVITY_POLL_MIN : IDLE_GAP_USEC);

        if (!m->started)
                return;
        m->hinted = true;
        arm(m, next > now ? next - now : 0);
}

static void on_changed(void *userdata) {
        watch_hint(userdata);
}

int watch_start(Manager *m) {
        EvidenceHandler handler = { on_interface, on_changed, m };
        g_auto(ActivityVerdict) verdict = {};
        int r;

        r = evidence_new(m->event, m->roots, m->probes, &handler, &m->evidence);
        if (r < 0)
                return r;

        /* The first picture is nobody's news. */
        manager_activity(m, &verdict);
        m->window_told = m->window_open;
        return 0;
}

void watch_judge(const Manager *m, const JobOptions *options, ActivityVerdict *ret) {
        EvidenceRules rules = { .stale = m->config->stale_guest, .quiet = m->config->quiet };

        if (options && options->ignored) {
                rules.ignored = (const IgnoredGuest *) (const void *) options->ignored->data;
                rules.n_ignored = options->ignored->len;
        }
        evidence_judge(m->evidence, &rules, ret);
}

void watch_note(Manager *m, const ActivityVerdict *verdict) {
        bool open = verdict->activity == ACTIVITY_IDLE;

        if (m->window_known && m->window_open == open)
                return;

        m->window_known = true;
        m->window_open = open;
        g_free(m->window_reason);
        m->window_reason = g_strdup(verdict->text);
        manager_tell(m, 0);
}

void watch_tell(Manager *m) {
        if (!m->started || m->window_told == m->window_open)
                return;

        m->window_told = m->window_open;
        m->events.window(m->window_open, m->window_reason, m->events.userdata);
}

/* Is there something that only its own end ends, so that the rest of the gate need not be asked? */
static bool is_busy(Manager *m, const Job *job, const ActivityVerdict *verdict) {
        const HoldFacts *holds;
        size_t n;

        if (verdict->activity == ACTIVITY_BUSY || (verdict->activity == ACTIVITY_UNKNOWN && !job->record->options.ignore_activity))
                return true;

        holds = watch_holds(m, &n);
        for (size_t i = 0; i < n; i++)
                if (holds[i].what != HOLD_UPDATE || holds[i].mode == HOLD_BLOCK)
                        return true;

        return false;
}

/* The whole queue's turn comes four times a second anyway; in between only the end of what it waits for matters. */
static void look(Manager *m, Job *job) {
        JobState state = job->record->state;
        g_auto(ActivityVerdict) verdict = {};

        m->hinted = false;
        watch_judge(m, &job->record->options, &verdict);
        m->judged = clock_boottime(&system_clock);
        if (!job->record->options.ignored)
                watch_note(m, &verdict);

        if ((state != JOB_WAITING && state != JOB_DRAINING && state != JOB_BACKOFF) || !m->timer || !is_busy(m, job, &verdict)) {
                dispatch_run(m);
                return;
        }

        job->closed = true; /* its end cuts a backoff short */
        watch_poll(m, &verdict);
}

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = userdata;
        g_auto(ActivityVerdict) verdict = {};
        Job *head = dispatch_head(m);

        m->poll = sd_event_source_disable_unref(m->poll);
        if (m->attempt || !m->started) {
                m->hinted = false;
                return 0;
        }
        if (head) {
                look(m, head);
                return 0;
        }

        m->hinted = false;
        manager_activity(m, &verdict);
        m->judged = clock_boottime(&system_clock);
        return 0;
}

static void arm(Manager *m, uint64_t delay) {
        int r;

        m->poll = sd_event_source_disable_unref(m->poll);
        /* An accuracy of 1 usec: the default of 250 ms is what is to be avoided here. */
        r = sd_event_add_time_relative(m->event, &m->poll, CLOCK_BOOTTIME, delay, 1, on_poll, m);
        if (r < 0)
                log_error(r, "Failed to arm the timer for VMs that may be building, looking at them with the queue's");
}

void watch_poll(Manager *m, const ActivityVerdict *verdict) {
        /* What was reported meanwhile has a time already. */
        if (m->hinted && m->poll)
                return;
        if (verdict->youngest == UINT64_MAX)
                watch_rest(m);
        else
                arm(m, activity_poll_interval(verdict->youngest));
}

void watch_rest(Manager *m) {
        if (m->hinted && m->poll)
                return;
        m->poll = sd_event_source_disable_unref(m->poll);
}

const HoldFacts *watch_holds(Manager *m, size_t *ret_n) {
        const GuestFacts *const *guests;
        size_t n;

        /* A VM that was announced may be past its build: then what announced it has ended. */
        guests = evidence_guests(m->evidence, &n);
        holds_match(m->holds, guests, n);
        return holds_get(m->holds, ret_n);
}

void manager_activity(Manager *m, ActivityVerdict *ret) {
        watch_judge(m, NULL, ret);
        watch_note(m, ret);
}

const GuestFacts *const *manager_guests(const Manager *m, size_t *ret_n) {
        return evidence_guests(m->evidence, ret_n);
}
