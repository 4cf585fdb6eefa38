/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The gate over a tree of files, where write(2) to a misc.max does what kernel/cgroup/misc.c does. Whatever happens, killed
 * at any step or refused at any file, every group has in the end the maximum that it had, or that somebody else gave it. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/util.h"
#include "platform/build-gate.h"
#include "test-tree.h"

#define KILLED 77

typedef struct Bed {
        Tree tree;
        Roots roots;
        BuildGateRequest request;
} Bed;

/* A step is a save, or a write to a misc.max. */
static struct {
        unsigned steps, die_at;         /* 0: never */
        bool die_after;                 /* with the step done, but before it returns */
        unsigned fail_at;               /* 0: never */
        int error;
        const char *fails;              /* a write to this file always fails, NULL: none */
        bool idle;                      /* what is written is not taken */
        void (*on_save)(Bed *bed);
} script;

static void step_begins(void) {
        if (++script.steps == script.die_at && !script.die_after)
                _exit(KILLED);
}

static void step_ends(void) {
        if (script.steps == script.die_at)
                _exit(KILLED);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

static char *path_of(int fd) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);

        return g_file_read_link(link, NULL);
}

/* misc_cg_max_write(): "NAME VALUE", and the other resources stay as they are. */
static int take(const char *path, const char *text, size_t size) {
        g_autofree char *all = NULL, *given = g_strndup(text, size);
        g_auto(GStrv) words = g_strsplit(given, " ", 2), lines = NULL;
        g_autoptr(GString) out = g_string_new(NULL);
        bool known = false;

        assert_true(g_file_get_contents(path, &all, NULL, NULL));
        lines = g_strsplit(all, "\n", -1);
        if (!words[0] || !words[1] || (strcmp(words[1], "max") != 0 && strspn(words[1], "0123456789") != strlen(words[1])))
                return -EINVAL;
        for (char **line = lines; *line && **line; line++) {
                bool this = g_str_has_prefix(*line, words[0]) && (*line)[strlen(words[0])] == ' ';

                g_string_append_printf(out, "%s\n", this ? given : *line);
                known |= this;
        }
        if (known && !script.idle)
                assert_true(g_file_set_contents(path, out->str, -1, NULL));
        return known ? 0 : -EINVAL;
}

ssize_t __wrap_write(int fd, const void *data, size_t size) {
        g_autofree char *path = path_of(fd);
        int r;

        if (!path || !g_str_has_suffix(path, "/misc.max"))
                return __real_write(fd, data, size);

        step_begins();
        if ((script.steps == script.fail_at) || (script.fails && g_str_has_suffix(path, script.fails))) {
                errno = script.error;
                return -1;
        }
        r = take(path, data, size);
        step_ends();
        if (r == 0)
                return (ssize_t) size;
        errno = -r;
        return -1;
}

static int on_save(const char *text, void *userdata) {
        Bed *bed = userdata;

        step_begins();
        if (script.steps == script.fail_at)
                return -script.error;
        tree_put(&bed->tree, "saved", text);
        step_ends();
        if (script.on_save)
                script.on_save(bed);
        return 0;
}

static char *get(const Bed *bed, const char *path) {
        g_autofree char *full = g_build_filename(bed->tree.path, path, NULL);
        char *text = NULL;

        (void) g_file_get_contents(full, &text, NULL, NULL);
        return text;
}

static void check_file(const Bed *bed, const char *path, const char *text) {
        g_autofree char *seen = get(bed, path);

        if (g_strcmp0(seen, text) != 0)
                fail_msg("%s: \"%s\", not \"%s\" (step %u of %u)", path, seen, text, script.die_at ?: script.fail_at, script.steps);
}

static char *groups[] = { (char *) "machine.slice", (char *) "kubepods.slice/pods", (char *) "closed.slice", (char *) "user.slice", NULL };

