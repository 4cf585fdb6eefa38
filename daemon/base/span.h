/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdint.h>

/*
 * A time span as systemd.time(7) writes it: "30", "2min 5s", "1h", "500ms", "infinity";
 * a number alone is seconds. Whole numbers and decimal fractions. *@ret in usec,
 * UINT64_MAX for infinity. 0, -EINVAL or -ERANGE.
 */
int span_parse(const char *text, uint64_t *ret);

/* The shortest exact form of the same; the caller frees it with g_free(). */
char *span_format(uint64_t usec);
