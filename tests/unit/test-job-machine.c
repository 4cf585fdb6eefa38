/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "core/job-machine.h"

/* The edges of doc/states.md, written by hand; whatever is not here must not be possible. */
static const struct {
        JobState from;
        JobEvent event;
        JobState to;
} edges[] = {
        /* First in, first out, one job at a time: only the head moves. */
        { JOB_QUEUED, JOB_EVENT_HEAD, JOB_WAITING },
        /* It waits for an idle window, with or without keeping new builds off. */
        { JOB_WAITING, JOB_EVENT_GATE_OPEN, JOB_UPLOADING },
        { JOB_WAITING, JOB_EVENT_DRAIN, JOB_DRAINING },
        { JOB_DRAINING, JOB_EVENT_GATE_OPEN, JOB_UPLOADING },
        /* "The drain is bounded; at its end it opens again and the job goes back to waiting." */
        { JOB_DRAINING, JOB_EVENT_DRAIN_END, JOB_WAITING },
        /* The last look may still say no: nothing was handed over. */
        { JOB_UPLOADING, JOB_EVENT_LOOK_FAILED, JOB_WAITING },
        /* Busy and refused come again later; the whole gate is asked again before that. */
        { JOB_UPLOADING, JOB_EVENT_RETRY, JOB_BACKOFF },
        { JOB_BACKOFF, JOB_EVENT_RETRY_TIME, JOB_WAITING },
        /* The kernel says yes: check it. */
        { JOB_UPLOADING, JOB_EVENT_UPLOADED, JOB_VERIFYING },
        /* A daemon that comes back follows an upload that still runs. */
        { JOB_UPLOADING, JOB_EVENT_RESUME, JOB_UPLOADING },
        { JOB_VERIFYING, JOB_EVENT_RESUME, JOB_UPLOADING },
        /* Every state can end. */
        { JOB_QUEUED, JOB_EVENT_FINISH, JOB_FINISHED },
        { JOB_WAITING, JOB_EVENT_FINISH, JOB_FINISHED },
        { JOB_DRAINING, JOB_EVENT_FINISH, JOB_FINISHED },
        { JOB_BACKOFF, JOB_EVENT_FINISH, JOB_FINISHED },
        { JOB_UPLOADING, JOB_EVENT_FINISH, JOB_FINISHED },
        { JOB_VERIFYING, JOB_EVENT_FINISH, JOB_FINISHED },
};

static int expected(JobState from, JobEvent event) {
        for (size_t i = 0; i < G_N_ELEMENTS(edges); i++)
                if (edges[i].from == from && edges[i].event == event)
                        return (int) edges[i].to;

        return -1;
}

static void test_whole_table(void **state) {
        for (JobState s = 0; s < _JOB_STATE_MAX; s++)
                for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++)
                        if (job_next_state(s, e) != expected(s, e))
                                fail_msg("%s on %s: %d, not %d", job_state_to_string(s), job_event_to_string(e),
                                         job_next_state(s, e), expected(s, e));
}

static void test_out_of_range(void **state) {
        for (JobState s = 0; s < _JOB_STATE_MAX; s++)
                assert_int_equal(job_next_state(s, _JOB_EVENT_MAX), -1);
        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++) {
                assert_int_equal(job_next_state(_JOB_STATE_MAX, e), -1);
                assert_int_equal(job_next_state((JobState) -1, e), -1);
        }
}

static void reach(JobState from, bool seen[static _JOB_STATE_MAX]) {
        if (seen[from])
                return;

        seen[from] = true;
        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++) {
                int next = job_next_state(from, e);

                if (next >= 0)
                        reach((JobState) next, seen);
        }
}