static const struct {
        const char *path, *open, *closed;
} files[] = {
        { "cgroup/machine.slice/misc.max", "sev max\nsev_es 3\ntdx max\n", "sev max\nsev_es 3\ntdx 0\n" },
        { "cgroup/kubepods.slice/pods/misc.max", "tdx 17\n", "tdx 0\n" },
        { "cgroup/closed.slice/misc.max", "tdx 0\nsev max\n", "tdx 0\nsev max\n" },
        { "cgroup/user.slice/misc.max", "tdx 18446744073709551614\n", "tdx 0\n" },
        { "cgroup/misc.max", "tdx max\n", "tdx max\n" },
        { "cgroup/other.slice/misc.max", "tdx max\n", "tdx max\n" },
        { "outside/misc.max", "tdx max\n", "tdx max\n" },
};

static int setup(void **state) {
        Bed *bed = g_new0(Bed, 1);
        g_autofree char *cgroup = NULL;

        memset(&script, 0, sizeof(script));
        bed->tree = tree_new();
        for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
                tree_put(&bed->tree, files[i].path, files[i].open);
        for (size_t i = 0; i < 4; i++) {
                g_autofree char *path = g_strdup_printf("cgroup/%s/misc.current", groups[i]);

                tree_put(&bed->tree, path, "sev 18446744073709551615\ntdx 2\n");
        }
        tree_put(&bed->tree, "saved", "");
        cgroup = g_build_filename(bed->tree.path, "cgroup", NULL);
        bed->roots = (Roots) { .sysfs_fd = -1, .proc_fd = -1, .debugfs_fd = -1, .cgroup_fd = open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC) };
        assert_true(bed->roots.cgroup_fd >= 0);
        bed->request = (BuildGateRequest) { .roots = &bed->roots, .groups = groups, .save = on_save, .userdata = bed };
        *state = bed;
        return 0;
}

static int teardown(void **state) {
        Bed *bed = *state;

        close(bed->roots.cgroup_fd);
        tree_free(&bed->tree);
        g_free(bed);
        return 0;
}

static void check_open(const Bed *bed) {
        for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
                check_file(bed, files[i].path, files[i].open);
        check_file(bed, "saved", "");
}

static BuildGate *close_gate(Bed *bed) {
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        assert_int_equal(build_gate_close(&bed->request, &gate, &group), 0);
        assert_null(group);
        for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
                check_file(bed, files[i].path, files[i].closed);
        return gate;
}

static void test_close_and_open(void **state) {
        Bed *bed = *state;
        g_autoptr(BuildGate) gate = close_gate(bed);

        check_file(bed, "saved", "tdx-build-gate 1\nmax machine.slice\n17 kubepods.slice/pods\n18446744073709551614 user.slice\n");
        assert_int_equal(build_gate_open(gate), 0);
        check_open(bed);
        assert_int_equal(build_gate_open(gate), 0);
        check_open(bed);
}

static void test_free_opens(void **state) {
        Bed *bed = *state;

        assert_null(build_gate_free(close_gate(bed)));
        check_open(bed);
        assert_null(build_gate_free(NULL));
}

/* What is 0 and was not has to be in the saved text. */
static void check_nothing_forgotten(const Bed *bed) {
        g_autofree char *saved = get(bed, "saved");

        for (size_t i = 0; i < 4; i++) {
                g_autofree char *now = get(bed, files[i].path);

                if (strcmp(files[i].open, files[i].closed) != 0 && strcmp(now, files[i].closed) == 0 && !strstr(saved, groups[i]))
                        fail_msg("killed at %u: %s stays closed", script.die_at, groups[i]);
        }
}

static void test_killed_at_every_step(void **state) {
        Bed *bed = *state;
        unsigned n_killed = 0;

        for (unsigned variant = 0; variant < 2; variant++)
                for (unsigned step = 1;; step++) {
                        g_autofree char *saved = NULL;
                        int status;
                        pid_t pid;

                        script.die_at = step;
                        script.die_after = variant == 1;
                        script.steps = 0;
                        pid = fork();
                        if (pid == 0) {
                                BuildGate *gate = NULL;
                                char *group;

                                if (build_gate_close(&bed->request, &gate, &group) < 0 || build_gate_open(gate) < 0)
                                        _exit(1);
                                _exit(0);
                        }
                        assert_int_equal(waitpid(pid, &status, 0), pid);
                        assert_true(WIFEXITED(status));
                        check_nothing_forgotten(bed);

                        script.die_at = 0;
                        saved = get(bed, "saved");
                        assert_int_equal(build_gate_restore(&bed->request, saved), 0);
                        check_open(bed);
                        if (WEXITSTATUS(status) == 0)
                                break;
                        assert_int_equal(WEXITSTATUS(status), KILLED);
                        n_killed++;
                }

        /* One save, three writes, three writes back, one save; each killed before and after. */
        assert_int_equal(n_killed, 16);
}

