/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "catalogue/image-internal.h"
#include "test-image-fixture.h"

/* "" : this voice says nothing. */
static const struct {
        const char *by_hash, *by_name, *by_sigstruct, *by_caller;
        bool intel;
        const char *version;            /* expected; "": not known */
        const char *conflict;           /* expected; NULL: none */
} cases[] = {
        /* One voice is enough, and they may all agree. */
        { "1.5.06", "", "", "", true, "1.5.06", NULL },
        { "", "1.5.24", "", "", true, "1.5.24", NULL },
        { "", "", "2.0.14", "", true, "2.0.14", NULL },
        { "", "", "", "1.5.24", true, "1.5.24", NULL },
        { "2.0.05", "2.0.05", "2.0.05", "2.0.05", true, "2.0.05", NULL },
        { "", "1.5.06", "", "", false, "1.5.06", NULL },
        /* Nobody says anything. */
        { "", "", "", "", true, "", "its version is not known" },
        /* A known release's hash under another version's name is untrusted. */
        { "1.5.06", "1.5.13", "", "", true, "1.5.13", "it holds Intel's release 1.5.06" },
        { "1.5.06", "1.5.13", "", "", false, "1.5.13", "its file name says 1.5.13" },
        { "1.5.06", "", "", "1.5.13", true, "1.5.13", "the version given with it says 1.5.13" },
        { "1.5.06", "1.5.06", "", "1.5.13", true, "1.5.06", "its file name says version 1.5.06 but the version given" },
        { "2.0.05", "2.0.05", "2.0.08", "", true, "2.0.05", "its signature structure says 2.0.08" },
        /* Unknown hashes: the voices must agree. */
        { "", "1.5.24", "", "1.5.25", true, "1.5.24", "says version 1.5.24 but the version given with it says 1.5.25" },
        { "", "2.0.14", "2.0.16", "", true, "2.0.14", "but its signature structure says 2.0.16" },
        { "", "", "2.0.16", "2.0.14", true, "2.0.14", "but its signature structure says 2.0.16" },
        { "", "2.0.14", "2.0.14", "2.0.14", true, "2.0.14", NULL },
        /* What Intel signed and is not in the table cannot be a release that is. */
        { "", "1.5.13", "", "", true, "1.5.13", "it is not Intel's release 1.5.13" },
        { "", "", "", "1.5.13", true, "1.5.13", "it is not Intel's release 1.5.13" },
};

static const Version *parse(const char *text, Version *version) {
        if (!*text)
                return NULL;

        assert_int_equal(version_parse(text, version), 0);
        return version;
}

static void test_decide(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Version hash, name, sigstruct, caller, expected;
                VersionClaims claims = {
                        .by_hash = parse(cases[i].by_hash, &hash) ? known_release_by_version(hash) : NULL,
                        .by_name = parse(cases[i].by_name, &name),
                        .by_sigstruct = parse(cases[i].by_sigstruct, &sigstruct),
                        .by_caller = parse(cases[i].by_caller, &caller),
                        .intel = cases[i].intel,
                };
                VersionAnswer answer = version_decide(&claims);

                assert_int_equal(answer.known, parse(cases[i].version, &expected) != NULL);
                if (answer.known)
                        assert_int_equal(version_compare(answer.version, expected), 0);
                if (!cases[i].conflict != !answer.conflict ||
                    (cases[i].conflict && !strstr(answer.conflict, cases[i].conflict)))
                        fail_msg("case %zu: %s", i, answer.conflict ?: "no conflict");
                g_free(answer.conflict);
        }
}

static void test_names(void **state) {
        static const struct {
                const char *name;
                bool good;
        } names[] = {
                { "tdx_module_1.5.06.blob", true },
                { "tdx_module_2.0.16.blob", true },
                { "tdx_module_.blob", false },
                { "tdx_module_1.5.blob", false },
                { "tdx_module_1.5.06", false },
                { "tdx_module_1.5.06.blob.old", false },
                { "tdx_module_1.5.06a.blob", false },
                { "tdx_module_1.5.06-debug.blob", false },
                { "tdx_module_99999.5.06.blob", false },
                { "tdx_module_1.5.0000000000000000000000000000000000006.blob", false },
                { "tdx_module.blob", false },
                { "1.5.06.blob", false },
                { "", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                Version version;

                if (version_from_name(names[i].name, &version) != names[i].good)
                        fail_msg("%s", names[i].name);
        }
        assert_false(version_from_name(NULL, &(Version) {}));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_decide),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
