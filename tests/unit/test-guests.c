/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What can be seen of a VM: who it is, and whether it has run. What is seen counts, what is not seen proves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/limit.h"
#include "test-guests-bed.h"

static void test_keys(void **state) {
        static const struct {
                const char *key;
                bool ok;
                uint32_t tid, fd;
        } rows[] = {
                { "12209-4", true, 12209, 4 },
                { "1-0", true, 1, 0 },
                { "2147483647-2147483647", true, 2147483647, 2147483647 },
                { "0-4", false },         { "12209", false },      { "12209-", false },  { "-4", false },
                { "12209-4-5", false },   { "12209--4", false },   { "12209-4 ", false }, { " 12209-4", false },
                { "012209-4", false },    { "12209-04", false },   { "+1-4", false },    { "1-4x", false },
                { "2147483648-4", false }, { "1-2147483648", false }, { "../1-4", false }, { "1-4/..", false },
                { "vcpu0", false },       { "", false },           { "99999999999999999999-1", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                uint32_t tid = 0, fd = 0;

                if (guest_key_parse(rows[i].key, &tid, &fd) != rows[i].ok)
                        fail_msg("\"%s\"", rows[i].key);
                if (rows[i].ok) {
                        assert_int_equal(tid, rows[i].tid);
                        assert_int_equal(fd, rows[i].fd);
                }
        }
}

static void test_none(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_put(&b, "0\n", "debug/kvm/exits");
        tree_mkdir(&b.tree, "debug/kvm/not-a-vm");
        bed_start(&b);
        assert_int_equal(bed_update(&b), 0);
        assert_null(guests_incomplete(b.guests));
}

/* Those that were there before the daemon. */
static void test_who_they_are(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        uint64_t before = clock_realtime(&system_clock);
        const GuestFacts *g;

        bed_process(&b, 4711, "qemu-system-x86");
        bed_folder(&b, "4711-12", 1);
        bed_process(&b, 300, "a) (b");
        bed_put(&b, "0::/system.slice/vmm.service\n", "proc/300/cgroup");
        bed_folder(&b, "300-9", 1);
        bed_start(&b);

        assert_true(guests_update(b.guests, false));
        assert_null(guests_incomplete(b.guests));
        assert_int_equal(bed_count(&b), 2);

        g = bed_find(&b, "4711-12");
        assert_int_equal(g->pid, 4711);
        assert_int_equal(g->start_time, 1000);
        assert_string_equal(g->name, "qemu-system-x86");
        assert_string_equal(g->unit, "machine-qemu\\x2d3\\x2dweb.scope");
        assert_string_equal(g->machine, "qemu-3-web");
        assert_int_equal(g->siblings, 1);
        assert_int_equal(g->ran, 0);
        /* The folder's own time, which lags by a tick at most. */
        assert_in_range(g->since, before - 20 * USEC_PER_MSEC, clock_realtime(&system_clock));
        g = bed_find(&b, "300-9");
        assert_string_equal(g->name, "a) (b");
        assert_string_equal(g->machine, "");
        assert_string_equal(g->unit, "vmm.service");

        /* Nothing new is no change. */
        assert_false(guests_update(b.guests, false));
}

static struct timespec time_of(const Bed *b, const char *path) {
        g_autofree char *full = g_build_filename(b->tree.path, path, NULL);
        struct stat st;

        assert_int_equal(stat(full, &st), 0);
        return st.st_ctim;
}

static void test_oldest_first(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const GuestFacts *const *list;
        struct timespec first, second;
        size_t n;

        bed_folder(&b, "9-4", 0);
        first = time_of(&b, "debug/kvm/9-4");
        do {
                bed_remove(&b, "debug/kvm/1-4");
                bed_folder(&b, "1-4", 0);
                second = time_of(&b, "debug/kvm/1-4");
        } while (first.tv_sec == second.tv_sec && first.tv_nsec == second.tv_nsec);

        bed_start(&b);
        assert_int_equal(bed_update(&b), 2);
        list = guests_get(b.guests, &n);
        assert_string_equal(list[0]->key, "9-4");
        assert_string_equal(list[1]->key, "1-4");
        assert_true(list[0]->since < list[1]->since);
}

/* KVM's name has the number of the thread that made the VM; the process is another one's. */
static void test_thread(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const GuestFacts *g;

        bed_process(&b, 4711, "vmm");
        bed_stat(&b, 4720, "vmm:worker", 2000, 0);
        bed_thread(&b, 4720, 4711);
        bed_folder(&b, "4720-12", 1);
        bed_start(&b);
        g = bed_look(&b, "4720-12");
        assert_int_equal(g->pid, 4711);
        assert_int_equal(g->start_time, 1000);
        assert_string_equal(g->name, "vmm");
}

static void test_thread_that_is_gone(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const GuestFacts *g;

        bed_folder(&b, "4720-12", 1);
        bed_start(&b);
        g = bed_look(&b, "4720-12");
        assert_int_equal(g->pid, 4720);
        assert_int_equal(g->start_time, 0);
        assert_string_equal(g->name, "");
        assert_string_equal(g->unit, "");
        assert_int_equal(g->signs.vcpu_pid, SIGN_ABSENT);

        b.dark = true;
        bed_folder(&b, "4721-12", 1);
        assert_int_equal(bed_look(&b, "4721-12")->signs.guest_time, SIGN_UNREADABLE);
}

/* The thread's number is another's by now, who began long after the VM: he is not its VMM. */
static void test_number_used_again(void **state) {
        uint64_t now = clock_boottime(&system_clock) / 10000;

        for (unsigned later = 0; later < 2; later++) {
                _cleanup_bed_ Bed b = bed_new();
                const GuestFacts *g;

                bed_process(&b, 4720, "stranger");
                bed_stat(&b, 4720, "stranger", now + (later ? 200 : 0) * 100, 0);
                bed_folder(&b, "4720-12", 1);
                bed_start(&b);
                g = bed_look(&b, "4720-12");
                assert_string_equal(g->name, later ? "" : "stranger");
                assert_int_equal(g->pid, 4720);
        }
}

static void test_vcpu_pid(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const GuestFacts *g;

        bed_process(&b, 1, "vmm");
        bed_folder(&b, "1-4", 3);
        bed_start(&b);
        g = bed_look(&b, "1-4");
        assert_int_equal(g->signs.vcpu_pid, SIGN_ABSENT);
        assert_int_equal(g->signs.exits, SIGN_ABSENT);
        assert_int_equal(g->signs.guest_time, SIGN_ABSENT);
        assert_int_equal(g->ran, 0);

        /* Any vCPU will do; those behind the first one have their turns. */
        bed_put(&b, "815\n", "debug/kvm/1-4/vcpu2/pid");
        (void) bed_update(&b);
        g = bed_look(&b, "1-4");
        assert_int_equal(g->signs.vcpu_pid, SIGN_SEEN);
        assert_in_range(g->ran, g->since, clock_realtime(&system_clock));
}

/* vCPUs are made one after the other, and their numbers may be any. */
static void test_new_vcpus(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_folder(&b, "1-4", 0);
        bed_start(&b);
        assert_int_equal(bed_look(&b, "1-4")->signs.vcpu_pid, SIGN_ABSENT);
        bed_put(&b, "0\n", "debug/kvm/1-4/vcpu7/pid");
        assert_int_equal(bed_look(&b, "1-4")->signs.vcpu_pid, SIGN_ABSENT);
        bed_put(&b, "9\n", "debug/kvm/1-4/vcpu4095/pid");
        assert_int_equal(bed_look(&b, "1-4")->signs.vcpu_pid, SIGN_SEEN);
}

/* Of many, each has its turn. */
static void test_many_vcpus(void **state) {
        for (unsigned k = 0; k < 40; k += 13) {
                _cleanup_bed_ Bed b = bed_new();
                unsigned turns = 0;

                bed_folder(&b, "1-4", 40);
                bed_start(&b);
                assert_int_equal(bed_look(&b, "1-4")->signs.vcpu_pid, SIGN_ABSENT);
                bed_put(&b, "9\n", "debug/kvm/1-4/vcpu%u/pid", k);
                while (bed_look(&b, "1-4")->ran == 0)
                        assert_true(++turns < (k == 0 ? 1 : 39));
        }

        /* At the first look all of them. */
        {
                _cleanup_bed_ Bed b = bed_new();

                bed_folder(&b, "1-4", 40);
                bed_put(&b, "9\n", "debug/kvm/1-4/vcpu29/pid");
                bed_start(&b);
                assert_true(bed_look(&b, "1-4")->ran > 0);
        }
}

/* What a vCPU's file says stands above what cannot be without it. */
static void test_vcpus_first(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_process(&b, 1, "vmm");
        bed_folder(&b, "1-4", 1);
        bed_start(&b);
        (void) bed_look(&b, "1-4");
        bed_put(&b, "7\n", "debug/kvm/1-4/exits");
        bed_stat(&b, 1, "vmm", 1000, 5);
        assert_int_equal(bed_look(&b, "1-4")->ran, 0);
}

/* A file that cannot be read (here: a folder) is not one that says 0. Then exits is asked, which lockdown may refuse. */
static void test_unreadable(void **state) {
        static const struct {
                const char *exits;      /* NULL: cannot be read either */
                Sign sign;
        } rows[] = {
                { "7\n", SIGN_SEEN }, { "0\n", SIGN_ABSENT }, { NULL, SIGN_UNREADABLE }, { "nonsense\n", SIGN_UNREADABLE },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_bed_ Bed b = bed_new();
                const GuestFacts *g;

                tree_mkdir(&b.tree, "debug/kvm/1-4/vcpu0/pid");
                if (rows[i].exits)
                        bed_put(&b, rows[i].exits, "debug/kvm/1-4/exits");
                bed_start(&b);
                g = bed_look(&b, "1-4");
                assert_int_equal(g->signs.vcpu_pid, SIGN_UNREADABLE);
                assert_int_equal(g->signs.exits, rows[i].sign);
                assert_int_equal(g->ran != 0, rows[i].sign == SIGN_SEEN);
        }
}

/* One vCPU that can be read and ran is enough; one that did not run says nothing of the other. */
static void test_partly_unreadable(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_folder(&b, "1-4", 1);
        tree_mkdir(&b.tree, "debug/kvm/1-4/vcpu1/pid");
        bed_start(&b);
        assert_int_equal(bed_look(&b, "1-4")->signs.vcpu_pid, SIGN_UNREADABLE);
        bed_put(&b, "5\n", "debug/kvm/1-4/vcpu0/pid");
        assert_int_equal(bed_look(&b, "1-4")->signs.vcpu_pid, SIGN_SEEN);
}

/* Where debugfs says nothing. */
static void test_guest_time(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_folder(&b, "1-4", 1);
        bed_start(&b);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        bed_stat(&b, 1, "vmm", 1000, 1);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_SEEN);
        assert_true(bed_find(&b, "1-4")->ran > 0);
}

