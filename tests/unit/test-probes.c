/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What the BPF programs record, and how the loader puts them in place: bpf/. They are attached to functions of this test. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "base/util.h"
#include "test-builds-bed.h"

static const char a[1], b[1];   /* their addresses are those of TDs */

static void assert_counts(size_t n, size_t building) {
        size_t found = 0;

        bed_read();
        assert_null(bed.facts.unavailable);
        assert_null(bed.facts.doubt);
        assert_int_equal(bed.facts.n_builds, n);
        for (size_t i = 0; i < n; i++)
                if (!bed.facts.builds[i].finalized)
                        found++;
        assert_int_equal(found, building);
}

static void test_a_build_from_begin_to_end(void **state) {
        uint64_t before, after, boot_before, boot_after;
        const BuildFacts *build;

        assert_int_equal(bed_load(), LOAD_DONE);
        assert_counts(0, 0);

        before = clock_realtime(&system_clock);
        boot_before = clock_boottime(&system_clock);
        begin(a);
        boot_after = clock_boottime(&system_clock);
        after = clock_realtime(&system_clock);
        assert_counts(1, 1);
        build = bed_find(a);
        assert_non_null(build);
        assert_int_equal(build->pid, getpid());
        assert_string_equal(build->name, "test-probes");
        assert_in_range(build->began, boot_before, boot_after);
        /* The two clocks are read one after the other. */
        assert_in_range(build->since, before - 10 * USEC_PER_MSEC, after + 10 * USEC_PER_MSEC);

        assert_int_equal(tdh_mr_finalize(a, 0), 0);
        assert_counts(1, 0);
        assert_true(bed_find(a)->finalized);

        tdh_mng_key_freeid(a);
        assert_counts(0, 0);
}

static void look_inside(void *userdata) {
        assert_counts(1, 1);
        *(bool *) userdata = true;
}

static void test_a_build_counts_before_the_module_is_called(void **state) {
        bool looked = false;

        assert_int_equal(bed_load(), LOAD_DONE);
        assert_int_equal(tdh_mng_init(a, 0, look_inside, &looked), 0);
        assert_true(looked);
        assert_counts(1, 1);
}

static void test_a_begin_that_fails_is_undone(void **state) {
        bool looked = false;

        assert_int_equal(bed_load(), LOAD_DONE);
        begin(b);
        tdh_mr_finalize(b, 0);
        tdh_mng_key_freeid(b);

        assert_int_equal(tdh_mng_init(a, INVALID, look_inside, &looked), INVALID);
        assert_true(looked);
        assert_counts(0, 0);
        /* A warning is not 0, and KVM takes it as a failure. */
        tdh_mng_init(a, 1, NULL, NULL);
        assert_counts(0, 0);
        /* KVM takes it down all the same. */
        tdh_mng_key_freeid(a);
        assert_counts(0, 0);
}

static void test_a_busy_finalize_leaves_the_build_open(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        begin(a);
        tdh_mr_finalize(a, BUSY);
        assert_counts(1, 1);
        tdh_mr_finalize(a, BUSY);
        assert_counts(1, 1);
        tdh_mr_finalize(a, 0);
        assert_counts(1, 0);
}

static void test_a_td_that_goes_in_its_build(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        begin(a);
        begin(b);
        tdh_mng_key_freeid(a);
        assert_counts(1, 1);
        assert_null(bed_find(a));
        assert_non_null(bed_find(b));
}

static void test_a_pointer_that_is_used_again(void **state) {
        uint64_t first;

        assert_int_equal(bed_load(), LOAD_DONE);
        begin(a);
        assert_counts(1, 1);
        first = bed_find(a)->since;
        g_usleep(20 * USEC_PER_MSEC);
        begin(a);
        assert_counts(1, 1);
        assert_true(bed_find(a)->since > first + 10 * USEC_PER_MSEC);

        tdh_mr_finalize(a, 0);
        assert_counts(1, 0);
        begin(a);
        assert_counts(1, 1);
        tdh_mng_key_freeid(a);
        assert_counts(0, 0);
}

