/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/log.h"
#include "platform/abi.h"
#include "platform/cpuinfo.h"

uint32_t cpuinfo_signature(unsigned family, unsigned model, unsigned stepping) {
        unsigned base = family < 15 ? family : 15, extended = family < 15 ? 0 : family - 15;

        return (extended & 0xff) << 20 | (model >> 4 & 0xf) << 16 | (base & 0xf) << 8 | (model & 0xf) << 4 | (stepping & 0xf);
}

void cpuinfo_clear(CpuInfo *info) {
        g_free(info->signatures);
        *info = (CpuInfo) {};
}

static void add_signature(CpuInfo *info, uint32_t signature) {
        for (size_t i = 0; i < info->n_signatures; i++)
                if (info->signatures[i] == signature)
                        return;

        info->signatures = g_renew(uint32_t, info->signatures, info->n_signatures + 1);
        info->signatures[info->n_signatures++] = signature;
}

static bool has_word(const char *words, const char *word) {
        size_t n = strlen(word);

        for (const char *p = strstr(words, word); p; p = strstr(p + n, word))
                if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
                        return true;

        return false;
}

/* One "key : value" line; -1 marks a number that this CPU's block has not shown yet. */
typedef struct Block {
        long family, model, stepping;
} Block;

/* -1 for what CPUID.1:EAX cannot hold, "unknown" among it. */
static long parse_number(const char *text, unsigned max) {
        uint64_t value;

        return parse_u64(text, &value) >= 0 && value <= max ? (long) value : -1;
}

static void parse_line(CpuInfo *info, Block *block, char *line, bool take_signatures) {
        char *colon = strchr(line, ':'), *value;

        if (!colon)
                return;
        value = colon[1] == ' ' ? colon + 2 : colon + 1;
        *colon = '\0';
        g_strchomp(line);

        if (strcmp(line, "processor") == 0)
                *block = (Block) { -1, -1, -1 };
        else if (strcmp(line, "cpu family") == 0)
                block->family = parse_number(value, 15 + 255);
        else if (strcmp(line, "model") == 0)
                block->model = parse_number(value, 255);
        else if (strcmp(line, "flags") == 0)
                info->has_tdx_host = info->has_tdx_host || has_word(value, ABI_FLAG_TDX_HOST);
        else if (strcmp(line, "bugs") == 0)
                info->has_seamret_bug = info->has_seamret_bug || has_word(value, ABI_BUG_SEAMRET);
        else if (strcmp(line, "stepping") == 0) {
                block->stepping = parse_number(value, 15);
                if (take_signatures && block->family >= 0 && block->model >= 0 && block->stepping >= 0)
                        add_signature(info, cpuinfo_signature((unsigned) block->family, (unsigned) block->model,
                                                              (unsigned) block->stepping));
        }
}

void cpuinfo_read(const Roots *roots, CpuInfo *info) {
        g_autofree char *text = NULL;
        Block block = { -1, -1, -1 };
        char *save = NULL;
        int r;

        cpuinfo_clear(info);
        if (roots->cpu_signature != 0)
                add_signature(info, roots->cpu_signature);

        r = read_file_at(roots->proc_fd, ABI_CPUINFO, LIMIT_CPUINFO_FILE, &text, NULL);
        if (r < 0) {
                log_warning(r, "Failed to read /proc/cpuinfo, the CPU signature is unknown");
                return;
        }

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                parse_line(info, &block, line, roots->cpu_signature == 0);
}