/* What the process spent in a guest that it had before is no sign of this one. */
static void test_guest_time_of_another(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_stat(&b, 1, "vmm", 1000, 50);
        bed_folder(&b, "1-4", 1);
        bed_start(&b);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);

        /* With a second VM nobody can tell whose it is, nor for what came up to its end. */
        bed_create(&b, "1-5", 1);
        assert_int_equal(bed_look(&b, "1-4")->siblings, 2);
        bed_stat(&b, 1, "vmm", 1000, 60);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        assert_int_equal(bed_find(&b, "1-5")->signs.guest_time, SIGN_ABSENT);
        bed_stat(&b, 1, "vmm", 1000, 70);
        bed_destroy(&b, "1-5");
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        assert_int_equal(bed_find(&b, "1-4")->siblings, 1);
        bed_stat(&b, 1, "vmm", 1000, 71);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_SEEN);
}

/* A VM between two looks, that only its events tell of. */
static void test_guest_time_of_a_short_one(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_start(&b);
        (void) bed_update(&b);
        bed_create(&b, "1-4", 1);
        (void) bed_look(&b, "1-4");
        bed_create(&b, "1-5", 1);
        bed_stat(&b, 1, "vmm", 1000, 5);
        bed_destroy(&b, "1-5");
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);

        /* And one whose events were lost. */
        guests_on_loss(b.guests, NULL);
        bed_stat(&b, 1, "vmm", 1000, 9);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        bed_stat(&b, 1, "vmm", 1000, 10);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_SEEN);
}