/* And a restore that is killed in its turn. */
static void test_restore_killed_at_every_step(void **state) {
        Bed *bed = *state;

        for (unsigned step = 1;; step++) {
                g_autofree char *saved = NULL, *left = NULL;
                int status;
                pid_t pid;

                pid = fork();
                if (pid == 0) {
                        BuildGate *gate = NULL;
                        char *group;

                        _exit(build_gate_close(&bed->request, &gate, &group) < 0);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
                saved = get(bed, "saved");

                script.die_at = step;
                script.steps = 0;
                pid = fork();
                if (pid == 0)
                        _exit(build_gate_restore(&bed->request, saved) < 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                check_nothing_forgotten(bed);

                script.die_at = 0;
                left = get(bed, "saved");
                assert_int_equal(build_gate_restore(&bed->request, left), 0);
                check_open(bed);
                if (WEXITSTATUS(status) == 0) {
                        assert_int_equal(step, 5);
                        break;
                }
        }
}

/* The save, or the write to one of the three groups that are open, fails. */
static void test_failure_at_every_step(void **state) {
        static const char *const expected[] = { NULL, "machine.slice", "kubepods.slice/pods", "user.slice" };
        Bed *bed = *state;

        for (unsigned step = 1; step <= 4; step++) {
                g_autofree char *group = NULL;
                BuildGate *gate = NULL;

                script.steps = 0;
                script.fail_at = step;
                script.error = EROFS;
                assert_int_equal(build_gate_close(&bed->request, &gate, &group), -EROFS);
                assert_null(gate);
                if (g_strcmp0(group, expected[step - 1]) != 0)
                        fail_msg("step %u: %s", step, group);
                check_open(bed);
        }
}

/* misc_cg_max_write() answers EINVAL where there is no such resource: all lines are read first, so nothing is touched. */
static void test_what_cannot_be_closed(void **state) {
        static const struct {
                const char *path, *text;        /* NULL: no such file */
                int error;
        } cases[] = {
                { "cgroup/user.slice/misc.max", "sev max\n", -ENODATA },
                { "cgroup/user.slice/misc.max", "", -ENODATA },
                { "cgroup/user.slice/misc.max", "tdxx 3\n", -ENODATA },
                { "cgroup/user.slice/misc.max", "tdx -1\n", -EBADMSG },
                { "cgroup/user.slice/misc.max", "tdx maximum\n", -EBADMSG },
                { "cgroup/user.slice/misc.max", NULL, -ENOENT },
                { "cgroup/user.slice/misc.current", "tdx 18446744073709551615\n", -EOVERFLOW },
                { "cgroup/user.slice/misc.current", "tdx 9223372036854775808\n", -EOVERFLOW },
                { "cgroup/user.slice/misc.current", "", -ENODATA },
                { "cgroup/user.slice/misc.current", NULL, -ENOENT },
        };
        Bed *bed = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *group = NULL;
                BuildGate *gate = NULL;

                tree_remove(&bed->tree, cases[i].path);
                if (cases[i].text)
                        tree_put(&bed->tree, cases[i].path, cases[i].text);
                assert_int_equal(build_gate_close(&bed->request, &gate, &group), cases[i].error);
                assert_string_equal(group, "user.slice");
                tree_put(&bed->tree, cases[i].path, g_str_has_suffix(cases[i].path, "max") ? "tdx 18446744073709551614\n" : "tdx 0\n");
                check_open(bed);
                assert_int_equal(script.steps, 0);
        }
}

static void test_no_cgroup_file_system(void **state) {
        Bed *bed = *state;
        Roots none = { .cgroup_fd = -1 };
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        bed->request.roots = &none;
        assert_int_equal(build_gate_close(&bed->request, &gate, &group), -ENOENT);
        assert_int_equal(script.steps, 0);
}

static void test_a_write_that_is_not_taken(void **state) {
        Bed *bed = *state;
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        script.idle = true;
        assert_int_equal(build_gate_close(&bed->request, &gate, &group), -EIO);
        assert_string_equal(group, "machine.slice");
        check_open(bed);
}

static void test_somebody_sets_another_value_meanwhile(void **state) {
        Bed *bed = *state;
        g_autoptr(BuildGate) gate = close_gate(bed);

        tree_put(&bed->tree, files[1].path, "tdx 5\n");
        assert_int_equal(build_gate_open(gate), 0);
        check_file(bed, files[1].path, "tdx 5\n");
        tree_put(&bed->tree, files[1].path, files[1].open);
        check_open(bed);
}

static void change_once(Bed *bed) {
        tree_put(&bed->tree, files[3].path, "tdx 9\n");
        script.on_save = NULL;
}

static void change_always(Bed *bed) {
        g_autofree char *text = g_strdup_printf("tdx %u\n", 100 + script.steps);

        tree_put(&bed->tree, files[3].path, text);
}

static void close_it(Bed *bed) {
        tree_put(&bed->tree, files[3].path, "tdx 0\n");
        script.on_save = NULL;
}

/* Between the first look and the write: what is put back is the newest value, and it was saved before. */
static void test_somebody_sets_another_value_before(void **state) {
        Bed *bed = *state;
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        script.on_save = change_once;
        gate = close_gate(bed);
        check_file(bed, "saved", "tdx-build-gate 1\nmax machine.slice\n17 kubepods.slice/pods\n9 user.slice\n");
        gate = build_gate_free(gate);
        check_file(bed, files[3].path, "tdx 9\n");

        script.on_save = close_it;
        gate = close_gate(bed);
        check_file(bed, "saved", "tdx-build-gate 1\nmax machine.slice\n17 kubepods.slice/pods\n");
        gate = build_gate_free(gate);
        check_file(bed, files[3].path, "tdx 0\n");

        tree_put(&bed->tree, files[3].path, "tdx 9\n");
        script.on_save = change_always;
        assert_int_equal(build_gate_close(&bed->request, &gate, &group), -EAGAIN);
        assert_string_equal(group, "user.slice");
        script.on_save = NULL;
        tree_put(&bed->tree, files[3].path, files[3].open);
        check_open(bed);
}

static void test_a_group_goes(void **state) {
        Bed *bed = *state;
        BuildGate *gate = close_gate(bed);

        tree_remove(&bed->tree, "cgroup/machine.slice");
        /* Of this one only the controller goes. */
        tree_remove(&bed->tree, files[1].path);
        assert_int_equal(build_gate_open(gate), 0);
        check_file(bed, "saved", "");
        check_file(bed, files[3].path, files[3].open);
        assert_null(build_gate_free(gate));
}

/* A new one of the same name has its own maximum. */
static void test_a_group_comes_again(void **state) {
        Bed *bed = *state;
        g_autoptr(BuildGate) gate = close_gate(bed);

        tree_remove(&bed->tree, "cgroup/kubepods.slice");
        tree_put(&bed->tree, files[1].path, "tdx max\n");
        assert_int_equal(build_gate_open(gate), 0);
        check_file(bed, files[1].path, "tdx max\n");
        check_file(bed, "saved", "");
}

#define LEFT "tdx-build-gate 1\n17 kubepods.slice/pods\n"

/* What cannot be opened is kept, and is opened before anything is closed again. */
static void test_a_group_that_cannot_be_opened(void **state) {
        Bed *bed = *state;
        g_autofree char *group = NULL;
        BuildGate *gate = close_gate(bed);

        script.fails = "pods/misc.max";
        script.error = EACCES;
        assert_int_equal(build_gate_open(gate), -EACCES);
        check_file(bed, "saved", LEFT);
        check_file(bed, files[0].path, files[0].open);
        check_file(bed, files[3].path, files[3].open);
        assert_int_equal(build_gate_open(gate), -EACCES);
        check_file(bed, "saved", LEFT);
        gate = build_gate_free(gate);
        check_file(bed, "saved", LEFT);

        assert_int_equal(build_gate_restore(&bed->request, LEFT), -EACCES);
        bed->request.saved = LEFT;
        assert_int_equal(build_gate_close(&bed->request, &gate, &group), -EACCES);
        assert_null(group);
        check_file(bed, "saved", LEFT);
        check_file(bed, files[0].path, files[0].open);

        script.fails = NULL;
        gate = close_gate(bed);
        assert_null(build_gate_free(gate));
        check_open(bed);
}

/* KVM was unloaded: the kernel hides the line and takes no value, but keeps the 0. */
static void test_kvm_goes(void **state) {
        Bed *bed = *state;
        g_autoptr(BuildGate) gate = close_gate(bed);

        tree_put(&bed->tree, files[1].path, "");
        assert_int_equal(build_gate_open(gate), -ENODATA);
        check_file(bed, "saved", LEFT);
        tree_put(&bed->tree, files[1].path, "tdx 0\n");
        assert_int_equal(build_gate_open(gate), 0);
        check_open(bed);
}

static void test_save_fails_at_the_end(void **state) {
        Bed *bed = *state;
        g_autoptr(BuildGate) gate = close_gate(bed);
        g_autofree char *saved = get(bed, "saved");

        script.steps = 0;
        script.fail_at = 4;
        script.error = EIO;
        assert_int_equal(build_gate_open(gate), -EIO);
        for (size_t i = 0; i < 4; i++)
                check_file(bed, files[i].path, files[i].open);

        /* The old text is still there, but what is open is left as it is. */
        tree_put(&bed->tree, files[0].path, "tdx 4\n");
        script.fail_at = 0;
        assert_int_equal(build_gate_restore(&bed->request, saved), 0);
        check_file(bed, files[0].path, "tdx 4\n");
        check_file(bed, "saved", "");
}

static void test_groups(void **state) {
        static const char *const good[] = { "machine.slice", "a/b/c", "machine.slice/machine-qemu\\x2d1.scope", "with space", "..." },
                          *const bad[] = { "", "/", "/machine.slice", "machine.slice/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\nb", "./a" };
        Bed *bed = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
                if (!build_gate_group_is_valid(good[i]))
                        fail_msg("\"%s\" is refused", good[i]);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                char *one[] = { (char *) "user.slice", (char *) bad[i], NULL };
                g_autofree char *group = NULL, *text = g_strdup_printf("tdx-build-gate 1\nmax %s\n", bad[i]);
                BuildGate *gate = NULL;

                if (build_gate_group_is_valid(bad[i]))
                        fail_msg("\"%s\" is taken", bad[i]);
                bed->request.groups = one;
                assert_int_equal(build_gate_close(&bed->request, &gate, &group), -EINVAL);
                assert_string_equal(group, bad[i]);
                assert_int_equal(build_gate_restore(&bed->request, text), -EBADMSG);
        }
        check_open(bed);
        assert_int_equal(script.steps, 0);
}

