/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>

#include "base/limit.h"
#include "base/util.h"
#include "catalogue/image-internal.h"
#include "catalogue/mapping.h"
#include "catalogue/scan.h"

typedef struct Folder {
        MappingFile *mapping;           /* NULL: none, or a broken one */
        bool mapping_broken;
} Folder;

typedef struct Slot {
        Image *image;
        size_t folder;
        size_t order;                   /* in which it was found */
} Slot;

struct Catalogue {
        unsigned n_ref;
        GArray *folders;                /* of Folder, as in the options */
        GArray *slots;                  /* of Slot */
        GArray *problems;               /* of CatalogueProblem */
};

static void clear_folder(void *p) {
        mapping_file_free(((Folder *) p)->mapping);
}

static void clear_slot(void *p) {
        image_unref(((Slot *) p)->image);
}

static void clear_problem(void *p) {
        CatalogueProblem *problem = p;

        g_free(problem->path);
        g_free(problem->text);
}

static GArray *new_array(unsigned size, GDestroyNotify clear) {
        GArray *array = g_array_new(false, false, size);

        g_array_set_clear_func(array, clear);
        return array;
}

static Catalogue *catalogue_new(void) {
        Catalogue *catalogue = g_new0(Catalogue, 1);

        catalogue->n_ref = 1;
        catalogue->folders = new_array(sizeof(Folder), clear_folder);
        catalogue->slots = new_array(sizeof(Slot), clear_slot);
        catalogue->problems = new_array(sizeof(CatalogueProblem), clear_problem);
        return catalogue;
}

Catalogue *catalogue_ref(Catalogue *catalogue) {
        catalogue->n_ref++;
        return catalogue;
}

Catalogue *catalogue_unref(Catalogue *catalogue) {
        if (!catalogue || --catalogue->n_ref > 0)
                return NULL;

        g_array_unref(catalogue->slots);
        g_array_unref(catalogue->folders);
        g_array_unref(catalogue->problems);
        g_free(catalogue);
        return NULL;
}

static void add_problem(const char *path, const char *text, void *userdata) {
        Catalogue *catalogue = userdata;
        CatalogueProblem problem = { g_strdup(path), g_strdup(text) };

        g_array_append_val(catalogue->problems, problem);
}

/* A mapping file that is there and cannot be used leaves its folder without any: no other may stand in. */
static int load_mapping(Catalogue *catalogue, const Scan *scan, int dir_fd, Folder *folder) {
        g_autofree char *text = NULL, *path = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        fd = scan_open_file(scan, dir_fd, MAPPING_NAME, false);
        if (fd == -ENOENT)
                return 0;

        folder->mapping_broken = true;
        if (fd < 0)
                return 0;

        r = mapping_file_read(fd, &folder->mapping, &text);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                path = g_build_filename(scan->directory, MAPPING_NAME, NULL);
                add_problem(path, text ?: g_strerror(-r), catalogue);
                return 0;
        }

        folder->mapping_broken = false;
        return 0;
}

static int load_image(Catalogue *catalogue, const CatalogueOptions *options, const Scan *scan, int dir_fd,
                      const ScanEntry *entry) {
        g_autofree char *path = g_build_filename(scan->directory, entry->path, NULL);
        g_autofree char *name = g_path_get_basename(entry->path);
        _cleanup_close_ int fd = -1;
        Slot slot = { .folder = catalogue->folders->len, .order = catalogue->slots->len };
        int r;

        fd = scan_open_file(scan, dir_fd, entry->path, true);
        if (fd < 0)
                return 0;

        r = image_read(fd, name, NULL, &options->trust, &slot.image);
        if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
                return r;
        if (r < 0) {
                g_autofree char *text = g_strdup_printf("cannot be read: %s", g_strerror(-r));

                add_problem(path, text, catalogue);
                return 0;
        }

        image_set_path(slot.image, path);
        g_array_append_val(catalogue->slots, slot);
        return 0;
}

