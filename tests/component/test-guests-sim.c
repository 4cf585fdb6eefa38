/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The table of VMs and the events that feed it, against the simulator: what plain files cannot do (EPERM), and
 * events that truly get lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/util.h"
#include "platform/uevents.h"

#define BOUND (20 * USEC_PER_SEC)

typedef struct Bed {
        char *path, *mount, *control, *socket;
        pid_t sim;
        Roots *roots;
        sd_event *event;
        Guests *guests;
        Uevents *uevents;
        unsigned events, losses;
} Bed;

static void on_kvm(const KvmEvent *event, void *userdata) {
        Bed *b = userdata;

        b->events++;
        guests_on_event(b->guests, event);
}

static void on_loss(void *userdata) {
        Bed *b = userdata;

        b->losses++;
        guests_on_loss(b->guests, NULL);
}

static void ignore(void *userdata) {
}

static void start_sim(Bed *b) {
        uint64_t end = clock_boottime(&system_clock) + BOUND;
        struct stat above, mounted;

        assert_int_equal(stat(b->path, &above), 0);
        b->sim = fork();
        if (b->sim == 0) {
                /* A test that fails leaves no simulator behind. */
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                execl(getenv("TDX_SIM"), "tdx-sim", "mount", "--control", b->control, "--uevents", b->socket, b->mount, NULL);
                _exit(127);
        }
        while (stat(b->mount, &mounted) < 0 || mounted.st_dev == above.st_dev || access(b->control, F_OK) != 0) {
                assert_int_equal(waitpid(b->sim, NULL, WNOHANG), 0);
                assert_true(clock_boottime(&system_clock) < end);
                g_usleep(1000);
        }
}

static Bed *bed_new(const char *debugfs) {
        Bed *b = g_new0(Bed, 1);
        UeventHandler handler = { ignore, on_kvm, on_loss, ignore, b };
        g_autofree char *sys = NULL, *proc = NULL, *debug = NULL;
        const char *path;

        b->path = g_dir_make_tmp("tdx-updated-test-XXXXXX", NULL);
        b->mount = g_build_filename(b->path, "mount", NULL);
        b->control = g_build_filename(b->path, "control", NULL);
        b->socket = g_build_filename(b->path, "uevents", NULL);
        assert_int_equal(mkdir(b->mount, 0755), 0);
        start_sim(b);

        sys = g_build_filename(b->mount, "sys", NULL);
        proc = g_build_filename(b->mount, "proc", NULL);
        debug = g_build_filename(b->mount, debugfs, NULL);
        assert_int_equal(roots_open(&(RootOptions) { .sysfs = sys, .proc = proc, .debugfs = debug, .uevents = b->socket }, &b->roots, &path), 0);
        assert_int_equal(sd_event_new(&b->event), 0);
        assert_int_equal(guests_new(b->roots, &b->guests), 0);
        assert_int_equal(uevents_new(b->event, b->roots, &handler, &b->uevents), 0);
        return b;
}

static void bed_free(Bed **bp) {
        Bed *b = *bp;

        uevents_free(b->uevents);
        guests_free(b->guests);
        sd_event_unref(b->event);
        roots_free(b->roots);
        kill(b->sim, SIGTERM);
        waitpid(b->sim, NULL, 0);
        (void) umount2(b->mount, MNT_DETACH);
        unlink(b->control);
        unlink(b->socket);
        rmdir(b->mount);
        rmdir(b->path);
        g_free(b->socket);
        g_free(b->control);
        g_free(b->mount);
        g_free(b->path);
        g_free(b);
}

#define _cleanup_bed_ __attribute__((cleanup(bed_free)))

