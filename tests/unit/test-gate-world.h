/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/gate.h"

/* A host on which 1.5.05 may be replaced by 1.5.16 right now; each test spoils something. */
typedef struct World {
        HostFacts host;
        ImageFacts image;
        Mapping mapping;
        Policy policy;
        MomentFacts moment;
        ActivityVerdict activity;
        ActivityReason reasons[4];
        HoldFacts holds[5];
} World;

static inline void world_init(World *w) {
        static const Version min_seamldr[] = { { 1, 5, 0 }, { 2, 0, 0 } };
        static const uint32_t host_cpus[] = { 0x806f8 }, image_cpus[] = { 0x806f8, 0xc06f0, 0xa06f0 };
        static char text[] = "no TD exists";

        *w = (World) {
                .host = {
                        .have_running = true, .running = { 1, 5, 5 },
                        .have_seamldr = true, .seamldr = { 1, 5, 0 },
                        .have_remaining = true, .remaining = 9,
                        .have_svn = true, .svn = 0x105,
                        .cpus = host_cpus, .n_cpus = 1,
                        .cpus_present = 4, .cpus_online = 4,
                },
                .mapping = {
                        .version = { 1, 5, 16 }, .min_module = { 1, 5, 1 },
                        .min_seamldr = min_seamldr, .n_min_seamldr = 2,
                },
                .image = {
                        .version = { 1, 5, 16 }, .verdict = IMAGE_OK, .svn = 0x10b,
                        .cpus = image_cpus, .n_cpus = 3,
                },
                .policy = { .keep_remaining = 1 },
                .moment = { .now = 1700000000000000 },
                .activity = { .activity = ACTIVITY_IDLE, .tier = TIER_PROVEN, .text = text, .youngest = UINT64_MAX },
        };
        w->image.mapping = &w->mapping;
        w->activity.reasons = w->reasons;
        w->moment.activity = &w->activity;
        w->moment.holds = w->holds;
}

/* One more reason why a TD may be in its build. The strings are borrowed. */
static inline ActivityReason *world_add_reason(World *w, bool building, char *subject, char *text) {
        ActivityReason *reason = &w->reasons[w->activity.n_reasons++];

        *reason = (ActivityReason) { .building = building, .subject = subject, .text = text };
        if (w->activity.activity != ACTIVITY_BUSY)
                w->activity.activity = building ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN;
        return reason;
}

/* One more hold of backup[7]; when it ends by itself is in @until. */
static inline HoldFacts *world_add_hold(World *w, HoldWhat what, HoldMode mode, uint64_t until) {
        HoldFacts *hold = &w->holds[w->moment.n_holds++];

        *hold = (HoldFacts) { .id = (uint32_t) w->moment.n_holds, .what = what, .mode = mode, .who = "backup", .why = "a snapshot runs",
                              .unit = "backup.service", .uid = 1000, .pid = 7, .since = w->moment.now - 1, .until = until };
        return hold;
}
