/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "test-image-fixture.h"

static TestImage image_06, image_06_other, image_2008;
static char *base, *folder, *mapping;
static Trust trust;

/* Stands in front of the C library's, to fail for one name. */
static const char *failing_rename;

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
        if (g_strcmp0(to, failing_rename) == 0) {
                errno = EIO;
                return -1;
        }
        return renameat2(from_fd, from, to_fd, to, 0);
}

static int group_setup(void **state) {
        g_autofree char *path = test_data("mapping_file.json");

        trust = test_trust();
        image_06 = make_image("--version 1.5.06 --module-pages 1");
        image_06_other = make_image("--version 1.5.06 --module-pages 1 --seed 1");
        image_2008 = make_image("--version 2.0.08 --module-pages 1 --format 200");
        assert_true(g_file_get_contents(path, &mapping, NULL, NULL));
        return 0;
}

static int group_teardown(void **state) {
        test_image_clear(&image_06);
        test_image_clear(&image_06_other);
        test_image_clear(&image_2008);
        g_free(mapping);
        return 0;
}

static int setup(void **state) {
        base = fixture_folder();
        folder = g_build_filename(base, "images", NULL);
        return 0;
}

static int teardown(void **state) {
        fixture_remove(base);
        g_clear_pointer(&base, g_free);
        g_clear_pointer(&folder, g_free);
        return 0;
}

static const Version v06 = { 1, 5, 6 };

static int import(const TestImage *image, const Version *version, const char *mapping_text, Image **ret, char **ret_text) {
        _cleanup_close_ int image_fd = fd_with(image->bytes, image->size);
        _cleanup_close_ int mapping_fd = mapping_text ? fd_with(mapping_text, strlen(mapping_text)) : -1;
        ImportRequest request = { image_fd, mapping_fd, version, folder, trust, geteuid() == 0 };

        return catalogue_import(&request, ret, ret_text);
}

static void import_ok(const TestImage *image, const Version *version, const char *mapping_text) {
        g_autoptr(Image) stored = NULL;
        g_autofree char *text = NULL;

        if (import(image, version, mapping_text, &stored, &text) < 0)
                fail_msg("%s", text);
        assert_int_equal(image_facts(stored)->verdict, IMAGE_OK);
        assert_true(g_str_has_prefix(image_path(stored), folder));
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Every file of the folder, its name and its bytes. */
static char *snapshot(void) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        GString *all = g_string_new(NULL);
        struct dirent *de;
        DIR *dir = opendir(folder);

        if (!dir)
                return g_string_free(g_string_append(all, "not there"), false);
        while ((de = readdir(dir)))
                if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
                        g_ptr_array_add(names, g_strdup(de->d_name));
        closedir(dir);
        g_ptr_array_sort(names, compare_names);
        for (size_t i = 0; i < names->len; i++) {
                g_autofree char *path = g_build_filename(folder, names->pdata[i], NULL), *bytes = NULL, *sum = NULL;
                size_t size = 0;

                (void) g_file_get_contents(path, &bytes, &size, NULL);
                sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (uint8_t *) bytes, size);
                g_string_append_printf(all, "%s %s\n", (char *) names->pdata[i], sum);
        }
        return g_string_free(all, false);
}

static void import_refused(const TestImage *image, const Version *version, const char *mapping_text, int error,
                           const char *why) {
        g_autofree char *before = snapshot(), *after = NULL, *text = NULL;
        Image *stored = NULL;

        assert_int_equal(import(image, version, mapping_text, &stored, &text), error);
        if (!text || !strstr(text, why))
                fail_msg("\"%s\", not \"%s\"", text ?: "-", why);
        assert_null(stored);
        after = snapshot();
        assert_string_equal(before, after);
}

static Catalogue *load(void) {
        const char *directories[] = { folder, NULL };
        CatalogueOptions options = { directories, trust, geteuid() == 0 };
        Catalogue *catalogue = NULL;

        assert_int_equal(catalogue_load(&options, &catalogue), 0);
        assert_int_equal(catalogue_n_problems(catalogue), 0);
        return catalogue;
}

