/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * When holds begin and end, and what is refused. What survives a restart is in test-hold-store.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "test-hold-bed.h"

static void test_taken_and_released(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = { HOLD_UPDATE, HOLD_DELAY, "backup", "a backup runs", "backup.service", 1000, 77 };
        uint64_t before = clock_realtime(&system_clock);
        const HoldFacts *f;
        int fd = take(bed, &request);

        f = hold_at(bed, 0);
        assert_int_equal(f->what, HOLD_UPDATE);
        assert_int_equal(f->mode, HOLD_DELAY);
        assert_string_equal(f->who, "backup");
        assert_string_equal(f->why, "a backup runs");
        assert_string_equal(f->unit, "backup.service");
        assert_int_equal(f->uid, 1000);
        assert_int_equal(f->pid, 77);
        assert_true(f->since >= before && f->since <= clock_realtime(&system_clock));
        assert_int_equal(f->until, 0);
        /* The caller passes it on, and keeps no copy; its children must not get it. */
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);

        assert_int_equal(bed->changes, 0);
        bed_run(bed);
        assert_int_equal(bed->changes, 1);

        close(fd);
        assert_int_equal(n_holds(bed), 1);      /* nobody has looked yet */
        bed_run(bed);
        assert_int_equal(n_holds(bed), 0);
        assert_int_equal(bed->changes, 2);
        assert_int_equal(n_stored(bed), 0);
}

static void test_the_last_copy_counts(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_MIGRATION, 0);
        int fd = take(bed, &request), copy = dup(fd);

        close(fd);
        bed_run(bed);
        assert_int_equal(n_holds(bed), 1);
        close(copy);
        bed_run(bed);
        assert_int_equal(n_holds(bed), 0);
}

/* What a holder writes is not read, wakes nobody, and cannot make the loop spin. */
static void test_written_data_is_ignored(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int fd = take(bed, &request);
        char junk[4096] = {};

        bed_run(bed);
        while (write(fd, junk, sizeof(junk)) > 0)
                ;
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(sd_event_run(bed->event, 0), 0);
        assert_int_equal(n_holds(bed), 1);
        assert_int_equal(n_stored(bed), 2);
        close(fd);
        bed_run(bed);
        assert_int_equal(n_holds(bed), 0);
}

static void test_many_changes_are_told_once(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int a = take(bed, &request), b = take(bed, &request);

        bed_run(bed);
        assert_int_equal(bed->changes, 1);
        close(a);
        close(b);
        bed_run(bed);
        assert_int_equal(n_holds(bed), 0);
}

static void refused(Bed *bed, uid_t uid, const HoldLimits *limits, const char *a, const char *b) {
        HoldRequest request = request_of(HOLD_BUILD, uid);
        g_auto(Failure) failure = {}, again = {};
        size_t n = n_holds(bed);
        unsigned stored = n_stored(bed);
        uint32_t id;
        int fd = -1;

        assert_true(holds_take(bed->holds, &request, limits, &fd, &failure) < 0);
        assert_int_equal(failure.id, ERROR_LIMIT_EXCEEDED);
        assert_non_null(strstr(failure.text, a));
        assert_non_null(strstr(failure.text, b));
        assert_int_equal(fd, -1);
        assert_true(holds_announce(bed->holds, &request, &no_match, LONG_USEC, limits, &id, &again) < 0);
        assert_string_equal(again.text, failure.text);
        assert_int_equal(n_holds(bed), n);
        assert_int_equal(n_stored(bed), stored);
}

static void test_limits(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldLimits limits = { .all = 3, .per_user = 2 };
        HoldRequest one = request_of(HOLD_UPDATE, 1), two = request_of(HOLD_UPDATE, 2);
        int fds[3];

        fds[0] = take(bed, &one);
        (void) announce(bed, 1, &no_match, LONG_USEC);
        refused(bed, 1, &limits, "2 holds", "MaxHoldsPerUser=");
        fds[1] = take(bed, &two);
        refused(bed, 2, &limits, "3 holds", "MaxHolds=");
        refused(bed, 0, &limits, "3 holds", "MaxHolds=");

        /* Room again as soon as one has gone. */
        close(fds[0]);
        bed_run(bed);
        fds[2] = -1;
        assert_int_equal(holds_take(bed->holds, &one, &limits, &fds[2], &(Failure) {}), 0);
        close(fds[1]);
        close(fds[2]);
}

