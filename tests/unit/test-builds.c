/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The daemon's reader of what the probes record, over pinned maps of the real kernel. */
#include <grp.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "base/util.h"
#include "test-builds-bed.h"

static const char a[1], b[1];   /* their addresses are those of TDs */

static void test_times_stay(void **state) {
        uint64_t since, from;

        assert_int_equal(bed_load(), LOAD_DONE);
        begin(a);
        from = bed_read()->from;
        since = bed_find(a)->since;
        assert_true(since >= from);
        for (unsigned i = 0; i < 200; i++) {
                if (i % 10 == 0) {
                        begin(b);
                        tdh_mng_key_freeid(b);
                }
                assert_int_equal(bed_read()->from, from);
                assert_int_equal(bed_find(a)->since, since);
        }
}

static void test_no_pins(void **state) {
        assert_string_equal(bed_read()->unavailable, "the probes are not loaded (systemctl start tdx-updated-probe)");
        assert_int_equal(bed.facts.n_builds, 0);
        assert_false(bed.facts.complete);
        assert_int_equal(mkdir(bed.pins, 0700), 0);
        assert_string_equal(bed_read()->unavailable, "the probes are not loaded (systemctl start tdx-updated-probe)");
}

static void test_pins_that_come_go_and_are_replaced(void **state) {
        assert_non_null(bed_read()->unavailable);

        assert_int_equal(bed_load(), LOAD_DONE);
        begin(a);
        assert_null(bed_read()->unavailable);
        assert_non_null(bed_find(a));

        /* The new ones have the same generation, and know nothing of it. */
        assert_int_equal(bed_load(), LOAD_DONE);
        begin(b);
        assert_null(bed_read()->unavailable);
        assert_null(bed_find(a));
        assert_non_null(bed_find(b));

        assert_int_equal(probes_remove(bed.pins), 1);
        assert_non_null(bed_read()->unavailable);
        assert_int_equal(bed.facts.n_builds, 0);
        assert_int_equal(bed_load(), LOAD_DONE);
        assert_null(bed_read()->unavailable);
}

static void test_a_new_reader_misses_nothing(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        bed_read();
        begin(a);
        begin(b);
        tdh_mr_finalize(b, 0);

        bed_read_anew();
        assert_int_equal(bed.facts.n_builds, 2);
        assert_false(bed_find(a)->finalized);
        assert_true(bed_find(b)->finalized);
}

static void run_until_changed(void) {
        bed.changed = 0;
        while (bed.changed == 0)
                if (sd_event_run(bed.event, 10 * USEC_PER_SEC) == 0)
                        fail_msg("no event came");
}

/* What is pending is handled, and then there is nothing more. */
static void assert_quiet(void) {
        while (sd_event_run(bed.event, 0) > 0)
                ;
        bed.changed = 0;
        assert_int_equal(sd_event_run(bed.event, 50 * USEC_PER_MSEC), 0);
        assert_int_equal(bed.changed, 0);
}

static void test_each_change_wakes(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        bed_read();
        assert_quiet();

        begin(a);
        run_until_changed();
        assert_quiet();
        tdh_mr_finalize(a, BUSY);
        assert_quiet();
        tdh_mr_finalize(a, 0);
        run_until_changed();
        tdh_mng_key_freeid(a);
        run_until_changed();
        tdh_mng_init(a, INVALID, NULL, NULL);
        run_until_changed();
        assert_quiet();
}

/* What happened while there was no reader, more than the ring holds. */
static void test_a_full_ring_wakes_too(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        for (unsigned i = 0; i < PROBE_EVENTS_SIZE / sizeof(struct probe_event); i++) {
                begin(a);
                tdh_mng_key_freeid(a);
        }
        begin(b);

        bed_read();
        run_until_changed();
        assert_quiet();
        begin(a);
        run_until_changed();
        assert_int_equal(bed_read()->n_builds, 2);
}

/* A VMM that begins a TD and waits for the end of its standard input, which is the other end of @ret_pipe. */
static pid_t start_vmm(const void *td, int *ret_pipe) {
        int to[2], from[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe(to), 0);
        assert_int_equal(pipe(from), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                close(to[1]);
                close(from[0]);
                if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                        _exit(EXIT_FAILURE);
                prctl(PR_SET_NAME, "vmm\n\xff", 0, 0, 0);
                tdh_mng_init(td, 0, NULL, NULL);
                if (write(from[1], "", 1) != 1 || read(to[0], &byte, 1) != 0)
                        _exit(EXIT_FAILURE);
                _exit(EXIT_SUCCESS);
        }
        close(to[0]);
        close(from[1]);
        assert_int_equal(read(from[0], &byte, 1), 1);
        close(from[0]);
        *ret_pipe = to[1];
        return pid;
}