static void test_ok(void **state) {
        g_autofree char *path = g_build_filename(folder, "tdx_module_1.5.06.blob", NULL), *bytes = NULL;
        g_autoptr(Catalogue) catalogue = NULL;
        struct stat st;
        mode_t mask = umask(077);       /* must not decide who can read the catalogue */
        size_t size;

        import_ok(&image_06, &v06, mapping);
        import_ok(&image_2008, NULL, NULL);     /* its signature structure carries the version */
        umask(mask);

        /* Stored as it came. */
        assert_true(g_file_get_contents(path, &bytes, &size, NULL));
        assert_int_equal(size, image_06.size);
        assert_memory_equal(bytes, image_06.bytes, size);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        assert_int_equal(stat(folder, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);

        catalogue = load();
        assert_int_equal(catalogue_n_images(catalogue), 2);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(image_facts(catalogue_image(catalogue, i))->verdict, IMAGE_OK);
                assert_non_null(image_facts(catalogue_image(catalogue, i))->mapping);
        }
}

static void test_again(void **state) {
        g_autofree char *before = NULL, *after = NULL;

        import_ok(&image_06, &v06, mapping);
        before = snapshot();
        import_ok(&image_06, &v06, mapping);
        after = snapshot();
        assert_string_equal(before, after);
        import_refused(&image_06_other, &v06, mapping, -EEXIST, "another image of version 1.5.06 is there already");
}

/* Wherever in the tree it is. */
static void test_exists_below(void **state) {
        write_file(folder, "joined_files/tdx_module_1.5.06.blob", image_06_other.bytes, image_06_other.size);
        import_refused(&image_06, &v06, NULL, -EEXIST, "joined_files/tdx_module_1.5.06.blob");
        import_ok(&image_06_other, &v06, NULL);
}

/* What the catalogue would not take is neither taken for the image nor for a mapping file of its own. */
static void test_not_roots(void **state) {
        g_autofree char *image = g_build_filename(folder, "tdx_module_1.5.06.blob", NULL);
        g_autofree char *own = g_build_filename(folder, "mapping_file.json", NULL);

        if (geteuid() != 0) {
                print_message("only root can give files away: skipped\n");
                skip();
        }

        import_ok(&image_06, &v06, mapping);
        assert_int_equal(chown(image, 1000, (gid_t) -1), 0);
        import_refused(&image_06, &v06, mapping, -EEXIST, "tdx_module_1.5.06.blob belongs to user 1000");
        assert_int_equal(chown(image, 0, (gid_t) -1), 0);
        assert_int_equal(chmod(own, 0666), 0);
        import_refused(&image_06, &v06, mapping, -EBADMSG, "mapping_file.json is writable by others than root");
        assert_int_equal(chmod(own, 0644), 0);
        import_ok(&image_06, &v06, mapping);
}

static void test_refused(void **state) {
        g_auto(TestImage) damaged = { g_memdup2(image_06.bytes, image_06.size), image_06.size };
        g_autofree char *text = NULL;
        Image *stored = NULL;

        damaged.bytes[8192] ^= 1;
        import_refused(&damaged, &v06, mapping, -EBADMSG, "its checksum is wrong");
        fix_checksum(&damaged);
        import_refused(&damaged, &v06, mapping, -EBADMSG, "the SEAM hash");
        import_refused(&image_06, NULL, mapping, -EKEYREJECTED, "its version is not known");
        import_refused(&image_2008, &v06, mapping, -EKEYREJECTED, "its signature structure says 2.0.08");

        assert_int_equal(catalogue_import(&(ImportRequest) { open("/", O_RDONLY | O_CLOEXEC), -1, NULL, folder, trust },
                                          &stored, &text), -EBADMSG);
        assert_non_null(strstr(text, "no regular file"));
        g_free(g_steal_pointer(&text));
        trust = (Trust) {};
        import_refused(&image_06, &v06, mapping, -EKEYREJECTED, "signed by a key that is not Intel's");
        trust = test_trust();
}

#define LINE(version, features) \
        "{\"version\":\"" version "\",\"min_module_version_for_td_preserving\":\"1.5.01\"," \
        "\"min_seamldr_versions\":[\"1.5.00\",\"2.0.00\"],\"tdx_feature0\":\"" features "\"}"
#define FILE_OF(lines) "{\"Header\":{\"Copyright\":\"somebody\"},\"tdx_module_releases\":[" lines "]}"

