/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Only a proof makes idle; everything without evidence is unknown, and unknown is busy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/util.h"
#include "platform/evidence.h"
#include "test-tree.h"

static const struct {
        const char *misc, *parameter;   /* NULL: no such file */
        bool idle;
        const char *word;               /* in the text, NULL: any */
} rows[] = {
        { "tdx 0\n", "Y\n", true, "0" },
        { "tdx 0\n", NULL, true, "0" },
        { "sev 3\nsev_es 1\ntdx 0\n", "Y\n", true, "0" },
        { "tdx 0\nsev 3\n", "Y\n", true, "0" },
        { "tdx 3\n", "Y\n", false, "3 TDs" },
        { "tdx 1\n", "Y\n", false, "1 TD " },
        { "tdx 3\n", "N\n", true, "kvm_intel" },
        { NULL, "N\n", true, "kvm_intel" },
        { NULL, "N", true, "kvm_intel" },
        { NULL, "Y\n", false, "misc" },
        { NULL, NULL, false, "misc" },
        { "", "Y\n", false, "misc" },
        { "sev 0\n", "Y\n", false, "misc" },
        { "tdx\n", "Y\n", false, NULL },
        { "tdx \n", "Y\n", false, NULL },
        { "tdx max\n", "Y\n", false, NULL },
        { "tdx 0 0\n", "Y\n", false, NULL },
        { "tdx 0x0\n", "Y\n", false, NULL },
        { "tdx -0\n", "Y\n", false, NULL },
        { "tdx 18446744073709551616\n", "Y\n", false, NULL },
        { "xtdx 0\n", "Y\n", false, NULL },
        { "tdxx 0\n", "Y\n", false, NULL },
        { " tdx 0\n", "Y\n", false, NULL },
        { "TDX 0\n", "Y\n", false, NULL },
        /* A parameter that is not the plain word is no proof. */
        { "tdx 2\n", "\n", false, "2 TDs" },
        { "tdx 2\n", "", false, "2 TDs" },
        { "tdx 2\n", "NO\n", false, "2 TDs" },
        { "tdx 2\n", "n\n", false, "2 TDs" },
        { "tdx 2\n", "0\n", false, "2 TDs" },
        { "tdx 2\n", " N\n", false, "2 TDs" },
};

static void check(const Roots *roots, size_t i) {
        g_auto(Evidence) e = {};

        evidence_read(roots, &e);
        if (e.activity != (rows[i].idle ? ACTIVITY_IDLE : ACTIVITY_UNKNOWN))
                fail_msg("row %zu: %s", i, e.text);
        assert_string_equal(e.tier, rows[i].idle ? "T0" : "none");
        assert_true(e.text && strlen(e.text) > 10);
        if (rows[i].word && !strstr(e.text, rows[i].word))
                fail_msg("row %zu: \"%s\" does not say \"%s\"", i, e.text, rows[i].word);
        assert_int_equal(e.building, 0);
}

static void test_rows(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_tree_ Tree t = tree_new();
                Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = t.fd, .debugfs_fd = -1 };

                if (rows[i].misc)
                        tree_put(&t, "misc.current", rows[i].misc);
                if (rows[i].parameter)
                        tree_put(&t, "module/kvm_intel/parameters/tdx", rows[i].parameter);
                check(&roots, i);
        }
}

/* Without KVM there is no VM; but that its folder is not there proves nothing where there are no folders at all. */
static void test_no_kvm(void **state) {
        static const struct {
                const char *file;
                bool idle;
        } cases[] = {
                { "module/loop/parameters/max_loop", true },
                { "module/kvm/parameters/halt_poll_ns", false },
                { "module/kvm_intel/parameters/ept", false },
                { "class/firmware/timeout", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                _cleanup_tree_ Tree t = tree_new();
                Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1 };
                g_auto(Evidence) e = {};

                tree_put(&t, cases[i].file, "1\n");
                evidence_read(&roots, &e);
                assert_int_equal(e.activity, cases[i].idle ? ACTIVITY_IDLE : ACTIVITY_UNKNOWN);
                assert_string_equal(e.tier, cases[i].idle ? "T0" : "none");
                if (cases[i].idle)
                        assert_non_null(strstr(e.text, "KVM"));
        }
}

/* No cgroup file system at all. */
static void test_no_cgroup(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1 };
        g_auto(Evidence) unknown = {}, idle = {};

        evidence_read(&roots, &unknown);
        assert_int_equal(unknown.activity, ACTIVITY_UNKNOWN);
        tree_put(&t, "module/kvm_intel/parameters/tdx", "N\n");
        evidence_read(&roots, &idle);
        assert_int_equal(idle.activity, ACTIVITY_IDLE);
}

/* A directory in the place of a file, and one that is too long to be the kernel's. */
static void test_odd_files(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = t.fd, .debugfs_fd = -1 };
        g_autofree char *long_text = g_strnfill(70000, '\n');
        g_auto(Evidence) directory = {}, too_long = {};

        tree_mkdir(&t, "misc.current");
        tree_mkdir(&t, "module/kvm_intel/parameters/tdx");
        evidence_read(&roots, &directory);
        assert_int_equal(directory.activity, ACTIVITY_UNKNOWN);

        tree_remove(&t, "misc.current");
        memcpy(long_text, "tdx 0\n", 6);
        tree_put(&t, "misc.current", long_text);
        evidence_read(&roots, &too_long);
        assert_int_equal(too_long.activity, ACTIVITY_UNKNOWN);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_no_kvm), cmocka_unit_test(test_no_cgroup),
                cmocka_unit_test(test_odd_files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
