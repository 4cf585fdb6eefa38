/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limit.h"
#include "base/util.h"
#include "test-image-fixture.h"

static TestImage image_06, image_08, image_13;
static char *folder[2];
static Trust trust;

static int group_setup(void **state) {
        trust = test_trust();
        image_06 = make_image("--version 1.5.06 --module-pages 1");
        image_08 = make_image("--version 1.5.08 --module-pages 1");
        image_13 = make_image("--version 1.5.13 --module-pages 1");
        return 0;
}

static int group_teardown(void **state) {
        test_image_clear(&image_06);
        test_image_clear(&image_08);
        test_image_clear(&image_13);
        return 0;
}

static int setup(void **state) {
        for (size_t i = 0; i < 2; i++)
                folder[i] = fixture_folder();
        return 0;
}

static int teardown(void **state) {
        for (size_t i = 0; i < 2; i++) {
                fixture_remove(folder[i]);
                g_clear_pointer(&folder[i], g_free);
        }
        return 0;
}

static Catalogue *load(bool require_root) {
        const char *directories[] = { folder[0], "/nonexistent/tdx", folder[1], NULL };
        CatalogueOptions options = { directories, trust, require_root };
        Catalogue *catalogue = NULL;

        assert_int_equal(catalogue_load(&options, &catalogue), 0);
        return catalogue;
}

static void put(size_t i, const char *name, const TestImage *image) {
        write_file(folder[i], name, image->bytes, image->size);
}

static void put_text(size_t i, const char *name, const char *text) {
        write_file(folder[i], name, text, strlen(text));
}

static void put_mapping(size_t i, const char *version, const char *features) {
        g_autofree char *text = g_strdup_printf("{\"tdx_module_releases\":[{\"version\":\"%s\","
                "\"min_module_version_for_td_preserving\":\"1.5.01\",\"min_seamldr_versions\":[\"1.5.00\"],"
                "\"tdx_feature0\":\"%s\"}]}", version, features);

        put_text(i, "mapping_file.json", text);
}

static void assert_image(const Catalogue *catalogue, size_t index, Version version, size_t i, const char *name,
                         bool shadowed) {
        const Image *image = catalogue_image(catalogue, index);
        g_autofree char *path = g_build_filename(folder[i], name, NULL);

        assert_int_equal(version_compare(image_facts(image)->version, version), 0);
        assert_string_equal(image_path(image), path);
        assert_int_equal(image_shadowed(image), shadowed);
}

static void assert_problem(const Catalogue *catalogue, size_t i, const char *name, const char *text) {
        g_autofree char *path = name ? g_build_filename(folder[i], name, NULL) : g_strdup(folder[i]);

        for (size_t j = 0; j < catalogue_n_problems(catalogue); j++) {
                const CatalogueProblem *problem = catalogue_problem(catalogue, j);

                if (strcmp(problem->path, path) == 0 && strstr(problem->text, text))
                        return;
                print_message("there is: %s: %s\n", problem->path, problem->text);
        }
        fail_msg("no problem \"%s: %s\"", path, text);
}

/* A tree as Intel publishes it, all of the releases. */
static void test_release_tree(void **state) {
        g_autofree char *arguments = g_strdup_printf("--tree %s", folder[0]);
        g_autoptr(Catalogue) catalogue = NULL;

        g_free(make_image_run(arguments));
        catalogue = load(false);
        assert_int_equal(catalogue_n_problems(catalogue), 0);
        assert_int_equal(catalogue_n_images(catalogue), 11);
        assert_image(catalogue, 0, (Version) { 1, 5, 1 }, 0, "joined_files/1.5/tdx_module_1.5.01.blob", false);
        assert_image(catalogue, 10, (Version) { 2, 0, 8 }, 0, "joined_files/2.0/tdx_module_2.0.08.blob", false);
        for (size_t i = 0; i < 11; i++) {
                const ImageFacts *facts = image_facts(catalogue_image(catalogue, i));

                assert_int_equal(facts->verdict, IMAGE_OK);
                assert_non_null(facts->mapping);
                assert_int_equal(version_compare(facts->mapping->version, facts->version), 0);
                assert_ptr_equal(catalogue_find(catalogue, facts->version), catalogue_image(catalogue, i));
                assert_int_equal(facts->svn, known_release_by_version(facts->version)->svn);
        }
        assert_null(catalogue_find(catalogue, (Version) { 1, 5, 7 }));
        assert_null(catalogue_mapping(catalogue, (Version) { 1, 5, 7 }));
}

