/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/* One model with a clock of its own, for the tests of it. */
#include <errno.h>
#include <limits.h>
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
        unsigned room;          /* for so many more uevents */
} Bed;

static inline void inspect(void *userdata, const uint8_t *data, size_t size, SimImage *ret) {
        assert_int_equal(size, IMAGE_SIZE);
        *ret = images[data[0]];
}

static inline int uevent(void *userdata, const char *action, const char *devpath, const char *subsystem,
                         const char *const *fields) {
        Bed *b = userdata;

        if (b->room == 0)
                return -ENOBUFS;
        b->room--;
        g_string_append_printf(b->uevents, "%s@%s %s", action, devpath, subsystem);
        for (const char *const *f = fields; *f; f++)
                g_string_append_printf(b->uevents, " %s", *f);
        g_string_append_c(b->uevents, '\n');
        return 0;
}

static inline int setup(void **state) {
        Bed *b = g_new0(Bed, 1);

        b->now = START;
        b->room = UINT_MAX;
        b->uevents = g_string_new(NULL);
        b->m = model_new(&(ModelOps) { .inspect = inspect, .uevent = uevent, .userdata = b }, b->now);
        *state = b;
        return 0;
}

static inline int teardown(void **state) {
        Bed *b = *state;

        model_free(b->m);
        g_string_free(b->uevents, true);
        g_free(b);
        return 0;
}

static inline int store(Bed *b, const char *text) {
        return model_loading_store(b->m, b->now, text, strlen(text));
}

static inline void set(Bed *b, const char *pair) {
        g_autofree char *text = NULL;

        if (model_set(b->m, b->now, (const char *const[]) { pair, NULL }, &text) < 0)
                fail_msg("%s: %s", pair, text);
}

static inline void assert_key(Bed *b, const char *key, const char *expected) {
        g_autoptr(GString) value = g_string_new(NULL);

        assert_int_equal(model_get(b->m, key, value), 0);
        if (strcmp(value->str, expected) != 0)
                fail_msg("%s is '%s', not '%s'", key, value->str, expected);
}

static inline void write_image(Bed *b, uint8_t which) {
        g_autofree uint8_t *data = g_malloc0(IMAGE_SIZE);
        size_t done = 0;

        data[0] = which;
        while (done < IMAGE_SIZE) {
                ssize_t n = model_data_write(b->m, b->now, data + done, IMAGE_SIZE - done, done);

                assert_int_equal(n, 4096);
                done += (size_t) n;
        }
}

static inline void upload(Bed *b, uint8_t which) {
        assert_int_equal(store(b, "1\n"), 0);
        assert_true(model_loading(b->m));
        write_image(b, which);
        assert_int_equal(store(b, "0\n"), 0);
}

static inline void wait_ms(Bed *b, uint64_t ms) {
        b->now += ms * MS;
        model_advance(b->m, b->now);
}

/* "-": the file answers EBUSY. */
static inline void assert_error(Bed *b, const char *expected) {
        g_autoptr(GString) text = g_string_new(NULL);
        int r = model_error_show(b->m, text);

        if (strcmp(expected, "-") == 0)
                assert_int_equal(r, -EBUSY);
        else {
                assert_int_equal(r, 0);
                assert_string_equal(text->str, expected);
        }
}

static inline void assert_version(Bed *b, const char *expected) {
        Version v;
        int r = model_version(b->m, &v);

        if (!expected)
                assert_int_equal(r, -ENXIO);
        else {
                assert_int_equal(r, 0);
                assert_string_equal(VERSION_STRING(v), expected);
        }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
