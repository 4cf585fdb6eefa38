/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/fileio.h"
#include "sim/knobs.h"

bool cpu_set_has(const CpuSet *set, unsigned cpu) {
        return cpu < SIM_CPUS_MAX && (set->bits[cpu / 64] >> cpu % 64 & 1);
}

void cpu_set_put(CpuSet *set, unsigned cpu, bool value) {
        uint64_t bit = UINT64_C(1) << cpu % 64;

        if (value)
                set->bits[cpu / 64] |= bit;
        else
                set->bits[cpu / 64] &= ~bit;
}

bool cpu_set_equal(const CpuSet *a, const CpuSet *b) {
        return memcmp(a->bits, b->bits, sizeof(a->bits)) == 0;
}

/* The kernel's list format, "0-3,8". */
int cpu_set_parse(const char *text, CpuSet *ret) {
        g_auto(GStrv) parts = g_strsplit(text, ",", 0);
        CpuSet set = {};

        if (!*text)
                return -EINVAL;

        for (char **p = parts; *p; p++) {
                uint64_t first, last;
                char *dash = strchr(*p, '-');

                if (dash)
                        *dash++ = '\0';
                if (parse_u64(*p, &first) < 0)
                        return -EINVAL;
                last = first;
                if (dash && parse_u64(dash, &last) < 0)
                        return -EINVAL;
                if (first > last || last >= SIM_CPUS_MAX)
                        return -EINVAL;
                for (uint64_t i = first; i <= last; i++)
                        cpu_set_put(&set, (unsigned) i, true);
        }

        *ret = set;
        return 0;
}

void cpu_set_format(const CpuSet *set, GString *out) {
        const char *separator = "";

        for (unsigned i = 0; i < SIM_CPUS_MAX; i++) {
                unsigned last = i;

                if (!cpu_set_has(set, i))
                        continue;
                while (cpu_set_has(set, last + 1))
                        last++;
                if (last > i)
                        g_string_append_printf(out, "%s%u-%u", separator, i, last);
                else
                        g_string_append_printf(out, "%s%u", separator, i);
                separator = ",";
                i = last;
        }
}
