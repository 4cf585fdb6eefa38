/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Which VMs there are: from KVM's events and its folders, when events are lost, swapped or have no name, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test-guests-bed.h"

/* A daemon that has looked once. */
static void look_once(Bed *b) {
        bed_start(b);
        assert_int_equal(bed_update(b), 0);
}

static void put_tick(const Bed *b, const char *key) {
        bed_put(b, "5\n", "debug/kvm/%s/vcpu0/pid", key);
}

static void test_create_and_destroy(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        uint64_t before = clock_realtime(&system_clock), before_boottime = clock_boottime(&system_clock);
        const GuestFacts *g;

        look_once(&b);
        bed_process(&b, 4711, "qemu");
        bed_create(&b, "4711-12", 1);
        assert_int_equal(bed_count(&b), 1);
        assert_true(guests_update(b.guests, false));
        g = bed_find(&b, "4711-12");
        assert_string_equal(g->name, "qemu");
        assert_in_range(g->since, before - 20 * USEC_PER_MSEC, clock_realtime(&system_clock));
        assert_in_range(g->known, before_boottime, clock_boottime(&system_clock));
        assert_in_range(guests_last_create(b.guests), before_boottime, clock_boottime(&system_clock));
        assert_false(guests_update(b.guests, false));

        bed_destroy(&b, "4711-12");
        assert_int_equal(bed_count(&b), 0);
        assert_true(guests_update(b.guests, false));
        assert_int_equal(bed_count(&b), 0);
        assert_null(guests_incomplete(b.guests));
}

/* The event of the end comes before the folder goes. */
static void test_no_ghost(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_create(&b, "1-4", 1);
        (void) bed_update(&b);
        b.count--;
        bed_tell(&b, false, 1, "1-4");
        assert_int_equal(bed_update(&b), 0);
        assert_int_equal(bed_update(&b), 0);

        /* The next VM has the same name; one that is made after that folder is gone, too. */
        bed_remove(&b, "debug/kvm/1-4");
        bed_create(&b, "1-4", 1);
        assert_int_equal(bed_update(&b), 1);
        assert_null(guests_incomplete(b.guests));
}

/* A ghost that a full look has seen goes when its folder does. */
static void test_ghost_goes(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_create(&b, "1-4", 1);
        (void) bed_update(&b);
        b.count--;
        bed_tell(&b, false, 1, "1-4");
        guests_on_loss(b.guests, NULL);
        assert_int_equal(bed_update(&b), 1);
        bed_remove(&b, "debug/kvm/1-4");
        assert_true(guests_update(b.guests, false));
        assert_int_equal(bed_count(&b), 0);
}

/* The same descriptor, at once: both events are read when only the second VM's folder is there. */
static void test_name_used_again(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_create(&b, "1-4", 1);
        put_tick(&b, "1-4");
        assert_true(bed_look(&b, "1-4")->ran > 0);

        bed_folder(&b, "next", 1);
        bed_remove(&b, "debug/kvm/1-4");
        bed_rename(&b, "debug/kvm/next", "debug/kvm/1-4");
        b.count--;
        bed_tell(&b, false, 1, "1-4");
        b.created++;
        b.count++;
        bed_tell(&b, true, 1, "1-4");
        assert_int_equal(bed_look(&b, "1-4")->ran, 0);
        assert_int_equal(bed_count(&b), 1);
        assert_null(guests_incomplete(b.guests));
}

/* The event of the first one's end was lost. */
static void test_create_replaces(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_create(&b, "1-4", 1);
        put_tick(&b, "1-4");
        assert_true(bed_look(&b, "1-4")->ran > 0);

        bed_folder(&b, "next", 1);
        bed_remove(&b, "debug/kvm/1-4");
        bed_rename(&b, "debug/kvm/next", "debug/kvm/1-4");
        b.created++;
        bed_tell(&b, true, 1, "1-4");
        assert_int_equal(bed_find(&b, "1-4")->ran, 0);
        assert_int_equal(bed_look(&b, "1-4")->ran, 0);
}

/* The look was faster than the event: it is the same VM. */
static void test_scan_before_event(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        size_t n;

        look_once(&b);
        guests_mark(b.guests);
        bed_folder(&b, "1-4", 1);
        put_tick(&b, "1-4");
        assert_true(bed_look(&b, "1-4")->ran > 0);
        b.created++;
        b.count++;
        bed_tell(&b, true, 1, "1-4");
        assert_true(bed_find(&b, "1-4")->ran > 0);
        (void) guests_since_mark(b.guests, &n);
        assert_int_equal(n, 1);
}

