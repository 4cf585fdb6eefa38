/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <glib.h>

#include "base/util.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/file.h"
#include "client/table.h"
#include "client/time-text.h"

#define NOW (UINT64_C(1800000000) * USEC_PER_SEC) /* 2027-01-15 08:00:00 UTC */

static void test_escape(void **state) {
        static const struct {
                const char *in, *out;
        } cases[] = {
                { NULL, "" },
                { "", "" },
                { "1.5.06 \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "1.5.06 \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80" },
                { "\x1b[2J\a\r\n\t\x7f", "\\x1b[2J\\x07\\x0d\\x0a\\x09\\x7f" },
                { "\xc2\x9b" "31m", "\\x9b31m" },
                { "a\xe2\x80\xae" "b\xe2\x81\xa6" "c", "a\\u202eb\\u2066c" },
                { "bad \xff\xc3", "bad \\xff\\xc3" },
                { "\xc3\x1b[m", "\\xc3\\x1b[m" },
                { "\xed\xa0\x80", "\\xed\\xa0\\x80" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *out = escape_terminal(cases[i].in);

                assert_string_equal(out, cases[i].out);
        }
}

static void test_timestamp(void **state) {
        static const struct {
                const char *text;
                uint64_t seconds;
        } good[] = {
                { "@0", 0 },
                { "@1800000000", 1800000000 },
                { "2027-01-15T08:00:00Z", 1800000000 },
                { "2027-01-15T09:00:00+01:00", 1800000000 },
                { "2027-01-15 08:00:00", 1800000000 },
                { "2027-01-15 08:00", 1800000000 },
                { "2027-01-15T08:00", 1800000000 },
                { "2027-01-15", 1800000000 - 8 * 3600 },
                { "1970-01-01", 0 },
        };
        static const char *const bad[] = {
                "", "@", "@-1", "@1x", "2027", "2027-13-01", "2027-02-30", "2027-01-15 25:00:00", "2027-01-15 08",
                "2027-01-15T08:00:00Zx", "20270115T080000Z", "2027-W02-5T08:00:00Z", "tomorrow", "1969-01-01", "2027-01-15x",
        };
        uint64_t usec;

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                assert_int_equal(parse_timestamp(good[i].text, &usec), 0);
                assert_int_equal(usec, good[i].seconds * USEC_PER_SEC);
        }
        assert_int_equal(parse_timestamp("2027-01-15T08:00:00.25Z", &usec), 0);
        assert_int_equal(usec, NOW + 250 * USEC_PER_MSEC);
        assert_int_equal(parse_timestamp("@18446744073709551615", &usec), -ERANGE);

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                if (parse_timestamp(bad[i], &usec) >= 0)
                        fail_msg("\"%s\" was taken for a time", bad[i]);
}

static void test_deadline(void **state) {
        uint64_t usec;

        assert_int_equal(parse_deadline("10min", NOW, &usec), 0);
        assert_int_equal(usec, NOW + 600 * USEC_PER_SEC);
        assert_int_equal(parse_deadline("2h 30s", NOW, &usec), 0);
        assert_int_equal(usec, NOW + 7230 * USEC_PER_SEC);
        assert_int_equal(parse_deadline("90", NOW, &usec), 0);
        assert_int_equal(usec, NOW + 90 * USEC_PER_SEC);
        assert_int_equal(parse_deadline("2027-01-15T08:00:01Z", NOW, &usec), 0);
        assert_int_equal(usec, NOW + USEC_PER_SEC);

        assert_int_equal(parse_deadline("0", NOW, &usec), -ETIME);
        assert_int_equal(parse_deadline("2027-01-15T08:00:00Z", NOW, &usec), -ETIME);
        assert_int_equal(parse_deadline("infinity", NOW, &usec), -ERANGE);
        assert_int_equal(parse_deadline("99999999999999999999", NOW, &usec), -ERANGE);
        assert_int_equal(parse_deadline("-5min", NOW, &usec), -EINVAL);
        assert_int_equal(parse_deadline("5 lightyears", NOW, &usec), -EINVAL);
        assert_int_equal(parse_deadline("", NOW, &usec), -EINVAL);
}

static void test_since(void **state) {
        uint64_t usec;

        assert_int_equal(parse_since("2h", NOW, &usec), 0);
        assert_int_equal(usec, NOW - 7200 * USEC_PER_SEC);
        assert_int_equal(parse_since("2h ago", NOW, &usec), 0);
        assert_int_equal(usec, NOW - 7200 * USEC_PER_SEC);
        assert_int_equal(parse_since("infinity", NOW, &usec), 0);
        assert_int_equal(usec, 0);
        assert_int_equal(parse_since("2027-01-15 ago", NOW, &usec), -EINVAL);
        assert_int_equal(parse_since("ago", NOW, &usec), -EINVAL);
}

static void test_format(void **state) {
        static const struct {
                uint64_t usec;
                const char *text;
        } spans[] = {
                { 0, "0 ms" },
                { 12345, "12 ms" },
                { 1300000, "1.3 s" },
                { 125 * USEC_PER_SEC, "2 min 5 s" },
                { 12000 * USEC_PER_SEC, "3 h 20 min" },
                { 90000 * USEC_PER_SEC, "1 d 1 h" },
        };
        g_autofree char *never = format_timestamp(UINT64_MAX), *none = format_timestamp(0), *now = format_timestamp(NOW);

        for (size_t i = 0; i < G_N_ELEMENTS(spans); i++) {
                g_autofree char *text = format_span(spans[i].usec);

                assert_string_equal(text, spans[i].text);
        }
        assert_string_equal(never, "never");
        assert_string_equal(none, "-");
        assert_string_equal(now, "2027-01-15 08:00:00 UTC");
}

static void test_version_in_a_name(void **state) {
        static const char *const none[] = {
                "image", "tdx_module.blob", "tdx_module_1.5.blob", "tdx_module_1.5.13.blob.old", "tdx_module_1.5.13.blob\n",
                "xtdx_module_1.5.13.blob", "", "/",
        };
        g_autofree char *version = file_version("../some where/tdx_module_1.5.13.blob");

        assert_string_equal(version, "1.5.13");
        for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
                assert_null(file_version(none[i]));
}

static void test_kebab(void **state) {
        g_autofree char *a = kebab_case("ModuleVersion"), *b = kebab_case("State"), *c = kebab_case("");

        assert_string_equal(a, "module-version");
        assert_string_equal(b, "state");
        assert_string_equal(c, "");
}

/* What a newer or broken daemon might send must read as nothing, not crash. */
static void test_dict_of_other_types(void **state) {
        g_autoptr(JsonNode) node = json_from_string(
                "{\"s\":\"x\",\"n\":5,\"d\":0.5,\"b\":true,\"a\":[\"p\",7],\"o\":{\"k\":1},\"z\":null,\"u\":\"18446744073709551615\"}", NULL);
        JsonObject *dict = json_node_get_object(node);
        static const char *const keys[] = { "s", "n", "d", "b", "a", "o", "z", "u", "missing" };

        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
                assert_non_null(dict_string(dict, keys[i]));
                (void) dict_number(dict, keys[i]);
                (void) dict_real(dict, keys[i]);
                (void) dict_flag(dict, keys[i]);
                (void) array_length(dict_array(dict, keys[i]));
                (void) dict_object(dict, keys[i]);
        }
        assert_string_equal(dict_string(dict, "s"), "x");
        assert_string_equal(dict_string(dict, "n"), "");
        assert_int_equal(dict_number(dict, "n"), 5);
        assert_int_equal(dict_number(dict, "s"), 0);
        assert_true(dict_number(dict, "u") == UINT64_MAX);
        assert_true(dict_flag(dict, "b"));
        assert_string_equal(array_string(dict_array(dict, "a"), 0), "p");
        assert_string_equal(array_string(dict_array(dict, "a"), 1), "");
        assert_string_equal(array_string(dict_array(dict, "a"), 2), "");
        assert_null(array_object(dict_array(dict, "a"), 0));
        assert_string_equal(dict_string(NULL, "s"), "");
}