static void wait_for_zombie(pid_t pid) {
        siginfo_t info;

        assert_int_equal(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT), 0);
}

static void test_a_vmm_that_dies_leaves_no_build(void **state) {
        int pipe_fd;
        pid_t pid;

        assert_int_equal(bed_load(), LOAD_DONE);
        pid = start_vmm(a, &pipe_fd);
        bed_read();
        assert_non_null(bed_find(a));
        assert_int_equal(bed_find(a)->pid, pid);
        assert_string_equal(bed_find(a)->name, "vmm?\xef\xbf\xbd");

        /* What happens to others meanwhile changes nothing. */
        begin(b);
        tdh_mng_key_freeid(b);
        bed_read();
        assert_non_null(bed_find(a));

        /* Nothing is recorded when it ends, and it is a zombie for a time. */
        close(pipe_fd);
        wait_for_zombie(pid);
        assert_int_equal(bed_read()->n_builds, 0);
        assert_null(bed.facts.doubt);
        bed_read_anew();
        assert_int_equal(bed.facts.n_builds, 0);

        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(bed_read()->n_builds, 0);
        bed_read_anew();
        assert_int_equal(bed.facts.n_builds, 0);

        /* Others are not left out with it. */
        begin(b);
        assert_int_equal(bed_read()->n_builds, 1);
        assert_non_null(bed_find(b));
}

static void test_a_td_of_a_vmm_that_is_gone(void **state) {
        int pipe_fd;
        pid_t pid;

        assert_int_equal(bed_load(), LOAD_DONE);
        pid = start_vmm(a, &pipe_fd);
        tdh_mr_finalize(a, 0);
        bed_read();
        assert_true(bed_find(a)->finalized);
        assert_int_equal(bed_find(a)->pid, pid);
        close(pipe_fd);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(bed_read()->n_builds, 0);
}

static bool drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {};

        return syscall(SYS_capset, &header, data) >= 0;
}

/* Less than the daemon's unit has: root without any capability, and /sys mounted read-only. */
static bool read_without_capabilities(void) {
        /* A loop works in the process alone that made it. */
        if (sd_event_new(&bed.event) < 0 || unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, bed.mount, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 || !drop_capabilities())
                return false;

        bed_read();
        return !bed.facts.unavailable && !bed.facts.doubt && bed.facts.n_builds == 1 && bed.facts.builds[0].td == (uint64_t) a &&
               sd_event_run(bed.event, 10 * USEC_PER_SEC) > 0 && bed.changed > 0;
}

static void test_a_reader_needs_no_capability(void **state) {
        int pipe_fd;
        pid_t pid;

        assert_int_equal(bed_load(), LOAD_DONE);
        pid = start_vmm(a, &pipe_fd);
        assert_in_child(read_without_capabilities);
        close(pipe_fd);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/*
 * Maps like those of the probes that this test can write, with the real programs beside them, in their place.
 */
static struct probe_counters *forge(void) {
        LIBBPF_OPTS(bpf_map_create_opts, mmapable, .map_flags = BPF_F_MMAPABLE);
        g_autofree char *counters = g_build_filename(bed.pins, PROBE_PIN_COUNTERS, NULL), *tds = g_build_filename(bed.pins, PROBE_PIN_TDS, NULL);
        struct probe_counters *p;
        int fd, tds_fd;

        assert_int_equal(bed_load(), LOAD_DONE);
        fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "counters", sizeof(uint32_t), sizeof(struct probe_counters), 1, &mmapable);
        tds_fd = bpf_map_create(BPF_MAP_TYPE_HASH, "tds", sizeof(uint64_t), sizeof(struct probe_td), 16, NULL);
        assert_true(fd >= 0 && tds_fd >= 0);
        assert_int_equal(unlink(counters), 0);
        assert_int_equal(unlink(tds), 0);
        assert_int_equal(bpf_obj_pin(fd, counters), 0);
        assert_int_equal(bpf_obj_pin(tds_fd, tds), 0);
        p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(p, MAP_FAILED);
        close(fd);
        close(tds_fd);

        p->magic = PROBE_MAGIC;
        p->version = PROBE_VERSION;
        return p;
}

static void put_td(const void *td, uint32_t state) {
        g_autofree char *path = g_build_filename(bed.pins, PROBE_PIN_TDS, NULL);
        const struct probe_td value = { .tgid = (uint32_t) getpid(), .state = state };
        _cleanup_close_ int fd = bpf_obj_get(path);
        uint64_t key = (uint64_t) td;

        assert_true(fd >= 0);
        assert_int_equal(bpf_map_update_elem(fd, &key, &value, BPF_ANY), 0);
}