static void test_ends_of_tds_that_are_not_known(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        begin(b);
        tdh_mr_finalize(a, 0);
        tdh_mng_key_freeid(a);
        assert_counts(1, 1);
        /* A second finalize of the same TD does not count twice. */
        tdh_mr_finalize(b, 0);
        tdh_mr_finalize(b, 0);
        assert_counts(1, 0);
}

enum { THREADS = 8, ROUNDS = 300 };

static void *churn(void *userdata) {
        const char *td = userdata;

        for (unsigned i = 0; i < ROUNDS; i++) {
                tdh_mng_init(td, i % 3 == 0 ? INVALID : 0, NULL, NULL);
                tdh_mr_finalize(td, i % 2 == 0 ? BUSY : 0);
                if (i % 3 == 1)
                        tdh_mng_key_freeid(td);
        }
        tdh_mng_key_freeid(td);
        begin(td);
        return NULL;
}

static void test_many_at_once(void **state) {
        static const char tds[THREADS];
        pthread_t threads[THREADS];

        assert_int_equal(bed_load(), LOAD_DONE);
        for (unsigned i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *) &tds[i]), 0);
        /* Meanwhile every look is a whole one, or says that it is none. */
        for (unsigned i = 0; i < 200; i++) {
                bed_read();
                assert_null(bed.facts.unavailable);
                assert_true(bed.facts.n_builds <= THREADS);
                if (bed.facts.doubt)
                        assert_non_null(strstr(bed.facts.doubt, "faster"));
        }
        for (unsigned i = 0; i < THREADS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);

        assert_counts(THREADS, THREADS);
}

static void test_a_full_map_is_a_loss(void **state) {
        const size_t n = PROBE_TDS_MAX;
        const char *base = (const char *) 0x100000;

        assert_int_equal(bed_load(), LOAD_DONE);
        for (size_t i = 0; i < n; i++)
                begin(base + i);
        assert_counts(n, n);
        /* The kernel keeps a few spare ones for each CPU. */
        for (size_t i = 0; i < n; i++)
                begin(base + n + i);
        assert_non_null(bed_read()->doubt);
        assert_non_null(strstr(bed.facts.doubt, "lost"));
        assert_non_null(strstr(bed.facts.doubt, "tdx-updated-probe"));
        assert_null(bed.facts.unavailable);
}

static void test_a_full_ring_is_none(void **state) {
        assert_int_equal(bed_load(), LOAD_DONE);
        for (unsigned i = 0; i < PROBE_EVENTS_SIZE / sizeof(struct probe_event); i++) {
                begin(a);
                tdh_mng_key_freeid(a);
        }
        begin(b);
        assert_counts(1, 1);
        assert_int_equal(bed_find(b)->td, (uint64_t) b);
}

static void test_complete_only_if_no_td_is_older(void **state) {
        uint64_t before = clock_realtime(&system_clock), after;

        bed.no_td = false;
        assert_int_equal(bed_load(), LOAD_DONE);
        after = clock_realtime(&system_clock);
        assert_counts(0, 0);
        assert_false(bed.facts.complete);
        assert_in_range(bed.facts.from, before - 10 * USEC_PER_MSEC, after + 10 * USEC_PER_MSEC);

        bed.no_td = true;
        assert_int_equal(bed_load(), LOAD_DONE);
        assert_counts(0, 0);
        assert_true(bed.facts.complete);
}

static int open_counters(void) {
        g_autofree char *path = g_build_filename(bed.pins, PROBE_PIN_COUNTERS, NULL);

        return bpf_obj_get(path);
}

