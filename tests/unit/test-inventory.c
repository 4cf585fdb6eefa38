/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The inventory over plain files. What plain files cannot do (ENXIO, EPERM, EBUSY) is tested
 * with the simulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>

#include <cmocka.h>

#include "base/util.h"
#include "platform/inventory.h"
#include "test-tree.h"

#define HOST "sys/devices/faux/tdx_host"
#define UPLOAD "sys/class/firmware/tdx_module"

static const char cpuinfo_plain[] =
        "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: x\nstepping\t: 8\nflags\t\t: fpu tdx_host_platform\nbugs\t\t: spectre_v1\n\n";
static const char cpuinfo_bug[] =
        "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: x\nstepping\t: 6\nflags\t\t: fpu tdx_host_platform\nbugs\t\t: seamret_invd_vmcs\n\n";
static const char cpuinfo_no_tdx[] =
        "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: x\nstepping\t: 1\nflags\t\t: fpu svm\nbugs\t\t:\n\n";

typedef struct Bed {
        Tree tree;
        Roots *roots;
        Inventory *inventory;
} Bed;

static void bed_free(Bed *b) {
        inventory_free(b->inventory);
        roots_free(b->roots);
        tree_free(&b->tree);
}

#define _cleanup_bed_ __attribute__((cleanup(bed_free)))

/* A host with everything that an update needs. */
static Bed bed_new(void) {
        Bed b = { .tree = tree_new() };
        g_autofree char *sys = g_build_filename(b.tree.path, "sys", NULL), *proc = g_build_filename(b.tree.path, "proc", NULL);
        g_autofree char *cgroup = g_build_filename(b.tree.path, "cgroup", NULL);
        RootOptions options = { .sysfs = sys, .proc = proc, .cgroup = cgroup };
        const char *path;

        tree_put(&b.tree, HOST "/version", "1.5.05\n");
        tree_put(&b.tree, HOST "/seamldr_version", "1.5.00\n");
        tree_put(&b.tree, HOST "/num_remaining_updates", "9\n");
        tree_mkdir(&b.tree, UPLOAD);
        tree_put(&b.tree, "sys/devices/system/cpu/present", "0-3\n");
        tree_put(&b.tree, "sys/devices/system/cpu/online", "0-3\n");
        tree_put(&b.tree, "proc/cpuinfo", cpuinfo_plain);
        tree_mkdir(&b.tree, "cgroup");
        assert_int_equal(roots_open(&options, &b.roots, &path), 0);
        b.inventory = inventory_new(b.roots);
        return b;
}

static const HostFacts *read_all(Bed *b, int error) {
        assert_int_equal(inventory_read(b->inventory), error);
        inventory_read_hardware(b->inventory);
        return inventory_facts(b->inventory);
}

static void test_complete(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const HostFacts *f = read_all(&b, 0);

        assert_null(f->unsupported);
        assert_false(f->lost);
        assert_true(f->have_running && f->have_seamldr && f->have_remaining);
        assert_int_equal(version_compare(f->running, (Version) { 1, 5, 5 }), 0);
        assert_int_equal(version_compare(f->seamldr, (Version) { 1, 5, 0 }), 0);
        assert_int_equal(f->remaining, 9);
        assert_false(f->have_svn);
        assert_int_equal(f->n_cpus, 1);
        assert_int_equal(f->cpus[0], 0x806f8);
        assert_int_equal(f->cpus_present, 4);
        assert_int_equal(f->cpus_online, 4);
}

static void test_before_the_first_read(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const HostFacts *f = inventory_facts(b.inventory);

        assert_false(f->have_running || f->have_seamldr || f->have_remaining || f->lost);
        assert_int_equal(f->n_cpus, 0);
}

