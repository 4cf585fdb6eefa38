/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Maintenance windows, with systemd's own systemd-analyze. What is expected was worked out by hand, in UTC: Berlin is one
 * hour ahead in winter and two in summer; in 2026 it changes on 29 March and on 25 October at 01:00 UTC. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/util.h"
#include "test-tree.h"
#include "window.h"

#define NEVER UINT64_C(0)
#define UNKNOWN UINT64_MAX
#define SEC USEC_PER_SEC
#define MINUTE (60 * SEC)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static struct {
        unsigned n;                     /* how often systemd was asked */
        const char *instead;            /* another program, NULL: the real one */
        int error;                      /* it cannot be started */
} asked;

int __real_posix_spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]);
int __wrap_posix_spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]);

int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                       char *const argv[], char *const envp[]) {
        asked.n++;
        return asked.error ?: __real_posix_spawn(pid, asked.instead ?: path, actions, attributes, argv, envp);
}

static int setup(void **state) {
        memset(&asked, 0, sizeof(asked));
        return setenv("TZ", "UTC", 1);
}

static uint64_t utc(int month, int day, int hour, int minute) {
        g_autoptr(GDateTime) time = g_date_time_new_utc(2026, month, day, hour, minute, 0);

        return (uint64_t) g_date_time_to_unix(time) * SEC;
}

static Window *parse(const char *text) {
        g_autofree char *problem = NULL;
        Window *window = NULL;

        if (window_parse(text, &window, &problem) < 0)
                fail_msg("\"%s\": %s", text, problem);
        assert_null(problem);
        assert_string_equal(window_text(window), text);
        return window;
}

static void check(Window *const *windows, size_t n, uint64_t now, bool open, uint64_t until) {
        uint64_t seen_until;
        bool seen = windows_open(windows, n, now, &seen_until);

        if (seen != open || seen_until != until)
                fail_msg("%s at %" PRIu64 ": %s until %" PRIu64 ", not %s until %" PRIu64, n > 0 ? window_text(windows[0]) : "", now / SEC,
                         seen ? "open" : "closed", seen_until / SEC, open ? "open" : "closed", until / SEC);
}

/* From its begin to its end, and neither before nor after. */
static void check_window(Window *w, uint64_t begin, uint64_t end, uint64_t next) {
        check(&w, 1, begin - 1, false, begin);
        check(&w, 1, begin, true, end);
        check(&w, 1, (begin + end) / 2, true, end);
        check(&w, 1, end - 1, true, end);
        check(&w, 1, end, false, next);
}

static void test_none_is_always(void **state) {
        check(NULL, 0, utc(1, 1, 0, 0), true, NEVER);
        assert_int_equal(asked.n, 0);
}

/* 23 March 2026 is a Monday. */
static void test_weekdays(void **state) {
        g_autoptr(Window) w = parse("Mon..Fri 22:00 UTC 2h");

        check_window(w, utc(3, 23, 22, 0), utc(3, 24, 0, 0), utc(3, 24, 22, 0));
        check_window(w, utc(3, 26, 22, 0), utc(3, 27, 0, 0), utc(3, 27, 22, 0));
        check_window(w, utc(3, 27, 22, 0), utc(3, 28, 0, 0), utc(3, 30, 22, 0));
        check(&w, 1, utc(3, 28, 22, 30), false, utc(3, 30, 22, 0));
}

static void test_over_midnight(void **state) {
        g_autoptr(Window) w = parse("Fri 23:00 UTC 1d 2h 30min");

        check_window(w, utc(3, 27, 23, 0), utc(3, 29, 1, 30), utc(4, 3, 23, 0));
}

/* A duration is real time: on the night of the change the clock on the wall moves by another amount. */
static void test_summer_time_begins(void **state) {
        g_autoptr(Window) across = parse("*-*-* 01:30 Europe/Berlin 90min"), after = parse("*-*-* 04:00 Europe/Berlin 1h");

        check_window(across, utc(3, 28, 0, 30), utc(3, 28, 2, 0), utc(3, 29, 0, 30));
        check_window(across, utc(3, 29, 0, 30), utc(3, 29, 2, 0), utc(3, 29, 23, 30));
        check_window(across, utc(3, 29, 23, 30), utc(3, 30, 1, 0), utc(3, 30, 23, 30));
        check_window(after, utc(3, 28, 3, 0), utc(3, 28, 4, 0), utc(3, 29, 2, 0));
        check_window(after, utc(3, 29, 2, 0), utc(3, 29, 3, 0), utc(3, 30, 2, 0));
}

