/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/util.h"
#include "catalogue/catalogue.h"
#include "catalogue/mapping.h"
#include "catalogue/scan.h"

static void add_stat(GChecksum *sum, int dir_fd, const char *path) {
        g_autofree char *line = NULL;
        struct stat st;

        if (fstatat(dir_fd, path, &st, *path ? 0 : AT_EMPTY_PATH) < 0)
                return;

        line = g_strdup_printf("%s %" PRIu64 " %" PRIu64 " %o %u %" PRId64 " %" PRId64 ".%09ld %" PRId64 ".%09ld\n", path,
                               (uint64_t) st.st_dev, (uint64_t) st.st_ino, st.st_mode, st.st_uid, (int64_t) st.st_size,
                               (int64_t) st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (int64_t) st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
        g_checksum_update(sum, (const uint8_t *) line, -1);
}

/*
 * Cheaper than inotify in every respect but one: it is asked for when somebody asks, and
 * then costs one stat a file. Nothing wakes the daemon when a package is unpacked.
 */
char *catalogue_fingerprint(const CatalogueOptions *options) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

        for (const char *const *d = options->directories; *d; d++) {
                Scan scan = { .directory = *d, .require_root = options->require_root };
                g_autoptr(GPtrArray) images = NULL;
                _cleanup_close_ int fd = -1;

                g_checksum_update(sum, (const uint8_t *) *d, -1);
                fd = scan_open(&scan);
                if (fd < 0)
                        continue;

                add_stat(sum, fd, "");
                add_stat(sum, fd, MAPPING_NAME);
                images = scan_images(&scan, fd);
                for (unsigned i = 0; i < images->len; i++)
                        add_stat(sum, fd, ((ScanEntry *) images->pdata[i])->path);
        }

        return g_strdup(g_checksum_get_string(sum));
}
