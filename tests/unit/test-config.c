/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "config.h"

#define HEX48 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* The keys, their defaults and what they mean are those of tdx-updated --help. */

static char *write_file(const char *text) {
        char *path = NULL;
        int fd;

        fd = g_file_open_tmp("tdx-config-XXXXXX", &path, NULL);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        close(fd);
        return path;
}

static Config *load_good(const char *text) {
        g_autofree char *path = write_file(text);
        g_autoptr(GPtrArray) problems = NULL;
        Config *config = NULL;

        assert_int_equal(config_load(path, NULL, &config, &problems), 0);
        assert_null(problems);
        unlink(path);
        return config;
}

static void test_defaults(void **state) {
        g_autoptr(Config) config = load_good("");

        assert_string_equal(config->catalogue_directories[0], "/var/lib/tdx-updated/images");
        assert_string_equal(config->catalogue_directories[1], "/etc/tdx-updated/images");
        assert_string_equal(config->catalogue_directories[2], "/usr/lib/firmware/intel/tdx");
        assert_null(config->catalogue_directories[3]);
        assert_int_equal(config->n_signers, 0);
        assert_int_equal(config->policy.keep_remaining, 1);
        assert_false(config->policy.require_exact_stepping);
        assert_false(config->policy.allow_debug);
        assert_true(config->default_deadline == USEC_INFINITY);
        assert_true(config->attempt_timeout == 120 * USEC_PER_SEC);
        assert_int_equal(config->refused_retries, 2);
        assert_int_equal(config->n_windows, 0);
        assert_false(config->build_gate);
        assert_int_equal(g_strv_length(config->build_gate_groups), 1);
        assert_string_equal(config->build_gate_groups[0], "machine.slice");
        assert_int_equal(config->log_level, LOG_INFO);
}

static void test_values(void **state) {
        g_autoptr(Config) config = load_good("# comment\n; comment\n\n[Update]\n"
                                             "  KeepRemaining = 3 \nRequireExactStepping=yes\nAllowDebugImages=true\n"
                                             "DefaultDeadlineSec=1h 30min\nAttemptTimeoutSec=500ms\nRefusedRetries=0\n"
                                             "MaxJobs=5\nMaxJobsPerUser=2\nLogLevel=debug\n"
                                             "CatalogueDirectory=/a\nCatalogueDirectory=/b\nTrustedSigner=" HEX48 "\n");

        assert_int_equal(config->policy.keep_remaining, 3);
        assert_true(config->policy.require_exact_stepping);
        assert_true(config->policy.allow_debug);
        assert_true(config->default_deadline == 5400 * USEC_PER_SEC);
        assert_true(config->attempt_timeout == 500 * USEC_PER_MSEC);
        assert_int_equal(config->refused_retries, 0);
        assert_int_equal(config->max_jobs, 5);
        assert_int_equal(config->max_jobs_per_user, 2);
        assert_int_equal(config->log_level, LOG_DEBUG);
        assert_int_equal(g_strv_length(config->catalogue_directories), 5);
        assert_string_equal(config->catalogue_directories[3], "/a");
        assert_string_equal(config->catalogue_directories[4], "/b");
        assert_int_equal(config->n_signers, 1);
        assert_int_equal(config->signers[0][0], 0x00);
        assert_int_equal(config->signers[0][15], 0xff);
}

/* As in systemd's own files: an empty assignment goes back to the default, or empties a list. */
static void test_empty_assignment(void **state) {
        g_autoptr(Config) config = load_good("[Update]\nKeepRemaining=3\nKeepRemaining=\nTrustedSigner=" HEX48 "\nTrustedSigner=\n"
                                             "CatalogueDirectory=\nCatalogueDirectory=/only\n");

        assert_int_equal(config->policy.keep_remaining, 1);
        assert_int_equal(config->n_signers, 0);
        assert_int_equal(g_strv_length(config->catalogue_directories), 1);
        assert_string_equal(config->catalogue_directories[0], "/only");
}

static void check_value(const Config *config, const char *name, const char *expected) {
        const ConfigKey *all;
        size_t n;

        all = config_keys(&n);
        for (size_t i = 0; i < n; i++)
                if (strcmp(all[i].name, name) == 0) {
                        g_autofree char *value = config_value(config, &all[i]);

                        assert_string_equal(value, expected);
                        return;
                }
        fail_msg("there is no key %s", name);
}

static void test_windows(void **state) {
        g_autoptr(Config) two = load_good("[Update]\nMaintenanceWindow=Sat,Sun 02:00 4h\nMaintenanceWindow=*-*-01 03:00 Europe/Berlin 90min\n"),
                          emptied = load_good("[Update]\nMaintenanceWindow=Sat 02:00 4h\nMaintenanceWindow=\n"),
                          again = load_good("[Update]\nMaintenanceWindow=Sat 02:00 4h\nMaintenanceWindow=\nMaintenanceWindow=Sun 02:00 4h\n");

        assert_int_equal(two->n_windows, 2);
        assert_string_equal(window_text(two->windows[1]), "*-*-01 03:00 Europe/Berlin 90min");
        check_value(two, "MaintenanceWindow", "Sat,Sun 02:00 4h; *-*-01 03:00 Europe/Berlin 90min");
        assert_int_equal(emptied->n_windows, 0);
        check_value(emptied, "MaintenanceWindow", "");
        assert_int_equal(again->n_windows, 1);
        check_value(again, "MaintenanceWindow", "Sun 02:00 4h");
}

