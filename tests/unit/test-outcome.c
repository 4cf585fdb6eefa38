/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "core/outcome.h"

#define SIZE 479232U

static const Version before = { 1, 5, 5 }, target = { 1, 5, 16 }, other = { 1, 5, 13 };

/* An attempt that went through, up to what its end looks like. */
static AttemptFacts handed_over(const char *error, Version version, uint64_t remaining) {
        return (AttemptFacts) {
                .handed_over = true, .idle = true, .ran = true, .error = error, .stale_error = "",
                .have_remaining = true, .remaining = remaining, .size = SIZE,
                .version = version, .before = before, .target = target,
        };
}

static void check(const char *what, const AttemptFacts *facts, Outcome outcome) {
        if (outcome_classify(facts) != outcome)
                fail_msg("%s: %s, not %s", what, outcome_to_string(outcome_classify(facts)), outcome_to_string(outcome));
}

/* The rows of the design's table, section 5. */
static void test_rows(void **state) {
        AttemptFacts f;

        f = handed_over("", target, 0);
        check("error empty, version = target", &f, OUTCOME_SUCCESS);

        f = handed_over("", other, 0);
        check("error empty, version changed but is not the target", &f, OUTCOME_MISMATCH);

        f = handed_over("", before, 0);
        check("error empty, version unchanged", &f, OUTCOME_NOTHING);

        f = handed_over("transferring:device-busy", before, SIZE);
        check("device-busy", &f, OUTCOME_BUSY);

        f = (AttemptFacts) { .write_error = EBUSY, .idle = true, .error = "", .version = before, .before = before, .target = target };
        check("EBUSY from a write", &f, OUTCOME_BUSY);

        f = handed_over("transferring:firmware-invalid", before, SIZE);
        check("firmware-invalid, version unchanged", &f, OUTCOME_REFUSED);

        f = handed_over("transferring:firmware-invalid", before, SIZE);
        f.version_error = ENXIO;
        check("version reads ENXIO", &f, OUTCOME_LOST);

        f = handed_over("", before, 0);
        f.idle = false;
        check("status never idle", &f, OUTCOME_STUCK);

        f = handed_over("transferring:firmware-invalid", other, SIZE);
        check("our run failed and the version moved without us", &f, OUTCOME_FOREIGN);
}

/* Every word that the firmware loader has (drivers/base/firmware_loader/sysfs_upload.c), one that it may get, and no word. */
static void test_words(void **state) {
        static const struct {
                const char *word;
                Outcome outcome;
        } words[] = {
                { "hw-error", OUTCOME_FAILED },
                { "timeout", OUTCOME_FAILED },
                { "user-abort", OUTCOME_FAILED },
                { "device-busy", OUTCOME_BUSY },
                { "invalid-file-size", OUTCOME_FAILED },
                { "read-write-error", OUTCOME_FAILED },
                { "flash-wearout", OUTCOME_FAILED },
                { "firmware-invalid", OUTCOME_REFUSED },
                { "unknown-error", OUTCOME_FAILED },
                { "firmware-duplicate", OUTCOME_FAILED },
                { "device-busy-2", OUTCOME_FAILED },
                { "Device-Busy", OUTCOME_FAILED },
                { "", OUTCOME_FAILED },
        };
        static const char *const statuses[] = { "preparing", "transferring", "programming", "receiving", "tomorrow" };

        for (size_t w = 0; w < G_N_ELEMENTS(words); w++)
                for (size_t s = 0; s < G_N_ELEMENTS(statuses); s++) {
                        g_autofree char *error = g_strdup_printf("%s:%s", statuses[s], words[w].word);
                        AttemptFacts f = handed_over(error, before, SIZE);

                        check(error, &f, words[w].outcome);
                        assert_string_equal(outcome_error_word(error), words[w].word);
                }

        assert_string_equal(outcome_error_word(""), "");
        assert_string_equal(outcome_error_word("hw-error"), "hw-error");
}

/*
 * The error text is cleared only when a new run is queued: one that was there before, with
 * nothing to prove a run, is no answer to our attempt.
 */
