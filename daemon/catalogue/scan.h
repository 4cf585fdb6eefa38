/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <glib.h>

#include "core/version.h"

/*
 * What is in one catalogue folder: a release tree as Intel publishes it, with mapping_file.json at its top and
 * images named tdx_module_X.Y.ZZ.blob anywhere below. Names that begin with a dot are passed over. Folders are
 * not entered through symbolic links; images may be links (packages ship them), what they lead to must be a
 * regular file that belongs to root like everything else. The mapping file, which nothing signs, may not.
 */
typedef struct ScanEntry {
        char *path;                     /* below the folder */
        Version version;                /* by its name */
} ScanEntry;

typedef void (*ScanProblem)(const char *path, const char *text, void *userdata);

typedef struct Scan {
        const char *directory;
        bool require_root;
        ScanProblem problem;            /* told for everything that cannot be used; may be NULL */
        void *userdata;
} Scan;

/*
 * Opens the folder, or gives -ENOENT when it is not there, or -EACCES when a problem was told. The other two
 * work below such a descriptor.
 */
int scan_open(const Scan *scan);

/* All images, sorted by path. */
GPtrArray *scan_images(const Scan *scan, int dir_fd);

/*
 * A regular file that only root can change; never blocks. @follow: it may be a link; only for what is signed, since the
 * folders on the way to its target are not looked at. -ENOENT, or -EACCES when a problem was told.
 */
int scan_open_file(const Scan *scan, int dir_fd, const char *path, bool follow);
