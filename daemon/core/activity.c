/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <stdarg.h>

#include "base/util.h"
#include "core/activity.h"

static const char *const tiers[_TIER_MAX] = {
        [TIER_PROVEN] = "T0",
        [TIER_EXACT] = "T1",
        [TIER_INFERRED] = "T2",
        [TIER_GUESSED] = "T3",
        [TIER_NONE] = "none",
};

static const char *const phases[_GUEST_PHASE_MAX] = {
        [GUEST_UNKNOWN] = "unknown",
        [GUEST_BUILDING] = "building",
        [GUEST_RUNNING] = "running",
};

static const char *const tds[_GUEST_TD_MAX] = {
        [GUEST_TD_UNKNOWN] = "unknown",
        [GUEST_TD_YES] = "yes",
        [GUEST_TD_NO] = "no",
};

const char *tier_to_string(Tier tier) {
        return tiers[tier];
}

const char *guest_phase_to_string(GuestPhase phase) {
        return phases[phase];
}

const char *guest_td_to_string(GuestTd td) {
        return tds[td];
}

bool guest_signs_ran(GuestSigns signs) {
        return signs.vcpu_pid == SIGN_SEEN || signs.exits == SIGN_SEEN || signs.guest_time == SIGN_SEEN;
}

static void add(GString *text, const char *what) {
        if (text->len > 0)
                g_string_append(text, ", ");
        g_string_append(text, what);
}

/* What was seen, and what could not be looked at. Guest time of 0 proves nothing, so that is not worth a word. */
static char *signs_text(GuestSigns signs) {
        g_autoptr(GString) text = g_string_new(NULL);

        if (signs.vcpu_pid == SIGN_SEEN)
                add(text, "a vCPU ran (vcpuN/pid)");
        if (signs.exits == SIGN_SEEN)
                add(text, "it exited to the host (exits)");
        if (signs.guest_time == SIGN_SEEN)
                add(text, "it used CPU time (guest time)");
        if (guest_signs_ran(signs))
                return g_string_free(g_steal_pointer(&text), false);

        if (signs.vcpu_pid == SIGN_ABSENT)
                add(text, "no vCPU ran yet (vcpuN/pid)");
        if (signs.exits == SIGN_ABSENT)
                add(text, "no exit yet (exits)");
        if (signs.vcpu_pid == SIGN_UNREADABLE)
                add(text, "vcpuN/pid cannot be read");
        if (signs.exits == SIGN_UNREADABLE)
                add(text, "exits cannot be read");
        if (signs.guest_time == SIGN_UNREADABLE)
                add(text, "guest time cannot be read");

        return g_string_free(g_steal_pointer(&text), false);
}

static char *subject_of(const char *name, uint32_t pid) {
        return g_strdup_printf("%s[%" PRIu32 "]", *name ? name : "vm", pid);
}

void activity_verdict_clear(ActivityVerdict *verdict) {
        for (size_t i = 0; i < verdict->n_reasons; i++) {
                g_free(verdict->reasons[i].subject);
                g_free(verdict->reasons[i].text);
        }
        for (size_t i = 0; verdict->guests && i < verdict->n_guests; i++) {
                g_free(verdict->guests[i].evidence);
                g_free(verdict->guests[i].subject);
        }
        g_free(verdict->reasons);
        g_free(verdict->guests);
        g_free(verdict->text);
        *verdict = (ActivityVerdict) {};
}