/* As long as there are VMs that cannot be found, one of them may be in this process. */
static void test_guest_time_of_one_unknown(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_start(&b);
        (void) bed_update(&b);
        b.count = 1;
        bed_create(&b, "1-4", 1);
        (void) bed_look(&b, "1-4");
        assert_non_null(guests_incomplete(b.guests));
        bed_stat(&b, 1, "vmm", 1000, 5);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
}

/* Another process's VMs do not matter. */
static void test_guest_time_beside_others(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_process(&b, 2, "vmm");
        bed_start(&b);
        (void) bed_update(&b);
        bed_create(&b, "1-4", 1);
        (void) bed_look(&b, "1-4");
        bed_create(&b, "2-5", 1);
        bed_stat(&b, 1, "vmm", 1000, 5);
        bed_destroy(&b, "2-5");
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_SEEN);
}

/* Nor while it is not known of a VM which process has it. */
static void test_guest_time_beside_a_stranger(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_folder(&b, "1-4", 1);
        bed_folder(&b, "99-5", 1);
        bed_start(&b);
        (void) bed_look(&b, "1-4");
        bed_stat(&b, 1, "vmm", 1000, 5);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        bed_remove(&b, "debug/kvm/99-5");
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_ABSENT);
        bed_stat(&b, 1, "vmm", 1000, 6);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_SEEN);
}

