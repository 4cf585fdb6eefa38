/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Shows what the daemon's own reader of the probes sees, exactly and at every moment. Standard input says when to look:
 *   read      the picture
 *   wait MS   at most so long until it is told that something has changed since the last picture; then the picture
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/util.h"
#include "platform/builds.h"

static bool changed;

static void on_changed(void *userdata) {
        changed = true;
}

/* One value a line; the picture ends with an empty one. */
static void show(Builds *builds) {
        ProbeFacts facts;
        bool told = changed;

        changed = false;
        builds_read(builds, &facts);
        if (facts.unavailable)
                printf("unavailable %s\n", facts.unavailable);
        if (facts.doubt)
                printf("doubt %s\n", facts.doubt);
        printf("complete %d\nfrom %" PRIu64 "\ntold %d\n", facts.complete, facts.from, told);
        for (size_t i = 0; i < facts.n_builds; i++) {
                const BuildFacts *b = facts.builds + i;

                printf("build %" PRIx64 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %s %s\n", b->td, b->pid, b->since, b->began,
                       b->finalized ? "finalized" : "building", b->name);
        }
        putchar('\n');
        fflush(stdout);
}

static int wait_change(sd_event *event, uint64_t ms) {
        uint64_t end = clock_boottime(&system_clock) + ms * 1000, now;
        int r;

        while (!changed) {
                now = clock_boottime(&system_clock);
                if (now >= end)
                        return 0;
                r = sd_event_run(event, end - now);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int serve(sd_event *event, Builds *builds) {
        char line[64];
        uint64_t ms;
        int r;

        while (fgets(line, sizeof(line), stdin)) {
                if (sscanf(line, "wait %" SCNu64, &ms) == 1) {
                        r = wait_change(event, ms);
                        if (r < 0)
                                return r;
                } else if (strcmp(line, "read\n") != 0) {
                        fputs("builds-reader: only `read' and `wait MS'\n", stderr);
                        return -EINVAL;
                }
                show(builds);
        }
        return 0;
}

int main(int argc, char *argv[]) {
        g_autoptr(Builds) builds = NULL;
        sd_event *event = NULL;
        int r;

        if (argc != 2) {
                fputs("usage: builds-reader DIRECTORY-WITH-THE-PINS\n", stderr);
                return EX_USAGE;
        }
        r = sd_event_default(&event);
        if (r >= 0)
                r = builds_new(event, argv[1], on_changed, NULL, &builds);
        if (r >= 0)
                r = serve(event, builds);
        builds = builds_free(builds);
        sd_event_unref(event);
        if (r < 0)
                fprintf(stderr, "builds-reader: %s\n", strerror(-r));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
