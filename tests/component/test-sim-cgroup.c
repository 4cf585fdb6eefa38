/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The simulator's misc controller. What is expected is kernel/cgroup/misc.c and arch/x86/kvm/vmx/tdx.c of Linux 7.3. */
#include "sim/cgroup.h"
#include "test-sim-bed.h"

static void cgroup_add(Bed *b, const char *path) {
        g_autofree char *text = NULL;

        if (model_cgroup_add(b->m, b->now, path, &text) < 0)
                fail_msg("%s: %s", path, text);
}

static int begin(Bed *b, const char *name, const char *cgroup) {
        g_autofree char *text = NULL;
        int r;

        r = model_td_begin_in(b->m, b->now, &(TdBegin) { .name = name, .pid = 100, .cgroup = cgroup }, &text);
        assert_int_equal(r < 0, text != NULL);
        return r;
}

static void destroy(Bed *b, const char *name) {
        g_autofree char *text = NULL;

        assert_int_equal(model_td_destroy(b->m, b->now, name, &text), 0);
}

static int set_max(Bed *b, const char *cgroup, const char *text) {
        return model_misc_max_store(b->m, model_cgroup_find(b->m, cgroup), text, strlen(text));
}

static void check(Bed *b, const char *path, uint64_t usage, uint64_t events, uint64_t events_local) {
        const Cgroup *c = model_cgroup_find(b->m, path);

        if (c->usage != usage || c->events != events || c->events_local != events_local)
                fail_msg("%s: usage %" G_GINT64_FORMAT ", events %" G_GUINT64_FORMAT ", of its own %" G_GUINT64_FORMAT, path, (int64_t) c->usage,
                         c->events, c->events_local);
}

static void test_charged_up_to_the_root(void **state) {
        Bed *b = *state;

        cgroup_add(b, "machine.slice/vm.scope");
        cgroup_add(b, "kubepods.slice/pods/one");
        assert_int_equal(begin(b, "a", "machine.slice/vm.scope"), 0);
        assert_int_equal(begin(b, "b", NULL), 0);
        assert_int_equal(begin(b, "c", "kubepods.slice/pods/one"), 0);
        assert_int_equal(begin(b, "d", ""), 0);
        assert_int_equal(begin(b, "e", "no.slice"), -ENOENT);
        check(b, "", 4, 0, 0);
        check(b, "machine.slice", 2, 0, 0);
        check(b, "machine.slice/vm.scope", 1, 0, 0);
        check(b, "kubepods.slice", 1, 0, 0);
        check(b, "kubepods.slice/pods", 1, 0, 0);

        destroy(b, "a");
        destroy(b, "d");
        check(b, "", 2, 0, 0);
        check(b, "machine.slice", 1, 0, 0);
        check(b, "machine.slice/vm.scope", 0, 0, 0);
}

/* A maximum of 0 above closes all below, whatever theirs is; who is in already stays. */
static void test_a_closed_group(void **state) {
        Bed *b = *state;

        set(b, "refund-refused=no");
        cgroup_add(b, "machine.slice/vm.scope");
        cgroup_add(b, "other.slice");
        assert_int_equal(begin(b, "a", "machine.slice/vm.scope"), 0);
        assert_int_equal(set_max(b, "machine.slice", "tdx 0"), 0);
        assert_int_equal(set_max(b, "machine.slice/vm.scope", "tdx max"), 0);
        check(b, "machine.slice", 1, 0, 0);
        assert_int_equal(begin(b, "b", "machine.slice/vm.scope"), -EBUSY);
        assert_int_equal(begin(b, "c", NULL), -EBUSY);
        assert_int_equal(begin(b, "d", "other.slice"), 0);
        assert_int_equal(begin(b, "e", ""), 0);
        check(b, "", 3, 0, 0);
        check(b, "machine.slice", 1, 2, 2);
        check(b, "machine.slice/vm.scope", 1, 0, 0);
        assert_key(b, "refused-tds", "2");
        assert_int_equal(model_n_tds(b->m), 3);

        assert_int_equal(set_max(b, "machine.slice", "tdx max"), 0);
        assert_int_equal(begin(b, "b", "machine.slice/vm.scope"), 0);
        check(b, "", 4, 0, 0);
}