static void test_mapping(void **state) {
        g_autofree char *path = g_build_filename(folder, "mapping_file.json", NULL), *text = NULL;
        g_autoptr(Catalogue) catalogue = NULL;

        import_refused(&image_06, &v06, "{", -EBADMSG, "the mapping file cannot be used: it is not JSON");
        import_refused(&image_06, &v06, FILE_OF(LINE("1.5.08", "0x2")), -EBADMSG, "does not list version 1.5.06");

        import_ok(&image_06, &v06, mapping);
        import_refused(&image_2008, NULL, FILE_OF(LINE("2.0.08", "0x2")), -EEXIST, "other values for version 2.0.08");
        import_refused(&image_06, &v06, FILE_OF(LINE("1.5.06", "0x2")), -EEXIST, "other values for version 1.5.06");

        /* New lines are added; the notice and the others stay. */
        import_ok(&image_06, &v06, FILE_OF(LINE("1.5.06", "0x2E1F0FBF") "," LINE("1.5.24", "0x800000000002")));
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        assert_non_null(strstr(text, "Copyright (c) 2025 Intel Corporation. All rights reserved."));
        assert_null(strstr(text, "somebody"));
        catalogue = load();
        assert_int_equal(catalogue_mapping(catalogue, (Version) { 1, 5, 24 })->features0, 0x800000000002);
        assert_int_equal(catalogue_mapping(catalogue, (Version) { 2, 0, 8 })->features0, 0x32A71F0FBF);

        write_file(folder, "mapping_file.json", "broken", 6);
        import_refused(&image_2008, NULL, mapping, -EBADMSG, "the catalogue's own mapping file");
}

/* The folder cannot take the mapping file, so the image must not stay either. */
static void test_half_way(void **state) {
        g_autofree char *obstacle = g_build_filename(folder, "mapping_file.json", NULL);
        g_autofree char *temporary = g_build_filename(folder, ".mapping_file.json.new", NULL);
        g_autofree char *text = NULL, *before = NULL, *after = NULL;
        Image *stored = NULL;

        assert_int_equal(g_mkdir_with_parents(temporary, 0755), 0);
        before = snapshot();
        assert_true(import(&image_06, &v06, mapping, &stored, &text) < 0);
        after = snapshot();
        assert_string_equal(before, after);
        assert_null(text);
        assert_null(stored);
        assert_false(g_file_test(obstacle, G_FILE_TEST_EXISTS));
}

/* Whichever rename fails, the folder is as it was. */
static void test_rename_fails(void **state) {
        static const char *const names[] = { "tdx_module_2.0.08.blob", "mapping_file.json" };

        import_ok(&image_06, &v06, FILE_OF(LINE("1.5.06", "0x2")));
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *before = snapshot(), *after = NULL, *text = NULL;
                Image *stored = NULL;

                failing_rename = names[i];
                assert_int_equal(import(&image_2008, NULL, FILE_OF(LINE("2.0.08", "0x2")), &stored, &text), -EIO);
                failing_rename = NULL;
                after = snapshot();
                assert_string_equal(before, after);
                assert_null(text);
                assert_null(stored);
        }
        import_ok(&image_2008, NULL, FILE_OF(LINE("2.0.08", "0x2")));
}

/* What a crash left behind is in nobody's way. */
static void test_left_behind(void **state) {
        g_autoptr(Catalogue) catalogue = NULL;

        write_file(folder, ".tdx_module_1.5.06.blob.new", "half", 4);
        write_file(folder, ".mapping_file.json.new", "half", 4);
        import_ok(&image_06, &v06, mapping);
        catalogue = load();
        assert_int_equal(catalogue_n_images(catalogue), 1);
}

static void test_no_folder(void **state) {
        g_autofree char *text = NULL;
        Image *stored = NULL;

        g_free(folder);
        folder = g_build_filename(base, "missing", "images", NULL);
        assert_int_equal(import(&image_06, &v06, mapping, &stored, &text), -ENOENT);
        assert_null(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_ok, setup, teardown),
                cmocka_unit_test_setup_teardown(test_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exists_below, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_roots, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mapping, setup, teardown),
                cmocka_unit_test_setup_teardown(test_half_way, setup, teardown),
                cmocka_unit_test_setup_teardown(test_rename_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
        };

        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
