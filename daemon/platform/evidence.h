/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-event.h>

#include "core/activity.h"
#include "platform/roots.h"

/*
 * Evidence of whether a TD is being built, from every place that there is: what is proven without knowing the VMs (T0,
 * proof.h), the probes (T1, builds.h), and the VMs that KVM reports (T2, guests.h, uevents.h). What follows from it is
 * core/activity.h's.
 */
typedef struct Evidence Evidence;

typedef struct EvidenceHandler {
        /* tdx_host or its upload interface came or went, or events were lost: look again. */
        void (*interface)(void *userdata);
        /* KVM or the probes have reported something: the picture may have changed. */
        void (*changed)(void *userdata);
        void *userdata;
} EvidenceHandler;

/* What the operator and the job have decided. */
typedef struct EvidenceRules {
        uint64_t stale;                 /* usec: StaleGuestSec= */
        uint64_t quiet;                 /* usec: QuietSec=, UINT64_MAX: no guesses */
        const IgnoredGuest *ignored;
        size_t n_ignored;
} EvidenceRules;

/* The handler is called from the loop only. @probes: directory of the pinned maps. @roots must outlive it. 0 or -errno. */
int evidence_new(sd_event *event, const Roots *roots, const char *probes, const EvidenceHandler *handler, Evidence **ret);
Evidence *evidence_free(Evidence *evidence);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Evidence, evidence_free)

/* Takes in the events that are pending, and looks at the VMs that have not run yet. True if the picture has changed. */
bool evidence_update(Evidence *evidence);

/* evidence_update(), then everything else, then the judgement. */
void evidence_judge(Evidence *evidence, const EvidenceRules *rules, ActivityVerdict *ret);

/* The VMs of the last judgement, in the order of its guests. */
const GuestFacts *const *evidence_guests(const Evidence *evidence, size_t *ret_n);

/* From now on every VM that appears and every build that begins is kept in mind, see guests_mark(). */
void evidence_mark(Evidence *evidence);
const GuestFacts *const *evidence_guests_since_mark(const Evidence *evidence, size_t *ret_n);

/* What the probes said at the last judgement. */
const ProbeFacts *evidence_probes(const Evidence *evidence);