static void test_table(void **state) {
        g_autoptr(GString) out = g_string_new(NULL), bare = g_string_new(NULL);
        g_auto(Table) table = {};

        table_init(&table, 3, (const char *const[]) { "A", "LONG", "LAST" });
        table_add(&table, "\xc3\xa4\xc3\xb6\xc3\xbc");
        table_add(&table, "");
        table_addf(&table, "%d\x1b", 7);
        assert_int_equal(table_rows(&table), 1);

        table_print(&table, out, "<", ">");
        assert_string_equal(out->str, "<A    LONG  LAST>\n\xc3\xa4\xc3\xb6\xc3\xbc  -     7\\x1b\n");
        table_print(&table, bare, NULL, ">");
        assert_string_equal(bare->str, "\xc3\xa4\xc3\xb6\xc3\xbc  -  7\\x1b\n");
}

/* Columns, not bytes: 3 letters, 4 of the header, 5 of "7\x1b", and two gaps of two. */
static void test_table_as_blocks(void **state) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_auto(Table) table = {};

        table_init(&table, 3, (const char *const[]) { "A", "LONG", "LAST" });
        table_add(&table, "\xc3\xa4\xc3\xb6\xc3\xbc");
        table_add(&table, "");
        table_addf(&table, "%d\x1b", 7);
        assert_int_equal(table_width(&table), 3 + 2 + 4 + 2 + 5);

        table_add(&table, "x");
        table_add(&table, "y");
        table_add(&table, "z");
        table_print_blocks(&table, out);
        assert_string_equal(out->str, "       A: \xc3\xa4\xc3\xb6\xc3\xbc\n    LONG: -\n    LAST: 7\\x1b\n\n"
                            "       A: x\n    LONG: y\n    LAST: z\n");
}

/* A newer daemon may have more fields, an older one fewer, a broken one none. */
static void test_named_structs(void **state) {
        static const char *const names[] = { "a", "b", NULL };
        g_autoptr(JsonNode) structs = json_from_string("[[1,\"x\",true],[2],[],7]", NULL), number = json_from_string("7", NULL);
        g_autoptr(JsonNode) named = array_named(structs, names), none = array_named(number, names);
        g_autofree char *text = json_to_string(named, false), *nothing = json_to_string(none, false);

        assert_string_equal(text, "[{\"a\":1,\"b\":\"x\"},{\"a\":2},{},{}]");
        assert_string_equal(nothing, "[]");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_escape),
                cmocka_unit_test(test_timestamp),
                cmocka_unit_test(test_deadline),
                cmocka_unit_test(test_since),
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_version_in_a_name),
                cmocka_unit_test(test_kebab),
                cmocka_unit_test(test_dict_of_other_types),
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_table_as_blocks),
                cmocka_unit_test(test_named_structs),
        };

        setenv("TZ", "UTC", true);
        tzset();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
