/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/limit.h"
#include "base/util.h"
#include "catalogue/mapping.h"
#include "test-image-fixture.h"

#define ENTRY(version, seamldr) \
        "{\"version\":\"" version "\",\"min_module_version_for_td_preserving\":\"1.5.01\"," \
        "\"min_seamldr_versions\":" seamldr ",\"tdx_feature0\":\"0xF0FBF\"}"
#define GOOD ENTRY("1.5.06", "[\"1.5.00\"]")
#define FILE_OF(entries) "{\"tdx_module_releases\":[" entries "]}"

static char *load(void) {
        g_autofree char *path = test_data(MAPPING_NAME);
        char *text = NULL;

        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return text;
}

static MappingFile *parse(const char *text) {
        MappingFile *file = NULL;
        char *problem = NULL;

        if (mapping_file_parse(text, strlen(text), &file, &problem) < 0)
                fail_msg("%s", problem);
        return file;
}

/* Intel's own, by the table in the documents. */
static void test_intel(void **state) {
        static const struct {
                Version version, min_module;
                uint64_t features0;
                size_t n_seamldr;
                Version last_seamldr;
        } expected[] = {
                { { 1, 5, 1 }, { 1, 5, 1 }, 0xF0FBF, 1, { 1, 5, 0 } },
                { { 1, 5, 5 }, { 1, 5, 1 }, 0x61F0FBF, 2, { 2, 0, 0 } },
                { { 1, 5, 6 }, { 1, 5, 1 }, 0x2E1F0FBF, 2, { 2, 0, 0 } },
                { { 1, 5, 8 }, { 1, 5, 1 }, 0x22E1F0FBF, 2, { 2, 0, 0 } },
                { { 1, 5, 9 }, { 1, 5, 1 }, 0x26F1F0FBF, 2, { 2, 0, 0 } },
                { { 1, 5, 13 }, { 1, 5, 1 }, 0x226F1F0FBF, 2, { 2, 0, 0 } },
                { { 1, 5, 16 }, { 1, 5, 1 }, 0x226F3F0FBF, 2, { 2, 0, 0 } },
                { { 2, 0, 2 }, { 2, 0, 2 }, 0x22E1F0FBF, 1, { 2, 0, 0 } },
                { { 2, 0, 4 }, { 2, 0, 4 }, 0x12AF1F0FBF, 1, { 2, 0, 0 } },
                { { 2, 0, 5 }, { 2, 0, 4 }, 0x226F3F0FBF, 1, { 2, 0, 0 } },
                { { 2, 0, 8 }, { 2, 0, 4 }, 0x32A71F0FBF, 1, { 2, 0, 0 } },
        };
        g_autofree char *text = load();
        g_autoptr(MappingFile) file = parse(text);

        assert_int_equal(mapping_file_size(file), G_N_ELEMENTS(expected));
        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
                const Mapping *m = mapping_file_find(file, expected[i].version);

                assert_non_null(m);
                assert_int_equal(version_compare(m->min_module, expected[i].min_module), 0);
                assert_int_equal(m->features0, expected[i].features0);
                assert_true(m->features0 & FEATURES0_TD_PRESERVING);
                assert_false(m->features0 & FEATURES0_UPDATE_COMPAT);
                assert_int_equal(m->n_min_seamldr, expected[i].n_seamldr);
                assert_int_equal(version_compare(m->min_seamldr[m->n_min_seamldr - 1], expected[i].last_seamldr), 0);
        }
        assert_null(mapping_file_find(file, (Version) { 1, 5, 7 }));
}

