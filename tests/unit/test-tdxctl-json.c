/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>
#include <systemd/sd-bus.h>

#include "base/errors.h"
#include "base/names.h"
#include "client/failure.h"
#include "client/message-json.h"
#include "client/output.h"

/* Messages need a bus that is open; nobody answers on the other end of this one. */
typedef struct Fixture {
        sd_bus *bus;
        sd_bus_message *m;
        int other;
} Fixture;

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        f->other = fds[1];
        assert_true(sd_bus_new(&f->bus) >= 0);
        assert_true(sd_bus_set_fd(f->bus, fds[0], fds[0]) >= 0);
        assert_true(sd_bus_negotiate_fds(f->bus, true) >= 0);
        assert_true(sd_bus_start(f->bus) >= 0);
        assert_true(sd_bus_message_new_signal(f->bus, &f->m, "/x", "x.y", "Z") >= 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        sd_bus_message_unref(f->m);
        sd_bus_close_unref(f->bus);
        close(f->other);
        g_free(f);
        return 0;
}

static void assert_json(Fixture *f, const char *wanted) {
        g_autoptr(JsonNode) node = NULL;
        g_autofree char *text = NULL;

        assert_true(sd_bus_message_seal(f->m, 1, 0) >= 0);
        assert_int_equal(message_to_json(f->m, &node), 0);
        text = json_text(node, false);
        assert_string_equal(text, wanted);
}

static void test_numbers(void **state) {
        Fixture *f = *state;

        assert_true(sd_bus_message_append(f->m, "(ybnqiuxt)", 255, 1, -32768, 65535, INT32_MIN, UINT32_MAX,
                                          INT64_MIN, (uint64_t) INT64_MAX) >= 0);
        assert_json(f, "[255,true,-32768,65535,-2147483648,4294967295,-9223372036854775808,9223372036854775807]");
}

static void test_numbers_too_large_for_json(void **state) {
        Fixture *f = *state;

        assert_true(sd_bus_message_append(f->m, "(tdddh)", UINT64_MAX, 0.5, (double) NAN, (double) INFINITY, 0) >= 0);
        assert_json(f, "[\"18446744073709551615\",0.5,null,null,null]");
}

static void test_dictionaries(void **state) {
        Fixture *f = *state;

        assert_true(sd_bus_message_append(f->m, "aa{sv}", 2,
                                          3, "version", "s", "1.5.06", "eligible", "b", true, "cpus", "au", 2, 1, 2,
                                          2, "error", "(ss)", "a", "b", "timings", "a{st}", 1, "total", UINT64_C(7)) >= 0);
        assert_json(f, "[{\"version\":\"1.5.06\",\"eligible\":true,\"cpus\":[1,2]},{\"error\":[\"a\",\"b\"],\"timings\":{\"total\":7}}]");
}

static void test_nesting(void **state) {
        Fixture *f = *state;

        assert_true(sd_bus_message_append(f->m, "v", "v", "a{oa{sa{sv}}}", 1, "/a", 1, "i", 1, "k", "aa{sv}", 0) >= 0);
        assert_json(f, "{\"/a\":{\"i\":{\"k\":[]}}}");
}

static void test_keys_that_are_no_strings(void **state) {
        Fixture *f = *state;

        assert_true(sd_bus_message_append(f->m, "a{us}", 1, 5, "five") >= 0);
        assert_json(f, "{\"5\":\"five\"}");
}

static void test_strings_are_safe(void **state) {
        Fixture *f = *state;

        assert_true(sd_bus_message_append(f->m, "as", 2, "\x1b\x1f\x7f\"\\\n", "\xc2\x9b\xe2\x80\xae\xc3\xa4") >= 0);
        assert_json(f, "[\"\\u001b\\u001f\\u007f\\\"\\\\\\n\",\"\\u009b\\u202e\xc3\xa4\"]");
}

static void test_nothing_left(void **state) {
        Fixture *f = *state;
        JsonNode *node = NULL;

        assert_true(sd_bus_message_seal(f->m, 1, 0) >= 0);
        assert_int_equal(message_to_json(f->m, &node), -ENXIO);
        assert_null(node);
}

static void test_exit_status_of_errors(void **state) {
        for (ErrorId id = ERROR_NONE + 1; id < _ERROR_MAX; id++)
                assert_int_equal(exit_status_of_error(error_entry(id)->dbus_name), error_entry(id)->exit_status);

        assert_int_equal(exit_status_of_error("org.freedesktop.DBus.Error.NoReply"), EXIT_UNAVAILABLE);
        assert_int_equal(exit_status_of_error("org.freedesktop.DBus.Error.Spawn.Failed"), EXIT_UNAVAILABLE);
        assert_int_equal(exit_status_of_error("org.freedesktop.PolicyKit1.Error.Cancelled"), EXIT_NOT_AUTHORISED);
        assert_int_equal(exit_status_of_error("what.ever"), EXIT_OTHER);
        assert_int_equal(exit_status_of_error(""), EXIT_OTHER);
}

static void test_exit_status_of_results(void **state) {
        assert_int_equal(exit_status_of_result("success", ""), EXIT_DONE);
        assert_int_equal(exit_status_of_result("already-current", BUS_ERROR_PREFIX "AlreadyCurrent"), EXIT_DONE);
        assert_int_equal(exit_status_of_result("lost", BUS_ERROR_PREFIX "ModuleLost"), EXIT_LOST);
        assert_int_equal(exit_status_of_result("expired", ""), EXIT_NOT_NOW);
        assert_int_equal(exit_status_of_result("cancelled", ""), EXIT_OTHER);
        assert_int_equal(exit_status_of_result("", ""), EXIT_OTHER);
        assert_int_equal(exit_status_of_result("failed", BUS_ERROR_PREFIX "NoBudget"), EXIT_NO_BUDGET);
        /* A failed job never looks done, whatever error it names. */
        assert_int_equal(exit_status_of_result("failed", BUS_ERROR_PREFIX "AlreadyCurrent"), EXIT_FAILED);
        assert_int_equal(exit_status_of_result("failed", ""), EXIT_FAILED);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_numbers_too_large_for_json, setup, teardown),
                cmocka_unit_test_setup_teardown(test_dictionaries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nesting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_keys_that_are_no_strings, setup, teardown),
                cmocka_unit_test_setup_teardown(test_strings_are_safe, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_left, setup, teardown),
                cmocka_unit_test(test_exit_status_of_errors),
                cmocka_unit_test(test_exit_status_of_results),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
