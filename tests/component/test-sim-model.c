/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The model of the kernel's side. What is expected here is the behaviour of the real
 * firmware-upload core and TDX host driver of Linux 7.3, as read and seen there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "sim/model.h"

#define START (1000 * USEC_PER_SEC)
#define MS USEC_PER_MSEC
#define IMAGE_SIZE 12288U

/* An upload is IMAGE_SIZE bytes; the first says which of these the kernel shall see. */
enum {
        GOOD_106,
        GOOD_105,
        GOOD_104,
        OTHER_LINE,
        BAD_HEADER,
        BAD_HASH,
        BAD_SIGNATURE,
        UNKNOWN,
        OTHER_CPU,
        OTHER_STEPPING,
};

#define GOOD(v) { .hash_ok = true, .signature_ok = true, .known = true, .version = v, .cpus = { 0x806f8 }, .n_cpus = 1 }
#define V(a, b, c) { a, b, c }

static const SimImage images[] = {
        [GOOD_106] = GOOD(V(1, 5, 6)),
        [GOOD_105] = GOOD(V(1, 5, 5)),
        [GOOD_104] = GOOD(V(1, 5, 4)),
        [OTHER_LINE] = GOOD(V(2, 0, 8)),
        [BAD_HEADER] = { .refused = "bad header" },
        [BAD_HASH] = { .signature_ok = true, .known = true, .version = { 1, 5, 6 }, .cpus = { 0x806f8 }, .n_cpus = 1 },
        [BAD_SIGNATURE] = { .hash_ok = true, .known = true, .version = { 1, 5, 6 }, .cpus = { 0x806f8 }, .n_cpus = 1 },
        [UNKNOWN] = { .hash_ok = true, .signature_ok = true, .cpus = { 0x806f8 }, .n_cpus = 1 },
        [OTHER_CPU] = { .hash_ok = true, .signature_ok = true, .known = true, .version = { 1, 5, 6 },
                        .cpus = { 0xa06d0 }, .n_cpus = 1 },
        [OTHER_STEPPING] = { .hash_ok = true, .signature_ok = true, .known = true, .version = { 1, 5, 6 },
                             .cpus = { 0xc06f0, 0x806f3 }, .n_cpus = 2 },
};

typedef struct Bed {
        Model *m;
        uint64_t now;
        GString *uevents;
} Bed;

static void inspect(void *userdata, const uint8_t *data, size_t size, SimImage *ret) {
        assert_int_equal(size, IMAGE_SIZE);
        *ret = images[data[0]];
}

static void uevent(void *userdata, const char *action, const char *devpath, const char *subsystem,
                   const char *const *fields) {
        Bed *b = userdata;

        g_string_append_printf(b->uevents, "%s@%s %s", action, devpath, subsystem);
        for (const char *const *f = fields; *f; f++)
                g_string_append_printf(b->uevents, " %s", *f);
        g_string_append_c(b->uevents, '\n');
}

static int setup(void **state) {
        Bed *b = g_new0(Bed, 1);

        b->now = START;
        b->uevents = g_string_new(NULL);
        b->m = model_new(&(ModelOps) { .inspect = inspect, .uevent = uevent, .userdata = b }, b->now);
        *state = b;
        return 0;
}

static int teardown(void **state) {
        Bed *b = *state;

        model_free(b->m);
        g_string_free(b->uevents, true);
        g_free(b);
        return 0;
}

static int store(Bed *b, const char *text) {
        return model_loading_store(b->m, b->now, text, strlen(text));
}

static void set(Bed *b, const char *pair) {
        g_autofree char *text = NULL;

        if (model_set(b->m, b->now, (const char *const[]) { pair, NULL }, &text) < 0)
                fail_msg("%s: %s", pair, text);
}

static void assert_key(Bed *b, const char *key, const char *expected) {
        g_autoptr(GString) value = g_string_new(NULL);

        assert_int_equal(model_get(b->m, key, value), 0);
        if (strcmp(value->str, expected) != 0)
                fail_msg("%s is '%s', not '%s'", key, value->str, expected);
}

