/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glib.h>

#include "base/hex.h"
#include "base/span.h"

/* Examples of systemd.time(7), and what is none. */
static void test_parse(void **state) {
        static const struct {
                const char *text;
                uint64_t usec;
        } cases[] = {
                { "2 h", 7200000000 },
                { "2hours", 7200000000 },
                { "48hr", 172800000000 },
                { "55s500ms", 55500000 },
                { "300ms20s 5day", 300000 + 20000000 + UINT64_C(5) * 86400 * 1000000 },
                { "1w", UINT64_C(7) * 86400 * 1000000 },
                { "30", 30000000 },
                { "1.5min", 90000000 },
                { "0.25s", 250000 },
                { "1us", 1 },
                { "0", 0 },
                { "infinity", UINT64_MAX },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t usec = 1234;

                assert_int_equal(span_parse(cases[i].text, &usec), 0);
                assert_true(usec == cases[i].usec);
        }
}

static void test_refuse(void **state) {
        static const char *const cases[] = { "", " ", "s", "-1", "1 parsec", "1..5s", "1.", "five", "1s x", "infinity1", "+3" };
        uint64_t usec = 77;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                assert_int_equal(span_parse(cases[i], &usec), -EINVAL);
                assert_true(usec == 77);
        }
        assert_int_equal(span_parse("99999999999999999999", &usec), -ERANGE);
        assert_int_equal(span_parse("18446744073710s", &usec), -ERANGE);
}

static void test_round_trip(void **state) {
        static const uint64_t cases[] = { 0, 1, 999, 1000, 1500, 1000000, 61000000, 3600000000, 90061001001, UINT64_MAX };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *text = span_format(cases[i]);
                uint64_t usec;

                assert_int_equal(span_parse(text, &usec), 0);
                assert_true(usec == cases[i]);
        }
}

static void test_hex(void **state) {
        g_autofree char *text = hex_format((const uint8_t[]) { 0x00, 0x0f, 0xa5, 0xff }, 4), *none = hex_format(NULL, 0);

        assert_string_equal(text, "000fa5ff");
        assert_string_equal(none, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_refuse),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_hex),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
