/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

#include "base/clock.h"
#include "base/util.h"
#include "calendar.h"

/*
 * systemd has no library for its calendar expressions, so its tool is asked. In the unit's sandbox: @system-service has
 * execve, vfork and wait4; the tool needs no capability, no writable path and no memory that is both writable and
 * executable; /etc/localtime and /usr/share/zoneinfo can be read.
 */
#define PROGRAM "/usr/bin/systemd-analyze"

/* It took 0.8 s where ten processes shared two CPUs; what is late then is still an answer. */
#define TIME_LIMIT (5 * USEC_PER_SEC)
#define LINE_SIZE 256U          /* a time takes three lines of some 60 characters */

typedef struct Child {
        pid_t pid;
        int out;
        uint64_t deadline;
} Child;

/*
 * The daemon's loop blocks signals and ignores SIGPIPE; a child must not inherit that. Its own process group, so that
 * those it forks are killed with it. Every descriptor of the daemon's that is not closed at exec is closed here.
 */
static int set_up(posix_spawnattr_t *attributes, posix_spawn_file_actions_t *actions, int out) {
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setpgroup(attributes, 0);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
        return -r;
}

/* TZ alone is handed on: it says what local time is to this service, as it does for its log. */
static int start(char *const *argv, Child *ret) {
        const char *zone = g_getenv("TZ");
        g_autofree char *zone_entry = zone ? g_strdup_printf("TZ=%s", zone) : NULL;
        char *environment[] = { (char *) "LC_ALL=C", zone_entry, NULL };
        _cleanup_close_ int reading = -1, writing = -1;
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        reading = ends[0];
        writing = ends[1];

        r = -posix_spawnattr_init(&attributes);
        if (r < 0)
                return r;
        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0) {
                posix_spawnattr_destroy(&attributes);
                return r;
        }
        r = set_up(&attributes, &actions, writing);
        if (r >= 0)
                r = -posix_spawn(&ret->pid, PROGRAM, &actions, &attributes, argv, environment);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
        if (r >= 0)
                ret->out = steal_fd(&reading);
        return r;
}

/* 1 when there is something to read, or a pidfd's process has ended. */
static int wait_for(int fd, uint64_t deadline) {
        for (;;) {
                uint64_t now = clock_boottime(&system_clock);
                struct pollfd p = { .fd = fd, .events = POLLIN };
                int r;

                if (now >= deadline)
                        return -ETIMEDOUT;
                r = poll(&p, 1, (int) ((deadline - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
                if (r > 0)
                        return 1;
                if (r < 0 && errno != EINTR)
                        return -errno;
        }
}

static int read_all(const Child *child, size_t limit, GString *text) {
        for (;;) {
                char buffer[4096];
                ssize_t n;
                int r;

                r = wait_for(child->out, child->deadline);
                if (r < 0)
                        return r;
                n = read(child->out, buffer, sizeof(buffer));
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        return 0;
                if (text->len + (size_t) n > limit)
                        return -EBADMSG;
                g_string_append_len(text, buffer, n);
        }
}

/* It has closed its output, so it ends; if @r is an error, or it does not, it is killed with those it has forked. */
static int finish(const Child *child, int r) {
        _cleanup_close_ int pidfd = -1;
        int status;
        pid_t pid;

        if (r >= 0) {
                pidfd = pidfd_open(child->pid, 0);
                r = pidfd < 0 ? -errno : wait_for(pidfd, child->deadline);
        }
        if (r < 0)
                (void) kill(-child->pid, SIGKILL);
        do
                pid = waitpid(child->pid, &status, 0);
        while (pid < 0 && errno == EINTR);
        if (r < 0 || pid < 0)
                return r < 0 ? r : -errno;

        /* It says no to the expression; whatever else may go wrong in it shows as a wrong answer, or as a signal. */
        if (WIFEXITED(status))
                return WEXITSTATUS(status) == 0 ? 0 : -EINVAL;
        return -EBADMSG;
}

static int ask(const char *calendar, uint64_t after, size_t n, GString *ret) {
        g_autofree char *base = g_strdup_printf("--base-time=@%" PRIu64, after);
        g_autofree char *times = g_strdup_printf("--iterations=%zu", n);
        char *argv[] = { (char *) PROGRAM, (char *) "calendar", times, base, (char *) "--", (char *) calendar, NULL };
        Child child;
        int r;

        r = start(argv, &child);
        if (r < 0)
                return r;

        child.deadline = clock_boottime(&system_clock) + TIME_LIMIT;
        r = read_all(&child, LINE_SIZE * 3 * n + 8 * strlen(calendar) + 4096, ret);
        close(child.out);
        return finish(&child, r);
}

/* "Sat 2026-03-28 02:00:00 CET": everything but the zone, as if it were UTC. */
static bool parse_time(const char *text, uint64_t *ret) {
        g_autoptr(GDateTime) time = NULL;
        int year, month, day, hour, minute, second;

        if (sscanf(text, "%*3s %4d-%2d-%2d %2d:%2d:%2d ", &year, &month, &day, &hour, &minute, &second) != 6)
                return false;
        time = g_date_time_new_utc(year, month, day, hour, minute, second);
        if (!time || g_date_time_to_unix(time) < 0)
                return false;

        *ret = (uint64_t) g_date_time_to_unix(time);
        return true;
}

/*
 * "Next elapse:" or "Iter. #N:" begins each one, in local time; "(in UTC):" follows where local time is not UTC. The
 * expression itself is repeated above ("Original form:"), on one line, since it has no line feed.
 */
static int parse_answer(const GString *text, size_t n, uint64_t *ret, size_t *ret_n) {
        g_auto(GStrv) lines = g_strsplit(text->str, "\n", 0);
        size_t count = 0;
        bool never = false;

        for (char **line = lines; *line; line++) {
                const char *label = *line + strspn(*line, " "), *value = strstr(label, ": ");
                bool again = g_str_has_prefix(label, "(in UTC): ");

                if (!value || !(again || g_str_has_prefix(label, "Next elapse: ") || g_str_has_prefix(label, "Iter. #")))
                        continue;
                if (strcmp(value, ": never") == 0) {
                        never = true;
                        continue;
                }
                count += !again;
                if (count == 0 || count > n || !parse_time(value + 2, &ret[count - 1]))
                        return -EBADMSG;
        }
        if (count == 0 && !never)
                return -EBADMSG;

        *ret_n = count;
        return 0;
}

int calendar_next(const char *calendar, uint64_t after, size_t n, uint64_t *ret, size_t *ret_n) {
        g_autoptr(GString) text = g_string_new(NULL);
        int r;

        for (const char *p = calendar; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return -EINVAL;

        r = ask(calendar, after, n, text);
        if (r < 0)
                return r;
        return parse_answer(text, n, ret, ret_n);
}