/* From the event on, so that it does not matter when the first look is. */
static void test_guest_time_from_the_event_on(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_stat(&b, 1, "vmm", 1000, 50);
        bed_start(&b);
        (void) bed_update(&b);
        bed_create(&b, "1-4", 1);
        bed_stat(&b, 1, "vmm", 1000, 51);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_SEEN);
}

static void test_guest_time_of_another_process(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        b.dark = true;
        bed_process(&b, 1, "vmm");
        bed_folder(&b, "1-4", 1);
        bed_start(&b);
        (void) bed_look(&b, "1-4");
        bed_stat(&b, 1, "stranger", 1001, 99);
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_UNREADABLE);
        bed_remove(&b, "proc/1");
        assert_int_equal(bed_look(&b, "1-4")->signs.guest_time, SIGN_UNREADABLE);
        assert_string_equal(bed_find(&b, "1-4")->name, "vmm");
}

/* It ran, and that is that: nothing is looked at any more. */
static void test_latch(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const GuestFacts *g;
        uint64_t ran;

        bed_process(&b, 1, "vmm");
        bed_folder(&b, "1-4", 1);
        bed_put(&b, "5\n", "debug/kvm/1-4/vcpu0/pid");
        bed_start(&b);
        ran = bed_look(&b, "1-4")->ran;
        assert_true(ran > 0);

        bed_put(&b, "0\n", "debug/kvm/1-4/vcpu0/pid");
        assert_false(guests_update(b.guests, false));
        g = bed_find(&b, "1-4");
        assert_int_equal(g->ran, ran);
        assert_int_equal(g->signs.vcpu_pid, SIGN_SEEN);
}

/* Whoever runs while there is no TD is none. */
static void test_ran_without_tds(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_folder(&b, "1-4", 1);
        bed_folder(&b, "2-4", 1);
        bed_put(&b, "5\n", "debug/kvm/1-4/vcpu0/pid");
        bed_start(&b);
        (void) guests_update(b.guests, false);
        assert_false(bed_find(&b, "1-4")->ran_without_tds);
        assert_true(guests_update(b.guests, true));
        assert_true(bed_find(&b, "1-4")->ran_without_tds);
        assert_false(bed_find(&b, "2-4")->ran_without_tds);

        /* It is kept. */
        bed_put(&b, "5\n", "debug/kvm/2-4/vcpu0/pid");
        (void) guests_update(b.guests, false);
        assert_true(bed_find(&b, "1-4")->ran_without_tds);
        assert_false(bed_find(&b, "2-4")->ran_without_tds);
}

