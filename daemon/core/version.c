/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdio.h>

#include "core/version.h"

static int parse_part(const char **text, uint16_t *ret) {
        uint32_t value = 0;
        const char *p = *text;

        if (*p < '0' || *p > '9')
                return -EINVAL;

        for (; *p >= '0' && *p <= '9'; p++) {
                value = value * 10 + (uint32_t) (*p - '0');
                if (value > UINT16_MAX)
                        return -EINVAL;
        }

        *text = p;
        *ret = (uint16_t) value;
        return 0;
}

int version_parse(const char *text, Version *ret) {
        Version v = {};

        if (parse_part(&text, &v.major) < 0 || *text++ != '.' ||
            parse_part(&text, &v.minor) < 0 || *text++ != '.' ||
            parse_part(&text, &v.update) < 0 || *text != '\0')
                return -EINVAL;

        *ret = v;
        return 0;
}

const char *version_format(Version v, char buffer[static VERSION_STRING_MAX]) {
        snprintf(buffer, VERSION_STRING_MAX, "%u.%u.%02u", v.major, v.minor, v.update);
        return buffer;
}

int version_compare(Version a, Version b) {
        if (a.major != b.major)
                return a.major < b.major ? -1 : 1;
        if (a.minor != b.minor)
                return a.minor < b.minor ? -1 : 1;
        if (a.update != b.update)
                return a.update < b.update ? -1 : 1;
        return 0;
}

bool version_same_line(Version a, Version b) {
        return a.major == b.major && a.minor == b.minor;
}
