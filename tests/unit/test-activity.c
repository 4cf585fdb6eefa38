/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Each kind of evidence by itself, and what it does not show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test-activity-judge.h"

/* The answer, what it rests on, and a word of its text. */
#define assert_verdict(host, activity, tier, word) check_answer(host, activity, tier, word, __LINE__)

static void check_answer(Host *h, Activity activity, Tier tier, const char *word, int line) {
        g_auto(ActivityVerdict) v = {};

        host_judge(h, &v);
        if (v.activity != activity || (tier != _TIER_MAX && v.tier != tier) || !strstr(v.text, word))
                fail_msg("line %d: %d by %s: %s", line, v.activity, tier_to_string(v.tier), v.text);
}

/* What is said of one guest. */
#define assert_guest(host, i, phase, td, tier, word) \
        check_guest(host, i, (GuestVerdict) { phase, td, tier, (char *) (uintptr_t) word, NULL, false, false, false }, __LINE__)

static void check_guest(Host *h, size_t i, GuestVerdict expected, int line) {
        g_auto(ActivityVerdict) v = {};
        const GuestVerdict *g;

        host_judge(h, &v);
        g = &v.guests[i];
        if (g->phase != expected.phase || g->td != expected.td || g->tier != expected.tier || !strstr(g->evidence, expected.evidence))
                fail_msg("line %d: %s, TD: %s, by %s: %s", line, guest_phase_to_string(g->phase), guest_td_to_string(g->td),
                         tier_to_string(g->tier), g->evidence);
}

/* T0: without TDX in kvm_intel nothing else matters. */
static void test_impossible(void **state) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        host_init(&h);
        host_add_new(&h, 100);
        host_add_guest(&h, 101);
        host_count_tds(&h, 9);
        host_probe_all(&h);
        host_add_build(&h, 100, false);
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[");

        h.facts.impossible = "kvm_intel runs without TDX";
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "kvm_intel runs without TDX");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_NO, TIER_PROVEN, "kvm_intel");
        assert_guest(&h, 1, GUEST_RUNNING, GUEST_TD_NO, TIER_PROVEN, "kvm_intel");
        host_judge(&h, &v);
        assert_int_equal(v.n_reasons, 0);
        assert_int_equal(v.n_building, 0);
        assert_true(v.youngest == UINT64_MAX);
}

/* T0: a count of 0, whatever else is not known. */
static void test_no_tds(void **state) {
        Host h;

        host_init(&h);
        host_count_tds(&h, 0);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "counts 0");
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "counts 0");
        host_add_running(&h, 100)->ran_without_tds = true;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "counts 0");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_NO, TIER_INFERRED, "a vCPU ran");

        /* It is no TD yet, but it can become one between the look and the handover. */
        host_add_new(&h, 101);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_PROVEN, "qemu[101]");
        assert_guest(&h, 1, GUEST_BUILDING, GUEST_TD_UNKNOWN, TIER_PROVEN, "may begin one");
        host_add_guest(&h, 102);
        assert_guest(&h, 2, GUEST_BUILDING, GUEST_TD_UNKNOWN, TIER_PROVEN, "may begin one");

        /* What has not done so for that long is something else. */
        h.guests[1].known = h.guests[2].known = NOW - STALE;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "counts 0");
        assert_guest(&h, 1, GUEST_UNKNOWN, GUEST_TD_UNKNOWN, TIER_PROVEN, "StaleGuestSec=");
        h.guests[1].known = NOW - STALE + 1;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_PROVEN, "qemu[101]");
        h.guests[1].known = NOW + 1;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_PROVEN, "qemu[101]");
}

/* T0: no VM, if that is known. */
static void test_no_vm(void **state) {
        Host h;

        host_init(&h);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "no VM");
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "events were lost");
        h.facts.incomplete = NULL;
        host_count_tds(&h, 1);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "1 TD exists, but only 0 VMs are");
}