static void test_stale_texts(void **state) {
        static const struct {
                const char *what, *error, *stale;
                bool ran, have_remaining;
                uint64_t remaining;
                Outcome outcome;
        } rows[] = {
                { "old text, nothing written since", "transferring:device-busy", "transferring:device-busy", false, true, 0, OUTCOME_NOTHING },
                { "old text, another image's size", "transferring:firmware-invalid", "transferring:firmware-invalid", false, true, 4096, OUTCOME_NOTHING },
                { "old text, size unreadable", "transferring:firmware-invalid", "transferring:firmware-invalid", false, false, 0, OUTCOME_NOTHING },
                { "old text, but our size remains", "transferring:firmware-invalid", "transferring:firmware-invalid", false, true, SIZE, OUTCOME_REFUSED },
                { "old text, but a run was seen", "transferring:firmware-invalid", "transferring:firmware-invalid", true, true, SIZE, OUTCOME_REFUSED },
                { "old text, a run was seen, size unreadable", "transferring:device-busy", "transferring:device-busy", true, false, 0, OUTCOME_BUSY },
                { "a text that was not there before", "transferring:device-busy", "transferring:firmware-invalid", false, false, 0, OUTCOME_BUSY },
                { "a text where there was none", "transferring:firmware-invalid", "", false, false, 0, OUTCOME_REFUSED },
                { "not known what was there, nothing proves a run", "transferring:device-busy", NULL, false, false, 0, OUTCOME_NOTHING },
                { "not known what was there, our size remains", "transferring:device-busy", NULL, false, true, SIZE, OUTCOME_BUSY },
                { "old text is gone, version as before", "", "transferring:firmware-invalid", false, true, 0, OUTCOME_NOTHING },
                { "zero size: a silent no-op", "", "", false, true, 0, OUTCOME_NOTHING },
                { "zero size over an old failure", "transferring:hw-error", "transferring:hw-error", false, true, 0, OUTCOME_NOTHING },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                AttemptFacts f = handed_over(rows[i].error, before, rows[i].remaining);

                f.stale_error = rows[i].stale;
                f.ran = rows[i].ran;
                f.have_remaining = rows[i].have_remaining;
                check(rows[i].what, &f, rows[i].outcome);
        }
}

static void test_unreadable(void **state) {
        AttemptFacts f;

        f = handed_over(NULL, target, 0);
        /* error gives EBUSY when somebody else has begun meanwhile; the version still proves it. */
        check("no error text, but the target runs", &f, OUTCOME_SUCCESS);
        f = handed_over(NULL, other, 0);
        check("no error text, and something else runs", &f, OUTCOME_FOREIGN);
        f = handed_over(NULL, before, SIZE);
        check("no error text", &f, OUTCOME_FAILED);
        f = handed_over("", target, 0);
        f.version_error = EIO;
        check("version unreadable", &f, OUTCOME_FAILED);
        f = handed_over("transferring:device-busy", before, SIZE);
        f.version_error = EACCES;
        check("busy, but the version is unreadable", &f, OUTCOME_FAILED);
        f = handed_over(NULL, before, SIZE);
        f.version_error = ENXIO;
        check("ENXIO needs no error text", &f, OUTCOME_LOST);
        f = handed_over(NULL, before, SIZE);
        f.idle = false;
        f.version_error = ENXIO;
        check("ENXIO while not idle", &f, OUTCOME_LOST);
}

static void test_before_the_handover(void **state) {
        static const int errors[] = { EPERM, EACCES, ENODEV, ENOMEM, EIO, ENOSPC, EPROTO, EINVAL };
        AttemptFacts f = { .idle = true, .error = "", .version = before, .before = before, .target = target };

        check("gone away before anything was handed over", &f, OUTCOME_INTERRUPTED);
        for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
                f.write_error = errors[i];
                check(g_strerror(errors[i]), &f, OUTCOME_FAILED);
        }
        f.version_error = ENXIO;
        check("lost is lost, handed over or not", &f, OUTCOME_LOST);
}

typedef struct Count {
        unsigned all, of[_OUTCOME_MAX];
} Count;