static void test_links_lead_nowhere(void **state) {
        static char *const links[] = { (char *) "out", (char *) "in", (char *) "far/out", (char *) "file" };
        Bed *bed = *state;

        tree_mkdir(&bed->tree, "cgroup/far");
        tree_mkdir(&bed->tree, "cgroup/file");
        assert_int_equal(symlinkat("../outside", bed->roots.cgroup_fd, "out"), 0);
        assert_int_equal(symlinkat("user.slice", bed->roots.cgroup_fd, "in"), 0);
        assert_int_equal(symlinkat("../../outside", bed->roots.cgroup_fd, "far/out"), 0);
        assert_int_equal(symlinkat("../../outside/misc.max", bed->roots.cgroup_fd, "file/misc.max"), 0);
        for (size_t i = 0; i < G_N_ELEMENTS(links); i++) {
                char *one[] = { links[i], NULL };
                g_autofree char *group = NULL, *text = g_strdup_printf("tdx-build-gate 1\n3 %s\n", links[i]);
                BuildGate *gate = NULL;

                bed->request.groups = one;
                assert_int_equal(build_gate_close(&bed->request, &gate, &group), -ELOOP);
                assert_int_equal(build_gate_restore(&bed->request, text), -ELOOP);
        }
        tree_put(&bed->tree, "saved", "");
        check_open(bed);
}