static const struct {
        const char *json;
        const char *text;
} bad[] = {
        { "", "it is empty" },
        { "   ", "it is empty" },
        { "nonsense", "it is not JSON" },
        { "{", "it is not JSON" },
        { "}", "it is not JSON" },
        { "{]", "it is not JSON" },
        { "\"", "it is not JSON" },
        { "\"\\", "it is not JSON" },
        { FILE_OF(GOOD) "}", "it is not JSON" },
        { FILE_OF(GOOD) FILE_OF(GOOD), "it is not JSON" },
        { "1" FILE_OF(GOOD), "it is not JSON" },
        { FILE_OF(GOOD) " 1", "it is not JSON" },
        { FILE_OF(GOOD) "\"\"", "it is not JSON" },
        { FILE_OF(GOOD ",,"), "it is not JSON" },
        { "/* \" */" FILE_OF(GOOD), "it is not JSON" },
        { "{'tdx_module_releases':[]}", "it is not JSON" },
        { "{\"\xff\xfe\":1}", "it is not JSON" },
        { "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", "it is not JSON" },
        /* Strings that JSON does not have; found by the fuzzer: what json-glib makes of the first is not UTF-8. */
        { "{\"a\":\"\\777\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\1\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\x41\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\u00\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\u004g\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\u0000\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\ud800\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\ud800x\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\udc00\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\\ud83d\\ud83d\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\n\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "{\"a\":\"\x01\",\"tdx_module_releases\":[]}", "it is not JSON" },
        { "null", "it is not JSON" },
        { "1", "it is not JSON" },
        { "[]", "has no list \"tdx_module_releases\"" },
        { "{}", "has no list \"tdx_module_releases\"" },
        { "{\"tdx_module_releases\":{}}", "has no list \"tdx_module_releases\"" },
        { "{\"tdx_module_releases\":null}", "has no list \"tdx_module_releases\"" },
        { "{\"tdx_module_releases\":\"1.5.06\"}", "has no list \"tdx_module_releases\"" },
        { FILE_OF("1"), "release 1 in it is no object" },
        { FILE_OF("null"), "release 1 in it is no object" },
        { FILE_OF(GOOD ",[]"), "release 2 in it is no object" },
        { FILE_OF("{}"), "release 1 in it has no text \"version\"" },
        { FILE_OF("{\"version\":1.5}"), "has no text \"version\"" },
        { FILE_OF("{\"version\":null}"), "has no text \"version\"" },
        { FILE_OF("{\"version\":[\"1.5.06\"]}"), "has no text \"version\"" },
        { FILE_OF(ENTRY("1.5", "[\"1.5.00\"]")), "has a \"version\" that is no version" },
        { FILE_OF(ENTRY("1.5.06 ", "[\"1.5.00\"]")), "has a \"version\" that is no version" },
        { FILE_OF(ENTRY("1.5.70000", "[\"1.5.00\"]")), "has a \"version\" that is no version" },
        { FILE_OF(ENTRY("1.5.06\\u0000", "[\"1.5.00\"]")), "it is not JSON" },
        { FILE_OF("{\"version\":\"1.5.06\"}"), "has no text \"min_module_version_for_td_preserving\"" },
        { FILE_OF("{\"version\":\"1.5.06\",\"min_module_version_for_td_preserving\":\"x\"}"),
          "has a \"min_module_version_for_td_preserving\" that is no version" },
        { FILE_OF("{\"version\":\"1.5.06\",\"min_module_version_for_td_preserving\":\"1.5.01\"}"),
          "has no text \"tdx_feature0\"" },
#define FEATURE(value) \
        FILE_OF("{\"version\":\"1.5.06\",\"min_module_version_for_td_preserving\":\"1.5.01\",\"tdx_feature0\":" value "}")
        { FEATURE("5"), "has no text \"tdx_feature0\"" },
        { FEATURE("\"F0FBF\""), "has a \"tdx_feature0\" that is no hexadecimal number" },
        { FEATURE("\"0x\""), "has a \"tdx_feature0\" that is no hexadecimal number" },
        { FEATURE("\"0xG\""), "has a \"tdx_feature0\" that is no hexadecimal number" },
        { FEATURE("\"0x10000000000000000\""), "has a \"tdx_feature0\" that is no hexadecimal number" },
        { FEATURE("\"0xF\""), "has no list \"min_seamldr_versions\"" },
        { FILE_OF(ENTRY("1.5.06", "\"1.5.00\"")), "has no list \"min_seamldr_versions\"" },
        { FILE_OF(ENTRY("1.5.06", "[]")), "lists 0 P-SEAMLDR versions" },
        { FILE_OF(ENTRY("1.5.06", "[1]")), "has something in \"min_seamldr_versions\" that is no version" },
        { FILE_OF(ENTRY("1.5.06", "[null]")), "has something in \"min_seamldr_versions\" that is no version" },
        { FILE_OF(ENTRY("1.5.06", "[\"1.5.00\",\"2\"]")), "has something in \"min_seamldr_versions\"" },
        { FILE_OF(GOOD "," ENTRY("1.5.08", "[\"1.5.00\"]") "," GOOD), "it lists version 1.5.06 twice" },
        { FILE_OF(GOOD "," ENTRY("1.5.6", "[\"2.0.00\"]")), "it lists version 1.5.06 twice" },
};

static void test_bad(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *text = NULL;
                MappingFile *file = NULL;

                if (mapping_file_parse(bad[i].json, strlen(bad[i].json), &file, &text) != -EBADMSG)
                        fail_msg("accepted: %s", bad[i].json);
                if (!strstr(text, bad[i].text))
                        fail_msg("%s: \"%s\", not \"%s\"", bad[i].json, text, bad[i].text);
                assert_null(file);
        }
}