/* No event at all, and none lost as far as anybody knows. */
static void test_folders_alone(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_folder(&b, "1-4", 1);
        assert_true(guests_update(b.guests, false));
        assert_int_equal(bed_count(&b), 1);
        bed_remove(&b, "debug/kvm/1-4");
        assert_true(guests_update(b.guests, false));
        assert_int_equal(bed_count(&b), 0);
}

/* A gap in CREATED=: what is known may be another VM of the same name. The counts do not show it. */
static void test_gap(void **state) {
        for (unsigned gap = 0; gap < 2; gap++) {
                _cleanup_bed_ Bed b = bed_new();

                look_once(&b);
                bed_create(&b, "1-4", 1);
                put_tick(&b, "1-4");
                assert_true(bed_look(&b, "1-4")->ran > 0);
                bed_folder(&b, "next", 1);
                bed_remove(&b, "debug/kvm/1-4");
                bed_rename(&b, "debug/kvm/next", "debug/kvm/1-4");

                /* Destroyed and made anew, both unheard. */
                b.created += gap;
                bed_create(&b, "2-4", 1);
                assert_int_equal(bed_update(&b), 2);
                assert_int_equal(bed_find(&b, "1-4")->ran == 0, gap);
                assert_null(guests_incomplete(b.guests));
        }
}

/* The same, known by a message that could not be read. */
static void test_loss(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        uint64_t last;

        look_once(&b);
        bed_create(&b, "1-4", 1);
        bed_create(&b, "2-4", 1);
        put_tick(&b, "1-4");
        assert_true(bed_look(&b, "1-4")->ran > 0);
        last = guests_last_create(b.guests);
        bed_folder(&b, "next", 1);
        bed_remove(&b, "debug/kvm/1-4");
        bed_remove(&b, "debug/kvm/2-4");
        bed_rename(&b, "debug/kvm/next", "debug/kvm/1-4");
        bed_folder(&b, "3-4", 1);

        while (clock_boottime(&system_clock) == last)
                ;
        guests_on_loss(b.guests, NULL);
        /* A VM may have been made just now. */
        assert_true(guests_last_create(b.guests) > last);
        assert_int_equal(bed_update(&b), 2);
        assert_int_equal(bed_find(&b, "1-4")->ran, 0);
        assert_null(bed_find(&b, "2-4"));
        assert_non_null(bed_find(&b, "3-4"));
        assert_null(guests_incomplete(b.guests));

        /* The next event begins a new count. */
        b.created = 70;
        b.count = 2;
        bed_create(&b, "4-4", 1);
        assert_int_equal(bed_update(&b), 3);
        assert_null(guests_incomplete(b.guests));
}

static void test_deaf(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_start(&b);
        assert_true(guests_last_create(b.guests) > 0);
        guests_on_loss(b.guests, "nobody listens");
        assert_int_equal(guests_last_create(b.guests), 0);
        bed_folder(&b, "1-4", 1);
        assert_int_equal(bed_update(&b), 1);
        assert_string_equal(guests_incomplete(b.guests), "nobody listens");
        guests_on_loss(b.guests, NULL);
        assert_int_equal(bed_update(&b), 1);
        assert_string_equal(guests_incomplete(b.guests), "nobody listens");
        assert_int_equal(guests_last_create(b.guests), 0);
}

/* KVM counts more than can be found: it has one without a folder, whose event was lost. */
static void test_more_counted_than_found(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        b.created = 1;
        b.count = 1;
        bed_create(&b, "1-4", 1);
        assert_int_equal(bed_update(&b), 1);
        assert_non_null(strstr(guests_incomplete(b.guests), "2 VMs, but only 1"));

        b.count = 1;
        bed_destroy(&b, "1-4");
        assert_int_equal(bed_update(&b), 0);
        assert_null(guests_incomplete(b.guests));
}