static void test_summer_time_ends(void **state) {
        g_autoptr(Window) across = parse("*-*-* 01:30 Europe/Berlin 90min"), after = parse("*-*-* 04:00 Europe/Berlin 1h");

        check_window(across, utc(10, 23, 23, 30), utc(10, 24, 1, 0), utc(10, 24, 23, 30));
        check_window(across, utc(10, 24, 23, 30), utc(10, 25, 1, 0), utc(10, 26, 0, 30));
        check_window(across, utc(10, 26, 0, 30), utc(10, 26, 2, 0), utc(10, 27, 0, 30));
        check_window(after, utc(10, 24, 2, 0), utc(10, 24, 3, 0), utc(10, 25, 3, 0));
        check_window(after, utc(10, 25, 3, 0), utc(10, 25, 4, 0), utc(10, 26, 3, 0));
}

/* 02:00 does not exist on the one night, and twice on the other. Which of them it is, systemd.time(7) does not say; that
 * it is none other, and that the nights around are right, must hold anyhow. */
static void test_the_hour_that_changes(void **state) {
        g_autoptr(Window) w = parse("*-*-* 02:00 Europe/Berlin 90min");
        uint64_t until;

        check(&w, 1, utc(3, 28, 1, 0), true, utc(3, 28, 2, 30));
        assert_false(windows_open(&w, 1, utc(3, 28, 2, 30), &until));
        assert_false(windows_open(&w, 1, utc(3, 29, 0, 59), &until));
        assert_false(windows_open(&w, 1, utc(3, 29, 2, 30), &until));
        check_window(w, utc(3, 30, 0, 0), utc(3, 30, 1, 30), utc(3, 31, 0, 0));

        check(&w, 1, utc(10, 24, 0, 0), true, utc(10, 24, 1, 30));
        assert_false(windows_open(&w, 1, utc(10, 24, 23, 59), &until));
        assert_true(windows_open(&w, 1, utc(10, 25, 1, 15), &until));
        assert_false(windows_open(&w, 1, utc(10, 25, 2, 30), &until));
        check_window(w, utc(10, 26, 1, 0), utc(10, 26, 2, 30), utc(10, 27, 1, 0));
}

/* The same text in the zones of several hosts: east, west, UTC by another name (systemd prints no UTC line there). */
static void test_local_time(void **state) {
        static const struct {
                const char *zone;
                int ahead;      /* of UTC in January, minutes */
        } zones[] = { { "Europe/Berlin", 60 }, { "Europe/London", 0 }, { "Asia/Kolkata", 330 }, { "America/Sao_Paulo", -180 }, { "Africa/Abidjan", 0 }, { "UTC", 0 } };

        for (size_t i = 0; i < G_N_ELEMENTS(zones); i++) {
                g_autoptr(Window) w = NULL;
                uint64_t begin = utc(1, 14, 12, 15) - (uint64_t) (zones[i].ahead * 60LL * (int64_t) SEC);

                setenv("TZ", zones[i].zone, 1);
                w = parse("12:15 1h");
                check_window(w, begin, begin + HOUR, begin + DAY);
        }
}

static void test_every_minute(void **state) {
        g_autoptr(Window) w = parse("*:*:00 10s");
        uint64_t noon = utc(6, 1, 12, 0);
        unsigned first;

        check_window(w, noon, noon + 10 * SEC, noon + MINUTE);
        first = asked.n;
        for (unsigned i = 1; i < 120; i++) {
                check(&w, 1, noon + i * MINUTE, true, noon + i * MINUTE + 10 * SEC);
                check(&w, 1, noon + i * MINUTE + 30 * SEC, false, noon + (i + 1) * MINUTE);
        }
        /* Not a process for each look: 240 looks over two hours. */
        assert_in_range(asked.n - first, 2, 12);
}

