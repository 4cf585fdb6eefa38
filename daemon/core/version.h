/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * A version of a TDX module or of the P-SEAMLDR, "major.minor.update"; the kernel
 * and Intel write the update with at least two digits ("1.5.06").
 */
typedef struct Version {
        uint16_t major;
        uint16_t minor;
        uint16_t update;
} Version;

#define VERSION_STRING_MAX 18 /* "65535.65535.65535" and NUL */

/* Three decimal numbers and two dots, nothing else; 0 or -EINVAL. */
int version_parse(const char *text, Version *ret);

/* The kernel's own form (TDX_VERSION_FMT, "%u.%u.%02u"). Returns @buffer. */
const char *version_format(Version v, char buffer[static VERSION_STRING_MAX]);

/* <0, 0, >0, compared as a whole version. */
int version_compare(Version a, Version b);

/* The same major.minor: the only line along which a module may be updated. */
bool version_same_line(Version a, Version b);

/* The compound literal lives as long as the enclosing block: for arguments only. */
#define VERSION_STRING(v) version_format((v), (char[VERSION_STRING_MAX]) { 0 })