static void test_empty(void **state) {
        const char *none[] = { NULL };
        g_autoptr(Catalogue) catalogue = load(false), nothing = NULL;

        assert_int_equal(catalogue_n_images(catalogue), 0);
        assert_int_equal(catalogue_n_problems(catalogue), 0);
        assert_int_equal(catalogue_load(&(CatalogueOptions) { .directories = none }, &nothing), 0);
        assert_int_equal(catalogue_n_images(nothing), 0);
}

/* The first folder wins; within a folder the first path; the others stay listed. */
static void test_order(void **state) {
        g_autoptr(Catalogue) catalogue = NULL;

        put(0, "tdx_module_1.5.13.blob", &image_13);
        put(0, "b/tdx_module_1.5.06.blob", &image_06);
        put(0, "a/tdx_module_1.5.06.blob", &image_06);
        put(1, "tdx_module_1.5.06.blob", &image_06);
        put(1, "tdx_module_1.5.08.blob", &image_08);
        put(1, "tdx_module_1.5.13.blob", &image_13);
        catalogue = load(false);

        assert_int_equal(catalogue_n_problems(catalogue), 0);
        assert_int_equal(catalogue_n_images(catalogue), 6);
        assert_image(catalogue, 0, (Version) { 1, 5, 6 }, 0, "a/tdx_module_1.5.06.blob", false);
        assert_image(catalogue, 1, (Version) { 1, 5, 6 }, 0, "b/tdx_module_1.5.06.blob", true);
        assert_image(catalogue, 2, (Version) { 1, 5, 6 }, 1, "tdx_module_1.5.06.blob", true);
        assert_image(catalogue, 3, (Version) { 1, 5, 8 }, 1, "tdx_module_1.5.08.blob", false);
        assert_image(catalogue, 4, (Version) { 1, 5, 13 }, 0, "tdx_module_1.5.13.blob", false);
        assert_image(catalogue, 5, (Version) { 1, 5, 13 }, 1, "tdx_module_1.5.13.blob", true);
        assert_ptr_equal(catalogue_find(catalogue, (Version) { 1, 5, 6 }), catalogue_image(catalogue, 0));
        assert_ptr_equal(catalogue_find(catalogue, (Version) { 1, 5, 13 }), catalogue_image(catalogue, 4));
}

/* A bad image is listed with its verdict: it keeps its place, whatever stands behind it. */
static void test_bad_image(void **state) {
        g_autoptr(Catalogue) catalogue = NULL;

        put_text(0, "tdx_module_1.5.06.blob", "garbage");
        put(1, "tdx_module_1.5.06.blob", &image_06);
        catalogue = load(false);

        assert_int_equal(catalogue_n_images(catalogue), 2);
        assert_verdict(catalogue_find(catalogue, (Version) { 1, 5, 6 }), IMAGE_INVALID, "it was cut off");
        assert_image(catalogue, 1, (Version) { 1, 5, 6 }, 1, "tdx_module_1.5.06.blob", true);
}

static void test_names(void **state) {
        g_autofree char *fifo = g_build_filename(folder[0], "tdx_module_1.5.08.blob", NULL);
        g_autofree char *dangling = g_build_filename(folder[0], "tdx_module_1.5.09.blob", NULL);
        g_autofree char *linked = g_build_filename(folder[0], "tdx_module_1.5.06.blob", NULL);
        g_autofree char *loop = g_build_filename(folder[0], "loop", NULL);
        g_autoptr(Catalogue) catalogue = NULL;

        put(0, "tdx_module_wrong.blob", &image_06);
        put(0, "tdx_module_1.5.06.blob.old", &image_06);
        put(0, "other.blob", &image_06);
        put(0, ".tdx_module_1.5.13.blob.new", &image_13);
        put(0, ".git/tdx_module_1.5.13.blob", &image_13);
        put_text(0, "deep/mapping_file.json", "not at the top, not read");
        assert_int_equal(mkfifo(fifo, 0644), 0);
        assert_int_equal(symlink("other.blob", linked), 0);
        assert_int_equal(symlink("nowhere", dangling), 0);
        assert_int_equal(symlink(".", loop), 0);
        catalogue = load(false);

        assert_int_equal(catalogue_n_images(catalogue), 1);
        assert_image(catalogue, 0, (Version) { 1, 5, 6 }, 0, "tdx_module_1.5.06.blob", false);
        assert_int_equal(catalogue_n_problems(catalogue), 3);
        assert_problem(catalogue, 0, "tdx_module_wrong.blob", "has no version in its name");
        assert_problem(catalogue, 0, "tdx_module_1.5.08.blob", "is no regular file");
        assert_problem(catalogue, 0, "tdx_module_1.5.09.blob", "cannot be opened");
}