/* A VMM that is put into its unit after it made the VM. */
static void test_described_again_when_it_ran(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_process(&b, 1, "vmm");
        bed_put(&b, "0::/user.slice/x\n", "proc/1/cgroup");
        bed_folder(&b, "1-4", 1);
        bed_start(&b);
        assert_string_equal(bed_look(&b, "1-4")->unit, "");
        bed_process(&b, 1, "qemu");
        bed_put(&b, "5\n", "debug/kvm/1-4/vcpu0/pid");
        assert_string_equal(bed_look(&b, "1-4")->machine, "qemu-3-web");
        assert_string_equal(bed_find(&b, "1-4")->name, "qemu");
}

static unsigned count_descriptors(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n;
}

/* Some are kept open for those that have not run, but not any number, and not after that. */
static void test_descriptors(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        unsigned before, n = LIMIT_GUEST_FOLDERS + 50;

        for (unsigned i = 0; i < n; i++) {
                g_autofree char *key = g_strdup_printf("%u-4", i + 1);

                bed_folder(&b, key, 1);
        }
        bed_start(&b);
        before = count_descriptors();
        assert_int_equal(bed_update(&b), n);
        assert_int_equal(count_descriptors(), before + LIMIT_GUEST_FOLDERS);
        for (unsigned i = 0; i < n; i++) {
                g_autofree char *key = g_strdup_printf("%u-4", i + 1);

                assert_int_equal(bed_find(&b, key)->signs.vcpu_pid, SIGN_ABSENT);
                bed_put(&b, "5\n", "debug/kvm/%s/vcpu0/pid", key);
        }
        (void) bed_update(&b);
        assert_int_equal(count_descriptors(), before);
}

static void test_thousands(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        for (unsigned i = 0; i < LIMIT_GUESTS; i++) {
                g_autofree char *path = g_strdup_printf("debug/kvm/%u-4", i + 1);

                tree_mkdir(&b.tree, path);
        }
        bed_start(&b);
        assert_int_equal(bed_update(&b), LIMIT_GUESTS);
        assert_null(guests_incomplete(b.guests));

        tree_mkdir(&b.tree, "debug/kvm/5000-4");
        assert_int_equal(bed_update(&b), LIMIT_GUESTS);
        assert_non_null(strstr(guests_incomplete(b.guests), "4096"));
        bed_remove(&b, "debug/kvm/1-4");
        assert_int_equal(bed_update(&b), LIMIT_GUESTS - 1);
        assert_int_equal(bed_update(&b), LIMIT_GUESTS);
        assert_null(guests_incomplete(b.guests));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys),
                cmocka_unit_test(test_none),
                cmocka_unit_test(test_who_they_are),
                cmocka_unit_test(test_oldest_first),
                cmocka_unit_test(test_thread),
                cmocka_unit_test(test_thread_that_is_gone),
                cmocka_unit_test(test_number_used_again),
                cmocka_unit_test(test_vcpu_pid),
                cmocka_unit_test(test_new_vcpus),
                cmocka_unit_test(test_many_vcpus),
                cmocka_unit_test(test_vcpus_first),
                cmocka_unit_test(test_unreadable),
                cmocka_unit_test(test_partly_unreadable),
                cmocka_unit_test(test_guest_time),
                cmocka_unit_test(test_guest_time_of_another),
                cmocka_unit_test(test_guest_time_of_a_short_one),
                cmocka_unit_test(test_guest_time_of_one_unknown),
                cmocka_unit_test(test_guest_time_beside_others),
                cmocka_unit_test(test_guest_time_beside_a_stranger),
                cmocka_unit_test(test_guest_time_from_the_event_on),
                cmocka_unit_test(test_guest_time_of_another_process),
                cmocka_unit_test(test_latch),
                cmocka_unit_test(test_ran_without_tds),
                cmocka_unit_test(test_described_again_when_it_ran),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_thousands),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
