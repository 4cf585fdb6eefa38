/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fileio.h"
#include "base/memfd.h"
#include "base/util.h"
#include "catalogue/image-internal.h"
#include "catalogue/mapping.h"
#include "catalogue/scan.h"

typedef struct Import {
        const ImportRequest *request;
        int dir_fd;
        Image *image;
        char *name;                     /* below the folder */
        bool image_there;               /* the same bytes are in the folder already */
        char *mapping_text;             /* what the mapping file is to become; NULL: as it is */
        char *problem;
        char *scan_problem;             /* the last that the scan told */
} Import;

/* Names that begin with a dot are invisible to the scan. */
#define TEMPORARY_SUFFIX ".new"

static int refuse(Import *import, int error, const char *format, ...) G_GNUC_PRINTF(3, 4);

static int refuse(Import *import, int error, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        import->problem = g_strdup_vprintf(format, arguments);
        va_end(arguments);
        return error;
}

/* It is made only when there is something to put into it. */
static int open_folder(Import *import, bool create) {
        const char *directory = import->request->directory;

        if (create && mkdir(directory, 0755) >= 0 && chmod(directory, 0755) < 0)
                return -errno;

        import->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (import->dir_fd < 0 && (create || errno != ENOENT))
                return -errno;
        return 0;
}

static int verify_image(Import *import) {
        const ImportRequest *request = import->request;
        const ImageFacts *facts;
        int r;

        r = image_read(request->image_fd, NULL, request->version, &request->trust, &import->image);
        if (r == -EISDIR || r == -ENXIO || r == -EINVAL)
                return refuse(import, -EBADMSG, "the image is no regular file; give the file itself");
        if (r < 0)
                return r;

        facts = image_facts(import->image);
        if (facts->verdict != IMAGE_OK)
                return refuse(import, facts->verdict == IMAGE_INVALID ? -EBADMSG : -EKEYREJECTED,
                              "%s", facts->verdict_text);

        import->name = g_strdup_printf(IMAGE_NAME_PREFIX "%s" IMAGE_NAME_SUFFIX, VERSION_STRING(facts->version));
        return 0;
}

/* 1: the same bytes; 0: others. */
static int compare_bytes(int fd, const Image *image) {
        g_autofree void *a = NULL, *b = NULL;
        size_t size, a_size, b_size;
        int image_memfd = image_fd(image, &size);
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (size_t) st.st_size != size)
                return 0;

        a = g_malloc(size);
        b = g_malloc(size);
        r = read_from_start(fd, a, size, &a_size);
        if (r >= 0)
                r = read_from_start(image_memfd, b, size, &b_size);
        if (r < 0)
                return r;

        return a_size == size && b_size == size && memcmp(a, b, size) == 0;
}

static void keep_problem(const char *path, const char *text, void *userdata) {
        Import *import = userdata;

        g_free(import->scan_problem);
        import->scan_problem = g_strdup_printf("%s %s", path, text);
}

static Scan import_scan(Import *import) {
        return (Scan) { import->request->directory, import->request->require_root, keep_problem, import };
}

/* Anywhere in the tree: the first by its path is the one that counts. */
static int check_existing(Import *import) {
        const Scan scan = import_scan(import);
        g_autoptr(GPtrArray) entries = NULL;

        if (import->dir_fd < 0)
                return 0;

        entries = scan_images(&scan, import->dir_fd);
        for (size_t i = 0; i < entries->len; i++) {
                const ScanEntry *entry = entries->pdata[i];
                _cleanup_close_ int fd = -1;
                int r;

                if (version_compare(entry->version, image_facts(import->image)->version) != 0)
                        continue;

                fd = scan_open_file(&scan, import->dir_fd, entry->path, true);
                if (fd == -EACCES)
                        return refuse(import, -EEXIST, "an image of version %s is there already and cannot be used: %s",
                                      VERSION_STRING(entry->version), import->scan_problem);
                r = fd < 0 ? 0 : compare_bytes(fd, import->image);
                if (r < 0)
                        return r;
                if (r == 0)
                        return refuse(import, -EEXIST, "another image of version %s is there already (%s/%s); remove "
                                      "that one first if this one shall take its place",
                                      VERSION_STRING(entry->version), scan.directory, entry->path);
                g_free(import->name);
                import->name = g_strdup(entry->path);
                import->image_there = true;
                return 0;
        }

        return 0;
}

