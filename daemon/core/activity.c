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

static ActivityReason *add_reason(ActivityVerdict *v, Tier tier, const char *subject, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* With TIER_NONE it is not known; with any other it is a build, or may be one. */
static ActivityReason *add_reason(ActivityVerdict *v, Tier tier, const char *subject, const char *format, ...) {
        ActivityReason reason = { .tier = tier, .building = tier != TIER_NONE, .subject = g_strdup(subject) };
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

/* The probes' records of a VM's process. */
typedef struct BuildCount {
        unsigned building;
        unsigned finalized;
        unsigned own;           /* finalised, and certainly of this VM */
} BuildCount;

static bool has_strangers(const HostActivity *host) {
        for (size_t i = 0; i < host->n_guests; i++)
                if (host->guests[i]->start_time == 0)
                        return true;

        return false;
}

/*
 * A record tells of a process, not of a VM, and stays a while after its VM is gone (a big TD is torn down for seconds). So
 * it is a VM's own only if that VM was the only one in its process since before the record began; and a VM that is not
 * listed, or of which the process is not known, may be in any.
 */
static BuildCount count_builds(const HostActivity *host, const GuestFacts *guest) {
        bool alone = guest->siblings == 1 && !host->incomplete && !has_strangers(host);
        BuildCount count = {};

        for (size_t i = 0; !host->probes.unavailable && i < host->probes.n_builds; i++) {
                const BuildFacts *build = &host->probes.builds[i];

                if (build->pid != guest->pid)
                        continue;
                if (!build->finalized)
                        count.building++;
                else
                        count.finalized++;
                if (build->finalized && alone && build->began >= guest->alone)
                        count.own++;
        }

        return count;
}

static bool is_ignored(const HostActivity *host, const GuestFacts *guest) {
        /* A start time that is not known cannot agree. */
        for (size_t i = 0; i < host->n_ignored; i++)
                if (host->ignored[i].pid == guest->pid && guest->start_time != 0 &&
                    host->ignored[i].start_time == guest->start_time)
                        return true;

        return false;
}

/* usec, at least; for a VM that is older than the daemon that is all that no step of the clock can spoil. */
static uint64_t age_of(const HostActivity *host, const GuestFacts *guest) {
        return host->now > guest->known ? host->now - guest->known : 0;
}

static bool is_quiet(const HostActivity *host, const GuestFacts *guest) {
        return host->quiet != UINT64_MAX && host->last_create != 0 && host->now >= host->last_create &&
               host->now - host->last_create >= host->quiet && age_of(host, guest) >= host->quiet;
}

static GuestTd judge_td(const HostActivity *host, const GuestFacts *guest, const BuildCount *count) {
        if (host->impossible || guest->ran_without_tds)
                return GUEST_TD_NO;
        if (count->building + count->finalized > 0)
                return guest->siblings == 1 ? GUEST_TD_YES : GUEST_TD_UNKNOWN;
        /* The probes would have seen its TD begin, and it is too late for that now. */
        return probes_are_exact(host) && guest->ran != 0 ? GUEST_TD_NO : GUEST_TD_UNKNOWN;
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
                                         "it has not run and is in no build, so it may begin one at any moment"));
}

/*
 * With several VMs in one process those that ran are not the ones in their build. Where records were lost, that a build is
 * over may be among them: then that the VM has run is the better evidence.
 */
static bool is_building_exactly(const HostActivity *host, const GuestFacts *guest, const BuildCount *count) {
        if (count->building == 0)
                return false;
        return guest->ran == 0 || (guest->siblings == 1 && !host->probes.doubt);
}

