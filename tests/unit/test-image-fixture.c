/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/util.h"
#include "test-image-fixture.h"

static const char *environment(const char *name) {
        const char *value = g_getenv(name);

        if (!value)
                fail_msg("%s is not set; run the tests with \"meson test\"", name);
        return value;
}

char *test_data(const char *name) {
        return g_build_filename(environment("TEST_DATA"), name, NULL);
}

char *fixture_folder(void) {
        g_autofree char *template = g_build_filename(g_get_tmp_dir(), "tdx-test-XXXXXX", NULL);

        assert_non_null(g_mkdtemp(template));
        return g_steal_pointer(&template);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

void fixture_remove(const char *path) {
        (void) nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *make_image_run(const char *arguments) {
        g_autofree char *command = g_strdup_printf("%s --key %s %s", environment("MAKE_IMAGE"),
                                                   environment("TEST_KEY"), arguments);
        g_autoptr(GError) error = NULL;
        char *output = NULL;
        int status = -1;

        if (!g_spawn_command_line_sync(command, &output, NULL, &status, &error))
                fail_msg("%s: %s", command, error->message);
        assert_int_equal(status, 0);
        return g_strchomp(output);
}

TestImage make_image(const char *arguments) {
        g_autofree char *folder = fixture_folder();
        g_autofree char *path = g_build_filename(folder, "image", NULL);
        g_autofree char *all = g_strdup_printf("--output %s %s", path, arguments);
        TestImage image = {};

        g_free(make_image_run(all));
        assert_true(g_file_get_contents(path, (char **) &image.bytes, &image.size, NULL));
        fixture_remove(folder);
        return image;
}

void test_image_clear(TestImage *image) {
        g_free(image->bytes);
}

Trust test_trust(void) {
        static uint8_t signer[1][SIGNER_SIZE];
        static bool known;

        if (!known) {
                g_autofree char *text = make_image_run("--print-signer");

                assert_int_equal(strlen(text), 2 * SIGNER_SIZE);
                for (size_t i = 0; i < SIGNER_SIZE; i++)
                        signer[0][i] = (uint8_t) (g_ascii_xdigit_value(text[2 * i]) << 4 |
                                                  g_ascii_xdigit_value(text[2 * i + 1]));
                known = true;
        }

        return (Trust) { signer, 1 };
}

int fd_with(const void *bytes, size_t size) {
        int fd = memfd_create("test", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, size), (ssize_t) size);
        return fd;
}

Image *read_image(const TestImage *image, const char *name, const Version *claimed, const Trust *trust) {
        _cleanup_close_ int fd = fd_with(image->bytes, image->size);
        Image *ret = NULL;

        assert_int_equal(image_read(fd, name, claimed, trust, &ret), 0);
        assert_non_null(ret);
        return ret;
}

void put_le32(uint8_t *p, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

void fix_checksum(TestImage *image) {
        unsigned sum = 0;

        image->bytes[2] = image->bytes[3] = 0;
        for (size_t i = 0; i + 1 < image->size; i += 2)
                sum += image->bytes[i] | (unsigned) image->bytes[i + 1] << 8;
        sum = -sum & 0xffff;
        image->bytes[2] = (uint8_t) sum;
        image->bytes[3] = (uint8_t) (sum >> 8);
}

void assert_verdict(const Image *image, ImageVerdict verdict, const char *text) {
        const ImageFacts *facts = image_facts(image);

        if (facts->verdict != verdict || (text && !strstr(facts->verdict_text ?: "", text)))
                fail_msg("the verdict is %d (%s) and should be %d (%s)", facts->verdict,
                         facts->verdict_text ?: "-", verdict, text ?: "-");
        if (verdict == IMAGE_OK)
                assert_null(facts->verdict_text);
}

void write_file(const char *folder, const char *name, const void *bytes, size_t size) {
        g_autofree char *path = g_build_filename(folder, name, NULL), *parent = g_path_get_dirname(path);

        assert_int_equal(g_mkdir_with_parents(parent, 0755), 0);
        assert_true(g_file_set_contents_full(path, bytes, (gssize) size, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}
