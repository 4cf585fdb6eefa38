/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Holds over restarts and crashes of the daemon, by the service manager's fd store. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "test-hold-bed.h"

#define WORDS "a=b%\n\"\xc3\xa4\"\t\x01 %0a=\n"

static void same(const HoldFacts *f, const HoldFacts *g) {
        assert_int_equal(f->id, g->id);
        assert_int_equal(f->what, g->what);
        assert_int_equal(f->mode, g->mode);
        assert_string_equal(f->who, g->who);
        assert_string_equal(f->why, g->why);
        assert_string_equal(f->unit, g->unit);
        assert_int_equal(f->uid, g->uid);
        assert_int_equal(f->pid, g->pid);
        assert_int_equal(f->since, g->since);
        assert_int_equal(f->until, g->until);
}

/* A copy that outlives the daemon. */
static HoldFacts keep(const HoldFacts *f) {
        HoldFacts copy = *f;

        copy.who = g_strdup(f->who);
        copy.why = g_strdup(f->why);
        copy.unit = g_strdup(f->unit);
        return copy;
}

static void keep_free(HoldFacts *f) {
        g_free((char *) f->who);
        g_free((char *) f->why);
        g_free((char *) f->unit);
}

static void test_over_restarts(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest requests[] = {
                { HOLD_UPDATE, HOLD_DELAY, WORDS, WORDS WORDS, WORDS, 1000, 77 },
                { HOLD_UPDATE, HOLD_BLOCK, "b", "", "", UINT32_MAX - 1, 0 },
                { HOLD_BUILD, HOLD_BLOCK, "c", "c", "c.service", 0, INT32_MAX },
                { HOLD_MIGRATION, HOLD_BLOCK, "d", "d", "d.service", 0, 1 },
        };
        HoldFacts before[G_N_ELEMENTS(requests) + 1];
        int fds[G_N_ELEMENTS(requests)];

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
                fds[i] = take(bed, &requests[i]);
        (void) announce(bed, 1000, &no_match, LONG_USEC);
        assert_int_equal(n_stored(bed), 2 * G_N_ELEMENTS(requests) + 1);
        for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
                before[i] = keep(hold_at(bed, i));

        for (unsigned again = 0; again < 3; again++) {
                bed_restart(bed);
                assert_int_equal(n_holds(bed), G_N_ELEMENTS(before));
                for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
                        same(hold_at(bed, i), &before[i]);
                assert_int_equal(n_stored(bed), 2 * G_N_ELEMENTS(requests) + 1);
        }

        /* The same pipe's end: the holder knows of nothing. */
        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
                close(fds[i]);
                bed_run(bed);
                assert_int_equal(n_holds(bed), G_N_ELEMENTS(before) - 1 - i);
                assert_int_equal(hold_at(bed, 0)->id, before[i + 1].id);
        }
        assert_int_equal(n_stored(bed), 1);
        for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
                keep_free(&before[i]);
}

/* systemd gives them back in another order than they came in. */
static void test_order(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int fds[5];
        uint32_t ids[5];

        for (unsigned i = 0; i < 5; i++) {
                fds[i] = take(bed, &request);
                ids[i] = hold_at(bed, i)->id;
        }
        store_run(bed);
        for (unsigned i = 0; i < bed->store->len / 2; i++) {
                Stored *a = &g_array_index(bed->store, Stored, i), *b = &g_array_index(bed->store, Stored, bed->store->len - 1 - i), t = *a;

                *a = *b;
                *b = t;
        }
        bed_restart(bed);
        for (unsigned i = 0; i < 5; i++)
                assert_int_equal(hold_at(bed, i)->id, ids[i]);
        for (unsigned i = 0; i < 5; i++)
                close(fds[i]);
}

static void test_released_while_down(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int a = take(bed, &request), b = take(bed, &request);
        uint32_t stays = hold_at(bed, 1)->id;

        bed_stop(bed);
        close(a);
        bed_start(bed);
        assert_int_equal(n_holds(bed), 1);
        assert_int_equal(hold_at(bed, 0)->id, stays);
        assert_int_equal(n_stored(bed), 2);
        close(b);
}