/* systemd 254 and later say what room there is. */
static void test_room_of_the_fd_store(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        g_auto(Failure) failure = {};
        int fd, none = -1;

        g_setenv("FDSTORE", "4", true);
        fd = take(bed, &request);
        (void) announce(bed, 0, &no_match, LONG_USEC);
        assert_int_equal(n_stored(bed), 3);
        assert_true(holds_take(bed->holds, &request, &plenty, &none, &failure) < 0);
        assert_int_equal(failure.id, ERROR_LIMIT_EXCEEDED);
        assert_non_null(strstr(failure.text, "FileDescriptorStoreMax="));
        (void) announce(bed, 0, &no_match, LONG_USEC);
        refused(bed, 0, &plenty, "4 of the 4", "FileDescriptorStoreMax=");
        bed_restart(bed);
        refused(bed, 0, &plenty, "4 of the 4", "FileDescriptorStoreMax=");
        close(fd);
        bed_run(bed);
        close(take(bed, &request));
}

static void end_build(Bed *bed, uint32_t id, uid_t uid, int expected) {
        g_auto(Failure) failure = {};

        bed->inside = true;
        assert_int_equal(holds_end(bed->holds, id, uid, &failure), expected);
        bed->inside = false;
        assert_int_equal(failure.id, expected == 0 ? ERROR_NONE : ERROR_NO_SUCH_HOLD);
}

static void test_announced_and_ended(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_BUILD, 1000);
        uint32_t id = announce(bed, 1000, &no_match, LONG_USEC);
        int fd = take(bed, &request);

        bed_run(bed);
        assert_int_equal(hold_at(bed, 0)->id, id);
        assert_int_equal(hold_at(bed, 0)->until, hold_at(bed, 0)->since + LONG_USEC);
        /* Another user's, root's too; a hold; nothing at all. */
        end_build(bed, id, 0, -EIDRM);
        end_build(bed, hold_at(bed, 1)->id, 1000, -EIDRM);
        end_build(bed, 0, 1000, -EIDRM);
        assert_int_equal(n_holds(bed), 2);
        end_build(bed, id, 1000, 0);
        assert_int_equal(n_holds(bed), 1);
        bed_run(bed);
        assert_int_equal(bed->changes, 2);
        end_build(bed, id, 1000, -EIDRM);
        assert_int_equal(n_stored(bed), 2);
        close(fd);
}

static void test_ends_by_time(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        uint64_t began = clock_boottime(&system_clock);
        uint32_t later, never;

        later = announce(bed, 0, &no_match, LONG_USEC);
        (void) announce(bed, 0, &no_match, 30 * USEC_PER_MSEC);
        never = announce(bed, 0, &no_match, UINT64_MAX);
        assert_int_equal(hold_at(bed, 2)->until, 0);
        bed_wait(bed);          /* that they are there */
        assert_int_equal(n_holds(bed), 3);
        bed_wait(bed);
        assert_true(clock_boottime(&system_clock) >= began + 30 * USEC_PER_MSEC);
        assert_int_equal(n_holds(bed), 2);
        assert_int_equal(hold_at(bed, 0)->id, later);
        assert_int_equal(hold_at(bed, 1)->id, never);
        assert_int_equal(n_stored(bed), 2);
}

static void test_ids_are_not_used_again(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        uint32_t ids[40];

        for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
                ids[i] = announce(bed, 0, &no_match, LONG_USEC);
                for (unsigned k = 0; k < i; k++)
                        assert_int_not_equal(ids[i], ids[k]);
                end_build(bed, ids[i], 0, 0);
                /* Nor after a restart, when there is nothing left to know them by. */
                if (i % 4 == 3)
                        bed_restart(bed);
        }
}

