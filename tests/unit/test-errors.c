/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "base/errors.h"

/* The names that the contract has, and the exit statuses that tdxctl promises. */
static const struct {
        const char *name;
        int exit_status;
} promised[] = {
        { "NotSupported", 69 },     { "NotSafe", 75 },        { "Busy", 75 },          { "AlreadyCurrent", 0 },
        { "Downgrade", 76 },        { "IncompatibleCpu", 76 }, { "IncompatibleSeamldr", 76 }, { "IncompatibleModule", 76 },
        { "ImageInvalid", 65 },     { "ImageUntrusted", 65 }, { "DebugImage", 76 },    { "NoSuchVersion", 66 },
        { "NoSuchJob", 66 }, { "NoSuchHold", 66 },        { "NoBudget", 73 },       { "Held", 75 },          { "DeadlineExpired", 75 },
        { "NotCancelable", 1 },     { "PlanStale", 75 },      { "ModuleLost", 71 },    { "UploadFailed", 70 },
        { "VerifyFailed", 70 },     { "ForeignUpdate", 70 },  { "LimitExceeded", 75 },
};

static void test_promised(void **state) {
        unsigned own = 0;

        for (size_t i = 0; i < G_N_ELEMENTS(promised); i++) {
                g_autofree char *full = g_strconcat("org.tdx.Update1.Error.", promised[i].name, NULL);
                ErrorId id = error_from_dbus_name(full);

                if (id == ERROR_NONE)
                        fail_msg("%s is missing", full);
                assert_string_equal(error_short_name(id), promised[i].name);
                assert_string_equal(error_entry(id)->dbus_name, full);
                assert_int_equal(error_entry(id)->exit_status, promised[i].exit_status);
        }
        for (ErrorId id = ERROR_NONE + 1; id < _ERROR_MAX; id++)
                own += g_str_has_prefix(error_entry(id)->dbus_name, "org.tdx.Update1.Error.");
        assert_int_equal(own, G_N_ELEMENTS(promised));
}

/* A name, and an errno, says exactly one thing. */
static void test_unique(void **state) {
        for (ErrorId a = ERROR_NONE + 1; a < _ERROR_MAX; a++) {
                assert_true(error_entry(a)->error > 0);
                for (ErrorId b = ERROR_NONE + 1; b < a; b++) {
                        assert_string_not_equal(error_entry(a)->dbus_name, error_entry(b)->dbus_name);
                        assert_int_not_equal(error_entry(a)->error, error_entry(b)->error);
                }
        }
}

static void test_lookup(void **state) {
        static const char *const unknown[] = {
                NULL, "", "NoBudget", "org.tdx.Update1.Error.", "org.tdx.Update1.Error.NoBudge", "org.tdx.Update1.Error.NoBudgets",
                "org.freedesktop.DBus.Error.Failed",
        };

        for (ErrorId id = ERROR_NONE + 1; id < _ERROR_MAX; id++)
                assert_int_equal(error_from_dbus_name(error_entry(id)->dbus_name), id);
        for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++)
                assert_int_equal(error_from_dbus_name(unknown[i]), ERROR_NONE);

        assert_string_equal(error_entry(ERROR_NONE)->dbus_name, "");
        assert_string_equal(error_short_name(ERROR_NONE), "");
        assert_int_equal(error_entry(ERROR_NONE)->exit_status, 0);
        /* Out of the table: some error, never success. */
        assert_int_not_equal(error_entry(_ERROR_MAX)->error, 0);
        assert_int_not_equal(error_entry((ErrorId) -1)->exit_status, 0);
}

/* doc/errors.md has the same rows in the same order. */
static void test_document(void **state) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        ErrorId id = ERROR_NONE;

        assert_true(g_file_get_contents(getenv("ERRORS_DOCUMENT"), &text, NULL, NULL));
        lines = g_strsplit(text, "\n", 0);
        for (char **line = lines; *line; line++) {
                g_auto(GStrv) cells = NULL;
                g_autofree char *name = NULL, *number = NULL, *status = NULL;

                if (!g_str_has_prefix(*line, "| `"))
                        continue;
                assert_true(++id < _ERROR_MAX);
                cells = g_strsplit(*line, " | ", 0);
                assert_int_equal(g_strv_length(cells), 4);
                name = g_strdup_printf("| `%s`", error_entry(id)->dbus_name);
                number = g_strdup_printf("`%s`", strerrorname_np(error_entry(id)->error));
                status = g_strdup_printf("%d", error_entry(id)->exit_status);
                assert_string_equal(cells[0], name);
                assert_string_equal(cells[1], number);
                assert_string_equal(cells[2], status);
                assert_true(strlen(cells[3]) > 10);
        }
        assert_int_equal(id, _ERROR_MAX - 1);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_promised),
                cmocka_unit_test(test_unique),
                cmocka_unit_test(test_lookup),
                cmocka_unit_test(test_document),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
