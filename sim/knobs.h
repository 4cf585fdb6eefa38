/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "core/version.h"

#define SIM_CPUS_MAX 1024U

typedef struct CpuSet {
        uint64_t bits[SIM_CPUS_MAX / 64];
} CpuSet;

typedef enum World {
        WORLD_A,        /* the kernel asks, the module refuses during a build: device-busy */
        WORLD_B,        /* the kernel asks, the module cannot answer: refused, nothing harmed */
        WORLD_C,        /* the kernel does not ask */
} World;

typedef enum KvmTdx {
        KVM_TDX_YES,
        KVM_TDX_NO,
        KVM_TDX_ABSENT,
} KvmTdx;

/* misc-tdx: a number, or one of these. */
#define MISC_TDX_AUTO   (-1)
#define MISC_TDX_ABSENT (-2)

/* Everything that can be set. Plain values: a copy is a snapshot. */
typedef struct Knobs {
        bool lost;
        Version module;
        Version seamldr;
        uint32_t remaining;
        uint32_t cpu;
        CpuSet present;
        CpuSet online;
        World world;

        /* what the next uploads end with */
        uint32_t busy;
        uint32_t refuse;
        uint32_t lose;
        uint32_t nothing;
        char error[64];
        char error_status[64];
        bool have_mismatch;
        Version mismatch;
        bool stuck;

        /* what the files answer */
        bool sticky;
        uint32_t ebusy_zero;
        int zero_error;
        int data_error;
        char read_error[512];
        char open_error[512];
        uint32_t read_delay_ms;

        uint32_t receive_ms;
        uint32_t prepare_ms;
        uint32_t transfer_ms;
        uint32_t program_ms;
        uint32_t critical_ms;

        uint32_t uevents_queue;

        char boot_id[40];
        int32_t misc_tdx;
        uint32_t misc_capacity;
        bool refund_refused;
        KvmTdx kvm_intel_tdx;
        bool kvm;
        bool cpu_tdx;
        bool tdx_host;
        bool supported;
        bool bug;
        bool signer_check;
} Knobs;

void knobs_init(Knobs *knobs);

/* -ENOENT: no such key. */
int knobs_get(const Knobs *knobs, const char *key, GString *out);
void knobs_get_all(const Knobs *knobs, GString *out);

/* 0, or -ENOENT (no such key) or -EINVAL (bad value) and a text in *@ret_text. */
int knobs_set(Knobs *knobs, const char *key, const char *value, char **ret_text);

/* What belongs together after a change; 0 or -EINVAL and a text. */
int knobs_check(const Knobs *knobs, char **ret_text);

/* The errno of the first "GLOB:ERRNO" in a comma-separated list that fits, or 0. */
int fault_lookup(const char *faults, const char *path);

/* An errno's name -> its number, 0 when there is none. */
int errno_by_name(const char *name);

bool cpu_set_has(const CpuSet *set, unsigned cpu);
void cpu_set_put(CpuSet *set, unsigned cpu, bool value);
bool cpu_set_equal(const CpuSet *a, const CpuSet *b);
int cpu_set_parse(const char *text, CpuSet *ret);
void cpu_set_format(const CpuSet *set, GString *out);