/* It went right before the daemon came: systemd had no time to see it. */
static void test_released_at_the_start(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        g_autofree char *pid = NULL, *names = NULL;
        int fd = take(bed, &request), writer;
        char path[64];

        bed_stop(bed);
        /* The pipe's other end once more, so that the bed does not see it hang up. */
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        writer = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(writer >= 0);
        close(fd);
        store_run(bed);
        assert_int_equal(bed->store->len, 2);

        reserve_passed();
        close(writer);
        /* bed_start() without its look at what has hung up. */
        for (unsigned i = 0; i < 2; i++)
                assert_true(dup2(g_array_index(bed->store, Stored, i).fd, 3 + (int) i) >= 0);
        pid = g_strdup_printf("%d", (int) getpid());
        names = g_strdup_printf("%s:%s", g_array_index(bed->store, Stored, 0).name, g_array_index(bed->store, Stored, 1).name);
        g_setenv("LISTEN_PID", pid, true);
        g_setenv("LISTEN_FDS", "2", true);
        g_setenv("LISTEN_FDNAMES", names, true);
        assert_true(sd_event_new(&bed->event) >= 0);
        assert_int_equal(holds_new(bed->event, bed_on_change, bed, &bed->holds), 0);
        /* Before the loop has run once: no gate may see it. */
        assert_int_equal(n_holds(bed), 0);
        assert_int_equal(n_stored(bed), 0);
}

static void test_announced_over_a_restart(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        BuildMatch match = { .pid = 10, .machine = "we\nb", .unit = "u=1" };
        uint32_t id = announce(bed, 1000, &match, LONG_USEC), other = announce(bed, 1000, &no_match, LONG_USEC);
        GuestFacts guest = { .pid = 10, .machine = "qemu-1-we\nb", .unit = "u=2" };
        const GuestFacts *guests[] = { &guest };
        g_auto(Failure) failure = {};

        bed_restart(bed);
        assert_int_equal(n_holds(bed), 2);
        /* What it was announced for is known still. */
        guest.since = guest.ran = clock_realtime(&system_clock);
        guest.known = clock_boottime(&system_clock);
        holds_match(bed->holds, guests, 1);
        assert_int_equal(n_holds(bed), 2);
        guest.unit = "u=1";
        guest.known -= 60 * USEC_PER_SEC;       /* and when it was */
        holds_match(bed->holds, guests, 1);
        assert_int_equal(n_holds(bed), 2);
        guest.known += 60 * USEC_PER_SEC;
        holds_match(bed->holds, guests, 1);
        assert_int_equal(n_holds(bed), 1);
        assert_int_equal(holds_end(bed->holds, id, 1000, &failure), -EIDRM);
        assert_int_equal(holds_end(bed->holds, other, 1001, &failure), -EIDRM);
        assert_int_equal(holds_end(bed->holds, other, 1000, &failure), 0);
        assert_int_equal(n_stored(bed), 0);
}

static void test_time_goes_on_while_down(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        uint64_t end;
        uint32_t later;

        (void) announce(bed, 0, &no_match, 20 * USEC_PER_MSEC);
        end = clock_boottime(&system_clock) + 20 * USEC_PER_MSEC;
        later = announce(bed, 0, &no_match, LONG_USEC);
        bed_stop(bed);
        while (clock_boottime(&system_clock) < end)
                (void) poll(NULL, 0, 1);
        bed_start(bed);
        assert_int_equal(n_holds(bed), 1);
        assert_int_equal(hold_at(bed, 0)->id, later);
        assert_int_equal(n_stored(bed), 1);
}

static void test_ends_by_time_after_a_restart(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();

        (void) announce(bed, 0, &no_match, 100 * USEC_PER_MSEC);
        bed_restart(bed);
        if (n_holds(bed) == 1)  /* a machine may be slow */
                bed_wait(bed);
        assert_int_equal(n_holds(bed), 0);
        assert_int_equal(n_stored(bed), 0);
}

