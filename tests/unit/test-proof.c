/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What proves without a look at the VMs; what cannot be read, or is not what the kernel writes, proves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/util.h"
#include "platform/proof.h"
#include "test-tree.h"

#define NO_COUNT UINT64_MAX

static const struct {
        const char *misc, *parameter;   /* NULL: no such file */
        uint64_t tds;                   /* NO_COUNT: it is not known */
        const char *impossible;         /* a word of the text, NULL: TDs can be built */
} rows[] = {
        { "tdx 0\n", "Y\n", 0, NULL },
        { "tdx 0\n", NULL, 0, NULL },
        { "tdx 0", "Y\n", 0, NULL },
        { "sev 3\nsev_es 1\ntdx 0\n", "Y\n", 0, NULL },
        { "tdx 0\nsev 3\n", "Y\n", 0, NULL },
        { "tdx 3\n", "Y\n", 3, NULL },
        { "tdx 1\n", "Y\n", 1, NULL },
        { "sev 0\ntdx 12\n", "Y\n", 12, NULL },
        { "tdx 18446744073709551614\n", "Y\n", UINT64_MAX - 1, NULL },
        { "tdx 3\n", "N\n", 3, "kvm_intel" },
        { NULL, "N\n", NO_COUNT, "kvm_intel" },
        { NULL, "N", NO_COUNT, "kvm_intel" },
        { NULL, "Y\n", NO_COUNT, NULL },
        { NULL, NULL, NO_COUNT, NULL },
        { "", "Y\n", NO_COUNT, NULL },
        { "\n", "Y\n", NO_COUNT, NULL },
        { "sev 0\n", "Y\n", NO_COUNT, NULL },
        { "tdx\n", "Y\n", NO_COUNT, NULL },
        { "tdx \n", "Y\n", NO_COUNT, NULL },
        { "tdx max\n", "Y\n", NO_COUNT, NULL },
        { "tdx 0 0\n", "Y\n", NO_COUNT, NULL },
        { "tdx 0x0\n", "Y\n", NO_COUNT, NULL },
        { "tdx -0\n", "Y\n", NO_COUNT, NULL },
        { "tdx +0\n", "Y\n", NO_COUNT, NULL },
        { "tdx  0\n", "Y\n", NO_COUNT, NULL },
        { "tdx 18446744073709551616\n", "Y\n", NO_COUNT, NULL },
        { "xtdx 0\n", "Y\n", NO_COUNT, NULL },
        { "tdxx 0\n", "Y\n", NO_COUNT, NULL },
        { "tdxx0\n", "Y\n", NO_COUNT, NULL },
        { "tdxx 4\ntdx 3\n", "Y\n", 3, NULL },
        { " tdx 0\n", "Y\n", NO_COUNT, NULL },
        { "TDX 0\n", "Y\n", NO_COUNT, NULL },
        /* A parameter that is not the plain word is no proof. */
        { "tdx 2\n", "\n", 2, NULL },
        { "tdx 2\n", "", 2, NULL },
        { "tdx 2\n", "NO\n", 2, NULL },
        { "tdx 2\n", "n\n", 2, NULL },
        { "tdx 2\n", "0\n", 2, NULL },
        { "tdx 2\n", " N\n", 2, NULL },
};

/* Either a count, or why there is none, with what can be done about it. */
static void check_count(const Proof *p, uint64_t tds) {
        assert_int_equal(p->have_tds, tds != NO_COUNT);
        if (tds != NO_COUNT) {
                assert_int_equal(p->tds, tds);
                assert_null(p->tds_error);
        } else
                assert_true(p->tds_error && strstr(p->tds_error, "cgroup"));
}

static void check(const Roots *roots, size_t i) {
        g_auto(Proof) p = {};

        proof_read(roots, &p);
        if (p.have_tds != (rows[i].tds != NO_COUNT) || !p.impossible != !rows[i].impossible)
                fail_msg("row %zu: %s, %s", i, p.impossible ?: "possible", p.tds_error ?: "counted");
        check_count(&p, rows[i].tds);
        if (rows[i].impossible)
                assert_non_null(strstr(p.impossible, rows[i].impossible));
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
                bool impossible;
        } cases[] = {
                { "module/loop/parameters/max_loop", true },
                { "module/kvm/parameters/halt_poll_ns", false },
                { "module/kvm_intel/parameters/ept", false },
                { "class/firmware/timeout", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                _cleanup_tree_ Tree t = tree_new();
                Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1 };
                g_auto(Proof) p = {};

                tree_put(&t, cases[i].file, "1\n");
                proof_read(&roots, &p);
                assert_int_equal(p.impossible != NULL, cases[i].impossible);
                if (cases[i].impossible)
                        assert_non_null(strstr(p.impossible, "KVM"));
                check_count(&p, NO_COUNT);
        }
}

/* No cgroup file system at all. */
static void test_no_cgroup(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1 };
        g_auto(Proof) unknown = {}, without_tdx = {};

        proof_read(&roots, &unknown);
        assert_null(unknown.impossible);
        check_count(&unknown, NO_COUNT);
        tree_put(&t, "module/kvm_intel/parameters/tdx", "N\n");
        proof_read(&roots, &without_tdx);
        assert_non_null(without_tdx.impossible);
}

/* A directory in the place of a file, and one that is too long to be the kernel's. */
static void test_odd_files(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = t.fd, .debugfs_fd = -1 };
        g_autofree char *long_text = g_strnfill(70000, '\n');
        g_auto(Proof) directory = {}, too_long = {};

        tree_mkdir(&t, "misc.current");
        tree_mkdir(&t, "module/kvm_intel/parameters/tdx");
        proof_read(&roots, &directory);
        assert_null(directory.impossible);
        check_count(&directory, NO_COUNT);

        tree_remove(&t, "misc.current");
        memcpy(long_text, "tdx 0\n", 6);
        tree_put(&t, "misc.current", long_text);
        proof_read(&roots, &too_long);
        check_count(&too_long, NO_COUNT);
}

/* What was read before does not stay, and clearing twice is harmless. */
static void test_again(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = t.fd, .proc_fd = t.fd, .cgroup_fd = t.fd, .debugfs_fd = -1 };
        Proof p;

        tree_put(&t, "misc.current", "tdx 7\n");
        tree_put(&t, "module/kvm_intel/parameters/tdx", "N\n");
        proof_read(&roots, &p);
        check_count(&p, 7);
        assert_non_null(p.impossible);
        proof_clear(&p);

        tree_remove(&t, "misc.current");
        tree_put(&t, "module/kvm_intel/parameters/tdx", "Y\n");
        proof_read(&roots, &p);
        check_count(&p, NO_COUNT);
        assert_null(p.impossible);
        proof_clear(&p);
        assert_null(p.tds_error);
        proof_clear(&p);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_no_kvm), cmocka_unit_test(test_no_cgroup),
                cmocka_unit_test(test_odd_files), cmocka_unit_test(test_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