/* T1: probes that have seen every TD know every build, the VMs' list or not. */
static void test_probes(void **state) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        host_init(&h);
        host_probe_all(&h);
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build is under way (probes)");
        host_count_tds(&h, 5);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");
        host_add_build(&h, 90, true);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");

        /* Its VM is not in the list; it counts all the same. */
        host_add_build(&h, 100, false);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build of a TD (probes)");
        host_judge(&h, &v);
        assert_int_equal(v.n_building, 1);
        activity_verdict_clear(&v);

        /* It is: one reason, no second one for the same build, and nothing to be polled. */
        host_add_new(&h, 100);
        assert_guest(&h, 0, GUEST_BUILDING, GUEST_TD_YES, TIER_EXACT, "not finalised");
        host_judge(&h, &v);
        assert_int_equal(v.activity, ACTIVITY_BUSY);
        assert_int_equal(v.n_reasons, 1);
        assert_int_equal(v.n_building, 1);
        assert_true(v.reasons[0].building && v.guests[0].exact && v.guests[0].blocks);
        assert_string_equal(v.reasons[0].subject, "qemu[100]");
        assert_true(v.youngest == UINT64_MAX);

        /* Whose record it is can only be told where no VM is missing. */
        h.builds[1].finalized = true;
        assert_guest(&h, 0, GUEST_BUILDING, GUEST_TD_YES, TIER_EXACT, "it has not run");
        h.facts.incomplete = NULL;
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_YES, TIER_EXACT, "finalised");
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");
        /* That it ran, too, changes nothing. */
        h.guests[0].ran = NOW - 1;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_YES, TIER_INFERRED, "");
}

/* T1: a VM that has begun no TD. */
static void test_not_begun(void **state) {
        Host h;

        host_init(&h);
        host_probe_all(&h);
        host_add_build(&h, 99, true);
        host_add_guest(&h, 100);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] may be in the build of a TD");
        assert_guest(&h, 0, GUEST_BUILDING, GUEST_TD_UNKNOWN, TIER_EXACT, "may begin one");
        h.guests[0].known = NOW - STALE;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");
        assert_guest(&h, 0, GUEST_UNKNOWN, GUEST_TD_UNKNOWN, TIER_EXACT, "begun no TD and has not run");

        /* It ran without one: then it is none. */
        h.guests[0].ran = NOW - 1;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_NO, TIER_INFERRED, "");

        /* An old age is no excuse for a build that is seen. */
        h.guests[0].ran = 0;
        host_add_build(&h, 100, false);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build");
}

/* T1: the probes name a process, which can have several VMs. */
static void test_one_process(void **state) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        host_init(&h);
        host_probe_all(&h);
        host_add_running(&h, 100);
        host_add_new(&h, 100);
        host_add_build(&h, 100, false);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100]");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_UNKNOWN, TIER_INFERRED, "a vCPU ran");
        assert_guest(&h, 1, GUEST_BUILDING, GUEST_TD_UNKNOWN, TIER_EXACT, "not finalised");

        /* Both have run, so it is a third one: busy by the probes alone. */
        h.guests[1].ran = NOW - 1;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build");
        h.guests[0].ran = h.guests[1].ran = 0;
        host_judge(&h, &v);
        assert_true(v.guests[0].blocks && v.guests[1].blocks && v.activity == ACTIVITY_BUSY);

        /* One of the two is finalised: nobody knows which, so neither is. */
        h.builds[0].finalized = true;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100]");
        /* Both: but a record tells of the process, and stays a while after its VM is gone. */
        host_add_build(&h, 100, true);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100]");
        /* Another process's are not theirs. */
        h.builds[1].pid = 101;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100]");
}