static void write_image(Bed *b, uint8_t which) {
        g_autofree uint8_t *data = g_malloc0(IMAGE_SIZE);
        size_t done = 0;

        data[0] = which;
        while (done < IMAGE_SIZE) {
                ssize_t n = model_data_write(b->m, b->now, data + done, IMAGE_SIZE - done, done);

                assert_int_equal(n, 4096);
                done += (size_t) n;
        }
}

static void upload(Bed *b, uint8_t which) {
        assert_int_equal(store(b, "1\n"), 0);
        assert_true(model_loading(b->m));
        write_image(b, which);
        assert_int_equal(store(b, "0\n"), 0);
}

static void wait_ms(Bed *b, uint64_t ms) {
        b->now += ms * MS;
        model_advance(b->m, b->now);
}

/* "-": the file answers EBUSY. */
static void assert_error(Bed *b, const char *expected) {
        g_autoptr(GString) text = g_string_new(NULL);
        int r = model_error_show(b->m, text);

        if (strcmp(expected, "-") == 0)
                assert_int_equal(r, -EBUSY);
        else {
                assert_int_equal(r, 0);
                assert_string_equal(text->str, expected);
        }
}

static void assert_version(Bed *b, const char *expected) {
        Version v;
        int r = model_version(b->m, &v);

        if (!expected)
                assert_int_equal(r, -ENXIO);
        else {
                assert_int_equal(r, 0);
                assert_string_equal(VERSION_STRING(v), expected);
        }
}

static void test_loading_values(void **state) {
        static const struct {
                const char *text;
                int expected;
                bool loading;   /* after a 1 and then this */
                unsigned aborts;
        } table[] = {
                { "1", 0, true, 0 }, { "1\n", 0, true, 0 }, { "+1", 0, true, 0 }, { "01", 0, true, 0 },
                { "-1", 0, false, 1 }, { "-1\n", 0, false, 1 }, { "7", 0, false, 1 }, { "-2147483648", 0, false, 1 },
                { "", -EINVAL, true, 0 }, { "\n", -EINVAL, true, 0 }, { "abc", -EINVAL, true, 0 },
                { " 1", -EINVAL, true, 0 }, { "1 ", -EINVAL, true, 0 }, { "1\n\n", -EINVAL, true, 0 },
                { "1x", -EINVAL, true, 0 }, { "0x1", -EINVAL, true, 0 }, { "-", -EINVAL, true, 0 },
                { "2147483648", -ERANGE, true, 0 }, { "99999999999999999999999", -ERANGE, true, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree char *aborts = g_strdup_printf("%u", table[i].aborts);
                void *bed;

                assert_int_equal(setup(&bed), 0);
                assert_int_equal(store(bed, "1"), 0);
                assert_int_equal(store(bed, table[i].text), table[i].expected);
                assert_int_equal(model_loading(((Bed *) bed)->m), table[i].loading);
                assert_key(bed, "aborts", aborts);
                assert_key(bed, "uploads", "0");
                teardown(&bed);
        }
}

static void test_zero_without_one_aborts(void **state) {
        assert_int_equal(store(*state, "0"), 0);
        assert_key(*state, "aborts", "1");
        assert_key(*state, "uploads", "0");
        assert_key(*state, "status", "idle");
}

static void test_success_step_by_step(void **state) {
        static const struct {
                unsigned at_ms;
                const char *status;
                const char *error;
                unsigned remaining_size;
                const char *version;
        } table[] = {
                { 0, "receiving", "-", IMAGE_SIZE, "1.5.05" },
                { 9, "receiving", "-", IMAGE_SIZE, "1.5.05" },
                { 10, "preparing", "-", IMAGE_SIZE, "1.5.05" },
                { 30, "transferring", "-", IMAGE_SIZE, "1.5.05" },
                { 49, "transferring", "-", IMAGE_SIZE, "1.5.05" },
                { 50, "transferring", "-", IMAGE_SIZE, "1.5.06" },
                { 69, "transferring", "-", IMAGE_SIZE, "1.5.06" },
                { 70, "programming", "-", 0, "1.5.06" },
                { 75, "idle", "", 0, "1.5.06" },
        };
        Bed *b = *state;

        set(b, "receive-ms=10");
        set(b, "prepare-ms=20");
        set(b, "transfer-ms=40");
        set(b, "critical-ms=20");
        set(b, "program-ms=5");
        upload(b, GOOD_106);
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                b->now = START + table[i].at_ms * MS;
                model_advance(b->m, b->now);
                assert_string_equal(model_status(b->m), table[i].status);
                assert_error(b, table[i].error);
                assert_int_equal(model_remaining_size(b->m), table[i].remaining_size);
                assert_version(b, table[i].version);
        }
        assert_key(b, "remaining", "8");
        assert_key(b, "installs", "1");
}

