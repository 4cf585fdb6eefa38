/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include <json-glib/json-glib.h>

#include "catalogue/sigstruct.h"
#include "test-image-fixture.h"

static const char *const releases[] = { "1.5.05", "1.5.13", "2.0.05" };

static uint8_t *load(const char *version) {
        g_autofree char *name = g_strdup_printf("tdx_module_%s.sigstruct", version), *path = test_data(name);
        char *bytes = NULL;
        size_t size;

        assert_true(g_file_get_contents(path, &bytes, &size, NULL));
        assert_int_equal(size, SIGSTRUCT_SIZE);
        return (uint8_t *) bytes;
}

static char *hex(const uint8_t *bytes, size_t size) {
        GString *text = g_string_new(NULL);

        for (size_t i = 0; i < size; i++)
                g_string_append_printf(text, "%02x", bytes[i]);
        return g_string_free(text, false);
}

static void check_release(JsonObject *release, const Sigstruct *s) {
        JsonArray *cpus = json_object_get_array_member(release, "cpuid_table");
        g_autofree char *date = g_strdup_printf("%08x", s->date), *svn = g_strdup_printf("%#x", s->svn);
        g_autofree char *hash = hex(s->seam_hash, SEAM_HASH_SIZE), *signer = hex(s->signer, SIGNER_SIZE);

        assert_string_equal(date, json_object_get_string_member(release, "date"));
        assert_string_equal(svn, json_object_get_string_member(release, "seamsvn"));
        assert_string_equal(hash, json_object_get_string_member(release, "module_sha384"));
        assert_string_equal(signer, json_object_get_string_member(release, "modulus_sha384"));
        assert_false(s->debug);
        assert_int_equal(s->n_cpus, json_array_get_length(cpus));
        for (size_t i = 0; i < s->n_cpus; i++) {
                g_autofree char *cpu = g_strdup_printf("%#x", s->cpus[i]);

                assert_string_equal(cpu, json_array_get_string_element(cpus, (unsigned) i));
        }
}

static void test_real_structures(void **state) {
        g_autofree char *path = test_data("module-releases.json");
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonArray *array;
        unsigned found = 0;

        assert_true(json_parser_load_from_file(parser, path, NULL));
        array = json_node_get_array(json_parser_get_root(parser));

        for (size_t i = 0; i < G_N_ELEMENTS(releases); i++) {
                g_autofree uint8_t *bytes = load(releases[i]);
                g_autofree char *problem = NULL;
                const KnownRelease *known;
                bool valid = false;
                Sigstruct s;
                Version v;

                problem = sigstruct_parse(bytes, &s);
                assert_null(problem);
                assert_int_equal(sigstruct_verify(bytes, &valid), 0);
                assert_true(valid);

                for (unsigned j = 0; j < json_array_get_length(array); j++) {
                        JsonObject *release = json_array_get_object_element(array, j);

                        if (strstr(json_object_get_string_member(release, "file"), releases[i])) {
                                check_release(release, &s);
                                found++;
                        }
                }

                /* The built-in table knows it by its hash, and by nothing else. */
                assert_int_equal(version_parse(releases[i], &v), 0);
                known = known_release_by_hash(s.seam_hash);
                assert_non_null(known);
                assert_int_equal(version_compare(known->version, v), 0);
                assert_int_equal(known->svn, s.svn);
                assert_ptr_equal(known, known_release_by_version(v));
                s.seam_hash[47] ^= 1;
                assert_null(known_release_by_hash(s.seam_hash));
        }
        assert_int_equal(found, G_N_ELEMENTS(releases));
}

/* Only 2.0 structures carry the version: 05 00 00 02 at byte 1000. */
static void test_version(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(releases); i++) {
                g_autofree uint8_t *bytes = load(releases[i]);
                Sigstruct s;

                assert_null(sigstruct_parse(bytes, &s));
                if (releases[i][0] == '1')
                        assert_false(s.have_version);
                else {
                        assert_true(s.have_version);
                        assert_int_equal(version_compare(s.version, (Version) { 2, 0, 5 }), 0);
                }
        }
}

/* Each byte is the key, or the signature, or covered by it. */
static void test_flipped_bits(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(releases); i++) {
                g_autofree uint8_t *bytes = load(releases[i]);

                for (size_t offset = 0; offset < SIGSTRUCT_SIZE; offset++) {
                        uint8_t mask = (uint8_t) (1 << (offset * 5 + i) % 8);
                        bool valid = true;

                        bytes[offset] ^= mask;
                        assert_int_equal(sigstruct_verify(bytes, &valid), 0);
                        if (valid)
                                fail_msg("%s: valid with a bit flipped at %zu", releases[i], offset);
                        bytes[offset] ^= mask;
                }
        }
}

static void test_degenerate_keys(void **state) {
        static const uint8_t fills[] = { 0x00, 0x01, 0x80, 0xff };

        for (size_t i = 0; i < G_N_ELEMENTS(fills); i++) {
                g_autofree uint8_t *bytes = load("1.5.05");
                bool valid = true;

                memset(bytes + 128, fills[i], 384);
                assert_int_equal(sigstruct_verify(bytes, &valid), 0);
                assert_false(valid);
                memset(bytes + 516, fills[i], 384);
                assert_int_equal(sigstruct_verify(bytes, &valid), 0);
                assert_false(valid);
        }
}

static void test_known_releases(void **state) {
        static const struct {
                Version version;
                uint16_t svn;
        } expected[] = {
                { { 1, 5, 1 }, 0x104 }, { { 1, 5, 5 }, 0x105 }, { { 1, 5, 6 }, 0x106 }, { { 1, 5, 8 }, 0x107 },
                { { 1, 5, 9 }, 0x108 }, { { 1, 5, 13 }, 0x10a }, { { 1, 5, 16 }, 0x10b }, { { 2, 0, 2 }, 0x303 },
                { { 2, 0, 4 }, 0x304 }, { { 2, 0, 5 }, 0x304 }, { { 2, 0, 8 }, 0x305 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
                const KnownRelease *known = known_release_by_version(expected[i].version);

                assert_non_null(known);
                assert_int_equal(known->svn, expected[i].svn);
                assert_ptr_equal(known, known_release_by_hash(known->seam_hash));
        }
        assert_null(known_release_by_version((Version) { 1, 5, 7 }));
        assert_null(known_release_by_hash((uint8_t[SEAM_HASH_SIZE]) {}));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_real_structures),
                cmocka_unit_test(test_version),
                cmocka_unit_test(test_flipped_bits),
                cmocka_unit_test(test_degenerate_keys),
                cmocka_unit_test(test_known_releases),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
