/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/limit.h"
#include "base/util.h"
#include "test-image-fixture.h"

#define NAME "tdx_module_1.5.06.blob"
#define PAGES 3
#define SIZE ((2 + PAGES) * 4096)

static TestImage base[2];       /* format 0x100 and 0x200 */
static Trust trust;

static int setup(void **state) {
        base[0] = make_image("--version 1.5.06 --module-pages 3");
        base[1] = make_image("--version 1.5.06 --module-pages 3 --format 200");
        trust = test_trust();
        assert_int_equal(base[0].size, SIZE);
        assert_int_equal(base[1].size, SIZE);
        return 0;
}

static int teardown(void **state) {
        test_image_clear(&base[0]);
        test_image_clear(&base[1]);
        return 0;
}

static TestImage copy(unsigned format) {
        return (TestImage) { g_memdup2(base[format].bytes, base[format].size), base[format].size };
}

static void test_accepted(void **state) {
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(Image) image = read_image(&base[i], NAME, NULL, &trust);
                const ImageFacts *facts = image_facts(image);

                assert_verdict(image, IMAGE_OK, NULL);
                assert_true(image_have_version(image));
                assert_int_equal(version_compare(facts->version, (Version) { 1, 5, 6 }), 0);
                assert_false(facts->debug);
                /* What module-releases.json says about 1.5.06. */
                assert_int_equal(facts->svn, 0x106);
                assert_int_equal(image_date(image), 0x20240407);
                assert_int_equal(facts->n_cpus, 3);
                assert_int_equal(facts->cpus[0], 0x806f8);
                assert_int_equal(facts->cpus[1], 0xc06f0);
                assert_int_equal(facts->cpus[2], 0xa06f0);
                assert_null(facts->mapping);
                assert_memory_equal(image_signer(image), trust.signers[0], SIGNER_SIZE);
                assert_memory_equal(image_seam_hash(image), base[i].bytes + 4096 + 900, SEAM_HASH_SIZE);
                assert_int_equal(image_format(image), i == 0 ? IMAGE_FORMAT_100 : IMAGE_FORMAT_200);
                assert_string_equal(image_path(image), "");
                assert_false(image_shadowed(image));
        }
}

static void test_signer(void **state) {
        static const uint8_t other[1][SIGNER_SIZE] = { { 1, 2, 3 } };
        const Trust others = { other, 1 }, nobody = {};
        g_autoptr(Image) a = read_image(&base[0], NAME, NULL, &nobody);
        g_autoptr(Image) b = read_image(&base[0], NAME, NULL, &others);
        g_autoptr(Image) c = read_image(&base[0], NAME, NULL, NULL);

        assert_verdict(a, IMAGE_UNTRUSTED, "signed by a key that is not Intel's");
        assert_verdict(b, IMAGE_UNTRUSTED, "signed by a key that is not Intel's");
        assert_verdict(c, IMAGE_UNTRUSTED, "signed by a key that is not Intel's");
}

enum { U16, U32, FLIP };

