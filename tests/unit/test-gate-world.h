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
} World;

static inline void world_init(World *w) {
        static const Version min_seamldr[] = { { 1, 5, 0 }, { 2, 0, 0 } };
        static const uint32_t host_cpus[] = { 0x806f8 }, image_cpus[] = { 0x806f8, 0xc06f0, 0xa06f0 };

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
                .moment = { .activity = { ACTIVITY_IDLE, "no TD exists" }, .now = 1700000000000000 },
        };
        w->image.mapping = &w->mapping;
}
