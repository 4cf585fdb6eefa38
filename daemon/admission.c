/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <string.h>

#include "base/limit.h"
#include "manager-internal.h"

/* systemd's own limits for the names of units and machines are not above this. */
#define MATCH_NAME_MAX 255U

/*
 * Who may hold what, and when. From the moment on at which an attempt begins, until it is over, no build may begin:
 * the last look would see those that begin before it, and give way; those after it could be hurt. A drain keeps them
 * off, too, which is its purpose. Nobody is exempt, since the kernel exempts nobody.
 */

bool manager_admits_builds(const Manager *m) {
        return !m->attempt && !m->draining;
}

/* Ends the announced builds that are over: while no job waits for them, nobody looks. */
static const HoldFacts *settle(Manager *m, size_t *ret_n) {
        g_auto(ActivityVerdict) verdict = {};

        manager_activity(m, &verdict);
        return watch_holds(m, ret_n);
}

const HoldFacts *manager_holds(Manager *m, size_t *ret_n) {
        return settle(m, ret_n);
}

static int refuse_busy(const Manager *m, const char *what, Failure *failure) {
        const Job *job = m->attempt ? m->attempt->job : dispatch_head(m);
        const char *version = job ? job->record->to : "another version";

        if (m->attempt)
                return failure_set(failure, ERROR_BUSY, "The TDX module is being updated to %s; %s has to wait until that is over, most often for a few seconds",
                                   version, what);
        return failure_set(failure, ERROR_BUSY, "An update of the TDX module to %s keeps new builds off until those that run are over; %s has to wait until it is done",
                           version, what);
}

static int check_words(const HoldRequest *request, Failure *failure) {
        if (!*request->who)
                return failure_set(failure, ERROR_INVALID_ARGS, "who is empty; say who it is that holds, for people");
        if (strlen(request->who) > LIMIT_REASON_LENGTH)
                return failure_set(failure, ERROR_INVALID_ARGS, "who is longer than %u bytes", LIMIT_REASON_LENGTH);
        if (strlen(request->why) > LIMIT_REASON_LENGTH)
                return failure_set(failure, ERROR_INVALID_ARGS, "why is longer than %u bytes", LIMIT_REASON_LENGTH);
        return 0;
}

static int check_admission(const Manager *m, const HoldRequest *request, Failure *failure) {
        if (request->what == HOLD_UPDATE && request->mode == HOLD_BLOCK) {
                /* Before the handover the last look sees it, and the attempt gives way. */
                if (m->attempt && m->attempt->job->handed_over)
                        return failure_set(failure, ERROR_BUSY, "The kernel has the image already: this update to %s cannot be kept off any more",
                                           m->attempt->job->record->to);
                return 0;
        }

        if (manager_admits_builds(m))
                return 0;
        if (request->what == HOLD_UPDATE)
                return refuse_busy(m, "who wants to be asked before an update", failure);
        return refuse_busy(m, request->what == HOLD_BUILD ? "a build" : "a migration", failure);
}

static HoldLimits limits_of(const Manager *m) {
        return (HoldLimits) { .all = m->config->max_holds, .per_user = m->config->max_holds_per_user };
}

int manager_hold(Manager *m, const HoldRequest *request, int *ret_fd, Failure *failure) {
        HoldLimits limits = limits_of(m);
        size_t n;
        int r;

        r = check_words(request, failure);
        if (r < 0)
                return r;
        if (request->mode == HOLD_DELAY && request->what != HOLD_UPDATE)
                return failure_set(failure, ERROR_INVALID_ARGS, "Only an update can be delayed; a %s takes the mode block",
                                   hold_what_to_string(request->what));
        r = check_admission(m, request, failure);
        if (r < 0)
                return r;

        r = holds_take(m->holds, request, &limits, ret_fd, failure);
        if (r < 0 && failure->id == ERROR_LIMIT_EXCEEDED) {
                (void) settle(m, &n);
                r = holds_take(m->holds, request, &limits, ret_fd, failure);
        }
        return r;
}

static int check_match(const BuildMatch *match, Failure *failure) {
        if (strlen(match->machine) > MATCH_NAME_MAX || strlen(match->unit) > MATCH_NAME_MAX)
                return failure_set(failure, ERROR_INVALID_ARGS, "A name in match is longer than %u bytes, which no machine and no unit is",
                                   MATCH_NAME_MAX);
        return 0;
}

/* For people: which VM it is announced for. */
static char *describe_match(const BuildMatch *match) {
        GString *s = g_string_new(NULL);

        if (*match->machine)
                g_string_append_printf(s, "machine %s", match->machine);
        if (*match->unit)
                g_string_append_printf(s, "%sunit %s", s->len > 0 ? ", " : "", match->unit);
        if (match->pid != 0)
                g_string_append_printf(s, "%sprocess %" PRIu32, s->len > 0 ? ", " : "", match->pid);
        if (s->len == 0)
                g_string_append(s, "a VM that was not named");
        return g_string_free(s, false);
}

int manager_announce_build(Manager *m, const HoldRequest *request, const BuildMatch *match, uint64_t hold_usec,
                           uint32_t *ret_id, Failure *failure) {
        HoldLimits limits = limits_of(m);
        g_autofree char *why = NULL;
        HoldRequest named = *request;
        size_t n;
        int r;

        r = check_words(request, failure);
        if (r >= 0)
                r = check_match(match, failure);
        if (r < 0)
                return r;
        if (hold_usec == 0)
                return failure_set(failure, ERROR_INVALID_ARGS, "hold_usec is 0: the build would be over at once; give the longest that it may take");
        if (!manager_admits_builds(m))
                return refuse_busy(m, "a build", failure);

        named.what = HOLD_BUILD;
        named.mode = HOLD_BLOCK;
        named.why = why = describe_match(match);
        hold_usec = MIN(hold_usec, m->config->build_hold_max);
        r = holds_announce(m->holds, &named, match, hold_usec, &limits, ret_id, failure);
        if (r < 0 && failure->id == ERROR_LIMIT_EXCEEDED) {
                (void) settle(m, &n);
                r = holds_announce(m->holds, &named, match, hold_usec, &limits, ret_id, failure);
        }
        return r;
}

int manager_end_build(Manager *m, uint32_t id, uid_t uid, Failure *failure) {
        return holds_end(m->holds, id, uid, failure);
}