/* T1, a finalised TD: it is that of a VM before, if it is older than this one. */
static void test_records_before(void **state) {
        for (unsigned complete = 0; complete < 2; complete++) {
                Host h;

                host_init(&h);
                host_probe_some(&h);
                h.facts.probes.complete = complete > 0;
                host_known(host_add_new(&h, 100), NOW - 1000);
                host_add_build(&h, 100, true)->began = NOW - 1000;
                assert_verdict(&h, ACTIVITY_IDLE, complete ? TIER_EXACT : TIER_INFERRED, "");
                assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_YES, TIER_EXACT, "its TD is finalised");

                h.builds[0].began = NOW - 1001;
                assert_verdict(&h, ACTIVITY_BUSY, complete ? TIER_EXACT : TIER_INFERRED, "qemu[100] may be in the build");

                /* One that is not finalised counts at any age. */
                h.builds[0].finalized = false;
                assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build");
        }
}

/* T1 in part: what was seen counts; what was not proves nothing. */
static void test_some_probes(void **state) {
        Host h;

        host_init(&h);
        host_probe_some(&h);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "no VM");
        host_add_guest(&h, 100);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "cannot be seen");
        host_add_build(&h, 99, true);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "cannot be seen");
        host_add_build(&h, 100, false);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build");
        h.builds[1].finalized = true;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "");
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "cannot be seen");
        h.facts.incomplete = NULL;

        /* It ran; whether it is a TD cannot be known, and no age helps one that has not run. */
        h.facts.probes.n_builds = 0;
        h.guests[0].ran = NOW;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "every VM is past any build");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_UNKNOWN, TIER_INFERRED, "");
        h.guests[0].ran = 0;
        h.guests[0].known = NOW - 9 * STALE;
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "cannot be seen");
}

/* Probes that have lost records prove nothing, and still make busy; those that say nothing say nothing. */
static void test_probes_in_doubt(void **state) {
        Host h;

        host_init(&h);
        host_probe_all(&h);
        h.facts.probes.doubt = "7 records were lost";
        assert_verdict(&h, ACTIVITY_IDLE, TIER_PROVEN, "no VM");
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "events were lost");
        h.facts.incomplete = NULL;

        host_add_guest(&h, 100);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "qemu[100]");
        host_add_build(&h, 100, true);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "qemu[100]");
        h.guests[0].known = NOW - STALE;
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "qemu[100]");
        h.builds[0].finalized = false;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build");

        /* It ran, so it is the record that is wrong: that the build is over was lost. Without doubt the record is right. */
        h.guests[0].ran = NOW;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "every VM is past any build");
        h.facts.probes.doubt = NULL;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[100] is in the build");
        h.facts.probes.doubt = "7 records were lost";
        h.builds[0].pid = 101;
        assert_verdict(&h, ACTIVITY_BUSY, TIER_EXACT, "qemu[101] is in the build");
        h.builds[0].pid = 100;
        h.guests[0].ran = 0;

        h.facts.probes.unavailable = "the probes are not loaded";
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "cannot be seen");
        h.facts.probes.doubt = NULL;
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "cannot be seen");
        h.guests[0].ran = NOW;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "every VM is past any build");
        assert_guest(&h, 0, GUEST_RUNNING, GUEST_TD_UNKNOWN, TIER_INFERRED, "");
}

