/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test-builds-bed.h"

Bed bed;

/* A probe is at their first instruction, and one at their return; so they are here and not beside their callers. */
#define PROBED __attribute__((noinline))

PROBED uint64_t tdh_mng_init(const void *td, uint64_t result, void (*inside)(void *userdata), void *userdata) {
        if (inside)
                inside(userdata);
        return result;
}

PROBED uint64_t tdh_mr_finalize(const void *td, uint64_t result) {
        return result;
}

PROBED void tdh_mng_key_freeid(const void *td) {
        __asm__ volatile("");
}

static struct bpf_link *attach(struct bpf_program *program, const char *function, bool at_return) {
        LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = function, .retprobe = at_return);

        if (g_strcmp0(function, bed.missing) == 0) {
                errno = ESRCH;
                return NULL;
        }
        /* Of every process that runs this file: those that a test forks, too. */
        return bpf_program__attach_uprobe_opts(program, -1, "/proc/self/exe", 0, &options);
}

static const ProbeAttach uprobes = { 0, attach };

static bool no_td(void *userdata) {
        return bed.no_td;
}

int bed_load(void) {
        const LoadOptions options = { .pins = bed.pins, .attach = &uprobes, .no_td = no_td };
        const char *function = NULL;
        int r;

        r = probes_load(&options, &function);
        if (r == LOAD_NO_FUNCTION)
                assert_string_equal(function, bed.missing);
        return r;
}

static void on_changed(void *userdata) {
        bed.changed++;
}

const ProbeFacts *bed_read(void) {
        if (!bed.builds)
                assert_int_equal(builds_new(bed.event, bed.pins, on_changed, NULL, &bed.builds), 0);
        builds_read(bed.builds, &bed.facts);
        return &bed.facts;
}

void bed_read_anew(void) {
        g_clear_pointer(&bed.builds, builds_free);
        bed_read();
}

const BuildFacts *bed_find(const void *td) {
        const BuildFacts *found = NULL;

        for (size_t i = 0; i < bed.facts.n_builds; i++)
                if (bed.facts.builds[i].td == (uint64_t) td) {
                        assert_null(found);
                        found = &bed.facts.builds[i];
                }
        return found;
}

int bed_setup(void **state) {
        bed = (Bed) { .mount = g_dir_make_tmp("tdx-updated-test-XXXXXX", NULL), .no_td = true };
        bed.pins = g_build_filename(bed.mount, "pins", NULL);
        if (mount("bpf", bed.mount, "bpf", 0, "mode=700") < 0)
                return -1;
        return sd_event_new(&bed.event);
}

int bed_teardown(void **state) {
        builds_free(bed.builds);
        sd_event_unref(bed.event);
        if (umount2(bed.mount, MNT_DETACH) < 0 || rmdir(bed.mount) < 0)
                return -1;
        g_free(bed.mount);
        g_free(bed.pins);
        return 0;
}

const char *bed_unusable(void) {
        static char why[128];
        int r;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                snprintf(why, sizeof(why), "a mount namespace of its own: %s", g_strerror(errno));
        else if (bed_setup(NULL) < 0)
                snprintf(why, sizeof(why), "a BPF file system: %s", g_strerror(errno));
        else {
                log_set_level(LOG_CRIT);
                r = bed_load();
                log_set_level(LOG_INFO);
                (void) bed_teardown(NULL);
                /* Anything else is a mistake of ours, which the tests show. */
                if (r == -EPERM || r == -EACCES || r == -ENOSYS || r == -EOPNOTSUPP)
                        snprintf(why, sizeof(why), "programs of its own in the kernel: %s", g_strerror(-r));
        }
        return *why ? why : NULL;
}

void assert_in_child(bool (*body)(void)) {
        int status;
        pid_t pid;

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(body() ? EXIT_SUCCESS : EXIT_FAILURE);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
                fail_msg("the child ended with status 0x%x", (unsigned) status);
}