/* The group that refuses counts it as its own, and those above it count it, too. */
static void test_events(void **state) {
        Bed *b = *state;

        set(b, "refund-refused=no");
        cgroup_add(b, "a/b/c");
        assert_int_equal(set_max(b, "a/b", "tdx 2"), 0);
        assert_int_equal(begin(b, "1", "a/b/c"), 0);
        assert_int_equal(begin(b, "2", "a/b/c"), 0);
        assert_int_equal(begin(b, "3", "a/b/c"), -EBUSY);
        check(b, "a/b/c", 2, 0, 0);
        check(b, "a/b", 2, 1, 1);
        check(b, "a", 2, 1, 0);
        check(b, "", 2, 0, 0);
        assert_int_equal(begin(b, "3", "a"), 0);
        check(b, "a", 3, 1, 0);
}

/* __tdx_td_init(), free_hkid: what was not charged is given back, so that a TD in its build is not counted any more. */
static void test_a_refused_charge_is_given_back(void **state) {
        Bed *b = *state;

        assert_int_equal(begin(b, "a", NULL), 0);
        assert_int_equal(set_max(b, "machine.slice", "tdx 0"), 0);
        assert_int_equal(begin(b, "b", NULL), -EBUSY);
        assert_int_equal(model_n_tds(b->m), 1);
        check(b, "machine.slice", 0, 1, 1);
        check(b, "", 0, 0, 0);
        destroy(b, "a");
        check(b, "machine.slice", UINT64_MAX, 1, 1);
        check(b, "", UINT64_MAX, 0, 0);

        /* The next one is charged as if there were none. */
        assert_int_equal(set_max(b, "machine.slice", "tdx 0"), 0);
        assert_int_equal(begin(b, "c", NULL), 0);
        check(b, "", 0, 0, 0);
}

/* 0 - 2 + 1 is the largest number there is, and above any capacity: no TD begins any more until the host is booted. */
static void test_refused_twice_is_refused_for_ever(void **state) {
        Bed *b = *state;

        assert_int_equal(set_max(b, "machine.slice", "tdx 0"), 0);
        assert_int_equal(begin(b, "a", NULL), -EBUSY);
        check(b, "", UINT64_MAX, 0, 0);
        assert_int_equal(set_max(b, "machine.slice", "tdx max"), 0);
        assert_int_equal(begin(b, "a", NULL), 0);
        destroy(b, "a");

        /* At -1 a maximum of 0 does not even refuse: the charge makes it 0. */
        assert_int_equal(set_max(b, "machine.slice", "tdx 0"), 0);
        assert_int_equal(begin(b, "a", NULL), 0);
        assert_int_equal(begin(b, "b", NULL), -EBUSY);
        destroy(b, "a");
        check(b, "", UINT64_MAX - 1, 0, 0);
        assert_int_equal(set_max(b, "machine.slice", "tdx max"), 0);
        assert_int_equal(begin(b, "b", NULL), -EBUSY);
        assert_int_equal(begin(b, "c", ""), -EBUSY);
}

