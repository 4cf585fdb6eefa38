/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Lower-case hexadecimal, two digits a byte; the caller frees it with g_free(). */
char *hex_format(const uint8_t *bytes, size_t n);