/* One command of "tdx-sim ctl". */
static void ctl(const Bed *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void ctl(const Bed *b, const char *format, ...) {
        g_autofree char *command = NULL, *error = NULL;
        g_auto(GStrv) words = NULL;
        const char *argv[16] = { getenv("TDX_SIM"), "ctl", "--control", b->control };
        va_list ap;
        int status;

        va_start(ap, format);
        command = g_strdup_vprintf(format, ap);
        va_end(ap);
        words = g_strsplit(command, " ", 0);
        for (size_t i = 0; words[i]; i++)
                argv[4 + i] = words[i];
        assert_true(g_spawn_sync(NULL, (char **) argv, NULL, 0, NULL, NULL, NULL, &error, &status, NULL));
        if (status != 0)
                fail_msg("%s: %s", command, error);
}

/* As the daemon does it: the events first, then the look. */
static size_t update(Bed *b) {
        size_t n;

        uevents_drain(b->uevents);
        (void) guests_update(b->guests, false);
        (void) guests_get(b->guests, &n);
        return n;
}

static const GuestFacts *find(const Bed *b, const char *key) {
        size_t n;
        const GuestFacts *const *list = guests_get(b->guests, &n);

        for (size_t i = 0; i < n; i++)
                if (strcmp(list[i]->key, key) == 0)
                        return list[i];
        fail_msg("there is no guest %s", key);
        return NULL;
}

static void test_life(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");
        uint64_t before = clock_realtime(&system_clock);
        const GuestFacts *g;

        assert_int_equal(update(b), 0);
        ctl(b, "vm create 4711 12 2 web");
        assert_int_equal(update(b), 1);
        assert_int_equal(b->events, 1);
        g = find(b, "4711-12");
        assert_int_equal(g->pid, 4711);
        assert_true(g->start_time > 0);
        assert_string_equal(g->name, "qemu-system-x86");
        assert_string_equal(g->machine, "qemu-12-web");
        assert_in_range(g->since, before - 20 * USEC_PER_MSEC, clock_realtime(&system_clock));
        assert_int_equal(g->signs.vcpu_pid, SIGN_ABSENT);
        ctl(b, "vm run 4711 12");
        assert_int_equal(update(b), 1);
        assert_int_equal(find(b, "4711-12")->signs.vcpu_pid, SIGN_SEEN);
        ctl(b, "vm destroy 4711 12");
        assert_int_equal(update(b), 0);
        assert_null(guests_incomplete(b->guests));
        assert_int_equal(b->losses, 0);
}

static void test_thread(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");

        ctl(b, "vm create 4711 12 1 - 4720");
        assert_int_equal(update(b), 1);
        assert_int_equal(find(b, "4720-12")->pid, 4711);
        assert_string_equal(find(b, "4720-12")->unit, "vmm-4711.service");
}

/* Lockdown refuses exits, and leaves vcpuN/pid. */
static void test_lockdown(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");

        ctl(b, "set open-error=kvm/*/exits:EPERM");
        ctl(b, "vm create 1 4");
        (void) update(b);
        assert_int_equal(find(b, "1-4")->signs.vcpu_pid, SIGN_ABSENT);
        ctl(b, "vm run 1 4");
        (void) update(b);
        assert_int_equal(find(b, "1-4")->signs.vcpu_pid, SIGN_SEEN);
}

/* Nothing of debugfs can be read, but its folders be listed. */
static void test_everything_refused(void **state) {
        static const char *const errors[] = { "EPERM", "EACCES", "EIO" };

        for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
                _cleanup_bed_ Bed *b = bed_new(".");

                ctl(b, "set open-error=kvm/*/exits:%s,kvm/*/*/pid:%s", errors[i], errors[i]);
                ctl(b, "vm create 1 4");
                (void) update(b);
                assert_int_equal(find(b, "1-4")->signs.vcpu_pid, SIGN_UNREADABLE);
                assert_int_equal(find(b, "1-4")->signs.exits, SIGN_UNREADABLE);
                assert_int_equal(find(b, "1-4")->signs.guest_time, SIGN_ABSENT);
                ctl(b, "vm run 1 4");
                (void) update(b);
                assert_int_equal(find(b, "1-4")->signs.vcpu_pid, SIGN_UNREADABLE);
                assert_int_equal(find(b, "1-4")->signs.guest_time, SIGN_SEEN);
                assert_true(find(b, "1-4")->ran > 0);
        }
}

