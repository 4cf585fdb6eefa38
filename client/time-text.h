/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdint.h>

/*
 * RFC 3339, "YYYY-MM-DD HH:MM[:SS]" or "YYYY-MM-DD" in local time, or "@SECONDS".
 * Microseconds since the epoch. 0, -EINVAL or -ERANGE.
 */
int parse_timestamp(const char *text, uint64_t *ret_usec);

/* A span (systemd.time(7)) counts from @now on. -ETIME for what is not in the future. */
int parse_deadline(const char *text, uint64_t now, uint64_t *ret_usec);

/* A span ("2h", "2h ago") counts from @now back. */
int parse_since(const char *text, uint64_t now, uint64_t *ret_usec);

/* "2026-07-01 12:00:00 CEST" in local time; "-" for 0. The caller frees it. */
char *format_timestamp(uint64_t usec);

/* "12 ms", "1.3 s", "2 min 5 s", "3 h 20 min". The caller frees it. */
char *format_span(uint64_t usec);
