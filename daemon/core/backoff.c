/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "core/backoff.h"

uint64_t backoff_delay(unsigned retry, uint64_t random) {
        uint64_t top = retry < 16 ? BACKOFF_MIN_USEC << retry : BACKOFF_MAX_USEC;

        if (top > BACKOFF_MAX_USEC)
                top = BACKOFF_MAX_USEC;

        return BACKOFF_MIN_USEC + random % (top - BACKOFF_MIN_USEC + 1);
}
