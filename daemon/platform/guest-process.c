/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "platform/guests-internal.h"
#include "platform/process.h"

/* How far the clock may have been set between the start of a thread and of its VM. */
#define CLOCK_STEP (60 * USEC_PER_SEC)

static uint64_t start_of(const ProcessStat *stat) {
        uint64_t since_boot = stat->start_time * USEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK);

        return clock_realtime(&system_clock) - clock_boottime(&system_clock) + since_boot;
}

void guest_find_process(const Guests *g, Guest *guest) {
        g_auto(ProcessStat) thread = {}, process = {};
        uint32_t pid;

        if (process_stat_read(g->roots, guest->tid, &thread) < 0 || process_of_thread(g->roots, guest->tid, &pid) < 0 ||
            process_stat_read(g->roots, pid, &process) < 0)
                return;
        if (guest->facts.since != 0 && start_of(&thread) > guest->facts.since + CLOCK_STEP)
                return;

        guest->facts.pid = pid;
        guest->facts.start_time = process.start_time;
        guest->guest_time = process.guest_time;
        if (guest->facts.since == 0)
                guest->facts.since = start_of(&process);
}

static void set_string(Guests *g, char **own, const char **facts, char *value) {
        if (g_strcmp0(*own, value) != 0)
                g->changed = true;
        g_free(*own);
        *own = value;
        *facts = value;
}

void guest_describe(Guests *g, Guest *guest) {
        g_auto(ProcessStat) stat = {};
        GuestFacts *f = &guest->facts;
        char *unit, *machine;

        if (f->start_time == 0 || process_stat_read(g->roots, f->pid, &stat) < 0 || stat.start_time != f->start_time)
                return;
        set_string(g, &guest->name, &f->name, g_steal_pointer(&stat.name));
        if (process_unit_read(g->roots, f->pid, &unit, &machine) < 0)
                return;
        set_string(g, &guest->unit, &f->unit, unit);
        set_string(g, &guest->machine, &f->machine, machine);
}

bool guest_process_is_gone(const Guests *g, const Guest *guest) {
        g_auto(ProcessStat) stat = {};
        int r;

        if (guest->facts.start_time == 0)
                return false;
        r = process_stat_read(g->roots, guest->facts.pid, &stat);
        return r == -ENOENT || r == -ESRCH || (r >= 0 && stat.start_time != guest->facts.start_time);
}
