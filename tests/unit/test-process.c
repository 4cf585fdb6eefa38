/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What /proc says about a VMM's process. The formats are those of proc(5) and cgroups(7), the names systemd's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>

#include <cmocka.h>

#include "platform/process.h"
#include "test-tree.h"

/* proc(5): 52 fields; start time is the 22nd, guest time the 43rd. */
#define BEHIND_NAME " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 123456 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 77 41 42 43 44 45 46 47 48\n"

static void test_stat(void **state) {
        static const struct {
                const char *text, *name;        /* NULL: to be refused */
        } rows[] = {
                { "4711 (qemu-system-x86)" BEHIND_NAME, "qemu-system-x86" },
                { "4711 ()" BEHIND_NAME, "" },
                { "4711 (a) S 1 2 (b)" BEHIND_NAME, "a) S 1 2 (b" },
                { "4711 (()))" BEHIND_NAME, "())" },
                { "4711 (a\nb\tc\x1b[31m)" BEHIND_NAME, "a?b?c?[31m" },
                { "4711 (\xff\xfe" "ab)" BEHIND_NAME, "\xef\xbf\xbd\xef\xbf\xbd" "ab" },
                { "4711 (caf\xc3\xa9)" BEHIND_NAME, "caf\xc3\xa9" },
                { "", NULL },
                { "4711 (a", NULL },
                { "4711 a)" BEHIND_NAME, NULL },
                { "4711 )a(" BEHIND_NAME, NULL },
                { "4711 (a)", NULL },
                { "4711 (a) ", NULL },
                { "4711 (a) S 1 2 3\n", NULL },
                { "4711 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 77 41\n", NULL },
                { "4711 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 9 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 -7 41\n", NULL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_auto(ProcessStat) stat = {};
                int r;

                r = process_stat_parse(rows[i].text, strlen(rows[i].text), &stat);
                if (r != (rows[i].name ? 0 : -EBADMSG))
                        fail_msg("row %zu: %d", i, r);
                if (!rows[i].name)
                        continue;
                assert_string_equal(stat.name, rows[i].name);
                assert_int_equal(stat.start_time, 123456);
                assert_int_equal(stat.guest_time, 77);
        }
}

/* The guest time may be the last field of an old kernel's. */
static void test_stat_that_ends_there(void **state) {
        static const char text[] = "1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 5 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 6\n";
        g_auto(ProcessStat) stat = {};

        assert_int_equal(process_stat_parse(text, strlen(text), &stat), 0);
        assert_int_equal(stat.start_time, 5);
        assert_int_equal(stat.guest_time, 6);
}

static void test_unit(void **state) {
        static const struct {
                const char *cgroup, *unit;
        } rows[] = {
                { "0::/machine.slice/machine-qemu\\x2d3\\x2dweb.scope/libvirt/emulator\n", "machine-qemu\\x2d3\\x2dweb.scope" },
                { "0::/system.slice/vmm.service\n", "vmm.service" },
                { "0::/system.slice/system-vmm.slice/vmm@1.service\n", "vmm@1.service" },
                { "0::/init.scope\n", "init.scope" },
                /* What a user, or a container, calls his own cgroups says nothing. */
                { "0::/user.slice/user-1000.slice/user@1000.service/app.slice/machine-qemu\\x2d3\\x2dweb.scope\n", "user@1000.service" },
                { "0::/system.slice/docker.service/machine-x.scope\n", "docker.service" },
                { "0::/docker/abc/machine-x.scope\n", "" },
                /* cg_escape(): "_" before what looks like a file of the kernel's. */
                { "0::/system.slice/_cgroup.service\n", "cgroup.service" },
                { "0::/system.slice/__x.service\n", "_x.service" },
                { "0::/system.slice/vmm.service (deleted)\n", "vmm.service" },
                { "0::/system.slice/.service\n", "" },
                { "0::/system.slice/.scope\n", "" },
                { "0::/system.slice\n", "" },
                { "0::/\n", "" },
                { "", "" },
                { "garbage", "" },
                { "1:name=systemd:/system.slice/x.service\n", "" },
                { "12:misc:/x.service\n0::/system.slice/y.service\n", "y.service" },
                { "0::/system.slice/a\xff.service\n", "a\xef\xbf\xbd.service" },
                { "0::/system.slice/a\x1b[2J.service\n", "a?[2J.service" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *unit = process_unit_parse(rows[i].cgroup);

                if (strcmp(unit, rows[i].unit) != 0)
                        fail_msg("row %zu: \"%s\"", i, unit);
        }
}

/* A unit's name has at most 255 bytes; no character is cut in two. */
static void test_long_unit(void **state) {
        g_autofree char *stem = g_strnfill(300, 'a'), *path = g_strdup_printf("0::/system.slice/%s\xc3\xa9.service\n", stem);
        g_autofree char *cut = g_strdup_printf("0::/system.slice/%.254s\xc3\xa9.service\n", stem);
        g_autofree char *unit = process_unit_parse(path), *between = process_unit_parse(cut);

        assert_int_equal(strlen(unit), 255);
        assert_int_equal(strlen(between), 254);
        assert_true(g_utf8_validate(between, -1, NULL));
}

static void test_machine(void **state) {
        g_autofree char *digits = g_strnfill(64, '7'), *longest = g_strdup_printf("machine-%s.scope", digits);
        g_autofree char *too_long = g_strdup_printf("machine-%s7.scope", digits);
        const struct {
                const char *unit, *machine;
        } rows[] = {
                { "machine-qemu\\x2d3\\x2dweb.scope", "qemu-3-web" },
                { "machine-web.scope", "web" },
                { "machine-a_b.c.scope", "a_b.c" },
                { "machine-\\x41.scope", "A" },
                { longest, digits },
                { too_long, "" },
                /* A plain "-" stands for "/", which no machine has in its name. */
                { "machine-a-b.scope", "" },
                { "machine-a\\x2fb.scope", "" },
                { "machine-a\\x00b.scope", "" },
                { "machine-a\\x0ab.scope", "" },
                { "machine-a\\x2.scope", "" },
                { "machine-a\\x.scope", "" },
                { "machine-a\\.scope", "" },
                { "machine-a\\y2d.scope", "" },
                { "machine-a b.scope", "" },
                { "machine-\xef\xbf\xbd.scope", "" },
                { "machine-.scope", "" },
                { "machine-x.service", "" },
                { "machine.scope", "" },
                { "machine-", "" },
                { ".scope", "" },
                { "", "" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *machine = process_machine_parse(rows[i].unit);

                if (strcmp(machine, rows[i].machine) != 0)
                        fail_msg("row %zu: \"%s\"", i, machine);
        }
}

static void test_of_thread(void **state) {
        static const struct {
                const char *status;
                int r;
                uint32_t pid;
        } rows[] = {
                { "Name:\tqemu\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nNgid:\t0\n", 0, 4711 },
                /* The kernel escapes the newline of a name that tries to look like the field. */
                { "Name:\ta\\nTgid:\t1\nTgid:\t4711\n", 0, 4711 },
                { "Name:\tqemu\n", -EBADMSG, 0 },
                { "Tgid:\t4711\n", -EBADMSG, 0 },
                { "Name:\tqemu\nTgid:\t0\n", -EBADMSG, 0 },
                { "Name:\tqemu\nTgid:\t-1\n", -EBADMSG, 0 },
                { "Name:\tqemu\nTgid:\t4294967297\n", -EBADMSG, 0 },
                { "Name:\tqemu\nTgid:\t\n", -EBADMSG, 0 },
                { "", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_tree_ Tree t = tree_new();
                Roots roots = { .proc_fd = t.fd };
                uint32_t pid = 0;

                tree_put(&t, "4712/status", rows[i].status);
                if (process_of_thread(&roots, 4712, &pid) != rows[i].r || pid != rows[i].pid)
                        fail_msg("row %zu: %u", i, pid);
                assert_int_equal(process_of_thread(&roots, 4713, &pid), -ENOENT);
        }
}

/* This process, as the real kernel shows it. */
static void test_real(void **state) {
        Roots roots = { .proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC) };
        g_auto(ProcessStat) stat = {}, again = {};
        g_autofree char *unit = NULL, *machine = NULL;
        uint32_t pid;

        assert_true(roots.proc_fd >= 0);
        assert_int_equal(process_of_thread(&roots, (uint32_t) gettid(), &pid), 0);
        assert_int_equal(pid, getpid());
        assert_int_equal(process_stat_read(&roots, pid, &stat), 0);
        assert_string_equal(stat.name, "test-process");
        assert_true(stat.start_time > 0);
        assert_int_equal(stat.guest_time, 0);
        assert_int_equal(process_stat_read(&roots, pid, &again), 0);
        assert_int_equal(stat.start_time, again.start_time);
        assert_int_equal(process_unit_read(&roots, pid, &unit, &machine), 0);
        assert_true(g_utf8_validate(unit, -1, NULL));
        close(roots.proc_fd);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_stat),      cmocka_unit_test(test_stat_that_ends_there),
                cmocka_unit_test(test_unit),      cmocka_unit_test(test_long_unit),
                cmocka_unit_test(test_machine),   cmocka_unit_test(test_of_thread),
                cmocka_unit_test(test_real),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