/* All knobs that decide how an upload ends, in the order of harm. */
static void test_outcomes(void **state) {
        static const struct {
                const char *pairs[4];
                uint8_t image;
                const char *error;
                const char *version;
                const char *remaining;
        } table[] = {
                { {}, GOOD_106, "", "1.5.06", "8" },
                { {}, OTHER_STEPPING, "", "1.5.06", "8" },
                { { "module=1.5.06" }, GOOD_106, "", "1.5.06", "8" },          /* the kernel reinstalls */
                { { "world=A" }, GOOD_106, "", "1.5.06", "8" },
                { { "signer-check=no" }, BAD_SIGNATURE, "", "1.5.06", "8" },
                { { "mismatch=1.5.13" }, GOOD_106, "", "1.5.13", "8" },
                /* refused before the shutdown */
                { {}, BAD_HEADER, "transferring:firmware-invalid\n", "1.5.05", "9" },
                { { "busy=1" }, GOOD_106, "transferring:device-busy\n", "1.5.05", "9" },
                { { "refuse=1" }, GOOD_106, "transferring:firmware-invalid\n", "1.5.05", "9" },
                { { "world=B" }, GOOD_106, "transferring:firmware-invalid\n", "1.5.05", "9" },
                { { "error=hw-error" }, GOOD_106, "transferring:hw-error\n", "1.5.05", "9" },
                { { "error=made-up", "error-status=preparing" }, GOOD_106, "preparing:made-up\n", "1.5.05", "9" },
                /* the kernel looks at the header first: nothing of this is reached */
                { { "remaining=0", "cpus-online=0-2" }, BAD_HEADER, "transferring:firmware-invalid\n", "1.5.05", "0" },
                /* refused after it: the module is gone */
                { { "lose=1" }, GOOD_106, "transferring:firmware-invalid\n", NULL, "9" },
                { {}, BAD_HASH, "transferring:firmware-invalid\n", NULL, "9" },
                { {}, BAD_SIGNATURE, "transferring:firmware-invalid\n", NULL, "9" },
                { {}, UNKNOWN, "transferring:firmware-invalid\n", NULL, "9" },
                { {}, OTHER_CPU, "transferring:firmware-invalid\n", NULL, "9" },
                { {}, OTHER_LINE, "transferring:firmware-invalid\n", NULL, "9" },
                { {}, GOOD_104, "transferring:firmware-invalid\n", NULL, "9" },
                { { "remaining=0" }, GOOD_106, "transferring:firmware-invalid\n", NULL, "0" },
                { { "cpus-online=0-2" }, GOOD_106, "transferring:firmware-invalid\n", NULL, "9" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                void *state_;
                Bed *b;

                assert_int_equal(setup(&state_), 0);
                b = state_;
                for (unsigned j = 0; table[i].pairs[j]; j++)
                        set(b, table[i].pairs[j]);
                upload(b, table[i].image);
                wait_ms(b, 50);
                assert_key(b, "status", "idle");
                assert_error(b, table[i].error);
                assert_version(b, table[i].version);
                assert_key(b, "remaining", table[i].remaining);
                assert_key(b, "uploads", "1");
                /* The whole size after a failure, 0 after a success. */
                assert_int_equal(model_remaining_size(b->m), *table[i].error ? IMAGE_SIZE : 0);
                teardown(&state_);
        }
}

static void test_injections_are_counted(void **state) {
        Bed *b = *state;

        set(b, "busy=2");
        for (unsigned i = 0; i < 3; i++) {
                upload(b, GOOD_106);
                wait_ms(b, 50);
                assert_error(b, i < 2 ? "transferring:device-busy\n" : "");
        }
        assert_key(b, "busy", "0");
        assert_key(b, "installs", "1");
        assert_key(b, "uploads", "3");
}

static void test_lost_stays_lost(void **state) {
        Bed *b = *state;

        set(b, "lose=1");
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_version(b, NULL);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_version(b, NULL);
        assert_error(b, "transferring:firmware-invalid\n");
        assert_key(b, "module", "lost");
        assert_key(b, "remaining", "9");

        /* A reboot. */
        set(b, "module=1.5.05");
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_version(b, "1.5.06");
}

static void test_error_text_is_stale_until_queued(void **state) {
        Bed *b = *state;
        static const char stale[] = "transferring:device-busy\n";

        set(b, "busy=1");
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_error(b, stale);
        assert_int_equal(store(b, "-1"), 0);
        assert_error(b, stale);
        assert_int_equal(store(b, "1"), 0);
        assert_error(b, stale);

        /* No data: "succeeds", and nothing has run. */
        assert_int_equal(store(b, "0"), 0);
        assert_error(b, stale);
        assert_int_equal(model_remaining_size(b->m), IMAGE_SIZE);
        assert_key(b, "uploads", "1");

        set(b, "nothing=1");
        upload(b, GOOD_106);
        assert_key(b, "status", "idle");
        assert_error(b, stale);
        assert_version(b, "1.5.05");
        assert_key(b, "uploads", "1");

        upload(b, GOOD_106);
        assert_error(b, "-");
        wait_ms(b, 50);
        assert_error(b, "");
}

static void test_during_a_run(void **state) {
        Bed *b = *state;
        uint8_t byte = 0;

        upload(b, GOOD_106);
        wait_ms(b, 20);
        assert_false(model_loading(b->m));
        assert_int_equal(store(b, "1"), 0);
        assert_false(model_loading(b->m));
        assert_int_equal(model_data_write(b->m, b->now, &byte, 1, 0), -ENODEV);
        assert_int_equal(model_data_read(b->m, b->now, &byte, 1, 0), -ENODEV);
        assert_int_equal(store(b, "0"), 0);
        assert_int_equal(store(b, "-1"), 0);
        assert_int_equal(store(b, "abc"), -EINVAL);
        assert_int_equal(model_cancel_store(b->m, b->now, "1", 1), 0);
        wait_ms(b, 30);
        assert_key(b, "status", "idle");
        assert_version(b, "1.5.06");
        assert_key(b, "uploads", "1");
        assert_key(b, "aborts", "0");
        assert_int_equal(model_data_read(b->m, b->now, &byte, 1, 0), 0);
}

static void test_cancel(void **state) {
        static const struct {
                const char *text;
                int idle, running;
        } table[] = {
                { "1", -ENODEV, 0 }, { "1\n", -ENODEV, 0 }, { "y", -ENODEV, 0 }, { "on", -ENODEV, 0 },
                { "0", -EINVAL, -EINVAL }, { "off", -EINVAL, -EINVAL }, { "2", -EINVAL, -EINVAL },
                { "", -EINVAL, -EINVAL }, { "\n", -EINVAL, -EINVAL }, { "o", -EINVAL, -EINVAL },
        };
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                assert_int_equal(model_cancel_store(b->m, b->now, table[i].text, strlen(table[i].text)), table[i].idle);
        upload(b, GOOD_106);
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                assert_int_equal(model_cancel_store(b->m, b->now, table[i].text, strlen(table[i].text)), table[i].running);
        wait_ms(b, 50);
        assert_version(b, "1.5.06");
}

static void test_data(void **state) {
        Bed *b = *state;
        uint8_t page[8192], back[8192];

        memset(page, 'a', sizeof(page));
        assert_int_equal(store(b, "1"), 0);

        /* At most a page each, wherever the offset says, and readable back. */
        assert_int_equal(model_data_write(b->m, b->now, page, 8192, 0), 4096);
        assert_int_equal(model_data_write(b->m, b->now, (const uint8_t *) "b", 1, 10), 1);
        assert_int_equal(model_data_write(b->m, b->now, (const uint8_t *) "c", 1, 5000), 1);
        assert_int_equal(model_data_read(b->m, b->now, back, 8192, 0), 5001);
        assert_int_equal(back[9], 'a');
        assert_int_equal(back[10], 'b');
        assert_int_equal(back[5000], 'c');
        assert_int_equal(model_data_read(b->m, b->now, back, 8192, 5001), 0);

        /* A second 1 drops what somebody else had sent. */
        assert_int_equal(store(b, "1"), 0);
        assert_int_equal(model_data_read(b->m, b->now, back, 8192, 0), 0);

        /* Aborted: the pages stay until the next 1. */
        assert_int_equal(model_data_write(b->m, b->now, page, 100, 0), 100);
        assert_int_equal(store(b, "-1"), 0);
        assert_false(model_loading(b->m));
        assert_int_equal(model_data_read(b->m, b->now, back, 8192, 0), 100);
        assert_int_equal(store(b, "1"), 0);
        assert_int_equal(model_data_read(b->m, b->now, back, 8192, 0), 0);
        assert_key(b, "status", "idle");
}

static void test_node_faults(void **state) {
        Bed *b = *state;
        uint8_t byte = 0;

        set(b, "sticky=yes");
        assert_int_equal(store(b, "1"), 0);
        assert_false(model_loading(b->m));
        set(b, "sticky=no");

        set(b, "data-error=EIO");
        assert_int_equal(store(b, "1"), 0);
        assert_int_equal(model_data_write(b->m, b->now, &byte, 1, 0), -EIO);
        assert_int_equal(model_data_write(b->m, b->now, &byte, 1, 0), 1);
        assert_true(model_loading(b->m));

        set(b, "ebusy-zero=1");
        assert_int_equal(store(b, "0"), -EBUSY);
        assert_key(b, "uploads", "0");
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_version(b, "1.5.06");

        /* After ENOMEM, or a refusal by an LSM, the node ignores writes for good. */
        set(b, "data-error=ENOMEM");
        assert_int_equal(store(b, "1"), 0);
        assert_int_equal(model_data_write(b->m, b->now, &byte, 1, 0), -ENOMEM);
        assert_int_equal(store(b, "1"), 0);
        assert_false(model_loading(b->m));
        set(b, "sticky=no");

        set(b, "zero-error=EACCES");
        assert_int_equal(store(b, "1"), 0);
        assert_int_equal(model_data_write(b->m, b->now, &byte, 1, 0), 1);
        assert_int_equal(store(b, "0"), -EACCES);
        assert_int_equal(store(b, "1"), 0);
        assert_false(model_loading(b->m));
}

static void test_stuck(void **state) {
        Bed *b = *state;

        set(b, "stuck=yes");
        upload(b, GOOD_106);
        wait_ms(b, 3600 * 1000);
        assert_key(b, "status", "transferring");
        assert_error(b, "-");
        assert_version(b, "1.5.05");
        set(b, "stuck=no");
        assert_key(b, "status", "transferring");
        wait_ms(b, 50);
        assert_key(b, "status", "idle");
        assert_version(b, "1.5.06");
}

/* A build and an update at the same time: who is hurt, in which world. */
static void test_harm(void **state) {
        static const struct {
                const char *world;
                int begin_ms, finalize_ms;      /* relative to the write of 0; -1 before it; 1000 never */
                uint8_t image;
                const char *version;
                const char *corrupted;
        } table[] = {
                { "C", -1, 1000, GOOD_106, "1.5.06", "1" },
                { "C", -1, 5, GOOD_106, "1.5.06", "1" },         /* finalised in the critical section */
                { "C", 0, 1000, GOOD_106, "1.5.06", "1" },
                { "C", 9, 1000, GOOD_106, "1.5.06", "1" },
                { "C", 10, 1000, GOOD_106, "1.5.06", "0" },      /* it is over */
                { "C", -1, -1, GOOD_106, "1.5.06", "0" },        /* finalised before */
                { "C", -1, 1000, BAD_HEADER, "1.5.05", "0" },    /* nothing happened */
                { "A", -1, 1000, GOOD_106, "1.5.05", "0" },
                { "A", 5, 1000, GOOD_106, "1.5.06", "0" },
                { "B", -1, 1000, GOOD_106, "1.5.05", "0" },
                { "C", -1, 1000, BAD_HASH, NULL, "0" },          /* dead, which is worse */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree char *world = g_strdup_printf("world=%s", table[i].world), *text = NULL;
                void *state_;
                Bed *b;

                assert_int_equal(setup(&state_), 0);
                b = state_;
                set(b, world);
                if (table[i].begin_ms < 0)
                        assert_int_equal(model_td_begin(b->m, b->now, "td", 77, &text), 0);
                if (table[i].finalize_ms < 0)
                        assert_int_equal(model_td_finalize(b->m, b->now, "td", &text), 0);
                upload(b, table[i].image);
                for (int ms = 0; ms <= 60; ms++) {
                        b->now = START + (uint64_t) ms * MS;
                        if (table[i].begin_ms == ms)
                                assert_int_equal(model_td_begin(b->m, b->now, "td", 77, &text), 0);
                        if (table[i].finalize_ms == ms)
                                assert_int_equal(model_td_finalize(b->m, b->now, "td", &text), 0);
                }
                model_advance(b->m, b->now);
                assert_key(b, "status", "idle");
                assert_version(b, table[i].version);
                assert_key(b, "corrupted", table[i].corrupted);
                teardown(&state_);
        }
}

static void test_td_list(void **state) {
        g_autoptr(GString) list = g_string_new(NULL);
        g_autofree char *a = NULL, *e = NULL, *i = NULL, *o = NULL;
        Bed *b = *state;

        assert_int_equal(model_td_begin(b->m, b->now, "one", 10, &a), 0);
        assert_int_equal(model_td_add(b->m, b->now, "one", "page", &a), 0);
        assert_int_equal(model_td_finalize(b->m, b->now, "one", &a), 0);
        assert_int_equal(model_td_begin(b->m, b->now, "two", 20, &a), 0);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        model_td_list(b->m, list);
        assert_string_equal(list->str, "one 10 finalized no\ntwo 20 building yes\n");

        assert_int_equal(model_td_begin(b->m, b->now, "one", 10, &a), -EEXIST);
        assert_int_equal(model_td_add(b->m, b->now, "one", "page", &e), -EINVAL);
        assert_int_equal(model_td_finalize(b->m, b->now, "three", &i), -ENOENT);
        assert_int_equal(model_td_destroy(b->m, b->now, "two", &o), 0);
        assert_int_equal(model_n_tds(b->m), 1);
        assert_key(b, "corrupted", "1");

        set(b, "module=lost");
        g_string_truncate(list, 0);
        model_td_list(b->m, list);
        assert_string_equal(list->str, "one 10 dead no\n");
}

static void test_vm_events(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 12209, .fd = 4, .n_vcpus = 2 }, &text), 0);
        assert_string_equal(b->uevents->str,
                            "change@/devices/virtual/misc/kvm misc CREATED=1 COUNT=1 EVENT=create PID=12209 "
                            "STATS_PATH=/kvm/12209-4 MAJOR=10 MINOR=232 DEVNAME=kvm\n");
        assert_int_equal(model_vm_find(b->m, 12209, 4)->exits, 0);
        assert_int_equal(model_vm_run(b->m, b->now, 12209, 4, &text), 0);
        assert_true(model_vm_find(b->m, 12209, 4)->exits > 0);
        g_string_truncate(b->uevents, 0);
        assert_int_equal(model_vm_destroy(b->m, b->now, 12209, 4, &text), 0);
        assert_string_equal(b->uevents->str,
                            "change@/devices/virtual/misc/kvm misc CREATED=1 COUNT=0 EVENT=destroy PID=12209 "
                            "STATS_PATH=/kvm/12209-4 MAJOR=10 MINOR=232 DEVNAME=kvm\n");
        assert_null(model_vm_find(b->m, 12209, 4));
}

