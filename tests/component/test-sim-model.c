/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The model of the kernel's side. What is expected here is the behaviour of the real
 * firmware-upload core and TDX host driver of Linux 7.3, as read and seen there. */
#include "test-sim-bed.h"

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
                TEST(test_kernel_header_checks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
