/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/plan.h"
#include "test-gate-world.h"

/* A small catalogue beside the world: each image has its own mapping line. */
typedef struct Shelf {
        World world;
        ImageFacts images[6];
        Mapping mappings[6];
        const ImageFacts *list[6];
        size_t n;
} Shelf;

static void shelf_init(Shelf *s) {
        *s = (Shelf) {};
        world_init(&s->world);
}

static ImageFacts *shelf_add(Shelf *s, uint16_t major, uint16_t minor, uint16_t update) {
        size_t i = s->n++;

        s->images[i] = s->world.image;
        s->mappings[i] = s->world.mapping;
        s->images[i].mapping = &s->mappings[i];
        s->images[i].version = s->mappings[i].version = (Version) { major, minor, update };
        s->images[i].svn = (uint16_t) (0x100 + update);
        s->list[i] = &s->images[i];
        return &s->images[i];
}

static int choose(const Shelf *s, ErrorId *ret_error, char **ret_text) {
        *ret_error = ERROR_NONE;
        return select_newest(&s->world.host, s->list, s->n, &s->world.policy, ret_error, ret_text);
}

static void expect_choice(const Shelf *s, int index) {
        g_autofree char *text = NULL;
        ErrorId error;

        assert_int_equal(choose(s, &error, &text), index);
}

static void expect_error(const Shelf *s, ErrorId id, const char *word) {
        g_autofree char *text = NULL;
        ErrorId error;

        assert_int_equal(choose(s, &error, &text), -1);
        assert_string_equal(error_short_name(error), error_short_name(id));
        assert_non_null(text);
        if (!strstr(text, word))
                fail_msg("\"%s\" does not say \"%s\"", text, word);
}

static void test_newest(void **state) {
        Shelf s;

        shelf_init(&s);
        shelf_add(&s, 1, 5, 6);
        shelf_add(&s, 1, 5, 16);
        shelf_add(&s, 1, 5, 9);
        shelf_add(&s, 2, 0, 8);
        shelf_add(&s, 1, 5, 1);
        shelf_add(&s, 1, 5, 5);
        expect_choice(&s, 1);
}

/* An older one that fits beats a newer one that does not. */
static void test_older_that_fits(void **state) {
        static const uint32_t other_cpu[] = { 0xc06f0 };
        Shelf s;
        ImageFacts *sixteen, *thirteen;

        shelf_init(&s);
        sixteen = shelf_add(&s, 1, 5, 16);
        thirteen = shelf_add(&s, 1, 5, 13);
        shelf_add(&s, 1, 5, 9);
        sixteen->cpus = other_cpu;
        sixteen->n_cpus = 1;
        expect_choice(&s, 1);

        thirteen->debug = true;
        expect_choice(&s, 2);
        s.world.policy.allow_debug = true;
        expect_choice(&s, 1);
}

/* What only waits or is only noted refuses nothing. */
static void test_waiting_is_no_refusal(void **state) {
        static const uint32_t stepping[] = { 0x806f6 };
        Shelf s;

        shelf_init(&s);
        shelf_add(&s, 1, 5, 16);
        s.world.host.cpus_online = 3;
        s.world.host.cpus = stepping;
        expect_choice(&s, 0);

        s.world.policy.require_exact_stepping = true;
        expect_error(&s, ERROR_INCOMPATIBLE_CPU, "RequireExactStepping=");
}

static void test_host_refuses(void **state) {
        Shelf s;

        shelf_init(&s);
        shelf_add(&s, 1, 5, 16);
        s.world.host.unsupported = "This host has no TDX";
        expect_error(&s, ERROR_NOT_SUPPORTED, "This host has no TDX");

        s.world.host.lost = true;
        expect_error(&s, ERROR_MODULE_LOST, "reboot");

        shelf_init(&s);
        shelf_add(&s, 1, 5, 16);
        s.world.host.have_running = false;
        expect_error(&s, ERROR_NOT_SUPPORTED, "version");

        shelf_init(&s);
        shelf_add(&s, 1, 5, 16);
        s.world.host.remaining = 0;
        expect_error(&s, ERROR_NO_BUDGET, "reboot");
        s.world.host.remaining = 1;
        expect_error(&s, ERROR_NO_BUDGET, "KeepRemaining=");
}

