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
        uint64_t first, last;
        CpuSet set = {};
        int r;

        if (!*text)
                return -EINVAL;

        while ((r = cpu_list_next(&text, &first, &last)) > 0) {
                if (last >= SIM_CPUS_MAX)
                        return -EINVAL;
                for (uint64_t i = first; i <= last; i++)
                        cpu_set_put(&set, (unsigned) i, true);
        }
        if (r < 0)
                return r;

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