static void test_depth(void **state) {
        g_autoptr(Catalogue) catalogue = NULL;

        put(0, "1/2/3/4/tdx_module_1.5.06.blob", &image_06);
        put(0, "1/2/3/4/5/tdx_module_1.5.13.blob", &image_13);
        catalogue = load(false);

        assert_int_equal(LIMIT_CATALOGUE_DEPTH, 4);
        assert_int_equal(catalogue_n_images(catalogue), 1);
        assert_problem(catalogue, 0, "1/2/3/4/5", "is too deep");
}

static void test_too_many(void **state) {
        g_autoptr(Catalogue) catalogue = NULL;

        for (unsigned i = 0; i < LIMIT_CATALOGUE_IMAGES + 1; i++) {
                g_autofree char *name = g_strdup_printf("tdx_module_1.5.%u.blob", i);

                put_text(0, name, "x");
        }
        catalogue = load(false);

        assert_int_equal(catalogue_n_images(catalogue), LIMIT_CATALOGUE_IMAGES);
        assert_problem(catalogue, 0, NULL, "more than 512 images");
}

/* Its own folder's mapping file first, then the others in their order. */
static void test_mapping_lookup(void **state) {
        g_autoptr(Catalogue) catalogue = NULL;
        g_autoptr(Image) image = read_image(&image_13, "tdx_module_1.5.13.blob", NULL, &trust);

        put(0, "tdx_module_1.5.06.blob", &image_06);
        put(0, "tdx_module_1.5.13.blob", &image_13);
        put(1, "tdx_module_1.5.06.blob", &image_06);
        put_mapping(0, "1.5.06", "0x10");
        put_mapping(1, "1.5.06", "0x20");
        catalogue = load(false);
        assert_int_equal(image_facts(catalogue_image(catalogue, 0))->mapping->features0, 0x10);
        assert_int_equal(image_facts(catalogue_image(catalogue, 1))->mapping->features0, 0x20);
        assert_null(image_facts(catalogue_image(catalogue, 2))->mapping);
        assert_int_equal(catalogue_mapping(catalogue, (Version) { 1, 5, 6 })->features0, 0x10);

        catalogue_unref(g_steal_pointer(&catalogue));
        put_mapping(1, "1.5.13", "0x30");
        catalogue = load(false);
        assert_int_equal(image_facts(catalogue_image(catalogue, 1))->mapping->features0, 0x10);
        assert_int_equal(image_facts(catalogue_image(catalogue, 2))->mapping->features0, 0x30);

        /* One that came by descriptor; what it got outlives the catalogue. */
        catalogue_attach_mapping(catalogue, image);
        catalogue_unref(g_steal_pointer(&catalogue));
        assert_int_equal(image_facts(image)->mapping->features0, 0x30);
        assert_int_equal(image_facts(image)->mapping->min_seamldr[0].minor, 5);
}

static void test_mapping_broken(void **state) {
        static const char *const texts[] = { "", "{", "{\"tdx_module_releases\":[{}]}" };

        put(0, "tdx_module_1.5.06.blob", &image_06);
        put(1, "tdx_module_1.5.08.blob", &image_08);
        put_mapping(1, "1.5.06", "0x20");
        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
                g_autoptr(Catalogue) catalogue = NULL;

                put_text(0, "mapping_file.json", texts[i]);
                catalogue = load(false);
                assert_problem(catalogue, 0, "mapping_file.json", "");
                assert_int_equal(catalogue_n_images(catalogue), 2);
                assert_int_equal(image_facts(catalogue_image(catalogue, 0))->verdict, IMAGE_OK);
                /* The folder's own word cannot be read, and no other folder's may replace it. */
                assert_null(image_facts(catalogue_image(catalogue, 0))->mapping);
        }
}

static void test_mapping_huge(void **state) {
        g_autofree char *path = g_build_filename(folder[0], "mapping_file.json", NULL);
        g_autoptr(Catalogue) catalogue = NULL;

        put_text(0, "mapping_file.json", "{}");
        assert_int_equal(truncate(path, 100 << 20), 0);
        catalogue = load(false);
        assert_problem(catalogue, 0, "mapping_file.json", "it has 104857600 bytes");
}

static char *fingerprint(void) {
        const char *directories[] = { folder[0], folder[1], NULL };

        return catalogue_fingerprint(&(CatalogueOptions) { .directories = directories });
}