/* Without a pause between them there is no end to tell; what is told is not later than the truth. */
static void test_windows_without_a_pause(void **state) {
        g_autoptr(Window) endless = parse("*:*:00 1min"), overlap = parse("*:00:00 90min"), three = parse("2026-06-01 12,13,14:00 UTC 1h");
        uint64_t noon = utc(6, 1, 12, 0), until;

        for (unsigned i = 0; i < 60; i++) {
                assert_true(windows_open(&endless, 1, noon + i * 20 * SEC, &until));
                assert_true(until > noon + i * 20 * SEC && until < UNKNOWN);
                assert_true(windows_open(&overlap, 1, noon + i * 20 * MINUTE, &until));
                assert_true(until > noon + i * 20 * MINUTE && until < UNKNOWN);
        }
        check(&three, 1, noon, true, noon + 3 * HOUR);
        check(&three, 1, noon + 3 * HOUR, false, NEVER);
}

static void test_several(void **state) {
        g_autoptr(Window) a = parse("2026-06-01 12:00 UTC 2h"), b = parse("2026-06-01 13:00 UTC 2h"), c = parse("2026-06-01 15:00 UTC 1h"),
                          d = parse("2026-06-01 18:00 UTC 1h"), past = parse("2020-01-01 00:00 UTC 1h");
        Window *all[] = { d, past, c, a, b };
        uint64_t noon = utc(6, 1, 12, 0);

        check(all, 5, noon - 1, false, noon);
        check(all, 5, noon, true, noon + 4 * HOUR);
        check(all, 5, noon + 90 * MINUTE, true, noon + 4 * HOUR);
        check(all, 5, noon + 4 * HOUR, false, noon + 6 * HOUR);
        check(all, 5, noon + 6 * HOUR, true, noon + 7 * HOUR);
        check(all, 5, noon + 7 * HOUR, false, NEVER);
}

static void test_past_date(void **state) {
        g_autoptr(Window) w = parse("2020-01-01 00:00 UTC 1h");

        check(&w, 1, utc(1, 1, 0, 0), false, NEVER);
}

static void test_bad_texts(void **state) {
        static const struct {
                const char *text, *word;
        } cases[] = {
                { "", "duration" },
                { "Sat 02:00", "duration" },
                { "Sat 02:00 ", "duration" },
                { "Sat 02:00 4x", "duration" },
                { "Sat 02:00 -4h", "duration" },
                { "4h", "calendar" },
                { "1h 30min", "calendar" },
                { "Sat 02:00 0", "at least a second" },
                { "Sat 02:00 500ms", "at least a second" },
                { "Sat 02:00 infinity", "finite" },
                { "Sut 02:00 4h", "systemd-analyze calendar \"Sut 02:00\"" },
                { "Sat 25:00 4h", "systemd.time(7)" },
                { "*-*-* 02:00 Europe/Nowhere 4h", "Europe/Nowhere" },
                { "--help 4h", "--help" },
                { "--iterations=2 4h", "systemd.time(7)" },
                { "Sat 02:00\nMon 4h", "systemd.time(7)" },
                { "$(true) 4h", "systemd.time(7)" },
        };
        unsigned n = 0;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *problem = NULL;
                Window *w = NULL;

                assert_int_equal(window_parse(cases[i].text, &w, &problem), -EINVAL);
                assert_null(w);
                if (!problem || !strstr(problem, cases[i].word))
                        fail_msg("\"%s\": %s", cases[i].text, problem);
                /* A line feed could make lines of the answer. */
                if (strchr(cases[i].text, '\n'))
                        assert_int_equal(asked.n, n);
                n = asked.n;
        }
}

static void test_space_around(void **state) {
        g_autofree char *problem = NULL;
        g_autoptr(Window) w = NULL;

        assert_int_equal(window_parse("  2026-06-01 12:00 UTC   1h  30min ", &w, &problem), 0);
        check_window(w, utc(6, 1, 12, 0), utc(6, 1, 13, 30), NEVER);
}

static void test_when_systemd_is_asked(void **state) {
        g_autoptr(Window) w = parse("12:00 UTC 1h");
        uint64_t now = utc(6, 1, 9, 0), until;

        asked.n = 0;
        for (unsigned i = 0; i < 4 * 59; i++)
                (void) windows_open(&w, 1, now + i * 15 * SEC, &until);
        assert_int_equal(asked.n, 1);
        /* After an hour the zone may be another; after a step back what was asked for begins too late. */
        (void) windows_open(&w, 1, now + HOUR, &until);
        assert_int_equal(asked.n, 2);
        check(&w, 1, now - 30 * DAY, false, now + 3 * HOUR - 30 * DAY);
        assert_int_equal(asked.n, 3);
        check(&w, 1, now + 300 * DAY + 4 * HOUR - 1, true, now + 300 * DAY + 4 * HOUR);
        assert_int_equal(asked.n, 4);
}