static void test_device_events(void **state) {
        Bed *b = *state;

        set(b, "supported=no");
        assert_string_equal(b->uevents->str, "remove@/devices/faux/tdx_host/firmware/tdx_module firmware\n");
        assert_true(model_has_tdx_host(b->m));
        assert_false(model_has_upload(b->m));
        g_string_truncate(b->uevents, 0);

        set(b, "tdx-host=no");
        assert_string_equal(b->uevents->str, "remove@/devices/faux/tdx_host faux\n");
        g_string_truncate(b->uevents, 0);

        assert_int_equal(model_set(b->m, b->now, (const char *const[]) { "tdx-host=yes", "supported=yes", NULL }, NULL), 0);
        assert_string_equal(b->uevents->str, "add@/devices/faux/tdx_host faux\n"
                                             "add@/devices/faux/tdx_host/firmware/tdx_module firmware\n");
        set(b, "bug=yes");
        assert_false(model_has_upload(b->m));
}

static void test_set_is_all_or_nothing(void **state) {
        static const char *const bad[] = {
                "foo=1", "busy=x", "busy=-1", "busy=", "busy", "=1", "module=1.5", "world=D", "world=", "cpu=xyz",
                "cpus-online=0-4", "cpus-online=", "cpus-present=3-1", "stuck=maybe", "status=idle", "uploads=0",
                "data-error=ENONSENSE", "read-error=sys", "read-error=sys/x:", "kvm-intel-tdx=yes", "misc-tdx=many",
                "boot-id=1", "error=two words", "error-status=", "transfer-ms=99999999999", "mismatch=new",
        };
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *text = NULL;
                int r = model_set(b->m, b->now, (const char *const[]) { "remaining=3", bad[i], NULL }, &text);

                if (r != -EINVAL && r != -ENOENT)
                        fail_msg("%s was taken: %d", bad[i], r);
                assert_non_null(text);
                assert_key(b, "remaining", "9");
        }
}