/* The announcement was at 1000 s of the boot's clock and of the day; see is_past_build(). */
static void test_match(void **state) {
        static const struct {
                const char *name;
                BuildMatch match;
                GuestFacts guest;       /* since, known and ran: usec after the announcement */
                bool ends;
        } rows[] = {
#define GUEST(m, s, k, r) { .pid = 10, .machine = m, .unit = "machine-web.scope", .since = (uint64_t) (s), .known = (uint64_t) (k), .ran = r }
#define VM GUEST("qemu-3-web", 5, 5, 9)
#define NAMED(m) GUEST(m, 5, 5, 9)
#define NONE .machine = "", .unit = ""
                { "none in particular", { NONE }, VM, false },
                { "its process", { NONE, .pid = 10 }, VM, true },
                { "another process", { NONE, .pid = 11 }, VM, false },
                { "its machine", { .machine = "qemu-3-web", .unit = "" }, VM, true },
                { "libvirt's name", { .machine = "web", .unit = "" }, VM, true },
                { "the end of a name", { .machine = "eb", .unit = "" }, VM, false },
                { "the beginning of a name", { .machine = "we", .unit = "" }, VM, false },
                { "a name with a dash", { .machine = "3-web", .unit = "" }, VM, false },
                { "a dash in the VM's", { .machine = "a-b", .unit = "" }, NAMED("qemu-12-a-b"), true },
                { "no number", { .machine = "web", .unit = "" }, NAMED("qemu-x-web"), false },
                { "an empty number", { .machine = "web", .unit = "" }, NAMED("qemu--web"), false },
                { "another manager", { .machine = "web", .unit = "" }, NAMED("lxc-3-web"), false },
                { "no machine", { .machine = "web", .unit = "" }, NAMED(""), false },
                { "its unit", { .machine = "", .unit = "machine-web.scope" }, VM, true },
                { "another unit", { .machine = "", .unit = "machine-db.scope" }, VM, false },
                { "all three", { .pid = 10, .machine = "web", .unit = "machine-web.scope" }, VM, true },
                { "not the process", { .pid = 11, .machine = "web", .unit = "machine-web.scope" }, VM, false },
                { "not the machine", { .pid = 10, .machine = "db", .unit = "machine-web.scope" }, VM, false },
                { "not the unit", { .pid = 10, .machine = "web", .unit = "x.scope" }, VM, false },
                { "has not run", { NONE, .pid = 10 }, GUEST("", 5, 5, 0), false },
                { "clocks that differ a little", { NONE, .pid = 10 }, GUEST("", -900000LL, -900000LL, 9), true },
                { "older", { NONE, .pid = 10 }, GUEST("", -1100000LL, 5, 9), false },
                { "older by the boot's clock", { NONE, .pid = 10 }, GUEST("", 5, -1100000LL, 9), false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                _cleanup_bed_ Bed *bed = bed_new();
                uint64_t day = clock_realtime(&system_clock), boot = clock_boottime(&system_clock);
                GuestFacts guest = rows[i].guest;
                const GuestFacts *guests[] = { &(GuestFacts) { .pid = 1, .machine = "", .unit = "" }, &guest };

                (void) announce(bed, 0, &rows[i].match, LONG_USEC);
                guest.since += day;
                guest.known += boot;
                guest.ran = guest.ran != 0 ? day + guest.ran : 0;
                bed->inside = true;
                holds_match(bed->holds, guests, 1);
                if (n_holds(bed) != 1)
                        fail_msg("%s: without the VM", rows[i].name);
                holds_match(bed->holds, guests, 2);
                bed->inside = false;
                if (n_holds(bed) != (rows[i].ends ? 0 : 1))
                        fail_msg("%s", rows[i].name);
        }
}

/* Of whom it is not known when it was made, it is not known that it was made after the announcement. */
static void test_match_without_a_time(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        const GuestFacts guest = { .pid = 10, .machine = "", .unit = "", .known = UINT64_MAX / 2, .ran = UINT64_MAX / 2 };
        const GuestFacts *guests[] = { &guest };
        HoldRequest request = request_of(HOLD_BUILD, 0);
        int fd;

        (void) announce(bed, 0, &(BuildMatch) { .pid = 10, .machine = "", .unit = "" }, LONG_USEC);
        fd = take(bed, &request);
        holds_match(bed->holds, guests, 1);
        assert_int_equal(n_holds(bed), 2);
        close(fd);
}

/* Two announcements of one VM, and of another: each VM ends its own, and holds stay. */
static void test_match_ends_all_of_a_vm(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_BUILD, 0);
        BuildMatch web = { .machine = "web", .unit = "" }, db = { .machine = "db", .unit = "" };
        const GuestFacts guest = { .machine = "qemu-1-web", .unit = "", .since = clock_realtime(&system_clock),
                                   .known = clock_boottime(&system_clock), .ran = clock_realtime(&system_clock) };
        const GuestFacts *guests[] = { &guest };
        uint32_t other;
        int fd;

        (void) announce(bed, 0, &web, LONG_USEC);
        other = announce(bed, 0, &db, LONG_USEC);
        (void) announce(bed, 0, &web, LONG_USEC);
        fd = take(bed, &request);
        holds_match(bed->holds, guests, 1);
        assert_int_equal(n_holds(bed), 2);
        assert_int_equal(hold_at(bed, 0)->id, other);
        close(fd);
}

static unsigned n_descriptors(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        assert_non_null(dir);
        while (g_dir_read_name(dir))
                n++;
        return n;
}

static void test_descriptors(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        unsigned before;

        before = n_descriptors();
        for (unsigned i = 0; i < 200; i++) {
                int fd = take(bed, &request);

                end_build(bed, announce(bed, 0, &no_match, LONG_USEC), 0, 0);
                close(fd);
                bed_run(bed);
        }
        assert_int_equal(n_holds(bed), 0);
        assert_int_equal(n_descriptors(), before);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_taken_and_released),
                cmocka_unit_test(test_the_last_copy_counts),
                cmocka_unit_test(test_written_data_is_ignored),
                cmocka_unit_test(test_many_changes_are_told_once),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_room_of_the_fd_store),
                cmocka_unit_test(test_announced_and_ended),
                cmocka_unit_test(test_ends_by_time),
                cmocka_unit_test(test_ids_are_not_used_again),
                cmocka_unit_test(test_match),
                cmocka_unit_test(test_match_without_a_time),
                cmocka_unit_test(test_match_ends_all_of_a_vm),
                cmocka_unit_test(test_descriptors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
