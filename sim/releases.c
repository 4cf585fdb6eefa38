/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <glib.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/log.h"
#include "sim/releases.h"

#define NAME_PREFIX "tdx_module_"
#define NAME_SUFFIX ".blob"

struct Releases {
        char **directories;
        GHashTable *versions;   /* GBytes of the hash -> Version */
};

static void scan_file(Releases *releases, const char *path, const char *name) {
        g_autofree char *number = NULL, *data = NULL;
        uint8_t hash[SIM_HASH_SIZE];
        size_t size;
        Version v;

        if (!g_str_has_prefix(name, NAME_PREFIX) || !g_str_has_suffix(name, NAME_SUFFIX))
                return;

        number = g_strndup(name + strlen(NAME_PREFIX), strlen(name) - strlen(NAME_PREFIX) - strlen(NAME_SUFFIX));
        if (version_parse(number, &v) < 0)
                return;

        if (read_file_at(AT_FDCWD, path, 2 * LIMIT_IMAGE_SIZE, &data, &size) < 0 ||
            sim_image_hash((const uint8_t *) data, size, hash) < 0) {
                log_warning(0, "%s cannot be read as an image, ignoring.", path);
                return;
        }

        g_hash_table_replace(releases->versions, g_bytes_new(hash, sizeof(hash)), g_memdup2(&v, sizeof(v)));
}

static void scan_folder(Releases *releases, const char *path, unsigned depth) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        if (!dir) {
                log_warning(0, "%s cannot be opened, ignoring.", path);
                return;
        }

        while ((name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);
                struct stat st;

                if (lstat(child, &st) < 0)
                        continue;
                if (S_ISDIR(st.st_mode) && depth > 0)
                        scan_folder(releases, child, depth - 1);
                else if (S_ISREG(st.st_mode))
                        scan_file(releases, child, name);
        }
}

static void scan(Releases *releases) {
        for (char **d = releases->directories; d && *d; d++)
                scan_folder(releases, *d, 2 * LIMIT_CATALOGUE_DEPTH);
}

Releases *releases_new(const char *const *directories) {
        Releases *releases = g_new0(Releases, 1);

        releases->directories = g_strdupv((char **) directories);
        releases->versions = g_hash_table_new_full(g_bytes_hash, g_bytes_equal,
                                                   (GDestroyNotify) g_bytes_unref, g_free);
        scan(releases);
        return releases;
}

Releases *releases_free(Releases *releases) {
        if (!releases)
                return NULL;

        g_strfreev(releases->directories);
        g_hash_table_unref(releases->versions);
        g_free(releases);
        return NULL;
}

bool releases_lookup(Releases *releases, const uint8_t hash[static SIM_HASH_SIZE], Version *ret) {
        g_autoptr(GBytes) key = g_bytes_new(hash, SIM_HASH_SIZE);
        const Version *v;

        v = g_hash_table_lookup(releases->versions, key);
        if (!v) {
                scan(releases);
                v = g_hash_table_lookup(releases->versions, key);
        }
        if (!v)
                return false;

        *ret = *v;
        return true;
}