static void assert_fingerprint(char **last, bool changed) {
        char *now = fingerprint();

        assert_int_equal(strcmp(*last, now) != 0, changed);
        g_free(*last);
        *last = now;
}

/* Whatever catalogue_load() would read is in it, and nothing else. */
static void test_fingerprint(void **state) {
        g_autofree char *image = g_build_filename(folder[0], "a/tdx_module_1.5.06.blob", NULL);
        g_autofree char *link = g_build_filename(folder[1], "tdx_module_1.5.08.blob", NULL), *last = fingerprint();

        assert_fingerprint(&last, false);
        put(0, "a/tdx_module_1.5.06.blob", &image_06);
        assert_fingerprint(&last, true);
        assert_int_equal(chmod(image, 0600), 0);
        assert_fingerprint(&last, true);
        put_mapping(0, "1.5.06", "0x2");
        assert_fingerprint(&last, true);
        assert_int_equal(symlink(image, link), 0);
        assert_fingerprint(&last, true);
        put_text(0, "a/tdx_module_1.5.06.blob", "of another size, since a file's times move in ticks");
        assert_fingerprint(&last, true);
        assert_int_equal(unlink(link), 0);
        assert_fingerprint(&last, true);
        put_text(0, "a/other", "x");
        assert_fingerprint(&last, false);
}

static void change(size_t i, const char *name, uid_t uid, mode_t mode) {
        g_autofree char *path = g_build_filename(folder[i], name, NULL);

        assert_int_equal(chown(path, uid, (gid_t) -1), 0);
        assert_int_equal(chmod(path, mode), 0);
}

static void test_owner(void **state) {
        static const struct {
                const char *name;
                uid_t uid;
                mode_t mode;
                const char *text;
                size_t n_images;
        } cases[] = {
                { ".", 0, 0777, "is writable by others than root", 0 },
                { ".", 0, 0775, "is writable by others than root", 0 },
                { ".", 1000, 0755, "belongs to user 1000", 0 },
                { "a", 0, 0757, "is writable by others than root", 1 },
                { "a", 1000, 0755, "belongs to user 1000", 1 },
                { "a/tdx_module_1.5.06.blob", 0, 0664, "is writable by others than root", 1 },
                { "a/tdx_module_1.5.06.blob", 0, 0646, "is writable by others than root", 1 },
                { "a/tdx_module_1.5.06.blob", 1000, 0644, "belongs to user 1000", 1 },
                { "mapping_file.json", 0, 0666, "is writable by others than root", 2 },
                { "mapping_file.json", 1000, 0644, "belongs to user 1000", 2 },
                { "tdx_module_1.5.08.blob", 1000, 0644, "belongs to user 1000", 1 },       /* what the link leads to */
        };
        g_autofree char *outside = g_build_filename(folder[1], "x", NULL);
        g_autofree char *link = g_build_filename(folder[0], "tdx_module_1.5.08.blob", NULL);

        if (geteuid() != 0) {
                print_message("only root can give files away: skipped\n");
                skip();
        }

        put(0, "a/tdx_module_1.5.06.blob", &image_06);
        put_mapping(0, "1.5.06", "0x2");
        put(1, "x", &image_08);
        assert_int_equal(symlink(outside, link), 0);
        change(0, ".", 0, 0755);
        change(0, "a", 0, 0755);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = g_strcmp0(cases[i].name, ".") == 0 ? NULL : g_strdup(cases[i].name);
                g_autoptr(Catalogue) catalogue = NULL, careless = NULL;
                bool directory = i < 5;

                change(0, cases[i].name, cases[i].uid, cases[i].mode);
                catalogue = load(true);
                careless = load(false);
                change(0, cases[i].name, 0, directory ? 0755 : 0644);

                assert_problem(catalogue, 0, path, cases[i].text);
                assert_int_equal(catalogue_n_problems(catalogue), 1);
                assert_int_equal(catalogue_n_images(catalogue), cases[i].n_images);
                if (cases[i].n_images == 2)
                        assert_null(image_facts(catalogue_image(catalogue, 0))->mapping);
                assert_int_equal(catalogue_n_problems(careless), 0);
                assert_int_equal(catalogue_n_images(careless), 2);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_release_tree, setup, teardown),
                cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
                cmocka_unit_test_setup_teardown(test_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_image, setup, teardown),
                cmocka_unit_test_setup_teardown(test_names, setup, teardown),
                cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
                cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mapping_lookup, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mapping_broken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mapping_huge, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fingerprint, setup, teardown),
                cmocka_unit_test_setup_teardown(test_owner, setup, teardown),
        };

        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
