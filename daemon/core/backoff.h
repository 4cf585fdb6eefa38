/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdint.h>

/* Between attempts: exponential with full jitter, so that hosts of a fleet drift apart. */
#define BACKOFF_MIN_USEC UINT64_C(100000)
#define BACKOFF_MAX_USEC UINT64_C(30000000)

/*
 * @retry: 1 for the first. @random: any 64 bits. Uniform between BACKOFF_MIN_USEC and
 * the smaller of BACKOFF_MAX_USEC and BACKOFF_MIN_USEC * 2^@retry.
 */
uint64_t backoff_delay(unsigned retry, uint64_t random);
