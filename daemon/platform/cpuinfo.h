/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include "platform/roots.h"

/* What /proc/cpuinfo says about all online CPUs together. */
typedef struct CpuInfo {
        uint32_t *signatures;   /* distinct CPUID.1:EAX, the first CPU's first */
        size_t n_signatures;
        bool has_tdx_host;      /* flag tdx_host_platform */
        bool has_seamret_bug;   /* bug seamret_invd_vmcs */
} CpuInfo;

/* Replaces what is in @info. What cannot be read stays empty. */
void cpuinfo_read(const Roots *roots, CpuInfo *info);
void cpuinfo_clear(CpuInfo *info);

/* CPUID.1:EAX from the numbers that /proc/cpuinfo shows (Intel SDM vol. 2, CPUID). */
uint32_t cpuinfo_signature(unsigned family, unsigned model, unsigned stepping);
