/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <string.h>

#include "base/limit.h"
#include "manager-internal.h"

/*
 * Who may hold what, and when. From the moment on at which an attempt begins, until it is over, no build may begin:
 * the last look would see those that begin before it, and give way; those after it could be hurt. A drain keeps them
 * off, too, which is its purpose. Nobody is exempt, since the kernel exempts nobody.
 */

bool manager_admits_builds(const Manager *m) {
        return !m->attempt && !m->draining;
}

const HoldFacts *manager_holds(const Manager *m, size_t *ret_n) {
        return holds_get(m->holds, ret_n);
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

        return holds_take(m->holds, request, &limits, ret_fd, failure);
}

int manager_announce_build(Manager *m, const HoldRequest *request, const BuildMatch *match, uint64_t hold_usec,
                           uint32_t *ret_id, Failure *failure) {
        HoldLimits limits = limits_of(m);
        int r;

        r = check_words(request, failure);
        if (r < 0)
                return r;
        if (hold_usec == 0)
                return failure_set(failure, ERROR_INVALID_ARGS, "hold_usec is 0: the build would be over at once; give the longest that it may take");
        if (strlen(match->machine) > LIMIT_REASON_LENGTH || strlen(match->unit) > LIMIT_REASON_LENGTH)
                return failure_set(failure, ERROR_INVALID_ARGS, "A name in match is longer than %u bytes", LIMIT_REASON_LENGTH);
        if (!manager_admits_builds(m))
                return refuse_busy(m, "a build", failure);

        return holds_announce(m->holds, request, match, MIN(hold_usec, m->config->build_hold_max), &limits, ret_id, failure);
}

int manager_end_build(Manager *m, uint32_t id, uid_t uid, Failure *failure) {
        return holds_end(m->holds, id, uid, failure);
}
