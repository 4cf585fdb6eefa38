/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Where debugfs is not mounted: VMs are descriptors of processes, and guest time is the only sign. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "test-guests-bed.h"

/* Takes CAP_SYS_PTRACE out of what is effective, or puts it back. False: this process does not have it. */
static bool set_ptrace(bool effective) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
        unsigned i = CAP_TO_INDEX(CAP_SYS_PTRACE);

        assert_int_equal(syscall(SYS_capget, &header, data), 0);
        if (!(data[i].permitted & CAP_TO_MASK(CAP_SYS_PTRACE)))
                return false;
        if (effective)
                data[i].effective |= CAP_TO_MASK(CAP_SYS_PTRACE);
        else
                data[i].effective &= ~CAP_TO_MASK(CAP_SYS_PTRACE);
        assert_int_equal(syscall(SYS_capset, &header, data), 0);
        return true;
}

#define NEEDS_PTRACE()                                                                          \
        if (!set_ptrace(true)) {                                                                \
                print_message("skipped: needs CAP_SYS_PTRACE, as the daemon does for this\n");  \
                skip();                                                                         \
        }

/* debugfs's place is empty. */
static Bed bed_without_debugfs(void) {
        Bed b = bed_new();

        bed_remove(&b, "debug/kvm");
        return b;
}

static void put_link(const Bed *b, unsigned pid, unsigned fd, const char *text) {
        g_autofree char *path = g_strdup_printf("%s/proc/%u/fd/%u", b->tree.path, pid, fd), *dir = g_path_get_dirname(path);

        assert_int_equal(g_mkdir_with_parents(dir, 0755), 0);
        assert_int_equal(symlink(text, path), 0);
}

static void put_vm(const Bed *b, unsigned pid, unsigned fd) {
        put_link(b, pid, fd, "anon_inode:kvm-vm");
}

static void test_descriptors(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();
        const GuestFacts *g;

        NEEDS_PTRACE();
        bed_process(&b, 10, "qemu");
        put_vm(&b, 10, 12);
        put_link(&b, 10, 0, "/dev/null");
        put_link(&b, 10, 13, "anon_inode:kvm-vcpu:0");
        put_link(&b, 10, 14, "anon_inode:kvm-vm-stats");
        put_link(&b, 10, 15, "anon_inode:kvm-v");
        put_link(&b, 10, 16, "/tmp/anon_inode:kvm-vm");
        bed_process(&b, 11, "other");
        put_link(&b, 11, 3, "socket:[1]");
        bed_process(&b, 12, "two");
        put_vm(&b, 12, 5);
        put_vm(&b, 12, 6);
        bed_put(&b, "x", "proc/cpuinfo");
        bed_put(&b, "x", "proc/12x/fd/1");

        bed_start(&b);
        assert_int_equal(bed_update(&b), 3);
        assert_null(guests_incomplete(b.guests));
        g = bed_find(&b, "10-12");
        assert_string_equal(g->name, "qemu");
        assert_string_equal(g->machine, "qemu-3-web");
        assert_int_equal(g->pid, 10);
        assert_int_equal(g->start_time, 1000);
        /* Not before its process. */
        assert_true(g->since > 0 && g->since <= clock_realtime(&system_clock));
        assert_int_equal(g->signs.vcpu_pid, SIGN_UNREADABLE);
        assert_int_equal(g->signs.exits, SIGN_UNREADABLE);
        assert_int_equal(g->signs.guest_time, SIGN_ABSENT);
        assert_int_equal(bed_find(&b, "12-5")->siblings, 2);
        assert_int_equal(bed_find(&b, "12-6")->siblings, 2);

        bed_stat(&b, 10, "qemu", 1000, 4);
        bed_stat(&b, 12, "two", 1000, 4);
        assert_true(guests_update(b.guests, false));
        assert_true(bed_find(&b, "10-12")->ran > 0);
        assert_int_equal(bed_find(&b, "12-5")->ran, 0);
}

/* No debugfs at all, not even its place. */
static void test_no_place(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        closep(&b.roots.debugfs_fd);
        bed_process(&b, 10, "qemu");
        put_vm(&b, 10, 12);
        bed_start(&b);
        assert_int_equal(bed_update(&b), 1);
        bed_tell(&b, true, 99, "99-4");
        assert_int_equal(bed_count(&b), 2);
}

/* Others' processes, or with hidepid= their existence, are hidden without the capability: nobody knows what is there. */
static void test_without_capability(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "qemu");
        put_vm(&b, 10, 12);
        assert_true(set_ptrace(false));
        bed_start(&b);
        assert_int_equal(bed_update(&b), 1);
        assert_non_null(strstr(guests_incomplete(b.guests), "CAP_SYS_PTRACE"));
        assert_non_null(strstr(guests_incomplete(b.guests), "debugfs"));
        assert_true(set_ptrace(true));

        guests_on_loss(b.guests, NULL);
        assert_true(guests_update(b.guests, false));
        assert_null(guests_incomplete(b.guests));
}

/* With it, too, a process may be one that cannot be looked into (here: no folder). */
static void test_unreadable_process(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "qemu");
        bed_put(&b, "x", "proc/10/fd");
        bed_process(&b, 11, "qemu");
        bed_put(&b, "x", "proc/11/fd/7");
        bed_start(&b);
        assert_int_equal(bed_update(&b), 0);
        assert_non_null(strstr(guests_incomplete(b.guests), "2 processes"));
}

