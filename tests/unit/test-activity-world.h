/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <string.h>

#include "base/util.h"
#include "core/activity.h"

/* Time since boot. */
#define NOW   (90000 * USEC_PER_SEC)
#define STALE (600 * USEC_PER_SEC)

/* What is known of a host, put together piece by piece. Needs cmocka.h before it. */
typedef struct Host {
        HostActivity facts;
        GuestFacts guests[8];
        const GuestFacts *list[8];
        BuildFacts builds[8];
        IgnoredGuest ignored[4];
} Host;

/* Nothing helps here: no probes, no count, no guesses. The list of VMs is complete, and empty. */
static inline void host_init(Host *h) {
        memset(h, 0, sizeof(*h));
        h->facts = (HostActivity) {
                .tds_error = "the misc cgroup's count of TDs cannot be read",
                .probes = { .unavailable = "the probes are not loaded" },
                .now = NOW, .last_create = NOW - 20 * USEC_PER_SEC, .stale = STALE, .quiet = UINT64_MAX,
        };
}

/* 30 s old and alone in its process, of which nothing can be looked at. */
static inline GuestFacts *host_add_guest(Host *h, uint32_t pid) {
        GuestFacts *guest = &h->guests[h->facts.n_guests++];

        *guest = (GuestFacts) { .key = "100-9", .pid = pid, .start_time = pid * UINT64_C(10), .name = "qemu", .machine = "", .unit = "",
                                .known = NOW - 30 * USEC_PER_SEC };
        return guest;
}

static inline GuestFacts *host_add_running(Host *h, uint32_t pid) {
        GuestFacts *guest = host_add_guest(h, pid);

        guest->signs.vcpu_pid = SIGN_SEEN;
        guest->ran = NOW - 1;
        return guest;
}

/* One that was looked at, and has not run. */
static inline GuestFacts *host_add_new(Host *h, uint32_t pid) {
        GuestFacts *guest = host_add_guest(h, pid);

        guest->signs = (GuestSigns) { SIGN_ABSENT, SIGN_ABSENT, SIGN_ABSENT };
        return guest;
}

static inline BuildFacts *host_add_build(Host *h, uint32_t pid, bool finalized) {
        BuildFacts *build = &h->builds[h->facts.probes.n_builds++];

        *build = (BuildFacts) { .td = 0xff110000 + h->facts.probes.n_builds, .pid = pid, .name = "qemu", .began = NOW - 10 * USEC_PER_SEC,
                                .finalized = finalized };
        return build;
}

static inline void host_count_tds(Host *h, uint64_t tds) {
        h->facts.have_tds = true;
        h->facts.tds = tds;
        h->facts.tds_error = NULL;
}

/* Probes that are older than every TD. */
static inline void host_probe_all(Host *h) {
        h->facts.probes.unavailable = NULL;
        h->facts.probes.complete = true;
}

/* Probes that have not seen the TDs that were there before them. */
static inline void host_probe_some(Host *h) {
        h->facts.probes.unavailable = NULL;
        h->facts.probes.complete = false;
}

static inline void host_ignore(Host *h, uint32_t pid, uint64_t start_time) {
        h->ignored[h->facts.n_ignored++] = (IgnoredGuest) { pid, start_time };
}

/* What holds for every verdict. */
static inline void check_verdict(const Host *h, const ActivityVerdict *v) {
        unsigned building = 0, ignored = 0;
        Tier strongest = TIER_NONE;

        assert_true(v->text && *v->text && !strstr(v->text, "(null)"));
        assert_int_equal(v->n_guests, h->facts.n_guests);
        assert_int_equal(v->impossible, h->facts.impossible != NULL);
        assert_int_equal(v->no_tds, h->facts.have_tds && h->facts.tds == 0);

        /* A reason is the contrary of idle, and the answer's text is one of them. */
        for (size_t i = 0; i < v->n_reasons; i++) {
                const ActivityReason *reason = &v->reasons[i];

                assert_true(*reason->text && !strstr(reason->text, "(null)"));
                assert_non_null(strstr(reason->text, reason->subject));
                assert_int_equal(reason->building, reason->tier != TIER_NONE);
                ignored += reason->ignored;
                if (reason->ignored)
                        continue;
                building += reason->building;
                strongest = MIN(strongest, reason->tier);
        }
        assert_int_equal(v->n_ignored, ignored);
        assert_int_equal(v->activity, v->n_reasons == ignored ? ACTIVITY_IDLE : building > 0 ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN);
        if (v->activity != ACTIVITY_IDLE)
                assert_int_equal(v->tier, strongest);
        else
                /* What is ignored on request rests on nothing. */
                assert_int_equal(v->tier == TIER_NONE, ignored > 0);

        for (size_t i = 0; i < v->n_guests; i++) {
                const GuestVerdict *g = &v->guests[i];

                assert_true(*g->evidence && !strstr(g->evidence, "(null)"));
                assert_true(g_str_has_suffix(g->subject, "]") && strchr(g->subject, '['));
                if (g->blocks)
                        assert_int_not_equal(v->activity, ACTIVITY_IDLE);
                if (g->phase == GUEST_RUNNING)
                        assert_true(!g->blocks && !g->exact);
        }
}

static inline void host_judge(Host *h, ActivityVerdict *ret) {
        for (size_t i = 0; i < h->facts.n_guests; i++) {
                h->list[i] = &h->guests[i];
                h->guests[i].siblings = 0;
                for (size_t k = 0; k < h->facts.n_guests; k++)
                        h->guests[i].siblings += h->guests[k].pid == h->guests[i].pid;
        }
        h->facts.guests = h->list;
        h->facts.probes.builds = h->builds;
        h->facts.ignored = h->ignored;

        activity_judge(&h->facts, ret);
        check_verdict(h, ret);
}