/* One field is changed; the checksum is repaired unless it is the thing that is tested. */
static const struct {
        unsigned format;
        size_t offset;
        int kind;
        uint32_t value;
        ImageVerdict verdict;
        const char *text;
} damages[] = {
        /* Header 0x100. */
        { 0, 0, U16, 0x300, IMAGE_INVALID, "its format is 0x300" },
        { 0, 0, U16, 0x200, IMAGE_INVALID, "\"TDX-BLOB\" is not in its header" },
        { 0, 8, FLIP, 0, IMAGE_INVALID, "\"TDX-BLOB\" is not in its header" },
        { 0, 15, FLIP, 7, IMAGE_INVALID, "\"TDX-BLOB\" is not in its header" },
        { 0, 4, U32, 0, IMAGE_INVALID, "puts the module at byte 0, before the end" },
        { 0, 4, U32, 4096, IMAGE_INVALID, "puts the module at byte 4096, before the end" },
        { 0, 4, U32, 8193, IMAGE_INVALID, "byte 8193, which is not a multiple of 4096" },
        { 0, 4, U32, 12288, IMAGE_INVALID, "takes 2 pages and Linux takes at most 1" },
        { 0, 4, U32, SIZE, IMAGE_INVALID, "takes 4 pages and Linux takes at most 1" },
        { 0, 4, U32, SIZE + 4096, IMAGE_INVALID, "behind the end of the file" },
        { 0, 4, U32, 0xfffff000, IMAGE_INVALID, "behind the end of the file" },
        { 0, 16, U32, SIZE - 4096, IMAGE_INVALID, "something follows it" },
        { 0, 16, U32, 0, IMAGE_INVALID, "something follows it" },
        { 0, 16, U32, SIZE + 1, IMAGE_INVALID, "it was cut off: it has 20480 bytes and its header says 20481" },
        { 0, 16, U32, 0xffffffff, IMAGE_INVALID, "it was cut off" },
        { 0, 20, FLIP, 0, IMAGE_INVALID, "the reserved part of its header is not zero" },
        { 0, 4095, FLIP, 7, IMAGE_INVALID, "the reserved part of its header is not zero" },
        /* Header 0x200. */
        { 1, 0, U16, 0x201, IMAGE_INVALID, "its format is 0x201" },
        { 1, 0, U16, 0x100, IMAGE_INVALID, "\"TDX-BLOB\" is not in its header" },
        { 1, 4, FLIP, 0, IMAGE_INVALID, "\"TDX-BLOB\" is not in its header" },
        { 1, 11, FLIP, 0, IMAGE_INVALID, "\"TDX-BLOB\" is not in its header" },
        { 1, 12, U32, 0, IMAGE_INVALID, "no room for a signature structure" },
        { 1, 12, U32, 2, IMAGE_INVALID, "takes 2 pages and Linux takes at most 1" },
        { 1, 12, U32, 0xffffffff, IMAGE_INVALID, "takes 4294967295 pages and Linux takes at most 1" },
        { 1, 16, U32, 0, IMAGE_INVALID, "holds no module" },
        { 1, 16, U32, 2, IMAGE_INVALID, "something follows it" },
        { 1, 16, U32, 4, IMAGE_INVALID, "it was cut off: it has 20480 bytes and its header says 24576" },
        { 1, 16, U32, 497, IMAGE_INVALID, "takes 497 pages and Linux takes at most 496" },
        { 1, 16, U32, 0xffffffff, IMAGE_INVALID, "takes 4294967295 pages and Linux takes at most 496" },
        { 1, 20, FLIP, 0, IMAGE_INVALID, "the reserved part of its header is not zero" },
        { 1, 4095, FLIP, 0, IMAGE_INVALID, "the reserved part of its header is not zero" },
        /* Signature structure. */
        { 0, 4096 + 0, U32, 7, IMAGE_INVALID, "header type is 0x7 and must be 0x6" },
        { 0, 4096 + 4, U32, 0xe0, IMAGE_INVALID, "header length is 0xe0 and must be 0xe1" },
        { 0, 4096 + 8, U32, 0x10001, IMAGE_INVALID, "header version is 0x10001" },
        { 0, 4096 + 16, U32, 0x8087, IMAGE_INVALID, "vendor is 0x8087" },
        { 0, 4096 + 24, U32, 0x201, IMAGE_INVALID, "structure's size is 0x201" },
        { 0, 4096 + 28, U32, 0x61, IMAGE_INVALID, "key size is 0x61" },
        { 0, 4096 + 32, U32, 0x61, IMAGE_INVALID, "modulus size is 0x61" },
        { 0, 4096 + 36, U32, 2, IMAGE_INVALID, "exponent size is 0x2" },
        { 0, 4096 + 512, U32, 3, IMAGE_INVALID, "RSA exponent is 0x3 and must be 0x10001" },
        { 0, 4096 + 1024, U32, 0, IMAGE_INVALID, "lists 0 CPUs" },
        { 0, 4096 + 1024, U32, 256, IMAGE_INVALID, "lists 256 CPUs" },
        { 0, 4096 + 1024, U32, 0xffffffff, IMAGE_INVALID, "lists 4294967295 CPUs" },
        { 0, 4096 + 2048, FLIP, 0, IMAGE_INVALID, "the padding behind its signature structure" },
        { 1, 8191, FLIP, 7, IMAGE_INVALID, "the padding behind its signature structure" },
        { 0, 4096 + 900, FLIP, 0, IMAGE_INVALID, "the SEAM hash" },
        { 0, 4096 + 947, FLIP, 7, IMAGE_INVALID, "the SEAM hash" },
        { 0, 8192, FLIP, 0, IMAGE_INVALID, "the SEAM hash" },
        { 1, SIZE - 1, FLIP, 7, IMAGE_INVALID, "the SEAM hash" },
        /* What only the signature protects. */
        { 0, 4096 + 12, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 15, FLIP, 7, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 20, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 40, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 127, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 128, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 511, FLIP, 6, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 516, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 899, FLIP, 6, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 948, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 949, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 1000, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 1024, U32, 2, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 0, 4096 + 1028, FLIP, 4, IMAGE_UNTRUSTED, "its signature is wrong" },
        { 1, 4096 + 2047, FLIP, 0, IMAGE_UNTRUSTED, "its signature is wrong" },
};

