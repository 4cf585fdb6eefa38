/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <glib.h>

/* Scope-bound release of what is not GLib's: use g_autofree and g_autoptr for the rest. */

static inline void closep(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

#define _cleanup_close_ __attribute__((cleanup(closep)))

static inline int steal_fd(int *fd) {
        int r = *fd;

        *fd = -1;
        return r;
}

#define USEC_PER_SEC  ((uint64_t) 1000000)
#define USEC_PER_MSEC ((uint64_t) 1000)
#define USEC_INFINITY UINT64_MAX
