/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <glib.h>

#include "base/fileio.h"
#include "base/span.h"
#include "base/util.h"
#include "client/time-text.h"

#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR   (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY    (24 * USEC_PER_HOUR)

static int parse_epoch(const char *text, uint64_t *ret_usec) {
        uint64_t seconds;
        int r;

        r = parse_u64(text, &seconds);
        if (r < 0)
                return r;

        return __builtin_mul_overflow(seconds, USEC_PER_SEC, ret_usec) ? -ERANGE : 0;
}

int parse_timestamp(const char *text, uint64_t *ret_usec) {
        g_autoptr(GTimeZone) local = g_time_zone_new_local();
        g_autoptr(GDateTime) when = NULL;
        g_autofree char *full = NULL;

        if (text[0] == '@')
                return parse_epoch(text + 1, ret_usec);

        /* ISO 8601 knows more forms (weeks, days of the year); only the one with dashes is meant. */
        if (strlen(text) < 10 || strspn(text, "0123456789") != 4 || text[4] != '-' || text[7] != '-')
                return -EINVAL;

        if (strlen(text) == 10)
                full = g_strconcat(text, "T00:00:00", NULL);
        else if (strlen(text) == 16 && text[13] == ':')
                full = g_strconcat(text, ":00", NULL);
        else
                full = g_strdup(text);

        when = g_date_time_new_from_iso8601(full, local);
        if (!when)
                return -EINVAL;
        if (g_date_time_to_unix(when) < 0)
                return -ERANGE;

        *ret_usec = (uint64_t) g_date_time_to_unix(when) * USEC_PER_SEC +
                    (uint64_t) g_date_time_get_microsecond(when);
        return 0;
}

int parse_deadline(const char *text, uint64_t now, uint64_t *ret_usec) {
        uint64_t span, when;
        int r;

        r = span_parse(text, &span);
        if (r == -ERANGE)
                return r;
        if (r >= 0) {
                if (__builtin_add_overflow(now, span, &when)) /* infinity, too */
                        return -ERANGE;
        } else {
                r = parse_timestamp(text, &when);
                if (r < 0)
                        return r;
        }

        if (when <= now)
                return -ETIME;

        *ret_usec = when;
        return 0;
}

int parse_since(const char *text, uint64_t now, uint64_t *ret_usec) {
        g_autofree char *span_text = g_strdup(text);
        uint64_t span;
        int r;

        if (g_str_has_suffix(span_text, " ago"))
                span_text[strlen(span_text) - strlen(" ago")] = '\0';
        r = span_parse(span_text, &span);
        if (r == -ERANGE)
                return r;
        if (r < 0)
                return parse_timestamp(text, ret_usec);

        *ret_usec = span < now ? now - span : 0;
        return 0;
}

char *format_timestamp(uint64_t usec) {
        g_autoptr(GDateTime) when = NULL;

        if (usec == 0)
                return g_strdup("-");
        if (usec / USEC_PER_SEC > INT64_MAX)
                return g_strdup("never");
        when = g_date_time_new_from_unix_local((int64_t) (usec / USEC_PER_SEC));

        return when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S %Z") : g_strdup("never");
}

char *format_span(uint64_t usec) {
        uint64_t seconds = usec / USEC_PER_SEC;

        if (usec < USEC_PER_SEC)
                return g_strdup_printf("%" PRIu64 " ms", usec / USEC_PER_MSEC);
        if (usec < USEC_PER_MINUTE)
                return g_strdup_printf("%" PRIu64 ".%" PRIu64 " s", seconds, usec % USEC_PER_SEC / 100000);
        if (usec < USEC_PER_HOUR)
                return g_strdup_printf("%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
        if (usec < USEC_PER_DAY)
                return g_strdup_printf("%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);

        return g_strdup_printf("%" PRIu64 " d %" PRIu64 " h", seconds / 86400, seconds / 3600 % 24);
}