static void test_damages(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
                g_auto(TestImage) test = copy(damages[i].format);
                g_autoptr(Image) image = NULL;
                size_t size;
                int fd = -1;

                if (damages[i].kind == FLIP)
                        test.bytes[damages[i].offset] ^= (uint8_t) (1 << damages[i].value);
                else if (damages[i].kind == U32)
                        put_le32(test.bytes + damages[i].offset, damages[i].value);
                else
                        memcpy(test.bytes + damages[i].offset, (uint8_t[]) { (uint8_t) damages[i].value,
                               (uint8_t) (damages[i].value >> 8) }, 2);
                fix_checksum(&test);

                print_message("byte %zu: %s\n", damages[i].offset, damages[i].text);
                image = read_image(&test, NAME, NULL, &trust);
                assert_verdict(image, damages[i].verdict, damages[i].text);
                assert_true(image_have_version(image));
                assert_int_equal(image_open_upload(image, &fd, &size), -EBADMSG);
                assert_int_equal(fd, -1);
        }
}

static void test_checksum(void **state) {
        static const size_t offsets[] = { 2, 3, 4096 + 20, 8192, SIZE - 1 };

        for (unsigned format = 0; format < 2; format++)
                for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
                        g_auto(TestImage) test = copy(format);
                        g_autoptr(Image) image = NULL;

                        test.bytes[offsets[i]] ^= 1;
                        image = read_image(&test, NAME, NULL, &trust);
                        assert_verdict(image, IMAGE_INVALID, "its checksum is wrong");
                }
}

/* Bad images still tell what they are. */
static void test_facts_of_bad(void **state) {
        g_auto(TestImage) test = copy(0);
        g_autoptr(Image) image = NULL;

        test.bytes[SIZE - 1] ^= 1;
        image = read_image(&test, NAME, NULL, &trust);
        assert_verdict(image, IMAGE_INVALID, NULL);
        assert_int_equal(image_facts(image)->svn, 0x106);
        assert_int_equal(image_facts(image)->n_cpus, 3);
        assert_int_equal(image_format(image), IMAGE_FORMAT_100);
}

static void test_sizes(void **state) {
        static const struct {
                size_t size;
                const char *text;
        } sizes[] = {
                { 0, "the file is empty" },
                { 1, "the header alone has 4096" },
                { 19, "the header alone has 4096" },
                { 4095, "the header alone has 4096" },
                { 4096, "it was cut off" },
                { 4097, "it was cut off" },
                { 4096 + 2047, "it was cut off" },
                { 8192, "it was cut off" },
                { SIZE - 1, "it was cut off" },
                { SIZE + 1, "something follows it" },
                { SIZE + 4096, "something follows it" },
                { 498 * 4096, "something follows it" },
                { 498 * 4096 + 1, "more than any TDX module image may have" },
                { 64 << 20, "more than any TDX module image may have" },
        };

        assert_int_equal(LIMIT_IMAGE_SIZE, 498 * 4096);
        for (unsigned format = 0; format < 2; format++)
                for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                        g_auto(TestImage) test = { g_malloc0(MAX(sizes[i].size, 1)), sizes[i].size };
                        g_autoptr(Image) image = NULL;

                        memcpy(test.bytes, base[format].bytes, MIN(sizes[i].size, SIZE));
                        image = read_image(&test, NAME, NULL, &trust);
                        assert_verdict(image, IMAGE_INVALID, sizes[i].text);
                }
}

