/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <string.h>

#include "base/util.h"
#include "core/activity.h"

/* Time since boot. */
#define NOW   (90000 * USEC_PER_SEC)
#define STALE (600 * USEC_PER_SEC)

/* What is known of a host, put together piece by piece. */
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
                                .known = NOW - 30 * USEC_PER_SEC, .alone = NOW - 30 * USEC_PER_SEC };
        return guest;
}

/* Known since then, and alone since then. */
static inline void host_known(GuestFacts *guest, uint64_t when) {
        guest->known = guest->alone = when;
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