static void test_nul_inside(void **state) {
        static const char json[] = FILE_OF(GOOD) "\0" "{}";
        g_autofree char *text = NULL;
        MappingFile *file = NULL;

        assert_int_equal(mapping_file_parse(json, sizeof(json) - 1, &file, &text), -EBADMSG);
        assert_non_null(strstr(text, "it is not JSON"));
}

static void test_good(void **state) {
        g_autoptr(MappingFile) none = parse(FILE_OF(""));
        g_autoptr(MappingFile) brackets = parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[\\\"{/*'\\u0041\\ud83d\\ude00\\n\xc3\xa9\","
                                                   "\"tdx_module_releases\":[" GOOD "]}");
        g_autoptr(MappingFile) wide = parse(FILE_OF("{\"version\":\"65535.65535.65535\","
                "\"min_module_version_for_td_preserving\":\"0.0.0\",\"min_seamldr_versions\":[\"0.0.0\"],"
                "\"tdx_feature0\":\"0XfFfFfFfFfFfFfFfF\",\"unknown\":{\"more\":[1,2.5e3,true,null]}}"));

        assert_int_equal(mapping_file_size(none), 0);
        assert_int_equal(mapping_file_size(brackets), 1);
        assert_int_equal(mapping_file_find(wide, (Version) { 65535, 65535, 65535 })->features0, UINT64_MAX);
}

static char *many_entries(unsigned n) {
        GString *text = g_string_new("{\"tdx_module_releases\":[");

        for (unsigned i = 0; i < n; i++)
                g_string_append_printf(text, "%s{\"version\":\"1.5.%u\",\"min_module_version_for_td_preserving\":\"1.5.1\","
                                       "\"min_seamldr_versions\":[\"1.5.0\"],\"tdx_feature0\":\"0x2\"}",
                                       i > 0 ? "," : "", i);
        g_string_append(text, "]}");
        return g_string_free(text, false);
}

static void test_limits(void **state) {
        g_autofree char *most = many_entries(LIMIT_MAPPING_ENTRIES), *more = many_entries(LIMIT_MAPPING_ENTRIES + 1);
        g_autofree char *text = NULL, *seamldr = NULL, *text2 = NULL;
        g_autoptr(MappingFile) file = parse(most);
        g_autoptr(GString) list = g_string_new("[\"1.5.00\"");
        MappingFile *none = NULL;

        assert_int_equal(mapping_file_size(file), LIMIT_MAPPING_ENTRIES);
        assert_int_equal(mapping_file_parse(more, strlen(more), &none, &text), -EBADMSG);
        assert_non_null(strstr(text, "it lists 4097 releases, more than 4096"));

        for (unsigned i = 0; i < 64; i++)
                g_string_append(list, ",\"1.5.00\"");
        seamldr = g_strdup_printf(FILE_OF("{\"version\":\"1.5.06\",\"min_module_version_for_td_preserving\":\"1.5.01\","
                                          "\"min_seamldr_versions\":%s],\"tdx_feature0\":\"0x2\"}"), list->str);
        assert_int_equal(mapping_file_parse(seamldr, strlen(seamldr), &none, &text2), -EBADMSG);
        assert_non_null(strstr(text2, "lists 65 P-SEAMLDR versions"));
}

