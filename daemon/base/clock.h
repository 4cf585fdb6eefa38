/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdint.h>

/*
 * The clock that policy code is given, so that tests need not wait.
 * Both in microseconds: realtime since the epoch, boottime since boot
 * (CLOCK_BOOTTIME: a suspended host has waited, too).
 */
typedef struct Clock {
        uint64_t (*realtime)(void *userdata);
        uint64_t (*boottime)(void *userdata);
        void *userdata;
} Clock;

extern const Clock system_clock;

static inline uint64_t clock_realtime(const Clock *clock) {
        return clock->realtime(clock->userdata);
}

static inline uint64_t clock_boottime(const Clock *clock) {
        return clock->boottime(clock->userdata);
}