static void test_what_misc_max_takes(void **state) {
        static const struct {
                const char *text;
                int r;
                uint64_t max;
        } cases[] = {
                { "tdx 3", 0, 3 }, { "tdx 3\n", 0, 3 }, { "  tdx 3  \n", 0, 3 }, { "tdx 0", 0, 0 }, { "tdx max", 0, UINT64_MAX },
                { "tdx 0x10", 0, 16 }, { "tdx 010", 0, 8 }, { "tdx +4", 0, 4 }, { "tdx 18446744073709551615", 0, UINT64_MAX },
                { "tdx 18446744073709551616", -ERANGE, 7 }, { "tdx -1", -EINVAL, 7 }, { "tdx", -EINVAL, 7 }, { "", -EINVAL, 7 },
                { "3", -EINVAL, 7 }, { "tdx ", -EINVAL, 7 }, { "tdx 3x", -EINVAL, 7 }, { "tdx  3", -EINVAL, 7 }, { "tdx 0x", -EINVAL, 7 },
                { "tdx 3 4", -EINVAL, 7 }, { "tdx Max", -EINVAL, 7 }, { "sev 3", -EINVAL, 7 }, { "TDX 3", -EINVAL, 7 },
        };
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                assert_int_equal(set_max(b, CGROUP_OF_VMS, "tdx 7"), 0);
                if (set_max(b, CGROUP_OF_VMS, cases[i].text) != cases[i].r || model_cgroup_find(b->m, CGROUP_OF_VMS)->max != cases[i].max)
                        fail_msg("\"%s\"", cases[i].text);
        }

        /* Without KVM, or without TDX in it, there is no capacity; the limit stays for when there is again. */
        set(b, "kvm-intel-tdx=N");
        assert_int_equal(set_max(b, CGROUP_OF_VMS, "tdx 1"), -EINVAL);
        assert_int_equal(model_cgroup_find(b->m, CGROUP_OF_VMS)->max, 7);
}

static void test_groups_come_and_go(void **state) {
        static const char *const bad[] = { "", "/", "/a", "a/", "a//b", "..", "a/../b", ".", "a b" };
        unsigned generation;
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *text = NULL;

                if (model_cgroup_add(b->m, b->now, bad[i], &text) != -EINVAL)
                        fail_msg("\"%s\" is taken", bad[i]);
        }
        for (const char *const *row = (const char *const[]) { "machine.slice", "a", "a/b", NULL }; *row; row++) {
                g_autofree char *text = NULL;

                if (row[1])
                        cgroup_add(b, row[1]);
                assert_int_equal(model_cgroup_add(b->m, b->now, *row, &text), -EEXIST);
        }

        generation = model_generation(b->m);
        assert_int_equal(begin(b, "1", "a/b"), 0);
        for (const char *const *row = (const char *const[]) { "a", "a/b", NULL }; *row; row++) {
                g_autofree char *text = NULL;

                assert_int_equal(model_cgroup_remove(b->m, b->now, *row, &text), -EBUSY);
        }
        assert_int_equal(model_generation(b->m), generation);
        destroy(b, "1");
        for (const char *const *row = (const char *const[]) { "a/b", "a", "machine.slice", NULL }; *row; row++) {
                g_autofree char *text = NULL;

                assert_int_equal(model_cgroup_remove(b->m, b->now, *row, &text), 0);
                assert_null(model_cgroup_find(b->m, *row));
                assert_int_equal(model_cgroup_remove(b->m, b->now, *row, &text), -ENOENT);
        }
        assert_true(model_generation(b->m) > generation);
        /* Without machine.slice a VMM is in the root. */
        assert_int_equal(begin(b, "2", NULL), 0);
        check(b, "", 1, 0, 0);
}

static void test_reboot(void **state) {
        Bed *b = *state;
        g_autofree char *text = NULL;

        cgroup_add(b, "a");
        assert_int_equal(set_max(b, CGROUP_OF_VMS, "tdx 1"), 0);
        assert_int_equal(begin(b, "1", NULL), 0);
        assert_int_equal(begin(b, "2", NULL), -EBUSY);
        assert_int_equal(model_reboot(b->m, b->now, "11111111-2222-4333-8444-555555555555", &text), 0);
        assert_null(model_cgroup_find(b->m, "a"));
        check(b, "", 0, 0, 0);
        check(b, CGROUP_OF_VMS, 0, 0, 0);
        assert_int_equal(model_cgroup_find(b->m, CGROUP_OF_VMS)->max, UINT64_MAX);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                TEST(test_charged_up_to_the_root), TEST(test_a_closed_group), TEST(test_events),
                TEST(test_a_refused_charge_is_given_back), TEST(test_refused_twice_is_refused_for_ever),
                TEST(test_what_misc_max_takes), TEST(test_groups_come_and_go),
                TEST(test_reboot),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
