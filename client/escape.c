/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdbool.h>
#include <string.h>

#include <glib.h>

#include "client/escape.h"

static bool turns_direction(gunichar c) {
        return c == 0x061c || c == 0x200e || c == 0x200f ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

char *escape_terminal(const char *text) {
        g_autoptr(GString) out = g_string_new(NULL);
        const char *p = text ?: "", *end = p + strlen(p);

        while (p < end) {
                gunichar c = g_utf8_get_char_validated(p, end - p);

                if (c == (gunichar) -1 || c == (gunichar) -2) {
                        g_string_append_printf(out, "\\x%02x", (unsigned char) *p++);
                        continue;
                }

                if (c < 0x20 || (c >= 0x7f && c < 0xa0))
                        g_string_append_printf(out, "\\x%02x", c);
                else if (turns_direction(c))
                        g_string_append_printf(out, "\\u%04x", c);
                else
                        g_string_append_unichar(out, c);
                p = g_utf8_next_char(p);
        }

        return g_string_free(g_steal_pointer(&out), false);
}