static ActivityReason *add_reason(ActivityVerdict *v, bool building, const char *subject, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

static ActivityReason *add_reason(ActivityVerdict *v, bool building, const char *subject, const char *format, ...) {
        ActivityReason reason = { .building = building, .subject = g_strdup(subject) };
        va_list ap;

        va_start(ap, format);
        reason.text = g_strdup_vprintf(format, ap);
        va_end(ap);

        v->reasons = g_renew(ActivityReason, v->reasons, v->n_reasons + 1);
        v->reasons[v->n_reasons] = reason;
        return &v->reasons[v->n_reasons++];
}

/* Do the probes see every TD that there is? */
static bool probes_are_exact(const HostActivity *host) {
        return !host->probes.unavailable && !host->probes.doubt && host->probes.complete;
}

/* Would the probes have seen the TD of this VM begin? */
static bool is_covered(const HostActivity *host, const GuestFacts *guest) {
        const ProbeFacts *p = &host->probes;

        if (p->unavailable || p->doubt)
                return false;
        return p->complete || (guest->since != 0 && guest->since >= p->from);
}

static void count_builds(const HostActivity *host, uint32_t pid, unsigned *ret_building, unsigned *ret_finalized) {
        *ret_building = *ret_finalized = 0;

        for (size_t i = 0; !host->probes.unavailable && i < host->probes.n_builds; i++)
                if (host->probes.builds[i].pid == pid)
                        ++*(host->probes.builds[i].finalized ? ret_finalized : ret_building);
}

static bool is_ignored(const HostActivity *host, const GuestFacts *guest) {
        /* A start time that is not known cannot agree. */
        for (size_t i = 0; i < host->n_ignored; i++)
                if (host->ignored[i].pid == guest->pid && guest->start_time != 0 &&
                    host->ignored[i].start_time == guest->start_time)
                        return true;

        return false;
}

/* usec; UINT64_MAX when it is not known. */
static uint64_t age_of(const HostActivity *host, const GuestFacts *guest) {
        if (guest->since == 0)
                return UINT64_MAX;
        return host->now > guest->since ? host->now - guest->since : 0;
}

static bool is_quiet(const HostActivity *host, const GuestFacts *guest) {
        uint64_t age = age_of(host, guest);

        return host->quiet != UINT64_MAX && host->last_create != 0 && host->now >= host->last_create &&
               host->now - host->last_create >= host->quiet && age != UINT64_MAX && age >= host->quiet;
}

static GuestTd judge_td(const HostActivity *host, const GuestFacts *guest, unsigned builds) {
        if (host->impossible || guest->ran_without_tds)
                return GUEST_TD_NO;
        if (builds > 0)
                return guest->siblings == 1 ? GUEST_TD_YES : GUEST_TD_UNKNOWN;
        /* The probes would have seen its TD begin, and it is too late for that now. */
        return is_covered(host, guest) && guest->ran != 0 ? GUEST_TD_NO : GUEST_TD_UNKNOWN;
}

static void set_evidence(GuestVerdict *v, GuestPhase phase, Tier tier, char *evidence) {
        v->phase = phase;
        v->tier = tier;
        v->evidence = evidence;
}

/*
 * No TD of it has begun, by proof, but it can begin one at any moment: also between the last look and the handover.
 * That is what a VM that is being started looks like. One that has not done it for so long is something else.
 */
static void judge_not_begun(GuestVerdict *v, Tier tier) {
        v->blocks = !v->stale;
        set_evidence(v, v->stale ? GUEST_UNKNOWN : GUEST_BUILDING, tier,
                     g_strdup(v->stale ? "it has begun no TD and has not run for longer than StaleGuestSec=" :
                                         "it has begun no TD yet and has not run, so it may begin one at any moment"));
}

/* By the strongest evidence that there is for this VM. */
static void judge_guest(const HostActivity *host, const GuestFacts *guest, GuestVerdict *v) {
        unsigned building, finalized;
        uint64_t age = age_of(host, guest);

        *v = (GuestVerdict) { .subject = subject_of(guest->name, guest->pid) };
        count_builds(host, guest->pid, &building, &finalized);
        v->td = judge_td(host, guest, building + finalized);
        v->stale = guest->ran == 0 && age != UINT64_MAX && age >= host->stale;

        if (host->impossible)
                set_evidence(v, GUEST_RUNNING, TIER_PROVEN, g_strdup(host->impossible));
        else if (building > 0 && (guest->ran == 0 || guest->siblings == 1)) {
                /* With several VMs in one process those that ran are not the ones in their build. */
                v->blocks = v->exact = true;
                set_evidence(v, GUEST_BUILDING, TIER_EXACT, g_strdup("a build in its process has begun and is not finalised (probes)"));
        } else if (guest->ran != 0)
                set_evidence(v, GUEST_RUNNING, TIER_INFERRED, signs_text(guest->signs));
        else if (is_covered(host, guest) && finalized >= guest->siblings)
                set_evidence(v, GUEST_RUNNING, TIER_EXACT, g_strdup("its TD is finalised (probes)"));
        else if (is_covered(host, guest))
                judge_not_begun(v, TIER_EXACT);
        else if (host->have_tds && host->tds == 0)
                judge_not_begun(v, TIER_PROVEN);
        else if (is_quiet(host, guest))
                set_evidence(v, GUEST_UNKNOWN, TIER_GUESSED, g_strdup("no VM was made for longer than QuietSec="));
        else {
                bool looked = guest->signs.vcpu_pid == SIGN_ABSENT || guest->signs.exits == SIGN_ABSENT;

                v->blocks = true;
                set_evidence(v, looked ? GUEST_BUILDING : GUEST_UNKNOWN, looked ? TIER_INFERRED : TIER_NONE, signs_text(guest->signs));
        }
}

#define STALE_TEXT " for longer than StaleGuestSec=; end it if it hangs, or name it in ignore-guests if it is known to be harmless"

static void add_guest_reason(const HostActivity *host, const GuestFacts *guest, GuestVerdict *g, ActivityVerdict *v) {
        ActivityReason *reason;

        /* What the probes see in its build is in their list, by process. */
        if (!g->blocks || g->exact)
                return;

        if (g->phase == GUEST_BUILDING)
                reason = add_reason(v, true, g->subject, "%s may be in the build of a TD: %s%s", g->subject, g->evidence,
                                    g->stale ? STALE_TEXT : "");
        else
                reason = add_reason(v, false, g->subject, "It cannot be seen whether %s is in the build of a TD: %s%s", g->subject,
                                    g->evidence, g->stale ? STALE_TEXT : "");

        reason->ignored = is_ignored(host, guest);
        if (reason->ignored)
                g->blocks = false;
        else {
                uint64_t age = age_of(host, guest);

                /* Without a known age it is none of the young ones. */
                v->youngest = MIN(v->youngest, MIN(age, host->stale));
        }
}

static void judge_guests(const HostActivity *host, ActivityVerdict *v) {
        v->guests = g_new0(GuestVerdict, host->n_guests + 1);
        v->n_guests = (unsigned) host->n_guests;

        for (size_t i = 0; i < host->n_guests; i++) {
                judge_guest(host, host->guests[i], &v->guests[i]);
                if (v->guests[i].phase == GUEST_BUILDING)
                        v->n_building++;
                add_guest_reason(host, host->guests[i], &v->guests[i], v);
        }
}

/* Nobody can ignore these: it is known, not inferred. */
static void judge_builds(const HostActivity *host, ActivityVerdict *v) {
        for (size_t i = 0; !host->probes.unavailable && i < host->probes.n_builds; i++) {
                const BuildFacts *build = &host->probes.builds[i];
                g_autofree char *subject = subject_of(build->name, build->pid);
                bool known = false;

                if (build->finalized)
                        continue;
                for (size_t k = 0; k < host->n_guests; k++)
                        known = known || host->guests[k]->pid == build->pid;
                if (!known)
                        v->n_building++;
                add_reason(v, true, subject, "%s is in the build of a TD (probes)", subject);
        }
}

/* TDs that are in none of the known VMs. The count proves idleness at 0, and otherwise only adds doubt. */
static void judge_count(const HostActivity *host, ActivityVerdict *v) {
        uint64_t possible = 0;

        for (size_t i = 0; i < host->n_guests; i++)
                if (v->guests[i].td != GUEST_TD_NO)
                        possible++;

        if (host->have_tds && host->tds > possible)
                add_reason(v, false, "", "%" PRIu64 " TD%s, but only %" PRIu64 " VM%s known that could be one", host->tds,
                           host->tds == 1 ? " exists" : "s exist", possible, possible == 1 ? " is" : "s are");
}

static void judge_list(const HostActivity *host, ActivityVerdict *v) {
        bool none = host->have_tds && host->tds == 0;

        /* Who is in its build is known without the list. */
        if (none || probes_are_exact(host))
                return;

        if (host->incomplete)
                add_reason(v, false, "", "It is not known which VMs there are: %s", host->incomplete);
        else
                judge_count(host, v);
}

static bool is_reason(const ActivityReason *reason) {
        return !reason->ignored;
}

/* The answer is as good as the weakest piece that it needs. */
static void conclude_idle(const HostActivity *host, ActivityVerdict *v) {
        bool none = host->have_tds && host->tds == 0;

        v->activity = ACTIVITY_IDLE;
        v->tier = none || (host->n_guests == 0 && !host->incomplete) ? TIER_PROVEN : probes_are_exact(host) ? TIER_EXACT : TIER_INFERRED;
        for (size_t i = 0; i < host->n_guests; i++)
                if (v->guests[i].tier == TIER_GUESSED)
                        v->tier = TIER_GUESSED;

        if (v->tier == TIER_GUESSED)
                v->text = g_strdup("no VM was made for longer than QuietSec=, and nothing else is known");
        else if (none)
                v->text = g_strdup("no TD exists (the misc cgroup counts 0)");
        else if (v->tier == TIER_PROVEN)
                v->text = g_strdup("no VM exists");
        else if (v->tier == TIER_EXACT)
                v->text = g_strdup("no build is under way (probes)");
        else
                v->text = g_strdup_printf("each of the %zu VMs is past any build", host->n_guests);
}

void activity_judge(const HostActivity *host, ActivityVerdict *ret) {
        const ActivityReason *first = NULL;

        *ret = (ActivityVerdict) { .tier = TIER_NONE, .youngest = UINT64_MAX };
        judge_guests(host, ret);

        if (host->impossible) {
                ret->impossible = true;
                ret->activity = ACTIVITY_IDLE;
                ret->tier = TIER_PROVEN;
                ret->text = g_strdup(host->impossible);
                return;
        }

        judge_builds(host, ret);
        judge_list(host, ret);

        for (size_t i = 0; i < ret->n_reasons; i++) {
                const ActivityReason *reason = &ret->reasons[i];

                if (is_reason(reason) && (!first || (reason->building && !first->building)))
                        first = reason;
        }
        if (!first) {
                conclude_idle(host, ret);
                return;
        }

        ret->activity = first->building ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN;
        if (first->building)
                ret->tier = probes_are_exact(host) ? TIER_EXACT : TIER_INFERRED;
        ret->text = g_strdup(first->text);
}

/*
 * A build takes from tenths of a second to minutes, so the younger it is, the sooner something can happen: 5 ms for
 * the first second, 50 ms at most in the first ten minutes, then four times a second.
 */
uint64_t activity_poll_interval(uint64_t age) {
        if (age >= 600 * USEC_PER_SEC)
                return 250 * USEC_PER_MSEC;
        return CLAMP(age / 200, 5 * USEC_PER_MSEC, 50 * USEC_PER_MSEC);
}