/* T2: each sign alone shows it, none shows nothing. All 27 combinations. */
static void test_signs(void **state) {
        static const char *const seen[] = { "vcpuN/pid", "(exits)", "guest time" }, *const unreadable[] =
                { "vcpuN/pid cannot be read", "exits cannot be read", "guest time cannot be read" };

        for (unsigned i = 0; i < 27; i++) {
                Sign signs[3] = { (Sign) (i % 3), (Sign) (i / 3 % 3), (Sign) (i / 9) };
                bool ran = signs[0] == SIGN_SEEN || signs[1] == SIGN_SEEN || signs[2] == SIGN_SEEN;
                /* That there was no guest time yet is not a look at whether it ran: it is only sampled. */
                bool looked = signs[0] == SIGN_ABSENT || signs[1] == SIGN_ABSENT;
                g_auto(ActivityVerdict) v = {};
                GuestFacts *guest;
                Host h;

                host_init(&h);
                guest = host_add_guest(&h, 100);
                guest->signs = (GuestSigns) { signs[0], signs[1], signs[2] };
                guest->ran = ran ? NOW : 0;
                assert_int_equal(guest_signs_ran(guest->signs), ran);
                host_judge(&h, &v);

                assert_int_equal(v.activity, ran ? ACTIVITY_IDLE : looked ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN);
                assert_int_equal(v.guests[0].phase, ran ? GUEST_RUNNING : looked ? GUEST_BUILDING : GUEST_UNKNOWN);
                assert_int_equal(v.guests[0].tier, ran || looked ? TIER_INFERRED : TIER_NONE);
                assert_int_equal(v.tier, ran || looked ? TIER_INFERRED : TIER_NONE);
                assert_int_equal(v.guests[0].td, GUEST_TD_UNKNOWN);
                for (unsigned s = 0; s < 3; s++) {
                        if (signs[s] == SIGN_SEEN)
                                assert_non_null(strstr(v.guests[0].evidence, seen[s]));
                        if (!ran)
                                assert_int_equal(strstr(v.guests[0].evidence, unreadable[s]) != NULL, signs[s] == SIGN_UNREADABLE);
                        if (!ran)
                                assert_non_null(strstr(v.reasons[0].text, v.guests[0].evidence));
                }
        }
}

/* It ran once: that it cannot be looked at any more takes nothing back. */
static void test_ran_for_good(void **state) {
        Host h;

        host_init(&h);
        host_add_guest(&h, 100)->ran = NOW - STALE;
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "past any build");
        host_count_tds(&h, 1);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "past any build");
        h.facts.incomplete = "events were lost";
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "events were lost");
}

/* TDs that are in none of the known VMs make it unknown; enough VMs prove nothing. */
static void test_count(void **state) {
        Host h;

        host_init(&h);
        /* A VM is being torn down: KVM does not report it any more, its TD is there still. */
        host_probe_all(&h);
        host_count_tds(&h, 1);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_EXACT, "no build");

        host_init(&h);
        host_add_running(&h, 100);
        host_add_running(&h, 101);
        for (uint64_t n = 0; n <= 2; n++) {
                host_count_tds(&h, n);
                assert_verdict(&h, ACTIVITY_IDLE, n == 0 ? TIER_PROVEN : TIER_INFERRED, "");
        }
        host_count_tds(&h, 3);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "3 TDs exist, but only 2 VMs are known that could be one");
        host_count_tds(&h, UINT64_MAX);
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "but only 2 VMs are");

        /* One of them is none, by proof. */
        host_count_tds(&h, 2);
        h.guests[1].ran_without_tds = true;
        assert_guest(&h, 1, GUEST_RUNNING, GUEST_TD_NO, TIER_INFERRED, "");
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "2 TDs exist, but only 1 VM is known that could be one");
        host_count_tds(&h, 1);
        assert_verdict(&h, ACTIVITY_IDLE, TIER_INFERRED, "every VM is past any build");

        /* As many TDs as VMs that run, and one that does not: it may be one of them. */
        host_add_new(&h, 102);
        assert_verdict(&h, ACTIVITY_BUSY, TIER_INFERRED, "qemu[102]");
        h.guests[2].signs = (GuestSigns) { SIGN_UNREADABLE, SIGN_UNREADABLE, SIGN_UNREADABLE };
        assert_verdict(&h, ACTIVITY_UNKNOWN, TIER_NONE, "qemu[102]");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_impossible),  cmocka_unit_test(test_no_tds),          cmocka_unit_test(test_no_vm),
                cmocka_unit_test(test_probes),      cmocka_unit_test(test_not_begun),       cmocka_unit_test(test_one_process),
                cmocka_unit_test(test_records_before), cmocka_unit_test(test_some_probes), cmocka_unit_test(test_probes_in_doubt),
                cmocka_unit_test(test_signs),       cmocka_unit_test(test_ran_for_good),    cmocka_unit_test(test_count),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