static void test_another_version(void **state) {
        static const char text[] = "the probes are of another version of tdx-updated (systemctl restart tdx-updated-probe)";
        struct probe_counters *p = forge();

        p->version = PROBE_VERSION + 1;
        assert_string_equal(bed_read()->unavailable, text);
        p->version = PROBE_VERSION;
        p->magic = 0;
        assert_string_equal(bed_read()->unavailable, text);
        p->magic = PROBE_MAGIC;
        assert_null(bed_read()->unavailable);
        munmap(p, sizeof(*p));
}

/* None of them may be missing or another one's. */
static void test_each_pin_is_needed(void **state) {
        static const char *const names[] = { PROBE_PIN_TDS, PROBE_PIN_EVENTS, PROBE_PIN_PROGRAM "freeid", PROBE_PIN_LINK "init",
                                             PROBE_PIN_LINK "finalize-return" };

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *path = g_build_filename(bed.pins, names[i], NULL);

                assert_int_equal(bed_load(), LOAD_DONE);
                assert_int_equal(unlink(path), 0);
                assert_non_null(bed_read()->unavailable);
                assert_non_null(strstr(bed.facts.unavailable, "another version"));
        }
}

/* What is pinned at @from takes the place of what is pinned at @to. */
static void pin_in_place_of(const char *from, const char *to) {
        g_autofree char *old = g_build_filename(bed.pins, from, NULL), *new = g_build_filename(bed.pins, to, NULL);
        _cleanup_close_ int fd = bpf_obj_get(old);

        assert_true(fd >= 0);
        assert_int_equal(unlink(new), 0);
        assert_int_equal(bpf_obj_pin(fd, new), 0);
}

static void test_each_pin_is_the_right_one(void **state) {
        static const char *const pairs[][2] = {
                { PROBE_PIN_LINK "finalize", PROBE_PIN_LINK "init" },
                { PROBE_PIN_PROGRAM "init", PROBE_PIN_PROGRAM "init-return" },
                { PROBE_PIN_COUNTERS, PROBE_PIN_TDS },
                { PROBE_PIN_TDS, PROBE_PIN_EVENTS },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
                assert_int_equal(bed_load(), LOAD_DONE);
                assert_null(bed_read()->unavailable);
                pin_in_place_of(pairs[i][0], pairs[i][1]);
                bed_read_anew();
                assert_non_null(bed.facts.unavailable);
                assert_non_null(strstr(bed.facts.unavailable, "another version"));
        }
}

static void test_a_change_that_does_not_end_is_doubt(void **state) {
        struct probe_counters *p = forge();

        assert_null(bed_read()->doubt);
        p->begun = 7;
        p->done = 6;
        assert_non_null(strstr(bed_read()->doubt, "faster"));
        p->done = 7;
        assert_null(bed_read()->doubt);
        munmap(p, sizeof(*p));
}

static void test_a_contradiction_is_doubt(void **state) {
        struct probe_counters *p = forge();

        put_td(a, PROBE_BUILDING);
        assert_non_null(strstr(bed_read()->doubt, "contradicts"));
        p->building = 1;
        assert_null(bed_read()->doubt);
        assert_non_null(bed_find(a));
        munmap(p, sizeof(*p));
}

/* What costs more is done only when something has happened. */
static void test_the_map_is_read_when_the_generation_moves(void **state) {
        struct probe_counters *p = forge();

        assert_int_equal(bed_read()->n_builds, 0);
        put_td(a, PROBE_FINALIZED);
        assert_int_equal(bed_read()->n_builds, 0);
        p->begun = p->done = 1;
        assert_int_equal(bed_read()->n_builds, 1);
        munmap(p, sizeof(*p));
}

static void test_a_loss_is_doubt(void **state) {
        struct probe_counters *p = forge();

        p->lost = 1;
        assert_non_null(strstr(bed_read()->doubt, "lost 1 event ("));
        p->lost = 2;
        assert_non_null(strstr(bed_read()->doubt, "lost 2 events ("));
        assert_null(bed.facts.unavailable);
        munmap(p, sizeof(*p));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_no_pins),
                TEST(test_times_stay),
                TEST(test_pins_that_come_go_and_are_replaced),
                TEST(test_a_new_reader_misses_nothing),
                TEST(test_each_change_wakes),
                TEST(test_a_full_ring_wakes_too),
                TEST(test_a_vmm_that_dies_leaves_no_build),
                TEST(test_a_td_of_a_vmm_that_is_gone),
                TEST(test_a_reader_needs_no_capability),
                TEST(test_another_version),
                TEST(test_each_pin_is_needed),
                TEST(test_each_pin_is_the_right_one),
                TEST(test_a_change_that_does_not_end_is_doubt),
                TEST(test_a_contradiction_is_doubt),
                TEST(test_the_map_is_read_when_the_generation_moves),
                TEST(test_a_loss_is_doubt),
        };
        const char *why = bed_unusable();

        if (why) {
                fprintf(stderr, "skipped: this machine does not allow %s\n", why);
                return 77;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