static void test_odd_module(void **state) {
        g_auto(TestImage) test = { g_malloc0(SIZE + 16), SIZE + 16 };
        g_autoptr(Image) image = NULL;

        memcpy(test.bytes, base[0].bytes, SIZE);
        put_le32(test.bytes + 16, SIZE + 16);
        fix_checksum(&test);
        image = read_image(&test, NAME, NULL, &trust);
        assert_verdict(image, IMAGE_INVALID, "its module has 12304 bytes, which is not a multiple of 4096");
}

static void test_largest(void **state) {
        g_auto(TestImage) test = make_image("--version 1.5.06 --module-pages 496");
        g_autoptr(Image) image = read_image(&test, NAME, NULL, &trust);

        assert_int_equal(test.size, LIMIT_IMAGE_SIZE);
        assert_verdict(image, IMAGE_OK, NULL);
}

static void test_no_regular_file(void **state) {
        g_autofree char *folder = fixture_folder(), *fifo = g_build_filename(folder, "fifo", NULL);
        Image *image = NULL;
        int sockets[2];
        struct {
                int fd, error;
        } files[5];

        assert_int_equal(mkfifo(fifo, 0600), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
        files[0].fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        files[0].error = -EISDIR;
        files[1].fd = open(fifo, O_RDWR | O_CLOEXEC);           /* a blocking one: it must not be read */
        files[1].error = -EINVAL;
        files[2].fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        files[2].error = -ENXIO;
        files[3].fd = sockets[0];
        files[3].error = -EINVAL;
        files[4].fd = sockets[1];
        files[4].error = -EINVAL;

        for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
                assert_int_equal(image_read(files[i].fd, NAME, NULL, &trust, &image), files[i].error);
                close(files[i].fd);
        }
        assert_int_equal(image_read(-1, NAME, NULL, &trust, &image), -EBADF);
        assert_null(image);
        fixture_remove(folder);
}

static void test_debug(void **state) {
        g_auto(TestImage) test = make_image("--version 1.5.06 --module-pages 1 --debug");
        g_autoptr(Image) image = read_image(&test, NAME, NULL, &trust);

        assert_verdict(image, IMAGE_OK, NULL);
        assert_true(image_facts(image)->debug);
}