/* exits is what is left. */
static void test_exits(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");

        ctl(b, "set open-error=kvm/*/*/pid:EPERM");
        ctl(b, "vm create 1 4");
        (void) update(b);
        assert_int_equal(find(b, "1-4")->signs.exits, SIGN_ABSENT);
        ctl(b, "vm run 1 4");
        (void) update(b);
        assert_int_equal(find(b, "1-4")->signs.exits, SIGN_SEEN);
}

/* The socket's queue overflows, nobody says so; the folders and the next count do. */
static void test_dropped_events(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");

        ctl(b, "vm create 1 4");
        assert_int_equal(update(b), 1);
        ctl(b, "vm run 1 4");
        assert_int_equal(update(b), 1);
        assert_true(find(b, "1-4")->ran > 0);

        ctl(b, "set uevents-queue=0");
        ctl(b, "vm burst 3000");
        ctl(b, "vm destroy 1 4");
        ctl(b, "vm create 1 4");
        ctl(b, "vm create 2 4");
        assert_int_equal(update(b), 2);
        assert_true(b->events < 6000);
        /* The next one's numbers show that some are missing: what has the old name is another VM, that has not run. */
        ctl(b, "vm create 3 4");
        assert_int_equal(update(b), 3);
        assert_int_equal(find(b, "1-4")->ran, 0);
        assert_null(guests_incomplete(b->guests));
}

/* All of a burst arrives where there is room, and each one is remembered. */
static void test_burst(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");
        uint64_t end = clock_boottime(&system_clock) + BOUND;
        size_t n;

        (void) update(b);
        guests_mark(b->guests);
        ctl(b, "vm burst 1000");
        while (b->events < 2000) {
                assert_true(clock_boottime(&system_clock) < end);
                assert_true(sd_event_run(b->event, 100 * USEC_PER_MSEC) >= 0);
        }
        assert_int_equal(update(b), 0);
        (void) guests_since_mark(b->guests, &n);
        assert_int_equal(n, 1000);
        assert_null(guests_incomplete(b->guests));
}

/* debugfs is not mounted in its place. */
static void test_by_proc(void **state) {
        _cleanup_bed_ Bed *b = bed_new("cgroup");

        ctl(b, "vm create 1 4");
        ctl(b, "vm create 2 4 1 - 7");
        assert_int_equal(update(b), 2);
        assert_null(guests_incomplete(b->guests));
        assert_int_equal(find(b, "7-4")->pid, 2);
        ctl(b, "vm run 2 4");
        assert_int_equal(update(b), 2);
        assert_int_equal(find(b, "7-4")->signs.guest_time, SIGN_SEEN);
        assert_int_equal(find(b, "1-4")->ran, 0);
        ctl(b, "vm destroy 2 4");
        assert_int_equal(update(b), 1);
        guests_on_loss(b->guests, NULL);
        assert_int_equal(update(b), 1);
}

static void test_kvm_goes(void **state) {
        _cleanup_bed_ Bed *b = bed_new(".");

        ctl(b, "vm create 1 4");
        assert_int_equal(update(b), 1);
        ctl(b, "vm destroy 1 4");
        ctl(b, "set kvm=no");
        assert_int_equal(update(b), 0);
        assert_null(guests_incomplete(b->guests));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_life),
                cmocka_unit_test(test_thread),
                cmocka_unit_test(test_lockdown),
                cmocka_unit_test(test_everything_refused),
                cmocka_unit_test(test_exits),
                cmocka_unit_test(test_dropped_events),
                cmocka_unit_test(test_burst),
                cmocka_unit_test(test_by_proc),
                cmocka_unit_test(test_kvm_goes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