static void test_get_shows_what_was_set(void **state) {
        static const char *const pairs[] = {
                "module=1.5.13", "module=lost", "seamldr=2.0.00", "remaining=0", "cpu=0xa06d0", "cpus-present=0-7",
                "cpus-online=0-2,5", "world=A", "busy=3", "refuse=1", "lose=2", "nothing=4", "error=hw-error", "error=",
                "error-status=programming", "mismatch=2.0.08", "mismatch=", "stuck=yes", "sticky=yes", "ebusy-zero=1",
                "zero-error=EACCES", "data-error=ENOMEM", "data-error=", "read-error=kvm/*/exits:EPERM,proc/cpuinfo:EIO",
                "open-error=kvm/*/exits:EPERM", "read-delay-ms=5", "receive-ms=1", "prepare-ms=2", "transfer-ms=3",
                "program-ms=4", "critical-ms=5", "misc-tdx=absent", "misc-tdx=7", "misc-tdx=auto", "misc-capacity=2",
                "kvm-intel-tdx=absent", "kvm-intel-tdx=N", "kvm=no", "cpu-tdx=no", "tdx-host=no", "supported=no",
                "bug=yes", "signer-check=no", "boot-id=01234567-89ab-4cde-8f01-23456789abcd",
        };
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
                g_auto(GStrv) parts = g_strsplit(pairs[i], "=", 2);

                set(b, pairs[i]);
                assert_key(b, parts[0], parts[1]);
        }
}