static void test_nobody_else_can_write(void **state) {
        _cleanup_close_ int fd = -1;
        struct probe_counters counters = {};
        struct stat st;
        uint32_t zero = 0;

        assert_int_equal(bed_load(), LOAD_DONE);
        fd = open_counters();
        assert_true(fd >= 0);
        assert_int_equal(bpf_map_update_elem(fd, &zero, &counters, BPF_ANY), -EPERM);
        assert_ptr_equal(mmap(NULL, sizeof(counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        assert_int_equal(errno, EPERM);

        assert_int_equal(stat(bed.pins, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
}

static uint64_t count_changes(int fd) {
        struct probe_counters counters;
        uint32_t zero = 0;

        assert_int_equal(bpf_map_lookup_elem(fd, &zero, &counters), 0);
        return counters.begun;
}

/* What is replaced goes: else its programs would go on for ever. The kernel takes a link down soon after its last user. */
static void test_old_probes_go(void **state) {
        uint64_t deadline = clock_boottime(&system_clock) + 10 * USEC_PER_SEC, before;
        _cleanup_close_ int fd = -1;

        assert_int_equal(bed_load(), LOAD_DONE);
        fd = open_counters();
        assert_true(fd >= 0);
        begin(a);
        assert_int_equal(count_changes(fd), 1);

        assert_int_equal(bed_load(), LOAD_DONE);
        do {
                assert_true(clock_boottime(&system_clock) < deadline);
                before = count_changes(fd);
                begin(b);
        } while (count_changes(fd) != before);
        assert_counts(1, 1);
        assert_null(bed_find(a));
        assert_non_null(bed_find(b));
}

static void test_remove(void **state) {
        g_autofree char *unfinished = g_strconcat(bed.pins, "-new", NULL), *foreign = g_build_filename(bed.pins, "foreign", NULL);

        assert_int_equal(probes_remove(bed.pins), 0);
        assert_int_equal(bed_load(), LOAD_DONE);
        assert_int_equal(probes_remove(bed.pins), 1);
        assert_int_equal(access(bed.pins, F_OK), -1);

        /* What a loader left that was killed. */
        assert_int_equal(bed_load(), LOAD_DONE);
        assert_int_equal(rename(bed.pins, unfinished), 0);
        assert_int_equal(bed_load(), LOAD_DONE);
        assert_int_equal(access(unfinished, F_OK), -1);

        /* Somebody else's directory. */
        assert_int_equal(mkdir(foreign, 0700), 0);
        log_set_level(LOG_CRIT);
        assert_int_equal(probes_remove(bed.pins), -ENOTEMPTY);
        log_set_level(LOG_INFO);
        assert_int_equal(access(foreign, F_OK), 0);
}

static void test_a_function_that_is_missing_leaves_nothing(void **state) {
        static const char *const functions[] = { "tdh_mng_init", "tdh_mr_finalize", "tdh_mng_key_freeid" };
        g_autofree char *unfinished = g_strconcat(bed.pins, "-new", NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(functions); i++) {
                bed.missing = functions[i];
                assert_int_equal(bed_load(), LOAD_NO_FUNCTION);
                assert_int_equal(access(bed.pins, F_OK), -1);
                assert_int_equal(access(unfinished, F_OK), -1);
        }
}

static void test_the_lock_needs_a_bpf_file_system(void **state) {
        _cleanup_close_ int fd = -1;

        log_set_level(LOG_CRIT);
        assert_int_equal(probes_lock("/proc/self/pins", &fd), -ENOTSUP);
        assert_int_equal(probes_lock("/nowhere/pins", &fd), -ENOENT);
        log_set_level(LOG_INFO);
        assert_int_equal(probes_lock(bed.pins, &fd), 0);
        assert_true(fd >= 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_a_build_from_begin_to_end),
                TEST(test_a_build_counts_before_the_module_is_called),
                TEST(test_a_begin_that_fails_is_undone),
                TEST(test_a_busy_finalize_leaves_the_build_open),
                TEST(test_a_td_that_goes_in_its_build),
                TEST(test_a_pointer_that_is_used_again),
                TEST(test_ends_of_tds_that_are_not_known),
                TEST(test_many_at_once),
                TEST(test_a_full_map_is_a_loss),
                TEST(test_a_full_ring_is_none),
                TEST(test_complete_only_if_no_td_is_older),
                TEST(test_nobody_else_can_write),
                TEST(test_old_probes_go),
                TEST(test_remove),
                TEST(test_a_function_that_is_missing_leaves_nothing),
                TEST(test_the_lock_needs_a_bpf_file_system),
        };
        const char *why = bed_unusable();

        if (why) {
                fprintf(stderr, "skipped: this machine does not allow %s\n", why);
                return 77;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
