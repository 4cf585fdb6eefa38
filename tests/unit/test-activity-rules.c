/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What an operator decides about activity: guesses, ages, guests to ignore; and what people and the poll are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test-activity-judge.h"

#define QUIET (300 * USEC_PER_SEC)

#define assert_activity(host, activity) check_activity(host, activity, __LINE__)

static void check_activity(Host *h, Activity activity, int line) {
        g_auto(ActivityVerdict) v = {};

        host_judge(h, &v);
        if (v.activity != activity)
                fail_msg("line %d: %d by %s: %s", line, v.activity, tier_to_string(v.tier), v.text);
}

/* T3: off by default; then for what has been known for long enough, and when nobody made a VM for so long. */
static void test_quiet(void **state) {
        static const struct {
                uint64_t quiet, age, last_create;       /* how long ago; UINT64_MAX: not heard */
                bool idle;
        } rows[] = {
                { UINT64_MAX, 0, 0, false },
                { UINT64_MAX, NOW, UINT64_MAX, false },
                { UINT64_MAX, 9 * STALE, 9 * STALE, false },
                { QUIET, QUIET, QUIET, true },
                { QUIET, 9 * QUIET, QUIET, true },
                { QUIET, QUIET - 1, QUIET, false },
                { QUIET, QUIET, QUIET - 1, false },
                { QUIET, 9 * QUIET, 0, false },
                { QUIET, 0, 9 * QUIET, false },
                { QUIET, 9 * QUIET, UINT64_MAX, false },
                { 0, 0, 0, true },
                { 0, 0, UINT64_MAX, false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                for (unsigned looked = 0; looked < 2; looked++) {
                        g_auto(ActivityVerdict) v = {};
                        Host h;

                        host_init(&h);
                        h.facts.quiet = rows[i].quiet;
                        h.facts.last_create = rows[i].last_create == UINT64_MAX ? 0 : NOW - rows[i].last_create;
                        host_add_running(&h, 99);
                        (looked ? host_add_new : host_add_guest)(&h, 100)->known = NOW - rows[i].age;
                        host_judge(&h, &v);
                        if ((v.activity == ACTIVITY_IDLE) != rows[i].idle)
                                fail_msg("row %zu: %s", i, v.text);
                        if (!rows[i].idle)
                                continue;

                        /* That it is a guess is said wherever the answer is shown. */
                        assert_int_equal(v.tier, TIER_GUESSED);
                        assert_int_equal(v.guests[1].tier, TIER_GUESSED);
                        assert_int_equal(v.guests[1].phase, GUEST_UNKNOWN);
                        assert_non_null(strstr(v.text, "QuietSec="));
                        assert_true(v.youngest == UINT64_MAX);
                }
}

/* A guess is about VMs of which nothing better is known; it covers no gap in the list, no TD too many, and no build. */
static void test_quiet_is_weak(void **state) {
        Host h;

        host_init(&h);
        h.facts.quiet = QUIET;
        h.facts.last_create = NOW - QUIET;
        host_add_guest(&h, 100)->known = NOW - QUIET;
        assert_activity(&h, ACTIVITY_IDLE);

        h.facts.incomplete = "events were lost";
        assert_activity(&h, ACTIVITY_UNKNOWN);
        h.facts.incomplete = NULL;
        host_count_tds(&h, 2);
        assert_activity(&h, ACTIVITY_UNKNOWN);
        host_count_tds(&h, 1);
        assert_activity(&h, ACTIVITY_IDLE);

        /* Exact evidence that it has begun none goes first: so it can begin one. */
        host_count_tds(&h, 0);
        assert_activity(&h, ACTIVITY_BUSY);
        h.facts.have_tds = false;
        host_probe_all(&h);
        assert_activity(&h, ACTIVITY_BUSY);
        host_add_build(&h, 100, false);
        assert_activity(&h, ACTIVITY_BUSY);

        /* What is later than now is not old. */
        h.facts.probes = (ProbeFacts) { .unavailable = "the probes are not loaded" };
        h.facts.last_create = NOW + 1;
        assert_activity(&h, ACTIVITY_UNKNOWN);
        h.facts.last_create = NOW - QUIET;
        h.guests[0].known = NOW + 1;
        assert_activity(&h, ACTIVITY_UNKNOWN);
}

/* Without a sign for too long: it goes on to block, and is named with what can be done. Not by T0 and T1: see there. */
static void test_stale(void **state) {
        static const struct {
                uint64_t age;
                bool stale;
        } rows[] = { { 0, false }, { STALE - 1, false }, { STALE, true }, { 99 * STALE, true } };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                for (unsigned looked = 0; looked < 2; looked++) {
                        g_auto(ActivityVerdict) v = {};
                        GuestFacts *guest;
                        Host h;

                        host_init(&h);
                        guest = (looked ? host_add_new : host_add_guest)(&h, 100);
                        guest->known = NOW - rows[i].age;
                        host_judge(&h, &v);
                        assert_int_equal(v.activity, looked ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN);
                        assert_int_equal(v.n_reasons, 1);
                        assert_int_equal(v.guests[0].stale, rows[i].stale);
                        assert_int_equal(strstr(v.reasons[0].text, "StaleGuestSec=") != NULL, rows[i].stale);
                        assert_int_equal(strstr(v.reasons[0].text, "ignore-guests") != NULL, rows[i].stale);
                        assert_true(v.guests[0].blocks);
                        assert_int_equal(v.youngest, rows[i].age);
                        activity_verdict_clear(&v);

                        /* It ran: no age makes that undone. */
                        guest->ran = NOW;
                        host_judge(&h, &v);
                        assert_false(v.guests[0].stale);
                        assert_int_equal(v.activity, ACTIVITY_IDLE);
                }
}

/* ignore-guests: both numbers must agree, since pids are used again. */
static void test_ignored(void **state) {
        static const struct {
                uint32_t pid;
                uint64_t start_time, own;       /* as named, and as known */
                bool ignored;
        } rows[] = {
                { 100, 1000, 1000, true }, { 100, 1001, 1000, false }, { 101, 1000, 1000, false }, { 101, 1010, 1000, false },
                { 100, 0, 1000, false },   { 100, 0, 0, false },       { 100, 1000, 0, false },    { 0, 1000, 1000, false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                for (unsigned looked = 0; looked < 2; looked++) {
                        g_auto(ActivityVerdict) v = {};
                        Host h;

                        host_init(&h);
                        (looked ? host_add_new : host_add_guest)(&h, 100)->start_time = rows[i].own;
                        host_ignore(&h, rows[i].pid, rows[i].start_time);
                        host_judge(&h, &v);
                        if ((v.activity == ACTIVITY_IDLE) != rows[i].ignored)
                                fail_msg("row %zu: %s", i, v.text);

                        /* It stays in the list, so that it is shown. */
                        assert_int_equal(v.n_reasons, 1);
                        assert_int_equal(v.reasons[0].ignored, rows[i].ignored);
                        assert_int_equal(v.reasons[0].building, looked);
                        assert_int_equal(v.guests[0].blocks, !rows[i].ignored);
                        if (rows[i].ignored)
                                assert_non_null(strstr(v.text, "ignored on request"));
                        assert_int_equal(v.youngest == UINT64_MAX, rows[i].ignored);
                }
}

/* Only that guest's own reason: not another's, not what the probes see, not the list, not the count. */
static void test_ignored_alone(void **state) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        host_init(&h);
        host_add_new(&h, 100);
        host_ignore(&h, 555, 5550);
        host_ignore(&h, 100, 1000);
        assert_activity(&h, ACTIVITY_IDLE);

        host_add_guest(&h, 101);
        host_judge(&h, &v);
        assert_int_equal(v.activity, ACTIVITY_UNKNOWN);
        assert_non_null(strstr(v.text, "qemu[101]"));
        assert_int_equal(v.n_reasons, 2);
        assert_true(v.reasons[0].ignored && !v.reasons[1].ignored);
        host_ignore(&h, 101, 1010);
        assert_activity(&h, ACTIVITY_IDLE);

        host_count_tds(&h, 3);
        assert_activity(&h, ACTIVITY_UNKNOWN);
        host_count_tds(&h, 2);
        assert_activity(&h, ACTIVITY_IDLE);
        h.facts.incomplete = "events were lost";
        assert_activity(&h, ACTIVITY_UNKNOWN);
        h.facts.incomplete = NULL;

        host_probe_all(&h);
        assert_activity(&h, ACTIVITY_IDLE);
        host_add_build(&h, 100, false);
        assert_activity(&h, ACTIVITY_BUSY);
        h.facts.probes.complete = false;
        assert_activity(&h, ACTIVITY_BUSY);
        h.facts.probes.doubt = "records were lost";
        assert_activity(&h, ACTIVITY_BUSY);
        h.builds[0].finalized = true;
        assert_activity(&h, ACTIVITY_IDLE);
}

/* Everyone is named, each with its own reason, and a build is what is said first. */
static void test_texts(void **state) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        host_init(&h);
        host_add_guest(&h, 100)->name = "";
        host_add_guest(&h, 4294967295)->name = "firecracker";
        host_add_running(&h, 102);
        h.facts.incomplete = "events were lost";
        host_judge(&h, &v);
        assert_int_equal(v.activity, ACTIVITY_UNKNOWN);
        assert_int_equal(v.tier, TIER_NONE);
        assert_int_equal(v.n_reasons, 3);
        assert_string_equal(v.reasons[0].subject, "vm[100]");
        assert_string_equal(v.reasons[1].subject, "firecracker[4294967295]");
        assert_string_equal(v.reasons[2].subject, "");
        assert_non_null(strstr(v.reasons[2].text, "events were lost"));
        assert_string_equal(v.text, v.reasons[0].text);
        assert_int_equal(v.n_building, 0);
        activity_verdict_clear(&v);

        host_add_new(&h, 103);
        host_add_build(&h, 200, false)->name = "cloud-hypervis";
        host_add_build(&h, 201, true);
        h.facts.probes.unavailable = NULL;
        host_judge(&h, &v);
        assert_int_equal(v.activity, ACTIVITY_BUSY);
        assert_int_equal(v.n_reasons, 5);
        assert_string_equal(v.reasons[2].subject, "qemu[103]");
        assert_string_equal(v.reasons[3].subject, "cloud-hypervis[200]");
        /* What is known goes before what may be. */
        assert_string_equal(v.text, v.reasons[3].text);
        assert_int_equal(v.n_building, 2);
        assert_int_equal(v.n_guests, 4);

        /* Cleared, it owns nothing; twice is harmless. */
        activity_verdict_clear(&v);
        assert_true(!v.reasons && !v.guests && !v.text && v.n_reasons == 0);
}

/* How long the youngest of those that must be looked at again has been there. */
static void test_youngest(void **state) {
        static const struct {
                uint64_t ages[3], youngest;
        } rows[] = {
                { { 5, 7, 9 }, 5 },
                { { 9, 7, 5 }, 5 },
                { { 9, 5, 7 }, 5 },
                { { 0, 7, 9 }, 0 },
                { { 2 * STALE, 3 * STALE, 4 * STALE }, 2 * STALE },
        };
        g_auto(ActivityVerdict) v = {};
        Host h;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                host_init(&h);
                host_add_running(&h, 99)->known = NOW;
                for (uint32_t g = 0; g < 3; g++)
                        host_add_new(&h, 100 + g)->known = NOW - rows[i].ages[g];
                host_judge(&h, &v);
                assert_int_equal(v.youngest, rows[i].youngest);
                activity_verdict_clear(&v);
        }

        /* Whatever StaleGuestSec= is. */
        h.facts.stale = UINT64_MAX;
        h.guests[1].known = NOW + 1;
        host_judge(&h, &v);
        assert_int_equal(v.youngest, 0);
        activity_verdict_clear(&v);

        /* Nobody has to be looked at: all ran, or the probes tell of it. */
        h.guests[1].ran = h.guests[2].ran = NOW;
        host_probe_all(&h);
        host_add_build(&h, 102, false);
        host_judge(&h, &v);
        assert_int_equal(v.activity, ACTIVITY_BUSY);
        assert_true(v.youngest == UINT64_MAX);
}

/* 5 ms at first, at most 50 ms in the first ten minutes, then four times a second. */
static void test_poll_interval(void **state) {
        uint64_t before = 0;

        for (uint64_t age = 0; age <= 1000 * USEC_PER_SEC; age += 5000) {
                uint64_t interval = activity_poll_interval(age);

                assert_in_range(interval, MAX(before, 5 * USEC_PER_MSEC), 250 * USEC_PER_MSEC);
                if (age <= USEC_PER_SEC)
                        assert_int_equal(interval, 5 * USEC_PER_MSEC);
                if (age < 600 * USEC_PER_SEC)
                        assert_true(interval <= 50 * USEC_PER_MSEC);
                else
                        assert_int_equal(interval, 250 * USEC_PER_MSEC);
                before = interval;
        }
        assert_int_equal(activity_poll_interval(600 * USEC_PER_SEC - 1), 50 * USEC_PER_MSEC);
        assert_int_equal(activity_poll_interval(UINT64_MAX), 250 * USEC_PER_MSEC);
}

/* As they stand in the API. */
static void test_names(void **state) {
        assert_string_equal(tier_to_string(TIER_PROVEN), "T0");
        assert_string_equal(tier_to_string(TIER_EXACT), "T1");
        assert_string_equal(tier_to_string(TIER_INFERRED), "T2");
        assert_string_equal(tier_to_string(TIER_GUESSED), "T3");
        assert_string_equal(tier_to_string(TIER_NONE), "none");
        assert_string_equal(guest_phase_to_string(GUEST_UNKNOWN), "unknown");
        assert_string_equal(guest_phase_to_string(GUEST_BUILDING), "building");
        assert_string_equal(guest_phase_to_string(GUEST_RUNNING), "running");
        assert_string_equal(guest_td_to_string(GUEST_TD_UNKNOWN), "unknown");
        assert_string_equal(guest_td_to_string(GUEST_TD_YES), "yes");
        assert_string_equal(guest_td_to_string(GUEST_TD_NO), "no");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_quiet),    cmocka_unit_test(test_quiet_is_weak),  cmocka_unit_test(test_stale),
                cmocka_unit_test(test_ignored),  cmocka_unit_test(test_ignored_alone),  cmocka_unit_test(test_texts),
                cmocka_unit_test(test_youngest), cmocka_unit_test(test_poll_interval),  cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