static void test_reboot(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        set(b, "module=1.5.01");
        set(b, "remaining=5");
        model_boot(b->m);
        assert_int_equal(model_td_begin(b->m, b->now, "td", 1, &text), 0);
        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 1, .fd = 2 }, &text), 0);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        set(b, "busy=2");
        set(b, "stuck=yes");
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_key(b, "status", "transferring");

        assert_int_equal(model_reboot(b->m, b->now, "01234567-89ab-4cde-8f01-23456789abcd", &text), 0);
        assert_key(b, "status", "idle");
        assert_key(b, "module", "1.5.01");
        assert_key(b, "remaining", "5");
        assert_key(b, "boot-id", "01234567-89ab-4cde-8f01-23456789abcd");
        assert_key(b, "busy", "2");
        assert_error(b, "");
        assert_int_equal(model_n_tds(b->m), 0);
        assert_int_equal(model_vms(b->m)->len, 0);
        assert_true(model_loading_store(b->m, b->now, "1", 1) == 0 && model_loading(b->m));
}

static void test_device_stays_while_it_works(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        upload(b, GOOD_106);
        assert_int_equal(model_set(b->m, b->now, (const char *const[]) { "supported=no", NULL }, &text), -EBUSY);
        wait_ms(b, 50);
        set(b, "supported=no");
        set(b, "supported=yes");
        assert_int_equal(model_remaining_size(b->m), 0);
        assert_version(b, "1.5.06");
}

