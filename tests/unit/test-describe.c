/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What the API says of VMs: every key, its type, and that a value that is not known is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus/describe.h"

/* A message needs a bus that has begun; nobody answers on this one. */
typedef struct Bed {
        sd_bus *bus;
        sd_bus_message *message;
        int peer;
} Bed;

static int bed_new(void **state) {
        Bed *bed = g_new0(Bed, 1);
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        bed->peer = fds[1];
        assert_true(sd_bus_new(&bed->bus) >= 0);
        assert_true(sd_bus_set_fd(bed->bus, fds[0], fds[0]) >= 0);
        assert_true(sd_bus_start(bed->bus) >= 0);
        assert_true(sd_bus_message_new_signal(bed->bus, &bed->message, "/t", "t.t", "T") >= 0);
        *state = bed;
        return 0;
}

static int bed_free(void **state) {
        Bed *bed = *state;

        sd_bus_message_unref(bed->message);
        sd_bus_close(bed->bus);
        sd_bus_unref(bed->bus);
        close(bed->peer);
        g_free(bed);
        return 0;
}

/* One value that is a string or a number, as "u 5"; of anything else only its type. */
static char *value_text(sd_bus_message *m) {
        const char *contents, *text;
        uint64_t t;
        uint32_t u;

        assert_true(sd_bus_message_peek_type(m, NULL, &contents) > 0);
        if (g_str_equal(contents, "u")) {
                assert_true(sd_bus_message_read(m, "v", "u", &u) > 0);
                return g_strdup_printf("u %u", u);
        }
        if (g_str_equal(contents, "t")) {
                assert_true(sd_bus_message_read(m, "v", "t", &t) > 0);
                return g_strdup_printf("t %" G_GUINT64_FORMAT, t);
        }
        if (g_str_equal(contents, "s")) {
                assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
                return g_strdup_printf("s %s", text);
        }
        text = contents;
        assert_true(sd_bus_message_skip(m, "v") > 0);
        return g_strdup(text);
}

/* Goes to the value of @key in the dictionary that comes next. */
static void find_key(sd_bus_message *m, const char *key) {
        const char *name;

        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                assert_true(sd_bus_message_read(m, "s", &name) > 0);
                if (g_str_equal(name, key))
                        return;
                assert_true(sd_bus_message_skip(m, "v") > 0);
                assert_true(sd_bus_message_exit_container(m) > 0);
        }
        fail_msg("There is no %s", key);
}

/* The dictionary that comes next says exactly these, in this order: "KEY TYPE VALUE", NULL at the end. */
static void check_dict(sd_bus_message *m, const char *const *expected) {
        const char *name;

        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        for (; sd_bus_message_enter_container(m, 'e', "sv") > 0; expected++) {
                g_autofree char *value = NULL, *line = NULL;

                assert_true(sd_bus_message_read(m, "s", &name) > 0);
                value = value_text(m);
                line = g_strdup_printf("%s %s", name, value);
                assert_non_null(*expected);
                assert_string_equal(line, *expected);
                assert_true(sd_bus_message_exit_container(m) > 0);
        }
        assert_null(*expected);
        assert_true(sd_bus_message_exit_container(m) > 0);
}

static void begin_reading(Bed *bed) {
        assert_true(sd_bus_message_seal(bed->message, 1, 0) >= 0);
        assert_true(sd_bus_message_rewind(bed->message, true) >= 0);
}

static void test_guest(void **state) {
        static const char *const expected[] = {
                "pid u 4711", "start-time t 123456", "name s qemu-system-x86", "machine s qemu-9-web",
                "unit s machine-qemu.scope", "is-td s unknown", "phase s building", "since t 1700000000000000", "tier s T2",
                "evidence s no vCPU has run", NULL,
        };
        const GuestFacts guest = {
                .key = "4711-9", .pid = 4711, .start_time = 123456, .name = "qemu-system-x86", .machine = "qemu-9-web",
                .unit = "machine-qemu.scope", .since = 1700000000000000, .known = 5, .alone = 6, .ran = 7,
        };
        char evidence[] = "no vCPU has run";
        const GuestVerdict verdict = { .phase = GUEST_BUILDING, .td = GUEST_TD_UNKNOWN, .tier = TIER_INFERRED, .evidence = evidence };
        Bed *bed = *state;

        assert_true(describe_guest(bed->message, &guest, &verdict) >= 0);
        begin_reading(bed);
        check_dict(bed->message, expected);
}

static void test_unknown_guest(void **state) {
        static const char *const expected[] = {
                "pid u 4294967295", "name s ", "machine s ", "unit s ", "is-td s yes", "phase s running", "tier s T1",
                "evidence s its TD is finalised", NULL,
        };
        const GuestFacts guest = { .key = "1-1", .pid = UINT32_MAX, .name = "", .machine = "", .unit = "" };
        char evidence[] = "its TD is finalised";
        const GuestVerdict verdict = { .phase = GUEST_RUNNING, .td = GUEST_TD_YES, .tier = TIER_EXACT, .evidence = evidence };
        Bed *bed = *state;

        assert_true(describe_guest(bed->message, &guest, &verdict) >= 0);
        begin_reading(bed);
        check_dict(bed->message, expected);
}

static void describe_and_find(Bed *bed, const JobRecord *record) {
        assert_true(describe_history(bed->message, record) >= 0);
        begin_reading(bed);
        find_key(bed->message, "suspect-guests");
        assert_true(sd_bus_message_enter_container(bed->message, 'v', "aa{sv}") > 0);
        assert_true(sd_bus_message_enter_container(bed->message, 'a', "a{sv}") > 0);
}

static void test_suspects(void **state) {
        static const char *const first[] = {
                "pid u 4711", "start-time t 123456", "name s qemu-system-x86", "machine s qemu-9-web", "unit s machine-qemu.scope",
                "since t 1700000000000000", "evidence s it appeared after the last look", NULL,
        };
        static const char *const second[] = { "pid u 4712", "name s ", "machine s ", "unit s ", "evidence s ", NULL };
        g_autoptr(JobRecord) record = job_record_new();
        Bed *bed = *state;
        SuspectRecord *s;

        s = job_record_add_suspect(record);
        s->pid = 4711;
        s->start_time = 123456;
        record_set(&s->name, "qemu-system-x86");
        record_set(&s->machine, "qemu-9-web");
        record_set(&s->unit, "machine-qemu.scope");
        s->since = 1700000000000000;
        record_set(&s->evidence, "it appeared after the last look");
        job_record_add_suspect(record)->pid = 4712;

        describe_and_find(bed, record);
        check_dict(bed->message, first);
        check_dict(bed->message, second);
        assert_int_equal(sd_bus_message_at_end(bed->message, false), 1);
}

/* The key is there for every job: that nobody is suspect is said, too. */
static void test_no_suspects(void **state) {
        g_autoptr(JobRecord) record = job_record_new();
        Bed *bed = *state;

        describe_and_find(bed, record);
        assert_int_equal(sd_bus_message_at_end(bed->message, false), 1);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_guest, bed_new, bed_free),
                cmocka_unit_test_setup_teardown(test_unknown_guest, bed_new, bed_free),
                cmocka_unit_test_setup_teardown(test_suspects, bed_new, bed_free),
                cmocka_unit_test_setup_teardown(test_no_suspects, bed_new, bed_free),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