static void check_invariants(const AttemptFacts *f, Count *count) {
        Outcome o = outcome_classify(f);
        bool changed = version_compare(f->version, f->before) != 0;
        const char *word = f->error ? outcome_error_word(f->error) : "";

        count->all++;
        count->of[o]++;

        assert_true((o == OUTCOME_LOST) == (f->version_error == ENXIO));
        if (o == OUTCOME_SUCCESS)
                assert_true(f->handed_over && f->idle && (!f->error || f->error[0] == '\0') && f->version_error == 0 &&
                            version_compare(f->version, f->target) == 0);
        if (o == OUTCOME_MISMATCH)
                assert_true(f->handed_over && f->idle && f->error && f->error[0] == '\0' && changed &&
                            version_compare(f->version, f->target) != 0);
        if (o == OUTCOME_BUSY)
                assert_true(f->handed_over ? f->idle && !changed && f->version_error == 0 && strcmp(word, "device-busy") == 0
                                           : f->write_error == EBUSY);
        if (o == OUTCOME_REFUSED)
                assert_true(f->handed_over && f->idle && !changed && f->version_error == 0 && strcmp(word, "firmware-invalid") == 0);
        if (o == OUTCOME_STUCK)
                assert_true(f->handed_over && !f->idle);
        if (o == OUTCOME_FOREIGN)
                assert_true(changed && (f->error ? f->error[0] != '\0' : version_compare(f->version, f->target) != 0));
        if (o == OUTCOME_INTERRUPTED)
                assert_true(!f->handed_over && f->write_error == 0);
        if (o == OUTCOME_NOTHING)
                assert_true(f->handed_over && f->idle && !changed);
        /* The classifier always knows an answer, and ABORTED is not its to give. */
        assert_true(o != OUTCOME_NONE && o != OUTCOME_ABORTED && o < _OUTCOME_MAX);
        /* What is tried again by itself never left a changed, lost or unreadable module behind. */
        if ((o == OUTCOME_BUSY || o == OUTCOME_REFUSED) && f->handed_over)
                assert_true(!changed && f->version_error == 0 && f->idle && (f->ran || f->have_remaining || f->stale_error));
}

static void test_invariants(void **state) {
        static const char *const texts[] = {
                NULL, "", "transferring:device-busy", "transferring:firmware-invalid", "preparing:hw-error", "new-word", ":",
        };
        static const int write_errors[] = { 0, EBUSY, EIO }, version_errors[] = { 0, ENXIO, EIO };
        static const uint64_t sizes[] = { 0, 4096, SIZE };
        const Version versions[] = { before, target, other };
        Count count = {};

        for (unsigned bits = 0; bits < 16; bits++)
                for (size_t w = 0; w < 3; w++)
                        for (size_t v = 0; v < 3; v++)
                                for (size_t ve = 0; ve < 3; ve++)
                                        for (size_t e = 0; e < G_N_ELEMENTS(texts); e++)
                                                for (size_t s = 0; s < G_N_ELEMENTS(texts); s++)
                                                        for (size_t z = 0; z < 3; z++) {
                                                                AttemptFacts f = {
                                                                        .handed_over = bits & 1, .idle = bits & 2, .ran = bits & 4,
                                                                        .have_remaining = bits & 8, .write_error = write_errors[w],
                                                                        .version_error = version_errors[ve], .error = texts[e],
                                                                        .stale_error = texts[s], .remaining = sizes[z], .size = SIZE,
                                                                        .version = versions[v], .before = before, .target = target,
                                                                };

                                                                check_invariants(&f, &count);
                                                        }

        for (Outcome o = OUTCOME_SUCCESS; o < _OUTCOME_MAX; o++)
                assert_true(o == OUTCOME_ABORTED || count.of[o] > 0);
        print_message("%u combinations\n", count.all);
}

static void test_names(void **state) {
        for (Outcome o = 0; o < _OUTCOME_MAX; o++)
                assert_int_equal(outcome_from_string(outcome_to_string(o)), o);
        assert_int_equal(outcome_from_string("Busy"), -1);
        assert_string_equal(outcome_to_string(OUTCOME_NONE), "");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_words),
                cmocka_unit_test(test_stale_texts),
                cmocka_unit_test(test_unreadable),
                cmocka_unit_test(test_before_the_handover),
                cmocka_unit_test(test_invariants),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