static void test_cpu_hotplug(void **state) {
        Bed *b = *state;

        assert_int_equal(model_cpu_online_store(b->m, b->now, 3, "0\n", 2), 0);
        assert_key(b, "cpus-online", "0-2");
        assert_string_equal(b->uevents->str, "offline@/devices/system/cpu/cpu3 cpu\n");
        assert_int_equal(model_cpu_online_store(b->m, b->now, 3, "maybe", 5), -EINVAL);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_version(b, NULL);
}

/* The kernel's own checks of a header, arch/x86/virt/vmx/tdx/seamldr.c. */
static void test_kernel_header_checks(void **state) {
        static const struct {
                size_t size;
                size_t offset;          /* of a byte to overwrite */
                uint8_t value;
                bool ok;
        } table[] = {
                { 3 * SIM_PAGE, 2, 0xff, true },        /* the checksum is not looked at */
                { 3 * SIM_PAGE, 1, 1, false },          /* format 0x100 */
                { 3 * SIM_PAGE, 4, 't', false },
                { 3 * SIM_PAGE, 20, 1, false },
                { 3 * SIM_PAGE, 4095, 1, false },
                { 3 * SIM_PAGE, 12, 2, false },         /* too many pages, and the length is wrong */
                { 4 * SIM_PAGE, 12, 2, false },         /* too many SIGSTRUCT pages */
                { 2 * SIM_PAGE, 12, 0, true },          /* none at all passes the kernel */
                { 3 * SIM_PAGE, 16, 2, false },
                { 3 * SIM_PAGE - 1, 2, 0, false },
                { 3 * SIM_PAGE + 1, 2, 0, false },
                { SIM_PAGE - 1, 2, 0, false },
                { 2, 0, 0, false },
                { 1, 0, 0, false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree uint8_t *data = g_malloc0(4 * SIM_PAGE);
                g_autofree uint8_t *exact = NULL;
                SimImage image;

                memcpy(data, "\x00\x02\x00\x00TDX-BLOB\x01\x00\x00\x00\x01", 17);
                data[table[i].offset] = table[i].value;
                exact = g_memdup2(data, table[i].size);
                sim_image_inspect(exact, table[i].size, &image);
                if (!image.refused != table[i].ok)
                        fail_msg("row %zu: %s", i, image.refused ?: "accepted");
                assert_false(image.hash_ok);
                assert_false(image.signature_ok);
        }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_loading_values),
                TEST(test_zero_without_one_aborts),
                TEST(test_success_step_by_step),
                TEST(test_outcomes),
                TEST(test_injections_are_counted),
                TEST(test_lost_stays_lost),
                TEST(test_error_text_is_stale_until_queued),
                TEST(test_during_a_run),
                TEST(test_cancel),
                TEST(test_data),
                TEST(test_node_faults),
                TEST(test_stuck),
                TEST(test_harm),
                TEST(test_td_list),
                TEST(test_vm_events),
                TEST(test_device_events),
                TEST(test_set_is_all_or_nothing),
                TEST(test_get_shows_what_was_set),
                TEST(test_reboot),
                TEST(test_device_stays_while_it_works),
                TEST(test_cpu_hotplug),
                TEST(test_kernel_header_checks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