/* Nobody can change what was stored, not even the daemon. */
static void test_what_is_stored(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int fd = take(bed, &request);
        unsigned pipes = 0, texts = 0;

        store_run(bed);
        assert_int_equal(bed->store->len, 2);
        assert_string_equal(g_array_index(bed->store, Stored, 0).name, g_array_index(bed->store, Stored, 1).name);
        assert_true(g_str_has_prefix(g_array_index(bed->store, Stored, 0).name, "hold-"));
        for (unsigned i = 0; i < 2; i++) {
                int stored = g_array_index(bed->store, Stored, i).fd;
                struct stat st;

                assert_int_equal(fstat(stored, &st), 0);
                if (S_ISFIFO(st.st_mode)) {
                        pipes++;
                        continue;
                }
                texts++;
                assert_int_equal(pwrite(stored, "x", 1, 0), -1);
                assert_int_equal(errno, EPERM);
                assert_int_equal(ftruncate(stored, 0), -1);
                assert_int_equal(errno, EPERM);
        }
        assert_true(pipes == 1 && texts == 1);
        close(fd);
}

static int memory(const char *text, bool sealed) {
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        if (sealed)
                assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
        return fd;
}

static void put(Bed *bed, const char *name, int fd) {
        Stored s = { g_strdup(name), fd };

        assert_true(fd >= 0);
        g_array_append_val(bed->store, s);
}

static char *text_of(Bed *bed, unsigned i) {
        char *text = g_malloc0(65536);

        store_run(bed);
        assert_true(pread(g_array_index(bed->store, Stored, i).fd, text, 65535, 0) > 0);
        return text;
}

/* What is not whole, or was not written by this version, is dropped from the store; what is good stays. */
static void test_what_is_odd_is_dropped(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        g_autofree char *text = NULL, *name = NULL;
        int fd = take(bed, &request), ends[2];
        uint32_t id = hold_at(bed, 0)->id;

        text = text_of(bed, 0);
        name = g_strdup_printf("hold-%u", id);
        assert_string_equal(g_array_index(bed->store, Stored, 0).name, name);

        put(bed, "stored", memory("x", true));
        put(bed, "hold-", memory(text, true));
        put(bed, "hold-0", memory(text, true));
        put(bed, "hold-01", memory(text, true));
        put(bed, "hold-4294967296", memory(text, true));
        put(bed, "hold-x", memory(text, true));
        put(bed, "hold-11", memory(text, true));                        /* no pipe, and another's id */
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        put(bed, "hold-12", ends[0]);                                   /* a pipe alone */
        put(bed, "hold-13", open("/dev/null", O_RDONLY | O_CLOEXEC));
        put(bed, "hold-14", memory("", true));
        bed_restart(bed);
        assert_int_equal(n_holds(bed), 1);
        assert_int_equal(hold_at(bed, 0)->id, id);
        assert_int_equal(n_stored(bed), 2);

        /* A third one under its name: which is right nobody knows. */
        put(bed, name, memory(text, true));
        bed_restart(bed);
        assert_int_equal(n_holds(bed), 0);
        assert_int_equal(n_stored(bed), 0);
        close(fd);
        close(ends[1]);
}

static bool is_taken(Bed *bed, const char *name, const char *text, bool sealed) {
        size_t n;

        put(bed, name, memory(text, sealed));
        bed_restart(bed);
        n = n_holds(bed);
        assert_int_equal(n_stored(bed), n);
        return n == 1;
}