/* If none fits, the newest one of the running line says why. */
static void test_newest_says_why(void **state) {
        Shelf s;
        ImageFacts *thirteen;

        shelf_init(&s);
        thirteen = shelf_add(&s, 1, 5, 13);
        shelf_add(&s, 2, 0, 8);
        shelf_add(&s, 1, 5, 9)->debug = true;
        thirteen->verdict = IMAGE_UNTRUSTED;
        thirteen->verdict_text = "The signer of 1.5.13 is not trusted";
        expect_error(&s, ERROR_IMAGE_UNTRUSTED, "The signer of 1.5.13");

        thirteen->verdict = IMAGE_OK;
        thirteen->svn = 0x104;
        expect_error(&s, ERROR_DOWNGRADE, "0x104");
}

static void test_nothing_to_do(void **state) {
        Shelf s;

        shelf_init(&s);
        expect_error(&s, ERROR_NO_SUCH_VERSION, "import");

        shelf_add(&s, 1, 5, 5);
        shelf_add(&s, 1, 5, 1);
        shelf_add(&s, 2, 0, 8);
        expect_error(&s, ERROR_ALREADY_CURRENT, "1.5.05");

        /* A host that is up to date needs no budget to be so. */
        s.world.host.remaining = 0;
        expect_error(&s, ERROR_ALREADY_CURRENT, "1.5.05");
}

/* The same version twice: the first directory wins. */
static void test_first_wins(void **state) {
        Shelf s;

        shelf_init(&s);
        shelf_add(&s, 1, 5, 9);
        shelf_add(&s, 1, 5, 16);
        shelf_add(&s, 1, 5, 16);
        expect_choice(&s, 1);
}

static void expect_other(const char *token, const uint8_t hash[static SEAM_HASH_SIZE], Version v, const char *configuration) {
        g_autofree char *other = plan_token(hash, v, configuration);

        assert_string_not_equal(token, other);
}

static void test_token(void **state) {
        static const Version v = { 1, 5, 5 };
        uint8_t hash[SEAM_HASH_SIZE] = { 1, 2, 3 };
        g_autofree char *token = plan_token(hash, v, "KeepRemaining=1"), *again = plan_token(hash, v, "KeepRemaining=1");

        assert_string_equal(token, again);
        assert_true(strlen(token) >= 32);
        assert_int_equal(strspn(token, "0123456789abcdef"), strlen(token));

        for (unsigned i = 0; i < SEAM_HASH_SIZE; i++) {
                hash[i] ^= 0x80;
                expect_other(token, hash, v, "KeepRemaining=1");
                hash[i] ^= 0x80;
        }
        expect_other(token, hash, (Version) { 2, 5, 5 }, "KeepRemaining=1");
        expect_other(token, hash, (Version) { 1, 6, 5 }, "KeepRemaining=1");
        expect_other(token, hash, (Version) { 1, 5, 6 }, "KeepRemaining=1");
        expect_other(token, hash, v, "KeepRemaining=2");
        expect_other(token, hash, v, "KeepRemaining=1 ");
        expect_other(token, hash, v, "");

        /* No two inputs may run into each other: 1.5.05 and "0x" is not 1.5.050 and "x". */
        {
                g_autofree char *left = plan_token(hash, (Version) { 1, 5, 10 }, "0x");

                expect_other(left, hash, (Version) { 1, 5, 100 }, "x");
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_newest),
                cmocka_unit_test(test_older_that_fits),
                cmocka_unit_test(test_waiting_is_no_refusal),
                cmocka_unit_test(test_host_refuses),
                cmocka_unit_test(test_newest_says_why),
                cmocka_unit_test(test_nothing_to_do),
                cmocka_unit_test(test_first_wins),
                cmocka_unit_test(test_token),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
