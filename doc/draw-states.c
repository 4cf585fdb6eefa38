/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Prints doc/states.md, drawn from the very table that the daemon runs on. */
#include <stdio.h>
#include <stdlib.h>

#include "core/job-machine.h"

static const char *const state_words[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "behind another job",
        [JOB_WAITING] = "at the head of the queue, something blocks the attempt",
        [JOB_DRAINING] = "as waiting, and new TD builds are kept off until the window opens",
        [JOB_BACKOFF] = "the kernel was busy or refused; the next attempt has a time",
        [JOB_UPLOADING] = "an attempt is under way: staging, last look, handover, the kernel's work",
        [JOB_VERIFYING] = "the kernel says that it is done; the result is being checked",
        [JOB_FINISHED] = "a result is known; nothing follows",
};

static const char *const event_words[_JOB_EVENT_MAX] = {
        [JOB_EVENT_HEAD] = "it came to the head of the queue",
        [JOB_EVENT_GATE_OPEN] = "no blocker is left: an attempt starts",
        [JOB_EVENT_DRAIN] = "a drain begins",
        [JOB_EVENT_DRAIN_END] = "the drain's time is over",
        [JOB_EVENT_LOOK_FAILED] = "the last look saw a blocker; nothing was handed over",
        [JOB_EVENT_RETRY] = "the outcome allows another attempt later",
        [JOB_EVENT_RETRY_TIME] = "the backoff is over, or an event cut it short",
        [JOB_EVENT_UPLOADED] = "the kernel reports success",
        [JOB_EVENT_RESUME] = "after a restart of the daemon: the upload still runs",
        [JOB_EVENT_FINISH] = "a result is known",
};

static void draw_diagram(void) {
        puts("```mermaid\nstateDiagram-v2");
        printf("    [*] --> %s\n", job_state_to_string(JOB_QUEUED));
        for (JobState s = 0; s < _JOB_STATE_MAX; s++)
                for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++) {
                        int next = job_next_state(s, e);

                        if (next >= 0)
                                printf("    %s --> %s : %s\n", job_state_to_string(s), job_state_to_string((JobState) next),
                                       job_event_to_string(e));
                }
        printf("    %s --> [*]\n```\n", job_state_to_string(JOB_FINISHED));
}

static void draw_table(void) {
        printf("| state |");
        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++)
                printf(" %s |", job_event_to_string(e));
        printf("\n| --- |");
        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++)
                printf(" --- |");
        puts("");

        for (JobState s = 0; s < _JOB_STATE_MAX; s++) {
                printf("| **%s** |", job_state_to_string(s));
                for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++) {
                        int next = job_next_state(s, e);

                        printf(" %s |", next >= 0 ? job_state_to_string((JobState) next) : "");
                }
                puts("");
        }
}

static void draw_results(void) {
        printf("| state |");
        for (JobResult r = RESULT_NONE + 1; r < _RESULT_MAX; r++)
                printf(" %s |", job_result_to_string(r));
        printf("\n| --- |");
        for (JobResult r = RESULT_NONE + 1; r < _RESULT_MAX; r++)
                printf(" --- |");
        puts("");

        for (JobState s = 0; s < _JOB_STATE_MAX; s++) {
                if (job_next_state(s, JOB_EVENT_FINISH) < 0)
                        continue;
                printf("| **%s** |", job_state_to_string(s));
                for (JobResult r = RESULT_NONE + 1; r < _RESULT_MAX; r++)
                        printf(" %s |", job_may_finish(s, r, true) ? "yes" : job_may_finish(s, r, false) ? "before the handover" : "");
                puts("");
        }
}

int main(void) {
        puts("# The life of a job\n\n"
             "<!-- Drawn from daemon/core/job-machine.c by doc/draw-states.c; a test compares. To draw it again:\n"
             "     BUILD/doc/draw-states > doc/states.md -->\n");
        draw_diagram();

        puts("\n## States\n");
        for (JobState s = 0; s < _JOB_STATE_MAX; s++)
                printf("- **%s**: %s\n", job_state_to_string(s), state_words[s]);
        puts("\n## Events\n");
        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++)
                printf("- **%s**: %s\n", job_event_to_string(e), event_words[e]);

        puts("\n## The state after an event\n\nAn empty field: the event cannot happen there.\n");
        draw_table();

        puts("\n## How a job may end\n\n"
             "Once the kernel has the image, an update cannot be stopped, so nobody can cancel or expire the job.\n");
        draw_results();

        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