static void test_texts(void **state) {
        static const char *const wrong[][2] = {
                { "tdx-updated hold 1", "tdx-updated hold 2" },
                { "what=build", "what=lunch" },
                { "what=build", "what=update" },        /* only builds are announced */
                { "mode=block", "mode=delay" },
                { "mode=block", "mode=" },
                { "who=who", "who=%ff" },
                { "who=who", "who=%zz" },
                { "who=who", "who=a%00b" },
                { "who=who", "wha=who" },
                { "uid=1000", "uid=4294967296" },
                { "uid=1000", "uid=-1" },
                { "uid=1000", "uid=" },
                { "uid=1000", "uid=1000 " },
                { "pid=4711", "pid=0x10" },
                { "announced=1", "announced=2" },
                { "announced=1", "announced=0" },       /* then there would be a pipe */
                { "match-unit=\n", "match-unit=" },
                { "match-unit=\n", "match-unit=\nmore=1\n" },
        };
        _cleanup_bed_ Bed *bed = bed_new();
        g_autofree char *text = NULL, *name = NULL;
        uint32_t id = announce(bed, 1000, &no_match, UINT64_MAX);
        g_auto(GStrv) lines = NULL;
        int ends[2];

        text = text_of(bed, 0);
        name = g_strdup(g_array_index(bed->store, Stored, 0).name);
        lines = g_strsplit(text, "\n", -1);
        assert_int_equal(holds_end(bed->holds, id, 1000, &(Failure) {}), 0);
        store_run(bed);

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                char *at = strstr(text, wrong[i][0]);
                g_autofree char *bad = NULL;

                assert_non_null(at);
                bad = g_strdup_printf("%.*s%s%s", (int) (at - text), text, wrong[i][1], at + strlen(wrong[i][0]));
                if (is_taken(bed, name, bad, true))
                        fail_msg("%s", bad);
        }

        /* Every line is needed, and once. */
        for (unsigned i = 0; i + 1 < g_strv_length(lines); i++) {
                g_autoptr(GString) without = g_string_new(NULL), twice = g_string_new(NULL);

                for (unsigned k = 0; k + 1 < g_strv_length(lines); k++) {
                        g_string_append_printf(twice, "%s%s%s\n", lines[k], k == i ? "\n" : "", k == i ? lines[k] : "");
                        if (k != i)
                                g_string_append_printf(without, "%s\n", lines[k]);
                }
                if (is_taken(bed, name, without->str, true) || is_taken(bed, name, twice->str, true))
                        fail_msg("line %u", i);
        }
        assert_false(is_taken(bed, name, text, false));
        assert_false(is_taken(bed, "hold-1", text, true));
        /* With a pipe, which no announced build has. */
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        put(bed, name, ends[0]);
        assert_false(is_taken(bed, name, text, true));
        close(ends[1]);
        /* The same way, with what is right. */
        assert_true(is_taken(bed, name, text, true));
        assert_int_equal(hold_at(bed, 0)->id, id);
}

/* Without a service manager holds are there, and end with the daemon. */
static void test_without_a_store(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int fd;

        g_unsetenv("NOTIFY_SOCKET");
        fd = take(bed, &request);
        (void) announce(bed, 0, &no_match, LONG_USEC);
        assert_int_equal(n_holds(bed), 2);
        assert_int_equal(n_stored(bed), 0);
        close(fd);
        bed_run(bed);
        assert_int_equal(n_holds(bed), 1);
        bed_restart(bed);
        assert_int_equal(n_holds(bed), 0);
}

/* What cannot be kept is not given: it would be gone with the next restart, unnoticed. */
static void test_a_store_that_fails(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        g_auto(Failure) failure = {}, again = {};
        uint32_t id;
        int fd = -1;

        assert_int_equal(unlink(bed->path), 0);
        assert_true(holds_take(bed->holds, &request, &plenty, &fd, &failure) < 0);
        assert_int_equal(failure.id, ERROR_IO);
        assert_non_null(strstr(failure.text, g_strerror(ENOENT)));
        assert_int_equal(fd, -1);
        assert_true(holds_announce(bed->holds, &request, &no_match, LONG_USEC, &plenty, &id, &again) < 0);
        assert_int_equal(again.id, ERROR_IO);
        assert_int_equal(n_holds(bed), 0);
        bed_run(bed);
        assert_int_equal(bed->changes, 0);
}

/* The program that the daemon runs must not get what was passed to the daemon; nor must the next sd_listen_fds(3) user. */
static void test_what_was_passed_is_taken(void **state) {
        _cleanup_bed_ Bed *bed = bed_new();
        HoldRequest request = request_of(HOLD_UPDATE, 0);
        int fd = take(bed, &request);

        bed_restart(bed);
        assert_null(g_getenv("LISTEN_FDS"));
        assert_null(g_getenv("LISTEN_FDNAMES"));
        for (int i = 3; i < 5; i++) {
                int flags = fcntl(i, F_GETFD);

                assert_true(flags < 0 || flags & FD_CLOEXEC);
        }
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_over_restarts),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_released_while_down),
                cmocka_unit_test(test_released_at_the_start),
                cmocka_unit_test(test_announced_over_a_restart),
                cmocka_unit_test(test_time_goes_on_while_down),
                cmocka_unit_test(test_ends_by_time_after_a_restart),
                cmocka_unit_test(test_what_is_stored),
                cmocka_unit_test(test_what_is_odd_is_dropped),
                cmocka_unit_test(test_texts),
                cmocka_unit_test(test_without_a_store),
                cmocka_unit_test(test_a_store_that_fails),
                cmocka_unit_test(test_what_was_passed_is_taken),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
