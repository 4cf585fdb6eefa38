/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fileio.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/upload.h"

/*
 * tdx-sim mounted (isolated.py keeps that to ourselves), an event loop, and a notebook of what the
 * upload reported. Needs cmocka.h before it. Nothing here waits without a bound.
 */
#define BOUND (20 * USEC_PER_SEC)

typedef struct Seen {
        unsigned befores, looks, stucks, dones, progresses;
        int look_result;
        bool repeated, backwards, out_of_range;
        double last;
        char last_status[32], stuck_status[32];
        UploadReport report;            /* its strings are copies */
        bool loading_at_look, idle_at_look;
} Seen;

typedef struct Bed {
        char *path, *mount, *control;
        pid_t sim;
        Roots *roots;
        sd_event *event;
        int image_fd;
        uint64_t image_size;
        Seen seen;
        Upload *upload;
} Bed;

static char *work_dir;          /* images and key, once for all tests */

static inline void run_ok(const char *const argv[], char **ret_output) {
        g_autofree char *output = NULL, *error = NULL;
        int status;

        assert_true(g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &error, &status, NULL));
        if (status != 0)
                fail_msg("%s %s: %s%s", argv[0], argv[1], output, error);
        if (ret_output)
                *ret_output = g_steal_pointer(&output);
}

/* One command of "tdx-sim ctl"; the last newline of its answer is cut off. */
static inline char *ctl(const Bed *b, const char *command) {
        g_auto(GStrv) words = g_strsplit(command, " ", 0);
        const char *argv[16] = { getenv("TDX_SIM"), "ctl", "--control", b->control };
        char *output = NULL;

        for (size_t i = 0; words[i]; i++)
                argv[4 + i] = words[i];
        run_ok(argv, &output);
        return g_strchomp(output);
}

static inline void ctl_do(const Bed *b, const char *command) {
        g_free(ctl(b, command));
}

static inline unsigned ctl_number(const Bed *b, const char *key) {
        g_autofree char *command = g_strconcat("get ", key, NULL), *text = ctl(b, command);

        return (unsigned) strtoul(text, NULL, 10);
}

static inline void check_key(const Bed *b, const char *key, const char *value) {
        g_autofree char *command = g_strconcat("get ", key, NULL), *text = ctl(b, command);

        if (strcmp(text, value) != 0)
                fail_msg("%s is %s, not %s", key, text, value);
}

static inline bool is_mounted(const char *path) {
        g_autofree char *parent = g_path_get_dirname(path);
        struct stat a, b;

        return stat(path, &a) == 0 && stat(parent, &b) == 0 && a.st_dev != b.st_dev;
}

static inline Bed *bed_new(void) {
        Bed *b = g_new0(Bed, 1);
        RootOptions options = {};
        g_autofree char *sys = NULL, *proc = NULL, *cgroup = NULL, *tree = NULL, *image = NULL;
        uint64_t end = clock_boottime(&system_clock) + BOUND;
        const char *path;
        struct stat st;

        b->path = g_dir_make_tmp("tdx-updated-test-XXXXXX", NULL);
        b->mount = g_build_filename(b->path, "mount", NULL);
        b->control = g_build_filename(b->path, "control", NULL);
        assert_int_equal(mkdir(b->mount, 0755), 0);

        tree = g_build_filename(work_dir, "tree", NULL);
        b->sim = fork();
        if (b->sim == 0) {
                /* A test that fails leaves no simulator behind. */
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                execl(getenv("TDX_SIM"), "tdx-sim", "mount", "--images", tree, "--control", b->control, "--set=receive-ms=20",
                      "--set=prepare-ms=20", "--set=transfer-ms=40", "--set=critical-ms=20", "--set=program-ms=20", b->mount, NULL);
                _exit(127);
        }
        while (!is_mounted(b->mount) || access(b->control, F_OK) != 0) {
                assert_int_equal(waitpid(b->sim, NULL, WNOHANG), 0);
                assert_true(clock_boottime(&system_clock) < end);
                g_usleep(1000);
        }

        options.sysfs = sys = g_build_filename(b->mount, "sys", NULL);
        options.proc = proc = g_build_filename(b->mount, "proc", NULL);
        options.cgroup = cgroup = g_build_filename(b->mount, "cgroup", NULL);
        assert_int_equal(roots_open(&options, &b->roots, &path), 0);
        assert_int_equal(sd_event_new(&b->event), 0);

        image = g_build_filename(work_dir, "1.5.06.blob", NULL);
        b->image_fd = open(image, O_RDONLY | O_CLOEXEC);
        assert_true(b->image_fd >= 0);
        assert_int_equal(fstat(b->image_fd, &st), 0);
        b->image_size = (uint64_t) st.st_size;
        return b;
}

