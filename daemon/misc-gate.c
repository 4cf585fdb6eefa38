/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "manager-internal.h"

/* BuildGate=misc: closed right before the last look, opened when the kernel is done. See platform/build-gate.h. */

static int save(const char *text, void *userdata) {
        Manager *m = userdata;

        return store_set(m->store, STORE_KEY_BUILD_GATE, text);
}

int misc_gate_close(Manager *m, Attempt *attempt) {
        g_autofree char *saved = NULL, *group = NULL;
        BuildGateRequest request = { .roots = m->roots, .groups = m->config->build_gate_groups, .save = save, .userdata = m };
        int r;

        if (!m->config->build_gate)
                return 0;

        r = store_get(m->store, STORE_KEY_BUILD_GATE, &saved);
        if (r < 0)
                return r;
        request.saved = saved && *saved ? saved : NULL;
        r = build_gate_close(&request, &attempt->gate, &group);
        if (r < 0) {
                g_free(attempt->gate_problem);
                attempt->gate_problem = g_strdup_printf("BuildGate=misc cannot be closed%s%s (%s); see doc/build-gate.md, or set BuildGate=no",
                                                        group ? " for " : "", group ?: "", g_strerror(-r));
                log_error(r, "Job %u: %s", attempt->job->record->id, attempt->gate_problem);
        }
        return r;
}

/* What cannot be opened now stays saved: the next one to close, or the next start, tries again. */
void misc_gate_open(Manager *m, Attempt *attempt) {
        uint64_t refused;

        /* After a crash the update was followed without it, and what was closed is still so. */
        if (!attempt->gate) {
                misc_gate_recover(m);
                return;
        }

        (void) build_gate_open(attempt->gate);
        refused = build_gate_refused(attempt->gate);
        if (refused > 0)
                log_warning(0, "Job %u: BuildGate=misc has refused %" PRIu64 " builds; up to Linux 7.3 the misc cgroup's count of TDs is "
                            "too low after that, and is not relied on any more until a reboot", attempt->job->record->id, refused);
        attempt->gate = build_gate_free(attempt->gate);
}

void misc_gate_recover(Manager *m) {
        BuildGateRequest request = { .roots = m->roots, .groups = m->config->build_gate_groups, .save = save, .userdata = m };
        g_autofree char *saved = NULL;
        int r;

        r = store_get(m->store, STORE_KEY_BUILD_GATE, &saved);
        if (r >= 0 && saved && *saved)
                r = build_gate_restore(&request, saved);
        if (r < 0)
                log_error(r, "Failed to let builds begin again in the cgroups that were closed for an update; "
                             "misc.max of these is to be put back by hand: %s", saved ?: "(the database cannot be read)");
}