static void test_reachability(void **state) {
        bool from_queued[_JOB_STATE_MAX] = {};

        reach(JOB_QUEUED, from_queued);
        for (JobState s = 0; s < _JOB_STATE_MAX; s++) {
                bool seen[_JOB_STATE_MAX] = {};

                assert_true(from_queued[s]);
                reach(s, seen);
                assert_true(seen[JOB_FINISHED]);
        }

        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++)
                assert_int_equal(job_next_state(JOB_FINISHED, e), -1);
}

/* No way to the kernel that goes around the gate, none to success around the verification. */
static void test_one_door(void **state) {
        for (JobState s = 0; s < _JOB_STATE_MAX; s++)
                for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++) {
                        int next = job_next_state(s, e);

                        if (next == JOB_UPLOADING)
                                assert_true(e == JOB_EVENT_GATE_OPEN || e == JOB_EVENT_RESUME);
                        if (next == JOB_VERIFYING)
                                assert_true(s == JOB_UPLOADING && e == JOB_EVENT_UPLOADED);
                }
}

/* y: may end so before and after the handover, b: only before, n: never. */
static const char *const may_finish[_JOB_STATE_MAX][_RESULT_MAX] = {
        /*                  none success current failed lost cancelled expired */
        [JOB_QUEUED]    = { "n",  "n",    "y",    "y",  "y", "b",      "b" },
        [JOB_WAITING]   = { "n",  "n",    "y",    "y",  "y", "b",      "b" },
        [JOB_DRAINING]  = { "n",  "n",    "y",    "y",  "y", "b",      "b" },
        [JOB_BACKOFF]   = { "n",  "n",    "y",    "y",  "y", "b",      "b" },
        [JOB_UPLOADING] = { "n",  "n",    "y",    "y",  "y", "b",      "b" },
        /* Its image has been with the kernel, whatever the caller says. */
        [JOB_VERIFYING] = { "n",  "y",    "y",    "y",  "y", "n",      "n" },
        [JOB_FINISHED]  = { "n",  "n",    "n",    "n",  "n", "n",      "n" },
};

static void test_may_finish(void **state) {
        for (JobState s = 0; s < _JOB_STATE_MAX; s++)
                for (JobResult r = 0; r < _RESULT_MAX; r++) {
                        char word = may_finish[s][r][0];

                        if (job_may_finish(s, r, false) != (word != 'n') || job_may_finish(s, r, true) != (word == 'y'))
                                fail_msg("%s as \"%s\"", job_state_to_string(s), job_result_to_string(r));
                }
}

/* The words of the API. */
static const char *const state_names[] = { "queued", "waiting", "draining", "backoff", "uploading", "verifying", "finished" };
static const char *const result_names[] = { "", "success", "already-current", "failed", "lost", "cancelled", "expired" };

static void test_names(void **state) {
        assert_int_equal(G_N_ELEMENTS(state_names), _JOB_STATE_MAX);
        for (int s = 0; s < _JOB_STATE_MAX; s++) {
                assert_string_equal(job_state_to_string((JobState) s), state_names[s]);
                assert_int_equal(job_state_from_string(state_names[s]), s);
        }

        assert_int_equal(G_N_ELEMENTS(result_names), _RESULT_MAX);
        for (int r = 0; r < _RESULT_MAX; r++) {
                assert_string_equal(job_result_to_string((JobResult) r), result_names[r]);
                assert_int_equal(job_result_from_string(result_names[r]), r);
        }

        for (JobEvent e = 0; e < _JOB_EVENT_MAX; e++) {
                assert_non_null(job_event_to_string(e));
                for (JobEvent f = 0; f < e; f++)
                        assert_string_not_equal(job_event_to_string(e), job_event_to_string(f));
        }

        assert_int_equal(job_state_from_string("Queued"), -1);
        assert_int_equal(job_state_from_string(""), -1);
        assert_int_equal(job_result_from_string("succes"), -1);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole_table),
                cmocka_unit_test(test_out_of_range),
                cmocka_unit_test(test_reachability),
                cmocka_unit_test(test_one_door),
                cmocka_unit_test(test_may_finish),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
