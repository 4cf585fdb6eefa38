/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * When a calendar expression of systemd.time(7) elapses, as systemd itself (systemd-analyze calendar) says: @n times
 * at most, rising, after @after; realtime in seconds. Fewer than @n: there are no more. A fraction of a second is cut off.
 *
 * 0, -EINVAL when it is no such expression, -ENOENT when there is no systemd-analyze, -ETIMEDOUT when it does not end,
 * -EBADMSG when its answer cannot be understood, or another -errno. Waits for the answer, 5 s at most; measured for 16
 * times: 10 ms, and 15 ms in a zone that the expression names (systemd forks for each time), 0.8 s on an overloaded host.
 */
int calendar_next(const char *calendar, uint64_t after, size_t n, uint64_t *ret, size_t *ret_n);