/* A list with a default: a value comes after it, and an empty one takes it away, too. */
static void test_build_gate(void **state) {
        g_autoptr(Config) added = load_good("[Update]\nBuildGate=misc\nBuildGateCGroup=kubepods.slice/pods\n"),
                          only = load_good("[Update]\nBuildGate=misc\nBuildGateCGroup=\nBuildGateCGroup=user.slice\n"),
                          off = load_good("[Update]\nBuildGate=misc\nBuildGate=\nBuildGateCGroup=\n");

        assert_true(added->build_gate);
        check_value(added, "BuildGate", "misc");
        check_value(added, "BuildGateCGroup", "machine.slice kubepods.slice/pods");
        assert_int_equal(g_strv_length(only->build_gate_groups), 1);
        assert_string_equal(only->build_gate_groups[0], "user.slice");
        assert_false(off->build_gate);
        check_value(off, "BuildGate", "no");
        check_value(off, "BuildGateCGroup", "");
}

static void test_problems(void **state) {
        static const struct {
                const char *text, *line, *word;
        } cases[] = {
                { "[Update]\nNoSuchKey=1\n", ":2:", "NoSuchKey" },
                { "[Update]\n\nKeepRemaining=-1\n", ":3:", "KeepRemaining" },
                { "[Update]\nKeepRemaining=1x\n", ":2:", "1x" },
                { "[Update]\nRequireExactStepping=maybe\n", ":2:", "yes or no" },
                { "[Update]\nDefaultDeadlineSec=soon\n", ":2:", "time span" },
                { "[Update]\nAttemptTimeoutSec=0\n", ":2:", "above 0" },
                { "[Update]\nTrustedSigner=abc\n", ":2:", "96" },
                { "[Update]\nTrustedSigner=g" HEX48 "\n", ":2:", "96" },
                { "[Update]\nCatalogueDirectory=relative/path\n", ":2:", "absolute" },
                { "[Update]\nMaxJobs=0\n", ":2:", "MaxJobs" },
                { "[Update]\nMaintenanceWindow=Sat 02:00\n", ":2:", "duration" },
                { "[Update]\nMaintenanceWindow=Sut 02:00 4h\n", ":2:", "systemd-analyze calendar \"Sut 02:00\"" },
                { "[Update]\nBuildGate=yes\n", ":2:", "no or misc" },
                { "[Update]\nBuildGateCGroup=/machine.slice\n", ":2:", "below the cgroup root" },
                { "[Update]\nBuildGateCGroup=../machine.slice\n", ":2:", "below the cgroup root" },
                { "[Update]\nBuildGate=misc\nBuildGateCGroup=\n", ":2:", "closes nothing" },
                { "[Update]\nLogLevel=loud\n", ":2:", "debug" },
                { "[Upgrade]\n", ":1:", "[Update]" },
                { "KeepRemaining=1\n", ":1:", "section" },
                { "[Update]\njust words\n", ":2:", "just words" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = write_file(cases[i].text);
                g_autoptr(GPtrArray) problems = NULL;
                Config *config = NULL;

                assert_int_equal(config_load(path, NULL, &config, &problems), -EINVAL);
                assert_null(config);
                assert_int_equal(problems->len, 1);
                assert_true(g_str_has_prefix(problems->pdata[0], path));
                assert_non_null(strstr(problems->pdata[0], cases[i].line));
                assert_non_null(strstr(problems->pdata[0], cases[i].word));
                unlink(path);
        }
}

static void test_all_problems_are_named(void **state) {
        g_autofree char *path = write_file("[Update]\nA=1\nKeepRemaining=x\nB=2\n");
        g_autoptr(GPtrArray) problems = NULL;
        Config *config = NULL;

        assert_int_equal(config_load(path, NULL, &config, &problems), -EINVAL);
        assert_int_equal(problems->len, 3);
        unlink(path);
}

static void test_missing_file(void **state) {
        g_autoptr(GPtrArray) problems = NULL;
        Config *config = NULL;

        assert_int_equal(config_load("/nonexistent/tdx.conf", NULL, &config, &problems), -EINVAL);
        assert_non_null(strstr(problems->pdata[0], "/nonexistent/tdx.conf"));
}

static void test_fingerprint(void **state) {
        g_autoptr(Config) a = load_good("[Update]\nKeepRemaining=1\n"), b = load_good(""), c = load_good("[Update]\nKeepRemaining=2\n");

        assert_string_equal(a->fingerprint, b->fingerprint);
        assert_string_not_equal(a->fingerprint, c->fingerprint);
}

static void test_description(void **state) {
        g_autoptr(Config) config = load_good("[Update]\nKeepRemaining=7\n");
        const ConfigKey *keys;
        bool seen = false;
        size_t n;

        keys = config_keys(&n);
        for (size_t i = 0; i < n; i++) {
                g_autofree char *value = config_value(config, &keys[i]);

                assert_true(strlen(keys[i].text) > 10);
                if (strcmp(keys[i].name, "KeepRemaining") == 0) {
                        seen = true;
                        assert_string_equal(value, "7");
                        assert_non_null(strstr(config_source(config, &keys[i]), ":2"));
                } else
                        assert_string_equal(config_source(config, &keys[i]), "");
        }
        assert_true(seen);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_empty_assignment),
                cmocka_unit_test(test_windows),
                cmocka_unit_test(test_build_gate),
                cmocka_unit_test(test_problems),
                cmocka_unit_test(test_all_problems_are_named),
                cmocka_unit_test(test_missing_file),
                cmocka_unit_test(test_fingerprint),
                cmocka_unit_test(test_description),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