/* There are four causes; each has a text of its own that says so. */
static void test_unsupported(void **state) {
        static const struct {
                const char *remove, *cpuinfo, *word;
        } rows[] = {
                { HOST, cpuinfo_no_tdx, "no TDX" },
                { HOST, cpuinfo_plain, "driver" },
                { UPLOAD, cpuinfo_bug, "seamret_invd_vmcs" },
                { UPLOAD, cpuinfo_plain, "TD-preserving" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_bed_ Bed b = bed_new();
                const char *text;

                tree_remove(&b.tree, rows[i].remove);
                tree_remove(&b.tree, UPLOAD);
                tree_put(&b.tree, "proc/cpuinfo", rows[i].cpuinfo);
                (void) inventory_read(b.inventory);
                text = inventory_facts(b.inventory)->unsupported;
                assert_non_null(text);
                if (!strstr(text, rows[i].word))
                        fail_msg("\"%s\" does not say \"%s\"", text, rows[i].word);
                for (size_t j = 0; j < G_N_ELEMENTS(rows); j++)
                        if (j != i)
                                assert_null(strstr(text, rows[j].word));
        }
}

/* Support may appear after the daemon starts, and go again. */
static void test_support_comes_and_goes(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        tree_remove(&b.tree, HOST);
        tree_remove(&b.tree, UPLOAD);
        assert_non_null(read_all(&b, ENOENT)->unsupported);
        assert_false(inventory_facts(b.inventory)->have_running);
        assert_false(inventory_facts(b.inventory)->have_seamldr);
        assert_false(inventory_facts(b.inventory)->have_remaining);
        assert_false(inventory_facts(b.inventory)->lost);

        tree_put(&b.tree, HOST "/version", "2.0.02\n");
        tree_put(&b.tree, HOST "/num_remaining_updates", "0\n");
        tree_mkdir(&b.tree, UPLOAD);
        assert_null(read_all(&b, 0)->unsupported);
        assert_true(inventory_facts(b.inventory)->have_running);
        assert_true(inventory_facts(b.inventory)->have_remaining);
        assert_int_equal(inventory_facts(b.inventory)->remaining, 0);

        tree_remove(&b.tree, HOST);
        assert_false(read_all(&b, ENOENT)->have_running);
        assert_false(inventory_facts(b.inventory)->have_remaining);
}

/* What is not what the kernel writes is unknown, never a guess. */
static void test_garbage(void **state) {
        static const char *const versions[] = { "", "\n", "1.5\n", "1.5.05-rc1\n", "unknown\n", "1.5.05 \n", "65536.0.0\n" };
        static const char *const numbers[] = { "", "\n", "-1\n", "0x5\n", "5 left\n", "4294967296\n", "99999999999999999999\n" };

        for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
                _cleanup_bed_ Bed b = bed_new();
                const HostFacts *f;

                tree_put(&b.tree, HOST "/version", versions[i]);
                tree_put(&b.tree, HOST "/seamldr_version", versions[i]);
                tree_put(&b.tree, HOST "/num_remaining_updates", numbers[i]);
                f = read_all(&b, EBADMSG);
                assert_false(f->have_running || f->have_seamldr || f->have_remaining || f->lost);
                assert_int_equal(f->remaining, 0);
        }
}

