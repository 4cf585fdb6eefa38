/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "core/version.h"

static void test_parse(void **state) {
        static const struct {
                const char *text;
                Version version;
                const char *shown;
        } good[] = {
                { "1.5.06", { 1, 5, 6 }, "1.5.06" },
                { "1.5.6", { 1, 5, 6 }, "1.5.06" },
                { "2.0.08", { 2, 0, 8 }, "2.0.08" },
                { "1.5.16", { 1, 5, 16 }, "1.5.16" },
                { "0.0.0", { 0, 0, 0 }, "0.0.00" },
                { "1.5.100", { 1, 5, 100 }, "1.5.100" },
                { "65535.65535.65535", { 65535, 65535, 65535 }, "65535.65535.65535" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                char buffer[VERSION_STRING_MAX];
                Version v;

                assert_int_equal(version_parse(good[i].text, &v), 0);
                assert_int_equal(version_compare(v, good[i].version), 0);
                assert_ptr_equal(version_format(v, buffer), buffer);
                assert_string_equal(buffer, good[i].shown);
        }
}

static void test_parse_refuses(void **state) {
        static const char *const bad[] = {
                "", ".", "..", "1", "1.5", "1.5.", "1..5", ".5.06", "1.5.06.1", "1.5.06 ", " 1.5.06", "1.5.06\n",
                "+1.5.06", "1.-5.06", "1.5.0x6", "v1.5.06", "1,5,06", "1.5.06a", "65536.0.0", "1.65536.0", "1.5.65536",
                "1.5.4294967302", "1.5.18446744073709551622", "99999999999999999999.5.06", "1.5.\xd9\xa6", "newest",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                Version v = { 7, 7, 7 };

                if (version_parse(bad[i], &v) != -EINVAL)
                        fail_msg("\"%s\" was taken for a version", bad[i]);
                /* A refused text leaves the output alone. */
                assert_int_equal(version_compare(v, (Version) { 7, 7, 7 }), 0);
        }
}

/* In ascending order: the major number decides before the minor, that before the update. */
static const Version ascending[] = {
        { 0, 0, 0 }, { 0, 0, 65535 }, { 1, 0, 0 }, { 1, 4, 65535 }, { 1, 5, 0 }, { 1, 5, 9 }, { 1, 5, 10 },
        { 1, 5, 100 }, { 1, 10, 1 }, { 2, 0, 2 }, { 2, 5, 6 }, { 10, 0, 0 }, { 65535, 65535, 65535 },
};

static void test_compare(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(ascending); i++)
                for (size_t j = 0; j < G_N_ELEMENTS(ascending); j++) {
                        int order = version_compare(ascending[i], ascending[j]);

                        assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
                }
}

static void test_same_line(void **state) {
        static const Version v = { 1, 5, 6 };

        assert_true(version_same_line(v, v));
        assert_true(version_same_line(v, (Version) { 1, 5, 0 }));
        assert_true(version_same_line(v, (Version) { 1, 5, 65535 }));
        assert_false(version_same_line(v, (Version) { 2, 5, 6 }));
        assert_false(version_same_line(v, (Version) { 1, 6, 6 }));
        assert_false(version_same_line(v, (Version) { 5, 1, 6 }));
}

static void test_round_trip(void **state) {
        for (unsigned update = 0; update <= UINT16_MAX; update += 7) {
                Version v = { (uint16_t) (update * 31), (uint16_t) (update * 17), (uint16_t) update }, w;

                assert_int_equal(version_parse(VERSION_STRING(v), &w), 0);
                assert_int_equal(version_compare(v, w), 0);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_refuses),
                cmocka_unit_test(test_compare),
                cmocka_unit_test(test_same_line),
                cmocka_unit_test(test_round_trip),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