/* Two events that came the other way round: the newest count is the right one, whichever came last. */
static void test_swapped(void **state) {
        static const struct {
                bool first_create, second_create;
                uint64_t created1, count1, created2, count2;
                const char *key1, *key2;
        } rows[] = {
                /* 3-4 is made (created 3, 3 alive), then 1-4 ends (2 alive) */
                { false, true, 3, 2, 3, 3, "1-4", "3-4" },
                /* 1-4 ends (1 alive), then 3-4 is made (created 3, 2 alive) */
                { true, false, 3, 2, 2, 1, "3-4", "1-4" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_bed_ Bed b = bed_new();

                look_once(&b);
                bed_create(&b, "1-4", 1);
                bed_create(&b, "2-4", 1);
                assert_int_equal(bed_update(&b), 2);
                bed_folder(&b, "3-4", 1);
                bed_remove(&b, "debug/kvm/1-4");
                b.created = rows[i].created1;
                b.count = rows[i].count1;
                bed_tell(&b, rows[i].first_create, (unsigned) atoi(rows[i].key1), rows[i].key1);
                b.created = rows[i].created2;
                b.count = rows[i].count2;
                bed_tell(&b, rows[i].second_create, (unsigned) atoi(rows[i].key2), rows[i].key2);
                assert_int_equal(bed_update(&b), 2);
                assert_null(bed_find(&b, "1-4"));
                if (guests_incomplete(b.guests))
                        fail_msg("row %zu: %s", i, guests_incomplete(b.guests));
        }
}

/* KVM was loaded anew, and nobody looked in between: it counts from 1. */
static void test_counts_begin_anew(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        b.created = 100;
        bed_create(&b, "1-4", 1);
        assert_int_equal(bed_update(&b), 1);
        bed_destroy(&b, "1-4");
        b.created = 0;
        bed_create(&b, "2-4", 1);
        b.created = 2;
        b.count = 2;
        bed_tell(&b, true, 3, NULL);
        assert_int_equal(bed_update(&b), 2);
        b.count = 3;
        b.created = 3;
        bed_tell(&b, true, 3, NULL);
        assert_int_equal(bed_update(&b), 3);
        assert_null(guests_incomplete(b.guests));
        b.count = 5;
        bed_create(&b, "4-4", 1);
        assert_int_equal(bed_update(&b), 4);
        assert_non_null(guests_incomplete(b.guests));
}

/* A VM whose name another one has already gets no folder, and no name in its events. */
static void test_nameless(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        size_t n;
        const GuestFacts *const *list;

        look_once(&b);
        bed_process(&b, 1, "vmm");
        b.created++;
        b.count++;
        bed_tell(&b, true, 1, NULL);
        assert_int_equal(bed_update(&b), 1);
        list = guests_get(b.guests, &n);
        assert_int_equal(list[0]->pid, 1);
        assert_string_equal(list[0]->name, "vmm");
        assert_int_equal(list[0]->signs.vcpu_pid, SIGN_UNREADABLE);
        assert_int_equal(list[0]->signs.exits, SIGN_UNREADABLE);
        assert_null(guests_incomplete(b.guests));
        assert_int_equal(bed_update(&b), 1);

        b.count--;
        bed_tell(&b, false, 1, NULL);
        assert_int_equal(bed_update(&b), 0);
        assert_null(guests_incomplete(b.guests));
}

/* Which of two is gone cannot be told: neither is dropped, until their process is. */
static void test_two_nameless(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_process(&b, 1, "vmm");
        for (unsigned i = 0; i < 2; i++) {
                b.created++;
                b.count++;
                bed_tell(&b, true, 1, NULL);
        }
        b.count--;
        bed_tell(&b, false, 1, NULL);
        assert_int_equal(bed_update(&b), 2);
        bed_remove(&b, "proc/1");
        assert_int_equal(bed_update(&b), 0);
}

/* A VM is dropped by the nameless event of its own thread only. */
static void test_nameless_of_others(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_create(&b, "2-4", 1);
        b.created++;
        b.count++;
        bed_tell(&b, true, 1, NULL);
        b.count--;
        bed_tell(&b, false, 2, NULL);
        assert_int_equal(bed_update(&b), 2);
}

static void test_bad_name(void **state) {
        static const char *const names[] = { "../1-4", "1-4/..", "", "exits" };

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                _cleanup_bed_ Bed b = bed_new();

                look_once(&b);
                bed_create(&b, "1-4", 1);
                b.created++;
                b.count++;
                bed_tell(&b, true, 1, names[i]);
                assert_int_equal(bed_update(&b), 1);
        }
}

/* KVM is unloaded: no VM, and nothing unknown. When it comes again, it counts from 1. */
static void test_no_kvm(void **state) {
        static const char *const folders[] = { "sys/module/kvm", "sys/devices/virtual/misc/kvm" };

        for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
                _cleanup_bed_ Bed b = bed_new();

                look_once(&b);
                b.created = 50;
                b.count = 1;
                bed_create(&b, "1-4", 1);
                assert_int_equal(bed_update(&b), 1);
                assert_non_null(guests_incomplete(b.guests));
                bed_remove(&b, "%s", folders[i]);
                bed_remove(&b, "debug/kvm");
                assert_true(guests_update(b.guests, false));
                assert_int_equal(bed_count(&b), 0);
                assert_null(guests_incomplete(b.guests));

                tree_mkdir(&b.tree, folders[i]);
                b.created = b.count = 0;
                bed_create(&b, "2-4", 1);
                assert_int_equal(bed_update(&b), 1);
                assert_null(guests_incomplete(b.guests));
        }
}