static inline void seen_clear(Seen *s) {
        g_free(s->report.last_status);
        upload_state_clear(&s->report.end);
        *s = (Seen) {};
}

static inline void bed_free(Bed **bp) {
        Bed *b = *bp;

        b->upload = upload_free(b->upload);
        seen_clear(&b->seen);
        sd_event_unref(b->event);
        roots_free(b->roots);
        close(b->image_fd);
        kill(b->sim, SIGTERM);
        waitpid(b->sim, NULL, 0);
        (void) umount2(b->mount, MNT_DETACH);
        unlink(b->control);
        rmdir(b->mount);
        rmdir(b->path);
        g_free(b->control);
        g_free(b->mount);
        g_free(b->path);
        g_free(b);
}

#define _cleanup_bed_ __attribute__((cleanup(bed_free)))

static inline int on_before_look(void *userdata) {
        assert_int_equal(((Bed *) userdata)->seen.befores++, ((Bed *) userdata)->seen.looks); /* once, before the look */
        return 0;
}

static inline int on_last_look(void *userdata) {
        Bed *b = userdata;
        g_auto(UploadState) state = {};

        b->seen.looks++;
        upload_read_state(b->roots, &state);
        b->seen.loading_at_look = state.loading;
        b->seen.idle_at_look = g_strcmp0(state.status, "idle") == 0;
        return b->seen.look_result;
}

static inline void on_progress(const char *status, double progress, void *userdata) {
        Seen *s = &((Bed *) userdata)->seen;

        s->repeated = s->repeated || (s->progresses > 0 && progress == s->last && strcmp(status, s->last_status) == 0);
        s->backwards = s->backwards || progress < s->last;
        s->out_of_range = s->out_of_range || !(progress >= 0 && progress <= 1);
        s->progresses++;
        s->last = progress;
        g_strlcpy(s->last_status, status, sizeof(s->last_status));
}

static inline void on_stuck(const char *status, void *userdata) {
        Seen *s = &((Bed *) userdata)->seen;

        s->stucks++;
        g_strlcpy(s->stuck_status, status, sizeof(s->stuck_status));
}

static inline void on_done(const UploadReport *report, void *userdata) {
        Bed *b = userdata;
        Seen *s = &b->seen;

        s->dones++, s->report = *report;
        s->report.last_status = g_strdup(report->last_status);
        s->report.end.status = g_strdup(report->end.status);
        s->report.end.error = g_strdup(report->end.error);
        /* "The last call; the upload may be freed in it." */
        b->upload = upload_free(b->upload);
}

static inline void start(Bed *b, int image_fd, uint64_t timeout) {
        int look_result = b->seen.look_result;
        UploadRequest request = {
                .event = b->event, .roots = b->roots, .image_fd = image_fd, .size = b->image_size, .timeout = timeout,
                .handler = { on_before_look, on_last_look, on_progress, on_stuck, on_done, b },
        };

        seen_clear(&b->seen);
        b->seen.look_result = look_result;
        assert_int_equal(upload_start(&request, &b->upload), 0);
        /* Nothing is reported from within upload_start(). */
        assert_int_equal(b->seen.dones + b->seen.looks + b->seen.progresses, 0);
}

/* Runs the loop until @condition. */
static inline void run_until(Bed *b, bool (*condition)(const Bed *b)) {
        uint64_t end = clock_boottime(&system_clock) + BOUND;

        while (!condition(b)) {
                assert_true(clock_boottime(&system_clock) < end);
                assert_true(sd_event_run(b->event, 100 * USEC_PER_MSEC) >= 0);
        }
}

static inline bool is_done(const Bed *b) {
        return b->seen.dones > 0;
}
