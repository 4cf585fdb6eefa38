/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "base/clock.h"
#include "manager-internal.h"

/* What the properties of the manager say. */

const char *manager_state(const Manager *m) {
        const HostFacts *host = manager_host(m);
        Job *head = dispatch_head(m);

        if (host->lost)
                return "lost";
        if (head)
                return job_state_to_string(head->record->state);
        return host->unsupported ? "unsupported" : "idle";
}

static char *reason_text(const Manager *m) {
        const HostFacts *host = manager_host(m);
        Job *head = dispatch_head(m);
        g_auto(ActivityVerdict) activity = {};

        if (host->lost)
                return g_strdup("The TDX module is gone and every TD with it; only a reboot brings it back");
        if (head)
                return g_strdup_printf("Job %u to %s: %s", head->record->id, head->record->to, head->reason);
        if (host->unsupported)
                return g_strdup(host->unsupported);

        watch_judge(m, NULL, &activity);
        return g_strdup_printf("No update is queued; %s%s", activity.activity == ACTIVITY_UNKNOWN ? "whether a TD is being built is not known: " : "",
                               activity.text);
}

char *manager_state_reason(const Manager *m) {
        g_autofree char *text = reason_text(m);

        if (!m->roots->override_names)
                return g_steal_pointer(&text);
        return g_strdup_printf("%s (not the real host: %s)", text, m->roots->override_names);
}

/*
 * Not readable anywhere: the mapping file says whether the running release can refuse an update in
 * mid-build, and only an answer of this kernel shows that it asks for that.
 */
const char *manager_busy_detection(const Manager *m) {
        const HostFacts *host = manager_host(m);
        const Mapping *mapping = host->have_running ? catalogue_mapping(m->catalogue, host->running) : NULL;

        if (m->seen_busy)
                return "yes";
        if (mapping && !(mapping->features0 & FEATURES0_UPDATE_COMPAT))
                return "no";
        return "unknown";
}

void manager_blocked_by(Manager *m, BlockerList *ret) {
        Job *head = dispatch_head(m);
        Request request = { .version = "", .why = "", .unit = "", .plan = "" };
        g_auto(Failure) failure = {};
        g_auto(Moment) moment = {};
        g_auto(Plan) plan = {};

        if (head) {
                dispatch_gate(m, head, ret, &moment);
                return;
        }

        if (manager_plan(m, &request, &plan, &failure) < 0) {
                blocker_list_add(ret, BLOCKER_NO_IMAGE, NULL, "%s", failure.text);
                return;
        }
        *ret = plan.blockers;
        plan.blockers = (BlockerList) {};
}