static int read_own_mapping(Import *import, MappingFile **ret) {
        const Scan scan = import_scan(import);
        g_autofree char *text = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (import->dir_fd < 0)
                return 0;
        fd = scan_open_file(&scan, import->dir_fd, MAPPING_NAME, false);
        if (fd == -EACCES)
                return refuse(import, -EBADMSG, "the catalogue's own mapping file cannot be used: %s", import->scan_problem);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;

        r = mapping_file_read(fd, ret, &text);
        if (r == -EBADMSG)
                return refuse(import, -EBADMSG, "the catalogue's own mapping file %s/" MAPPING_NAME " is broken: %s",
                              import->request->directory, text);
        return r;
}

static int prepare_mapping(Import *import) {
        g_autoptr(MappingFile) own = NULL, added = NULL;
        Version version = image_facts(import->image)->version;
        g_autofree char *text = NULL;
        bool changed;
        int r;

        if (import->request->mapping_fd < 0)
                return 0;

        r = mapping_file_read(import->request->mapping_fd, &added, &text);
        if (r == -EBADMSG)
                return refuse(import, r, "the mapping file cannot be used: %s", text);
        if (r < 0)
                return r;
        if (!mapping_file_find(added, version))
                return refuse(import, -EBADMSG, "the mapping file does not list version %s; give the one that came "
                              "with the image", VERSION_STRING(version));
        image_set_mapping(import->image, mapping_file_find(added, version));

        r = read_own_mapping(import, &own);
        if (r < 0)
                return r;
        if (!own) {
                import->mapping_text = mapping_file_format(added);
                return 0;
        }

        r = mapping_file_merge(own, added, &changed, &import->problem);
        if (r < 0)
                return r;
        if (changed)
                import->mapping_text = mapping_file_format(own);
        return 0;
}

/* Beside its place and synced, so that the rename puts a whole file there or none. */
static int write_temporary(int dir_fd, const char *name, const void *data, size_t size) {
        _cleanup_close_ int fd = -1;
        int r;

        if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;  /* what a crash left */
        fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return -errno;

        r = write_all(fd, data, size);
        if (r >= 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0))
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, name, 0);
        return r;
}

static int write_image(Import *import, const char *temporary) {
        size_t size;
        int fd = image_fd(import->image, &size), r;
        void *bytes;

        bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
                return -errno;
        r = write_temporary(import->dir_fd, temporary, bytes, size);
        munmap(bytes, size);
        return r;
}

#define MAPPING_TEMPORARY "." MAPPING_NAME TEMPORARY_SUFFIX

/* The image goes first, since that can be taken back. Without its mapping it is not eligible, so no harm is done. */
static int publish(Import *import, const char *image_temporary) {
        if (!import->image_there && renameat(import->dir_fd, image_temporary, import->dir_fd, import->name) < 0)
                return -errno;
        if (import->mapping_text && renameat(import->dir_fd, MAPPING_TEMPORARY, import->dir_fd, MAPPING_NAME) < 0) {
                int r = -errno;

                if (!import->image_there)
                        (void) unlinkat(import->dir_fd, import->name, 0);
                return r;
        }

        return fsync(import->dir_fd) < 0 ? -errno : 0;
}

static int store(Import *import) {
        g_autofree char *temporary = g_strconcat(".", import->name, TEMPORARY_SUFFIX, NULL);
        int r = 0;

        if (!import->image_there)
                r = write_image(import, temporary);
        if (r >= 0 && import->mapping_text)
                r = write_temporary(import->dir_fd, MAPPING_TEMPORARY, import->mapping_text,
                                    strlen(import->mapping_text));
        if (r >= 0)
                r = publish(import, temporary);
        if (r < 0) {
                (void) unlinkat(import->dir_fd, temporary, 0);
                (void) unlinkat(import->dir_fd, MAPPING_TEMPORARY, 0);
        }
        return r;
}

static int run(Import *import) {
        int r;

        r = verify_image(import);
        if (r < 0)
                return r;
        r = open_folder(import, false);
        if (r < 0)
                return r;
        r = check_existing(import);
        if (r < 0)
                return r;
        r = prepare_mapping(import);
        if (r < 0)
                return r;
        if (import->dir_fd < 0) {
                r = open_folder(import, true);
                if (r < 0)
                        return r;
        }
        return store(import);
}

int catalogue_import(const ImportRequest *request, Image **ret, char **ret_text) {
        Import import = { .request = request, .dir_fd = -1 };
        int r;

        r = run(&import);
        if (r >= 0) {
                g_autofree char *path = g_build_filename(request->directory, import.name, NULL);

                image_set_path(import.image, path);
                *ret = g_steal_pointer(&import.image);
        } else
                *ret_text = g_steal_pointer(&import.problem);

        closep(&import.dir_fd);
        image_unref(import.image);
        g_free(import.name);
        g_free(import.mapping_text);
        g_free(import.problem);
        g_free(import.scan_problem);
        return r;
}