/* 100 MB of nothing: the size alone decides, and not a page of it is read. */
static void test_size(void **state) {
        _cleanup_close_ int fd = memfd_create("mapping", MFD_CLOEXEC), small = -1;
        g_autofree char *text = NULL, *good = load();
        g_autoptr(MappingFile) file = NULL;

        assert_int_equal(ftruncate(fd, 100 << 20), 0);
        assert_int_equal(mapping_file_read(fd, &file, &text), -EBADMSG);
        assert_non_null(strstr(text, "it has 104857600 bytes, more than the 1048576 that are read"));

        small = fd_with(good, strlen(good));
        assert_int_equal(mapping_file_read(small, &file, &text), 0);
        assert_int_equal(mapping_file_size(file), 11);
}

static void test_no_regular_file(void **state) {
        static const char *const paths[] = { "/", "/dev/zero" };

        for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
                _cleanup_close_ int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
                g_autofree char *text = NULL;
                MappingFile *file = NULL;

                assert_int_equal(mapping_file_read(fd, &file, &text), -EBADMSG);
                assert_non_null(strstr(text, "no regular file"));
        }
}

static void test_merge(void **state) {
        g_autofree char *intel = load(), *text = NULL, *merged = NULL;
        g_autoptr(MappingFile) file = parse(intel);
        g_autoptr(MappingFile) same = parse(intel);
        g_autoptr(MappingFile) more = parse(FILE_OF(
                ENTRY("1.5.01", "[\"1.5.00\"]") ","
                "{\"version\":\"1.5.24\",\"min_module_version_for_td_preserving\":\"1.5.01\","
                "\"min_seamldr_versions\":[\"1.5.00\"],\"tdx_feature0\":\"0x800000000002\",\"note\":\"kept\"}"));
        g_autoptr(MappingFile) again = NULL;
        bool changed = true;

        assert_int_equal(mapping_file_merge(file, same, &changed, &text), 0);
        assert_false(changed);
        assert_int_equal(mapping_file_merge(file, more, &changed, &text), 0);
        assert_true(changed);
        assert_int_equal(mapping_file_size(file), 12);

        /* What is written is read again as the same, with Intel's notice and unknown members. */
        merged = mapping_file_format(file);
        assert_non_null(strstr(merged, "Copyright (c) 2025 Intel Corporation. All rights reserved."));
        assert_non_null(strstr(merged, "\"kept\""));
        again = parse(merged);
        assert_int_equal(mapping_file_size(again), 12);
        assert_true(mapping_file_find(again, (Version) { 1, 5, 24 })->features0 & FEATURES0_UPDATE_COMPAT);
        assert_int_equal(mapping_file_merge(again, same, &changed, &text), 0);
        assert_false(changed);
}

static void test_merge_conflict(void **state) {
        static const char *const others[] = {
                FILE_OF(ENTRY("1.5.01", "[\"1.5.01\"]")),
                FILE_OF(ENTRY("1.5.01", "[\"1.5.00\",\"2.0.00\"]")),
                FILE_OF("{\"version\":\"1.5.01\",\"min_module_version_for_td_preserving\":\"1.5.00\","
                        "\"min_seamldr_versions\":[\"1.5.00\"],\"tdx_feature0\":\"0xF0FBF\"}"),
                FILE_OF("{\"version\":\"1.5.01\",\"min_module_version_for_td_preserving\":\"1.5.01\","
                        "\"min_seamldr_versions\":[\"1.5.00\"],\"tdx_feature0\":\"0xF0FBE\"}"),
                FILE_OF(ENTRY("1.5.99", "[\"1.5.00\"]") "," ENTRY("1.5.01", "[\"1.5.01\"]")),
        };
        g_autofree char *intel = load();

        for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
                g_autoptr(MappingFile) file = parse(intel);
                g_autoptr(MappingFile) other = parse(others[i]);
                g_autofree char *before = mapping_file_format(file), *after = NULL, *text = NULL;
                bool changed = false;

                assert_int_equal(mapping_file_merge(file, other, &changed, &text), -EEXIST);
                assert_non_null(strstr(text, "other values for version 1.5.01"));
                after = mapping_file_format(file);
                assert_string_equal(before, after);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_intel),
                cmocka_unit_test(test_bad),
                cmocka_unit_test(test_nul_inside),
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_size),
                cmocka_unit_test(test_no_regular_file),
                cmocka_unit_test(test_merge),
                cmocka_unit_test(test_merge_conflict),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
