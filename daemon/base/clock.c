/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <time.h>

#include "base/clock.h"
#include "base/util.h"

static uint64_t now(clockid_t id) {
        struct timespec ts;

        clock_gettime(id, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

static uint64_t system_realtime(void *userdata) {
        return now(CLOCK_REALTIME);
}

static uint64_t system_boottime(void *userdata) {
        return now(CLOCK_BOOTTIME);
}

const Clock system_clock = { system_realtime, system_boottime, NULL };
