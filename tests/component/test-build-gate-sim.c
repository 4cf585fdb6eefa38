/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The build gate against tdx-sim's cgroups: whether TDs can begin. Needs root and /dev/fuse, and to be run by isolated.py. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/build-gate.h"
#include "../unit/test-tree.h"

#define BOUND (20 * USEC_PER_SEC)

typedef struct Bed {
        Tree tree;
        char *mount, *control;
        pid_t sim;
        Roots *roots;
        BuildGateRequest request;
} Bed;

static char *groups[] = { (char *) "machine.slice", (char *) "kubepods.slice", NULL };

static int save(const char *text, void *userdata) {
        tree_put(&((Bed *) userdata)->tree, "saved", text);
        return 0;
}

static bool ctl(const Bed *b, const char *command) {
        g_auto(GStrv) words = g_strsplit(command, " ", 0);
        const char *argv[16] = { getenv("TDX_SIM"), "ctl", "--control", b->control };
        int status;

        for (size_t i = 0; words[i]; i++)
                argv[4 + i] = words[i];
        assert_true(g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        return WEXITSTATUS(status) == 0;
}

static bool is_mounted(const Bed *b) {
        struct stat a, c;

        return stat(b->mount, &a) == 0 && stat(b->tree.path, &c) == 0 && a.st_dev != c.st_dev;
}

static int setup(void **state) {
        Bed *b = g_new0(Bed, 1);
        g_autofree char *images = NULL, *cgroup = NULL;
        uint64_t end = clock_boottime(&system_clock) + BOUND;
        RootOptions options = {};
        const char *path;

        b->tree = tree_new();
        tree_mkdir(&b->tree, "mount");
        tree_mkdir(&b->tree, "images");
        tree_put(&b->tree, "saved", "");
        b->mount = g_build_filename(b->tree.path, "mount", NULL);
        b->control = g_build_filename(b->tree.path, "control", NULL);
        images = g_build_filename(b->tree.path, "images", NULL);
        b->sim = fork();
        if (b->sim == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                execl(getenv("TDX_SIM"), "tdx-sim", "mount", "--images", images, "--control", b->control, b->mount, NULL);
                _exit(127);
        }
        while (!is_mounted(b) || access(b->control, F_OK) != 0) {
                assert_int_equal(waitpid(b->sim, NULL, WNOHANG), 0);
                assert_true(clock_boottime(&system_clock) < end);
                g_usleep(1000);
        }

        options.cgroup = cgroup = g_build_filename(b->mount, "cgroup", NULL);
        assert_int_equal(roots_open(&options, &b->roots, &path), 0);
        b->request = (BuildGateRequest) { .roots = b->roots, .groups = groups, .save = save, .userdata = b };
        assert_true(ctl(b, "cgroup add machine.slice/vm.scope"));
        assert_true(ctl(b, "cgroup add kubepods.slice/pod"));
        *state = b;
        return 0;
}

static int teardown(void **state) {
        Bed *b = *state;

        roots_free(b->roots);
        kill(b->sim, SIGTERM);
        waitpid(b->sim, NULL, 0);
        (void) umount2(b->mount, MNT_DETACH);
        g_free(b->mount);
        g_free(b->control);
        tree_free(&b->tree);
        g_free(b);
        return 0;
}

static void check_file(const Bed *b, const char *path, const char *text) {
        g_autofree char *full = g_build_filename(b->tree.path, path, NULL), *seen = NULL;

        assert_true(g_file_get_contents(full, &seen, NULL, NULL));
        if (strcmp(seen, text) != 0)
                fail_msg("%s: \"%s\", not \"%s\"", path, seen, text);
}

static BuildGate *close_gate(Bed *b) {
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        assert_int_equal(build_gate_close(&b->request, &gate, &group), 0);
        return gate;
}

static void test_no_build_begins_while_it_is_closed(void **state) {
        Bed *b = *state;
        g_autoptr(BuildGate) gate = NULL;

        assert_true(ctl(b, "set refund-refused=no"));
        assert_true(ctl(b, "td begin before 1 machine.slice/vm.scope"));
        gate = close_gate(b);
        assert_false(ctl(b, "td begin a 2"));
        assert_false(ctl(b, "td begin b 3 machine.slice/vm.scope"));
        assert_false(ctl(b, "td begin c 4 kubepods.slice/pod"));
        assert_true(ctl(b, "td begin elsewhere 5 /"));
        assert_int_equal(build_gate_refused(gate), 3);
        assert_true(ctl(b, "td finalize before"));

        assert_int_equal(build_gate_open(gate), 0);
        assert_true(ctl(b, "td begin a 2"));
        assert_true(ctl(b, "td begin b 3 machine.slice/vm.scope"));
        assert_true(ctl(b, "td begin c 4 kubepods.slice/pod"));
        assert_int_equal(build_gate_refused(gate), 3);
        check_file(b, "saved", "");
}

/* Linux up to 7.3: each refused build leaves the count one too low. The gate says how many there were. */
static void test_what_a_refused_build_costs(void **state) {
        Bed *b = *state;
        g_autofree char *group = NULL;
        g_autoptr(BuildGate) gate = NULL;

        assert_true(ctl(b, "td begin before 1"));
        gate = close_gate(b);
        assert_false(ctl(b, "td begin a 2"));
        assert_int_equal(build_gate_refused(gate), 1);
        assert_int_equal(build_gate_open(gate), 0);
        check_file(b, "mount/cgroup/misc.current", "tdx 0\n");
        assert_int_equal(build_gate_refused(gate), 1);

        /* Below 0 a maximum of 0 would let one in. */
        assert_true(ctl(b, "td destroy before"));
        gate = build_gate_free(gate);
        assert_int_equal(build_gate_close(&b->request, &gate, &group), -EOVERFLOW);
        assert_string_equal(group, "machine.slice");
        assert_true(ctl(b, "td begin a 2"));
}

/* SIGKILL while it is closed, and a start after that. */
static void test_killed(void **state) {
        Bed *b = *state;
        g_autofree char *saved = NULL, *path = g_build_filename(b->tree.path, "saved", NULL);
        int status;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                (void) close_gate(b);
                raise(SIGKILL);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_false(ctl(b, "td begin a 2"));

        assert_true(g_file_get_contents(path, &saved, NULL, NULL));
        assert_int_equal(build_gate_restore(&b->request, saved), 0);
        check_file(b, "mount/cgroup/machine.slice/misc.max", "tdx max\n");
        check_file(b, "saved", "");
        assert_true(ctl(b, "td begin a 2"));
}

static void test_a_group_that_is_not_there(void **state) {
        Bed *b = *state;
        g_autofree char *group = NULL;
        BuildGate *gate = NULL;

        assert_true(ctl(b, "cgroup remove kubepods.slice/pod"));
        assert_true(ctl(b, "cgroup remove kubepods.slice"));
        assert_int_equal(build_gate_close(&b->request, &gate, &group), -ENOENT);
        assert_string_equal(group, "kubepods.slice");
        assert_true(ctl(b, "td begin a 2"));
}

static void test_a_group_goes_while_it_is_closed(void **state) {
        Bed *b = *state;
        g_autoptr(BuildGate) gate = close_gate(b);

        assert_true(ctl(b, "cgroup remove kubepods.slice/pod"));
        assert_true(ctl(b, "cgroup remove kubepods.slice"));
        assert_int_equal(build_gate_open(gate), 0);
        assert_true(ctl(b, "td begin a 2"));
        check_file(b, "saved", "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                TEST(test_no_build_begins_while_it_is_closed), TEST(test_what_a_refused_build_costs), TEST(test_killed),
                TEST(test_a_group_that_is_not_there), TEST(test_a_group_goes_while_it_is_closed),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
