/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <glib.h>

#include "base/hex.h"

char *hex_format(const uint8_t *bytes, size_t n) {
        static const char digits[] = "0123456789abcdef";
        char *text = g_malloc(2 * n + 1);

        for (size_t i = 0; i < n; i++) {
                text[2 * i] = digits[bytes[i] >> 4];
                text[2 * i + 1] = digits[bytes[i] & 0xf];
        }
        text[2 * n] = '\0';

        return text;
}