/* That the folder above can be looked into is what makes the absence a proof. */
static void test_sysfs_without_modules(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        bed_remove(&b, "sys/module");
        bed_remove(&b, "sys/devices");
        bed_folder(&b, "1-4", 1);
        bed_start(&b);
        assert_int_equal(bed_update(&b), 1);
}

/* KVM's folder is something else. */
static void test_odd_debugfs(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        bed_create(&b, "1-4", 1);
        bed_rename(&b, "debug/kvm", "debug/away");
        bed_put(&b, "x", "debug/kvm");
        assert_true(guests_update(b.guests, false));
        assert_non_null(strstr(guests_incomplete(b.guests), "debugfs"));
        /* What is known stays known. */
        assert_int_equal(bed_count(&b), 1);
        bed_remove(&b, "debug/kvm");
        bed_rename(&b, "debug/away", "debug/kvm");
        assert_true(guests_update(b.guests, false));
        assert_null(guests_incomplete(b.guests));
}

/* Who came between the last look and the end of an update, gone or not. */
static void test_marks(void **state) {
        _cleanup_bed_ Bed b = bed_new();
        const GuestFacts *const *list;
        size_t n;

        look_once(&b);
        bed_process(&b, 1, "short");
        bed_create(&b, "5-4", 1);
        (void) bed_update(&b);
        (void) guests_since_mark(b.guests, &n);
        assert_int_equal(n, 0);

        guests_mark(b.guests);
        (void) guests_since_mark(b.guests, &n);
        assert_int_equal(n, 0);
        bed_create(&b, "1-4", 1);
        bed_destroy(&b, "1-4");
        bed_folder(&b, "2-4", 1);
        bed_destroy(&b, "5-4");
        (void) bed_update(&b);
        bed_remove(&b, "debug/kvm/2-4");
        (void) bed_update(&b);
        list = guests_since_mark(b.guests, &n);
        assert_int_equal(n, 2);
        assert_string_equal(find_in(list, n, "1-4")->name, "short");
        assert_int_equal(find_in(list, n, "1-4")->pid, 1);
        assert_non_null(find_in(list, n, "2-4"));

        /* What has changed since shows there, too. */
        bed_create(&b, "3-4", 1);
        put_tick(&b, "3-4");
        (void) bed_update(&b);
        list = guests_since_mark(b.guests, &n);
        assert_true(find_in(list, n, "3-4")->ran > 0);

        guests_mark(b.guests);
        (void) guests_since_mark(b.guests, &n);
        assert_int_equal(n, 0);
}

/* Thousands, faster than anybody looks. */
static void test_burst(void **state) {
        _cleanup_bed_ Bed b = bed_new();

        look_once(&b);
        for (unsigned i = 0; i < 3000; i++) {
                g_autofree char *key = g_strdup_printf("%u-4", i + 1);

                bed_create(&b, key, 0);
        }
        assert_int_equal(bed_count(&b), 3000);
        assert_int_equal(bed_update(&b), 3000);
        for (unsigned i = 0; i < 2999; i++) {
                g_autofree char *key = g_strdup_printf("%u-4", i + 1);

                bed_destroy(&b, key);
        }
        assert_int_equal(bed_update(&b), 1);
        assert_non_null(bed_find(&b, "3000-4"));
        assert_null(guests_incomplete(b.guests));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_create_and_destroy),
                cmocka_unit_test(test_no_ghost),
                cmocka_unit_test(test_ghost_goes),
                cmocka_unit_test(test_name_used_again),
                cmocka_unit_test(test_create_replaces),
                cmocka_unit_test(test_scan_before_event),
                cmocka_unit_test(test_folders_alone),
                cmocka_unit_test(test_gap),
                cmocka_unit_test(test_loss),
                cmocka_unit_test(test_deaf),
                cmocka_unit_test(test_more_counted_than_found),
                cmocka_unit_test(test_swapped),
                cmocka_unit_test(test_counts_begin_anew),
                cmocka_unit_test(test_nameless),
                cmocka_unit_test(test_two_nameless),
                cmocka_unit_test(test_nameless_of_others),
                cmocka_unit_test(test_bad_name),
                cmocka_unit_test(test_no_kvm),
                cmocka_unit_test(test_sysfs_without_modules),
                cmocka_unit_test(test_odd_debugfs),
                cmocka_unit_test(test_marks),
                cmocka_unit_test(test_burst),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