static void test_cpu_lists(void **state) {
        static const struct {
                const char *present, *online;   /* NULL: no such file */
                unsigned n_present, n_online;
        } rows[] = {
                { "0-3\n", "0-3\n", 4, 4 },     { "0-3\n", "0,2-3\n", 4, 3 },   { "0-3\n", "0\n", 4, 1 },
                { "0-127\n", "0-63,96-127\n", 128, 96 }, { "0\n", "0\n", 1, 1 },
                { NULL, "0-3\n", 0, 0 },        { "0-3\n", NULL, 0, 0 },        { "", "0-3\n", 0, 0 },
                { "0-3\n", "x\n", 0, 0 },       { "0-3\n", "3-0\n", 0, 0 },     { "0-99999\n", "0\n", 0, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_bed_ Bed b = bed_new();
                const HostFacts *f;

                tree_remove(&b.tree, "sys/devices/system/cpu");
                if (rows[i].present)
                        tree_put(&b.tree, "sys/devices/system/cpu/present", rows[i].present);
                if (rows[i].online)
                        tree_put(&b.tree, "sys/devices/system/cpu/online", rows[i].online);
                f = read_all(&b, 0);
                assert_int_equal(f->cpus_present, rows[i].n_present);
                assert_int_equal(f->cpus_online, rows[i].n_online);
                assert_int_equal(f->cpus_offline_text != NULL, rows[i].n_online < rows[i].n_present);
                if (f->cpus_offline_text)
                        assert_non_null(strstr(f->cpus_offline_text, "/online"));
        }
}

/* Other CPUs, other signatures. */
static void test_signatures_follow(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        tree_put(&b.tree, "sys/devices/system/cpu/online", "0-2\n");
        assert_int_equal(read_all(&b, 0)->cpus[0], 0x806f8);
        tree_put(&b.tree, "sys/devices/system/cpu/online", "0-3\n");
        tree_put(&b.tree, "proc/cpuinfo", cpuinfo_bug);
        assert_int_equal(read_all(&b, 0)->cpus[0], 0x806f6);
        assert_int_equal(inventory_facts(b.inventory)->n_cpus, 1);
}

/* A file that could not be read once must not make every image unfit for ever. */
static void test_signatures_come_late(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        tree_remove(&b.tree, "proc/cpuinfo");
        assert_int_equal(read_all(&b, 0)->n_cpus, 0);
        tree_put(&b.tree, "proc/cpuinfo", cpuinfo_plain);
        assert_int_equal(read_all(&b, 0)->n_cpus, 1);
}

static void test_set(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        inventory_set_svn(b.inventory, true, 0x105);
        inventory_set_lost(b.inventory);
        /* Reading again forgets neither. */
        assert_true(read_all(&b, 0)->lost);
        assert_true(inventory_facts(b.inventory)->have_svn);
        assert_int_equal(inventory_facts(b.inventory)->svn, 0x105);
        inventory_set_svn(b.inventory, false, 0);
        assert_false(inventory_facts(b.inventory)->have_svn);
}

/* From the same /proc as everything else; a host without one has none. */
static void test_boot_id(void **state) {
        static const char id[] = "01234567-89ab-cdef-0123-456789abcdef";
        _cleanup_bed_ Bed b = bed_new();
        g_autoptr(Inventory) with = NULL;

        assert_string_equal(inventory_boot_id(b.inventory), "");
        tree_put(&b.tree, "proc/sys/kernel/random/boot_id", "01234567-89ab-cdef-0123-456789abcdef\n");
        with = inventory_new(b.roots);
        assert_string_equal(inventory_boot_id(with), id);
}

static void test_roots(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *missing = g_build_filename(t.path, "missing", NULL), *file = g_build_filename(t.path, "file", NULL);
        const char *wrong[] = { missing, file };

        tree_put(&t, "file", "");
        for (unsigned i = 0; i < 2; i++) {
                RootOptions bad[] = {
                        { .sysfs = wrong[i], .proc = t.path }, { .sysfs = t.path, .proc = wrong[i] },
                        { .sysfs = t.path, .proc = t.path, .cgroup = wrong[i] },
                        { .sysfs = t.path, .proc = t.path, .cgroup = t.path, .debugfs = wrong[i] },
                };

                for (size_t j = 0; j < G_N_ELEMENTS(bad); j++) {
                        g_autoptr(Roots) roots = NULL;
                        const char *path = NULL;

                        assert_int_equal(roots_open(&bad[j], &roots, &path), i == 0 ? -ENOENT : -ENOTDIR);
                        assert_null(roots);
                        assert_string_equal(path, wrong[i]);
                }
        }
}

static void test_overrides_are_named(void **state) {
        RootOptions none = {}, some = { .sysfs = "/tmp", .cpu_signature = 0x806f8 };
        g_autoptr(Roots) real = NULL, roots = NULL;
        const char *path;

        assert_int_equal(roots_open(&none, &real, &path), 0);
        assert_null(real->overrides);
        assert_int_equal(roots_open(&some, &roots, &path), 0);
        assert_non_null(strstr(roots->overrides, "--sysfs=/tmp"));
        assert_non_null(strstr(roots->overrides, "--cpu-signature=0x806f8"));
        assert_null(strstr(roots->overrides, "--proc"));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_complete),              cmocka_unit_test(test_before_the_first_read),
                cmocka_unit_test(test_unsupported),           cmocka_unit_test(test_support_comes_and_goes),
                cmocka_unit_test(test_garbage),               cmocka_unit_test(test_cpu_lists),
                cmocka_unit_test(test_signatures_follow),     cmocka_unit_test(test_signatures_come_late),
                cmocka_unit_test(test_set),                   cmocka_unit_test(test_boot_id),
                cmocka_unit_test(test_roots),                 cmocka_unit_test(test_overrides_are_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