/* By the strongest evidence that there is for this VM. */
static void judge_guest(const HostActivity *host, const GuestFacts *guest, GuestVerdict *v) {
        BuildCount count = count_builds(host, guest);

        *v = (GuestVerdict) { .subject = subject_of(guest->name, guest->pid) };
        v->td = judge_td(host, guest, &count);
        v->stale = guest->ran == 0 && age_of(host, guest) >= host->stale;

        if (host->impossible)
                set_evidence(v, GUEST_RUNNING, TIER_PROVEN, g_strdup(host->impossible));
        else if (is_building_exactly(host, guest, &count)) {
                v->blocks = v->exact = true;
                set_evidence(v, GUEST_BUILDING, TIER_EXACT, g_strdup("a build in its process has begun and is not finalised (probes)"));
        } else if (guest->ran != 0)
                set_evidence(v, GUEST_RUNNING, TIER_INFERRED, signs_text(guest->signs));
        else if (!host->probes.doubt && count.own > 0)
                set_evidence(v, GUEST_RUNNING, TIER_EXACT, g_strdup("its TD is finalised (probes)"));
        else if (probes_are_exact(host))
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
                reason = add_reason(v, g->tier, g->subject, "%s may be in the build of a TD: %s%s", g->subject, g->evidence,
                                    g->stale ? STALE_TEXT : "");
        else
                reason = add_reason(v, TIER_NONE, g->subject, "It cannot be seen whether %s is in the build of a TD: %s%s", g->subject,
                                    g->evidence, g->stale ? STALE_TEXT : "");

        reason->ignored = is_ignored(host, guest);
        if (reason->ignored) {
                g->blocks = false;
                v->n_ignored++;
        } else
                v->youngest = MIN(v->youngest, age_of(host, guest));
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

/* Is there a guest that says of this build that it is under way, or no guest of its process at all? */
static bool is_under_way(const HostActivity *host, const ActivityVerdict *v, const BuildFacts *build, bool *ret_known) {
        bool open = false;

        *ret_known = false;
        for (size_t i = 0; i < host->n_guests; i++) {
                if (host->guests[i]->pid != build->pid)
                        continue;
                *ret_known = true;
                open = open || v->guests[i].exact || host->guests[i]->siblings > 1;
        }

        return open || !*ret_known;
}

/* Nobody can ignore these: it is known, not inferred. */
static void judge_builds(const HostActivity *host, ActivityVerdict *v) {
        for (size_t i = 0; !host->probes.unavailable && i < host->probes.n_builds; i++) {
                const BuildFacts *build = &host->probes.builds[i];
                g_autofree char *subject = subject_of(build->name, build->pid);
                bool known;

                if (build->finalized || !is_under_way(host, v, build, &known))
                        continue;
                if (!known)
                        v->n_building++;
                add_reason(v, TIER_EXACT, subject, "%s is in the build of a TD (probes)", subject);
        }
}

/* TDs that are in none of the known VMs. The count proves idleness at 0, and otherwise only adds doubt. */
static void judge_count(const HostActivity *host, ActivityVerdict *v) {
        uint64_t possible = 0;

        for (size_t i = 0; i < host->n_guests; i++)
                if (v->guests[i].td != GUEST_TD_NO)
                        possible++;

        if (host->have_tds && host->tds > possible)
                add_reason(v, TIER_NONE, "", "%" PRIu64 " TD%s, but only %" PRIu64 " VM%s known that could be one", host->tds,
                           host->tds == 1 ? " exists" : "s exist", possible, possible == 1 ? " is" : "s are");
}

static void judge_list(const HostActivity *host, ActivityVerdict *v) {
        bool none = host->have_tds && host->tds == 0;

        /* Who is in its build is known without the list. */
        if (none || probes_are_exact(host))
                return;

        if (host->incomplete)
                add_reason(v, TIER_NONE, "", "It is not known which VMs there are: %s", host->incomplete);
        else
                judge_count(host, v);
}

static const char *idle_text(Tier tier, const ActivityVerdict *v) {
        switch (tier) {
        case TIER_PROVEN:
                return v->no_tds ? "no TD exists (the misc cgroup counts 0)" : "no VM exists";
        case TIER_EXACT:
                return "no build is under way (probes)";
        case TIER_GUESSED:
                return "no VM was made for longer than QuietSec=, and nothing else is known";
        case TIER_NONE:
                return "what blocks is ignored on request";
        default:
                return "every VM is past any build";
        }
}

/* The answer is as good as the weakest piece that it needs. */
static void conclude_idle(const HostActivity *host, ActivityVerdict *v) {
        bool no_vms = host->n_guests == 0 && !host->incomplete && !(host->have_tds && host->tds > 0);

        v->activity = ACTIVITY_IDLE;
        v->tier = v->no_tds || no_vms ? TIER_PROVEN : probes_are_exact(host) ? TIER_EXACT : TIER_INFERRED;
        for (size_t i = 0; i < host->n_guests; i++)
                if (v->guests[i].tier == TIER_GUESSED)
                        v->tier = TIER_GUESSED;
        if (v->n_ignored > 0)
                v->tier = TIER_NONE;

        v->text = g_strdup(idle_text(v->tier, v));
}

void activity_judge(const HostActivity *host, ActivityVerdict *ret) {
        const ActivityReason *first = NULL;

        *ret = (ActivityVerdict) { .tier = TIER_NONE, .youngest = UINT64_MAX, .no_tds = host->have_tds && host->tds == 0 };
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

                if (!reason->ignored && (!first || reason->tier < first->tier))
                        first = reason;
        }
        if (!first) {
                conclude_idle(host, ret);
                return;
        }

        ret->activity = first->building ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN;
        ret->tier = first->tier;
        ret->text = g_strdup(first->text);
}

/*
 * A build takes from tenths of a second to minutes, so the younger it is, the sooner something can happen: 5 ms for
 * the first second, 50 ms at most in the first ten minutes, then four times a second.
 */
uint64_t activity_poll_interval(uint64_t age) {
        if (age >= 600 * USEC_PER_SEC)
                return 250 * USEC_PER_MSEC;
        return CLAMP(age / 200, ACTIVITY_POLL_MIN, 50 * USEC_PER_MSEC);
}