static void test_odd_saved_texts(void **state) {
        static const char *const texts[] = {
                "x", "tdx-build-gate 1\n", "tdx-build-gate 1\nmax user.slice", "tdx-build-gate 2\nmax user.slice\n", "max user.slice\n",
                "tdx-build-gate 1\nuser.slice\n", "tdx-build-gate 1\n0 user.slice\n", "tdx-build-gate 1\n-1 user.slice\n",
                "tdx-build-gate 1\n0x3 user.slice\n", "tdx-build-gate 1\n18446744073709551615 user.slice\n",
                "tdx-build-gate 1\n18446744073709551616 user.slice\n", "tdx-build-gate 1\n max user.slice\n",
                "tdx-build-gate 1\nmax user.slice\n\n", "tdx-build-gate 1\nmax user.slice\nmax\n", "tdx-build-gate 1\nmax \n",
                " tdx-build-gate 1\nmax user.slice\n", "tdx-build-gate 1\n3 user.slice\nmax machine.sli",
        };
        Bed *bed = *state;

        tree_put(&bed->tree, files[3].path, "tdx 0\n");
        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
                if (build_gate_restore(&bed->request, texts[i]) != -EBADMSG)
                        fail_msg("\"%s\"", texts[i]);
        assert_int_equal(build_gate_restore(&bed->request, ""), 0);
        check_file(bed, files[3].path, "tdx 0\n");
        assert_int_equal(script.steps, 0);

        assert_int_equal(build_gate_restore(&bed->request, "tdx-build-gate 1\n18446744073709551614 user.slice\n"), 0);
        check_open(bed);
}

