/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalogue/catalogue.h"

/*
 * Images by tools/make-image, signed with the key that the build made. The environment says where they are:
 * MAKE_IMAGE, TEST_KEY, TEST_DATA.
 */
typedef struct TestImage {
        uint8_t *bytes;
        size_t size;
} TestImage;

char *test_data(const char *name);

/* A folder that fixture_remove() removes with all that is in it. */
char *fixture_folder(void);
void fixture_remove(const char *path);

/* make-image with the test key and @arguments (separated by blanks); its output, without the newline. */
char *make_image_run(const char *arguments);
TestImage make_image(const char *arguments);
void test_image_clear(TestImage *image);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TestImage, test_image_clear)

/* Trusts the test key. */
Trust test_trust(void);

int fd_with(const void *bytes, size_t size);
Image *read_image(const TestImage *image, const char *name, const Version *claimed, const Trust *trust);

/* The sum of all words becomes 0 again. */
void fix_checksum(TestImage *image);
void put_le32(uint8_t *p, uint32_t value);

void assert_verdict(const Image *image, ImageVerdict verdict, const char *text);
void write_file(const char *folder, const char *name, const void *bytes, size_t size);
