/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "manager-internal.h"

/* Whether a TD is being built: who is asked, when it is asked again, and who is told. */

static void on_interface(void *userdata) {
        Manager *m = userdata;

        if (m->attempt)
                return; /* it is looked at in the attempt, and after it */
        manager_observe(m);
        dispatch_kick(m);
}

/* KVM or the probes have something to say. It is judged once for all that came together. */
static void on_changed(void *userdata) {
        Manager *m = userdata;
        g_auto(ActivityVerdict) verdict = {};

        if (!m->started)
                return;
        manager_activity(m, &verdict);
        if (dispatch_head(m))
                dispatch_kick(m);
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

static void arm_poll(Manager *m);

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        if (m->attempt || !dispatch_head(m))
                return 0;
        if (evidence_update(m->evidence))
                dispatch_run(m);
        else
                arm_poll(m);
        return 0;
}

static void arm_poll(Manager *m) {
        uint64_t now = clock_boottime(&system_clock);
        int r;

        m->poll = sd_event_source_disable_unref(m->poll);
        /* An accuracy of 1 usec: the default of 250 ms is what is to be avoided here. */
        r = sd_event_add_time_relative(m->event, &m->poll, CLOCK_BOOTTIME, activity_poll_interval(now - m->poll_born), 1, on_poll, m);
        if (r < 0)
                log_error(r, "Failed to arm the timer for VMs that may be building, looking at them with the queue's");
}

void watch_poll(Manager *m, const ActivityVerdict *verdict) {
        uint64_t now = clock_boottime(&system_clock);

        if (verdict->youngest == UINT64_MAX) {
                watch_rest(m);
                return;
        }

        m->poll_born = now > verdict->youngest ? now - verdict->youngest : 0;
        arm_poll(m);
}

void watch_rest(Manager *m) {
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