/* Twice the same, and one below the other: the first value counts. */
static void test_groups_that_repeat(void **state) {
        char *twice[] = { (char *) "user.slice", (char *) "machine.slice", (char *) "user.slice", NULL };
        Bed *bed = *state;
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        bed->request.groups = twice;
        assert_int_equal(build_gate_close(&bed->request, &gate, &group), 0);
        check_file(bed, files[3].path, files[3].closed);
        assert_null(build_gate_free(gate));
        check_open(bed);
}

static void test_refused(void **state) {
        Bed *bed = *state;
        g_autoptr(BuildGate) gate = NULL;

        tree_put(&bed->tree, "cgroup/machine.slice/misc.events.local", "sev.max 1\ntdx.max 4\n");
        tree_put(&bed->tree, "cgroup/user.slice/misc.events.local", "tdx.max 0\n");
        gate = close_gate(bed);
        assert_int_equal(build_gate_refused(gate), 0);
        tree_put(&bed->tree, "cgroup/machine.slice/misc.events.local", "sev.max 9\ntdx.max 6\n");
        tree_put(&bed->tree, "cgroup/user.slice/misc.events.local", "tdx.max 1\n");
        assert_int_equal(build_gate_refused(gate), 3);
        assert_int_equal(build_gate_open(gate), 0);
        assert_int_equal(build_gate_refused(gate), 3);
        tree_remove(&bed->tree, "cgroup/machine.slice/misc.events.local");
        assert_int_equal(build_gate_refused(gate), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                TEST(test_close_and_open), TEST(test_free_opens),
                TEST(test_killed_at_every_step), TEST(test_restore_killed_at_every_step), TEST(test_failure_at_every_step),
                TEST(test_what_cannot_be_closed), TEST(test_no_cgroup_file_system), TEST(test_a_write_that_is_not_taken),
                TEST(test_somebody_sets_another_value_meanwhile), TEST(test_somebody_sets_another_value_before),
                TEST(test_a_group_goes), TEST(test_a_group_comes_again), TEST(test_a_group_that_cannot_be_opened),
                TEST(test_kvm_goes), TEST(test_save_fails_at_the_end), TEST(test_groups), TEST(test_links_lead_nowhere),
                TEST(test_odd_saved_texts), TEST(test_groups_that_repeat), TEST(test_refused),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
