/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <glib.h>

#include "base/span.h"
#include "base/util.h"

static const struct {
        const char *name;
        uint64_t usec;
} units[] = {
        /* Longest first within a size: formatting takes the first that fits. */
        { "w", 7 * 24 * 3600 * USEC_PER_SEC }, { "week", 7 * 24 * 3600 * USEC_PER_SEC }, { "weeks", 7 * 24 * 3600 * USEC_PER_SEC },
        { "d", 24 * 3600 * USEC_PER_SEC },     { "day", 24 * 3600 * USEC_PER_SEC },      { "days", 24 * 3600 * USEC_PER_SEC },
        { "h", 3600 * USEC_PER_SEC },          { "hr", 3600 * USEC_PER_SEC },            { "hour", 3600 * USEC_PER_SEC },
        { "hours", 3600 * USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },          { "m", 60 * USEC_PER_SEC },               { "minute", 60 * USEC_PER_SEC },
        { "minutes", 60 * USEC_PER_SEC },
        { "s", USEC_PER_SEC },                 { "sec", USEC_PER_SEC },                  { "second", USEC_PER_SEC },
        { "seconds", USEC_PER_SEC },
        { "ms", USEC_PER_MSEC },               { "msec", USEC_PER_MSEC },
        { "us", 1 },                           { "usec", 1 },
};

static bool find_unit(const char *name, size_t n, uint64_t *ret) {
        if (n == 0) {
                *ret = USEC_PER_SEC;
                return true;
        }

        for (size_t i = 0; i < G_N_ELEMENTS(units); i++)
                if (strlen(units[i].name) == n && memcmp(units[i].name, name, n) == 0) {
                        *ret = units[i].usec;
                        return true;
                }

        return false;
}

/* Digits, and perhaps a point and more digits: the whole part and the fraction in millionths. */
static int parse_number(const char **p, uint64_t *ret_whole, uint64_t *ret_millionths) {
        uint64_t whole = 0, fraction = 0, scale = 100000;

        if (!g_ascii_isdigit(**p))
                return -EINVAL;

        for (; g_ascii_isdigit(**p); (*p)++)
                if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, (uint64_t) (**p - '0'), &whole))
                        return -ERANGE;

        if (**p == '.') {
                (*p)++;
                if (!g_ascii_isdigit(**p))
                        return -EINVAL;
                for (; g_ascii_isdigit(**p); (*p)++, scale /= 10)
                        fraction += (uint64_t) (**p - '0') * scale;
        }

        *ret_whole = whole;
        *ret_millionths = fraction;
        return 0;
}

int span_parse(const char *text, uint64_t *ret) {
        uint64_t sum = 0;
        const char *p = text + strspn(text, " ");
        int r;

        if (strcmp(p, "infinity") == 0) {
                *ret = USEC_INFINITY;
                return 0;
        }
        if (!*p)
                return -EINVAL;

        while (*p) {
                uint64_t whole, millionths, unit, part;
                size_t n;

                r = parse_number(&p, &whole, &millionths);
                if (r < 0)
                        return r;

                p += strspn(p, " ");
                n = strspn(p, "abcdefghijklmnopqrstuvwxyz");
                if (!find_unit(p, n, &unit))
                        return -EINVAL;
                p += n;
                p += strspn(p, " ");

                if (__builtin_mul_overflow(whole, unit, &part) || __builtin_add_overflow(sum, part, &sum) ||
                    __builtin_add_overflow(sum, unit / 1000000 * millionths + unit % 1000000 * millionths / 1000000, &sum) ||
                    sum == USEC_INFINITY)
                        return -ERANGE;
        }

        *ret = sum;
        return 0;
}

char *span_format(uint64_t usec) {
        static const size_t shown[] = { 0, 3, 6, 10, 14, 18, 20 };
        g_autoptr(GString) text = g_string_new(NULL);

        if (usec == USEC_INFINITY)
                return g_strdup("infinity");
        if (usec == 0)
                return g_strdup("0");

        for (size_t i = 0; i < G_N_ELEMENTS(shown); i++) {
                uint64_t unit = units[shown[i]].usec;

                if (usec < unit)
                        continue;
                g_string_append_printf(text, "%s%" G_GUINT64_FORMAT "%s", text->len > 0 ? " " : "", usec / unit, units[shown[i]].name);
                usec %= unit;
        }

        return g_string_free(g_steal_pointer(&text), false);
}
