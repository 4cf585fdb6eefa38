/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "platform/roots.h"

/* What /proc says about a process: who it is, and whether guests ran in it. */
typedef struct ProcessStat {
        char *name;             /* its comm: valid UTF-8 without control characters */
        uint64_t start_time;    /* clock ticks since boot */
        uint64_t guest_time;    /* clock ticks that its threads, those that have ended too, spent in guests */
} ProcessStat;

/* Of a process, or of one thread (whose guest_time is its process's all the same). 0 or -errno: -ENOENT, -ESRCH if it is gone. */
int process_stat_read(const Roots *roots, uint32_t pid, ProcessStat *ret);
void process_stat_clear(ProcessStat *stat);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ProcessStat, process_stat_clear)

/* The process that a thread belongs to. 0 or -errno. */
int process_of_thread(const Roots *roots, uint32_t tid, uint32_t *ret);

/*
 * The systemd unit that a process is in ("" for none), and, if that is a machine's scope, the machine's name ("" for none).
 * The caller frees them. 0 or -errno.
 */
int process_unit_read(const Roots *roots, uint32_t pid, char **ret_unit, char **ret_machine);

/* The parts that need no file. */
int process_stat_parse(const char *text, size_t size, ProcessStat *ret);        /* -EBADMSG */
char *process_unit_parse(const char *cgroup);
char *process_machine_parse(const char *unit);
