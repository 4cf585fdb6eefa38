/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/activity.h"
#include "core/blocker.h"
#include "core/facts.h"
#include "core/hold.h"

/* What the operator has decided (tdx-updated.conf). */
typedef struct Policy {
        uint32_t keep_remaining;        /* updates that must be left after one */
        bool require_exact_stepping;
        bool allow_debug;
} Policy;

/* What belongs to the moment and to the job, not to host and image. Times are realtime usec. */
typedef struct MomentFacts {
        const ActivityVerdict *activity;
        const HoldFacts *holds;
        size_t n_holds;
        bool delays_are_over;           /* those who only delay have had their time */
        uint64_t delays_end;            /* when that is, 0: they were not told yet */
        bool outside_window;            /* the maintenance windows' answer */
        uint64_t window_opens;          /* 0: never, UINT64_MAX: not known */
        bool store_failed;              /* the last write to the store failed */
        const char *foreign_upload;     /* what is seen of somebody else's upload, or NULL */
        uint64_t now;
        uint64_t next_attempt;          /* the end of the backoff, 0: none */
        bool step_over_window;          /* the job's option now */
        bool ignore_activity;           /* the job's option: unknown counts as idle, building does not */
} MomentFacts;

/*
 * What host and image decide, whatever the moment: the complete list, nothing left out
 * after the first that has a meaning: a host that is lost or has no upload interface has no
 * budget and no CPUs to speak of, and nothing counts that a bad image says of itself.
 * @image may be NULL (no target): then only the host's own blockers.
 */
void eligibility_evaluate(const HostFacts *host, const ImageFacts *image, const Policy *policy, BlockerList *list);

/*
 * May an attempt start now? eligibility_evaluate() and everything that only waits.
 * An empty list, notes apart, is the only yes.
 */
void gate_evaluate(const HostFacts *host, const ImageFacts *image, const Policy *policy,
                   const MomentFacts *moment, BlockerList *list);

/* Parts of the rules that others show, too. */
bool cpu_matches(uint32_t cpu, const uint32_t *table, size_t n, bool exact);