/* KVM tells of a VM before its descriptor is there; the name in its event is the thread's. */
static void test_events(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "vmm");
        bed_thread(&b, 17, 10);
        bed_stat(&b, 17, "vmm", 1000, 0);
        bed_start(&b);
        assert_int_equal(bed_update(&b), 0);

        b.created = b.count = 1;
        bed_tell(&b, true, 17, "17-5");
        assert_int_equal(bed_update(&b), 1);
        guests_on_loss(b.guests, NULL);
        assert_int_equal(bed_update(&b), 1);
        assert_int_equal(bed_find(&b, "17-5")->pid, 10);

        /* Now it is there: the same VM, not a second one. */
        put_vm(&b, 10, 5);
        guests_on_loss(b.guests, NULL);
        assert_int_equal(bed_update(&b), 1);

        b.count = 0;
        bed_tell(&b, false, 17, "17-5");
        bed_remove(&b, "proc/10/fd/5");
        assert_int_equal(bed_update(&b), 0);
        assert_null(guests_incomplete(b.guests));
}

/* One that the look has found ends: its event has the thread's number in its name. */
static void test_end_of_one_found(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "vmm");
        bed_thread(&b, 17, 10);
        put_vm(&b, 10, 5);
        put_vm(&b, 10, 6);
        bed_start(&b);
        assert_int_equal(bed_update(&b), 2);
        b.created = 2;
        b.count = 1;
        bed_tell(&b, false, 17, "17-5");
        assert_int_equal(bed_count(&b), 1);
        assert_non_null(bed_find(&b, "10-6"));
}

/* A kernel without debugfs: events have no name, the look has. */
static void test_nameless(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "vmm");
        bed_start(&b);
        (void) bed_update(&b);
        b.created = b.count = 1;
        bed_tell(&b, true, 10, NULL);
        assert_int_equal(bed_update(&b), 1);
        put_vm(&b, 10, 5);
        guests_on_loss(b.guests, NULL);
        assert_int_equal(bed_update(&b), 1);

        b.count = 0;
        bed_tell(&b, false, 10, NULL);
        bed_remove(&b, "proc/10/fd/5");
        assert_int_equal(bed_update(&b), 0);
}

/* The event of one of two: which one is found out by looking. */
static void test_one_of_two_nameless(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "vmm");
        bed_process(&b, 11, "vmm");
        put_vm(&b, 10, 5);
        put_vm(&b, 11, 5);
        put_vm(&b, 11, 6);
        bed_start(&b);
        assert_int_equal(bed_update(&b), 3);
        b.created = 3;
        b.count = 2;
        bed_remove(&b, "proc/11");
        bed_tell(&b, false, 11, NULL);
        assert_int_equal(bed_update(&b), 1);
        assert_non_null(bed_find(&b, "10-5"));
        /* KVM counts one that is not found any more. */
        assert_non_null(guests_incomplete(b.guests));
}

/* A process that is gone has no VM, and neither has one whose number is another's. */
static void test_process_is_gone(void **state) {
        for (unsigned again = 0; again < 2; again++) {
                _cleanup_bed_ Bed b = bed_without_debugfs();

                NEEDS_PTRACE();
                bed_process(&b, 10, "vmm");
                put_vm(&b, 10, 5);
                bed_start(&b);
                assert_int_equal(bed_update(&b), 1);
                bed_remove(&b, "proc/10");
                if (again)
                        bed_stat(&b, 10, "stranger", 1001, 0);
                tree_mkdir(&b.tree, again ? "proc/10/fd" : "proc");
                guests_on_loss(b.guests, NULL);
                assert_int_equal(bed_update(&b), 0);
        }
}

/* Nothing happened, so /proc with its thousands of links is left alone. */
static void test_looks_only_when_needed(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "vmm");
        bed_start(&b);
        assert_int_equal(bed_update(&b), 0);
        put_vm(&b, 10, 5);
        assert_int_equal(bed_update(&b), 0);
        guests_on_loss(b.guests, NULL);
        assert_int_equal(bed_update(&b), 1);
}

/* Its folder appears later: what is known by other names is looked at anew. */
static void test_debugfs_comes_and_goes(void **state) {
        _cleanup_bed_ Bed b = bed_without_debugfs();

        NEEDS_PTRACE();
        bed_process(&b, 10, "vmm");
        bed_thread(&b, 17, 10);
        bed_stat(&b, 17, "vmm", 1000, 0);
        put_vm(&b, 10, 5);
        bed_start(&b);
        assert_int_equal(bed_update(&b), 1);
        assert_non_null(bed_find(&b, "10-5"));
        bed_folder(&b, "17-5", 1);
        assert_int_equal(bed_update(&b), 1);
        assert_int_equal(bed_find(&b, "17-5")->signs.vcpu_pid, SIGN_ABSENT);

        bed_remove(&b, "debug/kvm");
        assert_int_equal(bed_update(&b), 1);
        assert_int_equal(bed_find(&b, "17-5")->signs.vcpu_pid, SIGN_UNREADABLE);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_no_place),
                cmocka_unit_test(test_without_capability),
                cmocka_unit_test(test_unreadable_process),
                cmocka_unit_test(test_events),
                cmocka_unit_test(test_end_of_one_found),
                cmocka_unit_test(test_nameless),
                cmocka_unit_test(test_one_of_two_nameless),
                cmocka_unit_test(test_process_is_gone),
                cmocka_unit_test(test_looks_only_when_needed),
                cmocka_unit_test(test_debugfs_comes_and_goes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