static void test_versions(void **state) {
        static const struct {
                const char *arguments, *name;
                const Version claimed;
                ImageVerdict verdict;
                const char *text;
        } cases[] = {
                { "--version 1.5.06", NAME, {}, IMAGE_OK, NULL },
                { "--version 1.5.06", NULL, { 1, 5, 6 }, IMAGE_OK, NULL },
                { "--version 1.5.06", NAME, { 1, 5, 6 }, IMAGE_OK, NULL },
                { "--version 1.5.06", NAME, { 1, 5, 7 }, IMAGE_UNTRUSTED, "but the version given with it says 1.5.07" },
                { "--version 1.5.06", NULL, {}, IMAGE_UNTRUSTED, "its version is not known" },
                { "--version 1.5.06", "some.blob", {}, IMAGE_UNTRUSTED, "its version is not known" },
                { "--version 2.0.08", NULL, {}, IMAGE_OK, NULL },
                { "--version 2.0.08", "tdx_module_2.0.05.blob", {}, IMAGE_UNTRUSTED,
                  "but its signature structure says 2.0.08" },
                { "--version 2.0.08", "tdx_module_2.0.08.blob", {}, IMAGE_OK, NULL },
                { "--version 2.0.08", NULL, { 1, 5, 6 }, IMAGE_UNTRUSTED, "but its signature structure says 2.0.08" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *arguments = g_strconcat(cases[i].arguments, " --module-pages 1", NULL);
                g_auto(TestImage) test = make_image(arguments);
                const Version *claimed = cases[i].claimed.major > 0 ? &cases[i].claimed : NULL;
                g_autoptr(Image) image = read_image(&test, cases[i].name, claimed, &trust);

                assert_verdict(image, cases[i].verdict, cases[i].text);
        }
}

static void assert_upload(const Image *image, const TestImage *from) {
        const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        g_autofree uint8_t *got = g_malloc(SIZE + 1);
        static const uint8_t header[] = {
                0x00, 0x02, 0, 0, 'T', 'D', 'X', '-', 'B', 'L', 'O', 'B', 1, 0, 0, 0, PAGES, 0, 0, 0,
        };
        _cleanup_close_ int fd = -1, second = -1;
        unsigned sum = 0;
        size_t size = 0;

        assert_int_equal(image_open_upload(image, &fd, &size), 0);
        assert_int_equal(image_open_upload(image, &second, &size), 0);
        assert_int_equal(size, SIZE);
        assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(pwrite(fd, "x", 1, 0), -1);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(read(fd, got, SIZE + 1), SIZE);
        assert_int_equal(lseek(second, 0, SEEK_CUR), 0);        /* its own offset */

        for (size_t i = 0; i < SIZE; i += 2)
                sum += got[i] | (unsigned) got[i + 1] << 8;
        assert_int_equal(sum & 0xffff, 0);
        got[2] = got[3] = 0;
        assert_memory_equal(got, header, sizeof(header));
        for (size_t i = sizeof(header); i < 4096; i++)
                assert_int_equal(got[i], 0);
        assert_memory_equal(got + 4096, from->bytes + 4096, SIZE - 4096);
}

static void test_upload(void **state) {
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(Image) image = read_image(&base[i], NAME, NULL, &trust);

                assert_upload(image, &base[i]);
                assert_upload(image, &base[i]);
        }
}

/* What was converted is an image again, of the same content. */
static void test_upload_is_accepted(void **state) {
        g_autoptr(Image) image = read_image(&base[0], NAME, NULL, &trust), again = NULL;
        _cleanup_close_ int fd = -1;
        size_t size;

        assert_int_equal(image_open_upload(image, &fd, &size), 0);
        assert_int_equal(image_read(fd, NAME, NULL, &trust, &again), 0);
        assert_verdict(again, IMAGE_OK, NULL);
        assert_int_equal(image_format(again), IMAGE_FORMAT_200);
        assert_memory_equal(image_seam_hash(again), image_seam_hash(image), SEAM_HASH_SIZE);
}

static void test_file_changed_later(void **state) {
        _cleanup_close_ int fd = fd_with(base[0].bytes, base[0].size);
        g_autoptr(Image) image = NULL;

        assert_int_equal(lseek(fd, 100, SEEK_SET), 100);
        assert_int_equal(image_read(fd, NAME, NULL, &trust, &image), 0);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 100);          /* the caller's offset is left alone */
        assert_int_equal(pwrite(fd, "changed", 7, SIZE - 7), 7);
        assert_int_equal(ftruncate(fd, 5000), 0);
        assert_upload(image, &base[0]);
}

static void test_reference(void **state) {
        g_autoptr(Image) image = read_image(&base[0], NAME, NULL, &trust);

        assert_ptr_equal(image_ref(image), image);
        assert_null(image_unref(image));
        assert_verdict(image, IMAGE_OK, NULL);
        assert_null(image_unref(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_accepted),
                cmocka_unit_test(test_signer),
                cmocka_unit_test(test_damages),
                cmocka_unit_test(test_checksum),
                cmocka_unit_test(test_facts_of_bad),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_odd_module),
                cmocka_unit_test(test_largest),
                cmocka_unit_test(test_no_regular_file),
                cmocka_unit_test(test_debug),
                cmocka_unit_test(test_versions),
                cmocka_unit_test(test_upload),
                cmocka_unit_test(test_upload_is_accepted),
                cmocka_unit_test(test_file_changed_later),
                cmocka_unit_test(test_reference),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
