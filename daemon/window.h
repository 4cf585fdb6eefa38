/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

/*
 * Maintenance windows: "CALENDAR DURATION", such as "Sat,Sun 02:00 4h" or "*-*-01 03:00 Europe/Berlin 90min", in
 * systemd.time(7)'s syntax. systemd itself (systemd-analyze calendar) says when the next one begins, so that both read the
 * same text in the same way, time zones and summer time included.
 */
typedef struct Window Window;

/* 0, or -EINVAL with what is wrong in *@ret_problem (the caller frees it): the text, or that it cannot be checked. */
int window_parse(const char *text, Window **ret, char **ret_problem);
Window *window_free(Window *window);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Window, window_free)

const char *window_text(const Window *window);

/*
 * Is @now (realtime usec) in one of the windows? *@ret_until: when the answer changes (realtime usec; 0: it never does,
 * UINT64_MAX: not known); what is open may stay open longer, if more windows follow without a pause than were looked at.
 * No window at all is always open. An answer that systemd cannot give is no, and is logged.
 *
 * Asks systemd at most once an hour for each window (more often for one that begins more than 16 times an hour), and
 * calendar_next() says what that costs: in the last look this comes before the evidence.
 */
bool windows_open(Window *const *windows, size_t n, uint64_t now, uint64_t *ret_until);