static void test_systemd_is_missing(void **state) {
        g_autofree char *problem = NULL;
        Window *w = NULL;

        asked.error = ENOENT;
        assert_int_equal(window_parse("Sat 02:00 4h", &w, &problem), -EINVAL);
        assert_null(w);
        assert_non_null(strstr(problem, "no systemd-analyze"));
}

/* Closed, and not asked again at each look; and it opens when there is an answer again. */
static void test_no_answer(void **state) {
        g_autoptr(Window) w = parse("12:00 UTC 1h"), other = parse("2026-06-01 11:00 UTC 90min");
        Window *both[] = { w, other };
        uint64_t noon = utc(6, 1, 12, 0);

        asked.error = EAGAIN;
        asked.n = 0;
        for (unsigned i = 0; i < 59; i++)
                check(&w, 1, noon + i * SEC, false, UNKNOWN);
        assert_int_equal(asked.n, 1);
        asked.error = 0;
        /* What the others say still counts. */
        check(both, 2, noon + 59 * SEC, true, noon + 30 * MINUTE);
        check(&w, 1, noon + 59 * SEC, false, UNKNOWN);
        check(&w, 1, noon + 61 * SEC, true, noon + HOUR);
}

static void put_program(const Tree *t, const char *text) {
        g_autofree char *script = g_strdup_printf("#!/bin/bash\nd=%s\n%s", t->path, text);

        tree_put(t, "program", script);
        assert_int_equal(fchmodat(t->fd, "program", 0755, 0), 0);
}

static void test_odd_answers(void **state) {
        static const char *const answers[] = {
                "", "exit 0", "echo 'Next elapse: '", "echo 'Next elapse: tomorrow'", "echo 'Next elapse: Mon 2026-13-01 12:00:00 UTC'",
                "echo 'Next elapse: Mon 1926-06-01 12:00:00 UTC'", "echo '   (in UTC): Mon 2026-06-01 12:00:00 UTC'", "yes",
                "printf '%40000s\\n' x; echo 'Next elapse: Mon 2026-06-01 12:00:00 UTC'",
                "yes 'Next elapse: Mon 2026-06-01 12:00:00 UTC' | head -n 17", "kill -9 $$",
                "echo 'Original form: Next elapse: Mon 2026-06-01 12:00:00 UTC'",
                "echo 'Next elapse: Mon 2026-06-01 12:00:00 UTC'; exit 1",
        };
        uint64_t noon = utc(6, 1, 12, 0);

        for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
                g_autoptr(Window) w = parse("12:00 UTC 1h");
                _cleanup_tree_ Tree t = tree_new();
                g_autofree char *program = g_build_filename(t.path, "program", NULL);
                uint64_t until;

                put_program(&t, answers[i]);
                asked.instead = program;
                if (windows_open(&w, 1, noon, &until) || until != UNKNOWN)
                        fail_msg("%s", answers[i]);
                asked.instead = NULL;
        }
}

/* A signal is delivered soon, not at once. A pidfd becomes readable when its process has ended, collected or not. */
static void check_ends(pid_t pid) {
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };

        if (fd < 0)
                assert_int_equal(errno, ESRCH);
        else
                assert_int_equal(poll(&p, 1, 10000), 1);
}

