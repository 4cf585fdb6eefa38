/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glib.h>

#include "core/backoff.h"

/* What was promised: 100 ms to 30 s, doubling. Not taken from the header on purpose. */
#define MIN_USEC UINT64_C(100000)
#define MAX_USEC UINT64_C(30000000)

static uint64_t bound(unsigned retry) {
        uint64_t top = MIN_USEC;

        for (unsigned i = 0; i < retry && top < MAX_USEC; i++)
                top *= 2;

        return MIN(top, MAX_USEC);
}

static void test_limits(void **state) {
        assert_int_equal(BACKOFF_MIN_USEC, MIN_USEC);
        assert_int_equal(BACKOFF_MAX_USEC, MAX_USEC);
        assert_int_equal(bound(1), 200000);
        assert_int_equal(bound(8), 25600000);
        assert_int_equal(bound(9), MAX_USEC);
}

static void test_bounds(void **state) {
        static const uint64_t draws[] = {
                0, 1, 99999, 100000, 100001, 29900000, 29900001, 30000000, UINT32_MAX, INT64_MAX, UINT64_MAX - 1, UINT64_MAX,
        };

        for (unsigned retry = 1; retry <= 100; retry++)
                for (size_t i = 0; i < G_N_ELEMENTS(draws); i++)
                        assert_in_range(backoff_delay(retry, draws[i]), MIN_USEC, bound(retry));

        /* A count that has run away must not shift out of the number. */
        for (size_t i = 0; i < G_N_ELEMENTS(draws); i++) {
                assert_in_range(backoff_delay(63, draws[i]), MIN_USEC, MAX_USEC);
                assert_in_range(backoff_delay(64, draws[i]), MIN_USEC, MAX_USEC);
                assert_in_range(backoff_delay(UINT32_MAX, draws[i]), MIN_USEC, MAX_USEC);
                assert_in_range(backoff_delay(0, draws[i]), MIN_USEC, MAX_USEC);
        }
}

/* splitmix64: the same draws in each run. */
static uint64_t next_random(uint64_t *seed) {
        uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

/*
 * Full jitter: the whole interval is used evenly, not a narrow band below its top. In 1e5
 * draws the mean's standard error is 0.1 % of the interval, a tenth's is 1 % of its share.
 */
static void test_full_jitter(void **state) {
        enum { DRAWS = 100000 };

        for (unsigned retry = 1; retry <= 12; retry++) {
                uint64_t seed = retry, width = bound(retry) - MIN_USEC;
                unsigned tenths[10] = {};
                double sum = 0;

                for (unsigned i = 0; i < DRAWS; i++) {
                        uint64_t above = backoff_delay(retry, next_random(&seed)) - MIN_USEC;

                        assert_true(above <= width);
                        sum += (double) above;
                        tenths[MIN(above * 10 / width, 9)]++;
                }

                assert_true(sum / DRAWS > 0.49 * (double) width);
                assert_true(sum / DRAWS < 0.51 * (double) width);
                for (unsigned i = 0; i < 10; i++)
                        assert_in_range(tenths[i], DRAWS / 10 * 94 / 100, DRAWS / 10 * 106 / 100);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_full_jitter),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
