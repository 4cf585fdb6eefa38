/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "catalogue/image.h"

/*
 * The images and mapping files of all catalogue folders, in the order of the folders.
 * The same version in two folders: the first wins, the other is listed as shadowed.
 */
typedef struct Catalogue Catalogue;

typedef struct CatalogueOptions {
        const char *const *directories; /* NULL-terminated, strongest first; missing ones are no error */
        Trust trust;
        bool require_root;              /* folders and files must be owned by root and writable by root alone */
} CatalogueOptions;

/* Something in a folder that could not be used; never fatal for the rest. */
typedef struct CatalogueProblem {
        char *path;
        char *text;
} CatalogueProblem;

/*
 * Scans all folders. 0 or -errno (only -ENOMEM and the like: a broken folder, file or
 * mapping file is a problem in the list). Blocking; takes milliseconds an image.
 */
int catalogue_load(const CatalogueOptions *options, Catalogue **ret);
Catalogue *catalogue_ref(Catalogue *catalogue);
Catalogue *catalogue_unref(Catalogue *catalogue);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Catalogue, catalogue_unref)

/*
 * A text that changes when anything that catalogue_load() would read has changed (by name, size and
 * times, not by content). The caller frees it.
 */
char *catalogue_fingerprint(const CatalogueOptions *options);

size_t catalogue_n_images(const Catalogue *catalogue);
Image *catalogue_image(const Catalogue *catalogue, size_t index);       /* borrowed; sorted by version, then folder */
Image *catalogue_find(const Catalogue *catalogue, Version version);     /* borrowed, never a shadowed one; NULL: none */
const Mapping *catalogue_mapping(const Catalogue *catalogue, Version version);
size_t catalogue_n_problems(const Catalogue *catalogue);
const CatalogueProblem *catalogue_problem(const Catalogue *catalogue, size_t index);

/*
 * Joins an image that came by descriptor with what the catalogue knows of its version
 * (the mapping); the image keeps its own reference to what it needs.
 */
void catalogue_attach_mapping(const Catalogue *catalogue, Image *image);

typedef struct ImportRequest {
        int image_fd;
        int mapping_fd;                 /* -1: none */
        const Version *version;         /* NULL: by its hash or its signature structure */
        const char *directory;          /* where to; made with mode 0755 if it is missing */
        Trust trust;
        bool require_root;              /* as in CatalogueOptions: what the scan would not take is not built upon */
} ImportRequest;

/*
 * Verifies and adds an image (written beside, synced, renamed; the mapping file is merged
 * into the folder's own in the same way, a version that is there already with other values
 * is refused). The image is stored as it came. Nothing is changed on failure.
 *
 * 0: *@ret is the stored image. -EBADMSG, -EKEYREJECTED or -EEXIST (another image of that version
 * is there, or one that cannot be used): *@ret_text says what is wrong and what to do; the caller frees it. Other -errno: accident.
 */
int catalogue_import(const ImportRequest *request, Image **ret, char **ret_text);

/* The built-in table of known releases. */
typedef struct KnownRelease {
        Version version;
        uint8_t seam_hash[SEAM_HASH_SIZE];
        uint16_t svn;
} KnownRelease;

const KnownRelease *known_release_by_hash(const uint8_t hash[static SEAM_HASH_SIZE]);
const KnownRelease *known_release_by_version(Version version);