/* It and what it has started are gone after five seconds, whether its output is closed or not. */
static void test_program_hangs(void **state) {
        static const char *const hangs[] = { "echo $$ > $d/pid; sleep 1000 & echo $! > $d/child; wait", "echo $$ > $d/pid; exec >&-; sleep 1000 & echo $! > $d/child; wait" };

        for (size_t i = 0; i < G_N_ELEMENTS(hangs); i++) {
                g_autoptr(Window) w = parse("12:00 UTC 1h");
                _cleanup_tree_ Tree t = tree_new();
                g_autofree char *program = g_build_filename(t.path, "program", NULL);
                int64_t began = g_get_monotonic_time();

                put_program(&t, hangs[i]);
                asked.instead = program;
                check(&w, 1, utc(6, 1, 12, 0), false, UNKNOWN);
                asked.instead = NULL;
                assert_in_range(g_get_monotonic_time() - began, 4900 * (int64_t) USEC_PER_MSEC, 30 * (int64_t) SEC);

                for (const char *const *name = (const char *const[]) { "pid", "child", NULL }; *name; name++) {
                        g_autofree char *path = g_build_filename(t.path, *name, NULL), *pid = NULL;

                        assert_true(g_file_get_contents(path, &pid, NULL, NULL));
                        check_ends(atoi(pid));
                }
        }
}

/* The daemon blocks signals, ignores SIGPIPE, and has an environment and descriptors of its own. */
static void test_what_the_child_gets(void **state) {
        g_autoptr(Window) w = parse("12:00 UTC 1h");
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *program = g_build_filename(t.path, "program", NULL), *seen = NULL, *path = g_build_filename(t.path, "seen", NULL);
        sigset_t all, old;
        int leaked = open("/dev/null", O_RDONLY);
        g_autofree char *leak = g_strdup_printf("fd %d\n", leaked);

        assert_true(leaked > 2);
        put_program(&t, "{ grep -E '^Sig(Blk|Ign)' /proc/self/status; tr '\\0' '\\n' < /proc/$$/environ; for f in /proc/$$/fd/*; do echo fd ${f##*/}; done; "
                        "printf '<%s>' \"$@\"; } > $d/seen; echo 'Next elapse: Mon 2026-06-01 12:00:00 UTC'");
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &old);
        signal(SIGPIPE, SIG_IGN);
        setenv("SYSTEMD_LOG_LEVEL", "debug", 1);
        asked.instead = program;
        check(&w, 1, utc(6, 1, 12, 0), true, utc(6, 1, 13, 0));
        asked.instead = NULL;
        signal(SIGPIPE, SIG_DFL);
        sigprocmask(SIG_SETMASK, &old, NULL);
        unsetenv("SYSTEMD_LOG_LEVEL");
        close(leaked);

        assert_true(g_file_get_contents(path, &seen, NULL, NULL));
        assert_non_null(strstr(seen, "SigBlk:\t0000000000000000\n"));
        /* Apart from 32 and 33, which are glibc's own. */
        assert_non_null(strstr(seen, "SigIgn:\t"));
        assert_int_equal(strtoull(strstr(seen, "SigIgn:\t") + 8, NULL, 16) & ~(UINT64_C(3) << 31), 0);
        assert_non_null(strstr(seen, "LC_ALL=C\nTZ=UTC\n"));
        assert_null(strstr(seen, "SYSTEMD_LOG_LEVEL"));
        assert_null(strstr(seen, leak));
        /* Times after 11:00 are asked for: the window that began then would just be over. */
        assert_non_null(strstr(seen, "<calendar><--iterations=16><--base-time=@1780311600><--><12:00 UTC>"));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_none_is_always, setup), cmocka_unit_test_setup(test_weekdays, setup),
                cmocka_unit_test_setup(test_over_midnight, setup), cmocka_unit_test_setup(test_summer_time_begins, setup),
                cmocka_unit_test_setup(test_summer_time_ends, setup), cmocka_unit_test_setup(test_the_hour_that_changes, setup),
                cmocka_unit_test_setup(test_local_time, setup), cmocka_unit_test_setup(test_every_minute, setup),
                cmocka_unit_test_setup(test_windows_without_a_pause, setup), cmocka_unit_test_setup(test_several, setup),
                cmocka_unit_test_setup(test_past_date, setup), cmocka_unit_test_setup(test_bad_texts, setup),
                cmocka_unit_test_setup(test_space_around, setup), cmocka_unit_test_setup(test_when_systemd_is_asked, setup),
                cmocka_unit_test_setup(test_systemd_is_missing, setup), cmocka_unit_test_setup(test_no_answer, setup),
                cmocka_unit_test_setup(test_odd_answers, setup), cmocka_unit_test_setup(test_program_hangs, setup),
                cmocka_unit_test_setup(test_what_the_child_gets, setup),
        };

        log_set_level(LOG_ERR);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
