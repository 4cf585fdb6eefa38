/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job.h"

#define HASH "27b67e0b20508f0a"

typedef struct Case {
        const char *name, *hash;
        uid_t uid;
        JobOptions options;
        bool same;
} Case;

static Job *make_job(const JobOptions *options) {
        JobRecord *record = job_record_new();

        record_set(&record->seam_hash, HASH);
        record->requester = 1000;
        record->options = *options;
        return job_new(record);
}

/* Whoever asks twice for the same gets one job; anything that changes what is done is another request. */
static void test_same_request(void **state) {
        static const JobOptions own = { .deadline = 77, .drain = true };
        static const Case cases[] = {
                { "the same", HASH, 1000, { .deadline = 77, .drain = true }, true },
                { "another image", "27b67e0b20508f0b", 1000, { .deadline = 77, .drain = true }, false },
                { "another user", HASH, 0, { .deadline = 77, .drain = true }, false },
                { "another deadline", HASH, 1000, { .deadline = 78, .drain = true }, false },
                { "no deadline", HASH, 1000, { .drain = true }, false },
                { "no drain", HASH, 1000, { .deadline = 77 }, false },
                { "now", HASH, 1000, { .deadline = 77, .drain = true, .now = true }, false },
                { "ignores activity", HASH, 1000, { .deadline = 77, .drain = true, .ignore_activity = true }, false },
        };
        g_autoptr(Job) job = make_job(&own);

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                if (job_is_same_request(job, cases[i].hash, cases[i].uid, &cases[i].options) != cases[i].same)
                        fail_msg("%s", cases[i].name);
}

/* PIDs and start times in turns, 0 at the end; NULL for none at all. */
static GArray *make_guests(const uint64_t *numbers) {
        GArray *guests = NULL;

        for (; *numbers; numbers += 2) {
                IgnoredGuest guest = { (uint32_t) numbers[0], numbers[1] };

                guests = guests ?: g_array_new(false, false, sizeof(IgnoredGuest));
                g_array_append_val(guests, guest);
        }

        return guests;
}

/* Ignored VMs are a set: their order does not matter, each of them and its start time does. */
static void test_same_guests(void **state) {
        static const uint64_t sets[][7] = {
                { 0 }, { 1, 5, 0 }, { 2, 5, 0 }, { 1, 6, 0 }, { 1, 5, 2, 6, 0 }, { 1, 6, 2, 5, 0 }, { 1, 5, 2, 6, 3, 7, 0 },
                { 3, 5, 2, 6, 1, 7, 0 }, { 1, (1ULL << 32) + 5, 0 },
        };
        static const uint64_t turned[][7] = {
                { 0 }, { 1, 5, 0 }, { 2, 5, 0 }, { 1, 6, 0 }, { 2, 6, 1, 5, 0 }, { 2, 5, 1, 6, 0 }, { 3, 7, 1, 5, 2, 6, 0 },
                { 1, 7, 2, 6, 3, 5, 0 }, { 1, (1ULL << 32) + 5, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(sets); i++)
                for (size_t k = 0; k < G_N_ELEMENTS(turned); k++) {
                        JobOptions own = { .ignored = make_guests(sets[i]) };
                        g_autoptr(GArray) other = make_guests(turned[k]);
                        g_autoptr(Job) job = make_job(&own);

                        if (job_is_same_request(job, HASH, 1000, &(JobOptions) { .ignored = other }) != (i == k))
                                fail_msg("sets %zu and %zu", i, k);
                }
}

/* No list and an empty one are the same. */
static void test_no_guests(void **state) {
        g_autoptr(GArray) empty = g_array_new(false, false, sizeof(IgnoredGuest));
        g_autoptr(Job) job = make_job(&(JobOptions) {});

        assert_true(job_is_same_request(job, HASH, 1000, &(JobOptions) { .ignored = empty }));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_same_request), cmocka_unit_test(test_same_guests), cmocka_unit_test(test_no_guests),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