static int load_folder(Catalogue *catalogue, const CatalogueOptions *options, const char *directory) {
        const Scan scan = { directory, options->require_root, add_problem, catalogue };
        g_autoptr(GPtrArray) entries = NULL;
        _cleanup_close_ int dir_fd = -1;
        Folder folder = {};
        int r = 0;

        dir_fd = scan_open(&scan);
        if (dir_fd >= 0) {
                r = load_mapping(catalogue, &scan, dir_fd, &folder);
                entries = scan_images(&scan, dir_fd);
        }
        for (size_t i = 0; r >= 0 && entries && i < entries->len; i++) {
                if (catalogue->slots->len >= LIMIT_CATALOGUE_IMAGES) {
                        g_autofree char *text = g_strdup_printf("the catalogue has more than %u images; what comes "
                                                                "after them is left out", LIMIT_CATALOGUE_IMAGES);

                        add_problem(directory, text, catalogue);
                        break;
                }
                r = load_image(catalogue, options, &scan, dir_fd, entries->pdata[i]);
        }

        g_array_append_val(catalogue->folders, folder);
        return r;
}

static int compare_slots(const void *a, const void *b) {
        const Slot *x = a, *y = b;
        int r;

        r = version_compare(image_facts(x->image)->version, image_facts(y->image)->version);
        if (r != 0)
                return r;
        return x->order < y->order ? -1 : x->order > y->order;
}

static const Mapping *find_mapping(const Catalogue *catalogue, Version version) {
        for (size_t i = 0; i < catalogue->folders->len; i++) {
                const MappingFile *file = g_array_index(catalogue->folders, Folder, i).mapping;
                const Mapping *mapping = file ? mapping_file_find(file, version) : NULL;

                if (mapping)
                        return mapping;
        }

        return NULL;
}

static const Mapping *find_mapping_for(const Catalogue *catalogue, size_t folder_index, Version version) {
        const Folder *folder = &g_array_index(catalogue->folders, Folder, folder_index);
        const Mapping *mapping = NULL;

        if (folder->mapping_broken)
                return NULL;
        if (folder->mapping)
                mapping = mapping_file_find(folder->mapping, version);
        return mapping ?: find_mapping(catalogue, version);
}

static void finish(Catalogue *catalogue) {
        const Image *previous = NULL;

        g_array_sort(catalogue->slots, compare_slots);
        for (size_t i = 0; i < catalogue->slots->len; i++) {
                Slot *slot = &g_array_index(catalogue->slots, Slot, i);
                Version version = image_facts(slot->image)->version;

                image_set_mapping(slot->image, find_mapping_for(catalogue, slot->folder, version));
                if (previous && version_compare(image_facts(previous)->version, version) == 0)
                        image_set_shadowed(slot->image);
                previous = slot->image;
        }
}

int catalogue_load(const CatalogueOptions *options, Catalogue **ret) {
        g_autoptr(Catalogue) catalogue = catalogue_new();
        int r;

        for (const char *const *directory = options->directories; *directory; directory++) {
                r = load_folder(catalogue, options, *directory);
                if (r < 0)
                        return r;
        }

        finish(catalogue);
        *ret = g_steal_pointer(&catalogue);
        return 0;
}

size_t catalogue_n_images(const Catalogue *catalogue) {
        return catalogue->slots->len;
}

Image *catalogue_image(const Catalogue *catalogue, size_t index) {
        return g_array_index(catalogue->slots, Slot, index).image;
}

Image *catalogue_find(const Catalogue *catalogue, Version version) {
        for (size_t i = 0; i < catalogue->slots->len; i++) {
                Image *image = catalogue_image(catalogue, i);

                if (version_compare(image_facts(image)->version, version) == 0)
                        return image;
        }

        return NULL;
}

const Mapping *catalogue_mapping(const Catalogue *catalogue, Version version) {
        return find_mapping(catalogue, version);
}

size_t catalogue_n_problems(const Catalogue *catalogue) {
        return catalogue->problems->len;
}

const CatalogueProblem *catalogue_problem(const Catalogue *catalogue, size_t index) {
        return &g_array_index(catalogue->problems, CatalogueProblem, index);
}

void catalogue_attach_mapping(const Catalogue *catalogue, Image *image) {
        image_set_mapping(image, image_have_version(image) ? find_mapping(catalogue, image_facts(image)->version) : NULL);
}
