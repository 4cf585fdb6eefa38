/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limit.h"
#include "base/util.h"
#include "catalogue/image-internal.h"
#include "catalogue/scan.h"

static void tell(const Scan *scan, const char *path, const char *text) {
        g_autofree char *full = NULL;

        if (!scan->problem)
                return;

        full = path ? g_build_filename(scan->directory, path, NULL) : g_strdup(scan->directory);
        scan->problem(full, text, scan->userdata);
}

static void tell_errno(const Scan *scan, const char *path, int error) {
        g_autofree char *text = g_strdup_printf("cannot be opened: %s", g_strerror(error));

        tell(scan, path, text);
}

/* POSIX ACLs that let somebody write show in the bits of the group. */
static bool check_owner(const Scan *scan, const char *path, const struct stat *st) {
        if (!scan->require_root)
                return true;

        if (st->st_uid != 0) {
                g_autofree char *text = g_strdup_printf("belongs to user %u and not to root; chown root it and look "
                                                        "at what is in it", (unsigned) st->st_uid);

                tell(scan, path, text);
                return false;
        }
        if (st->st_mode & (S_IWGRP | S_IWOTH)) {
                tell(scan, path, "is writable by others than root; chmod go-w it and look at what is in it");
                return false;
        }
        return true;
}

static int open_directory(const Scan *scan, int parent_fd, const char *name, const char *path) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY | (path ? O_NOFOLLOW : 0));
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0 || fstat(fd, &st) < 0) {
                tell_errno(scan, path, errno);
                return -EACCES;
        }

        return check_owner(scan, path, &st) ? steal_fd(&fd) : -EACCES;
}

int scan_open(const Scan *scan) {
        return open_directory(scan, AT_FDCWD, scan->directory, NULL);
}

/* Looks before it opens: a FIFO would wait for its writer, and opening a device can do anything. */
int scan_open_file(const Scan *scan, int dir_fd, const char *path, bool follow) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (fstatat(dir_fd, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
                int error = errno;

                if (error == ENOENT && fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -ENOENT;
                tell_errno(scan, path, error);
                return -EACCES;
        }
        if (S_ISREG(st.st_mode)) {
                fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));
                if (fd < 0 || fstat(fd, &st) < 0) {
                        tell_errno(scan, path, errno);
                        return -EACCES;
                }
        }
        if (S_ISLNK(st.st_mode)) {
                tell(scan, path, "is a symbolic link, and nothing signs what it leads to; put the file itself there");
                return -EACCES;
        }
        if (!S_ISREG(st.st_mode)) {
                tell(scan, path, "is no regular file; remove it");
                return -EACCES;
        }

        return check_owner(scan, path, &st) ? steal_fd(&fd) : -EACCES;
}

static void free_entry(void *p) {
        ScanEntry *entry = p;

        g_free(entry->path);
        g_free(entry);
}

static int compare_entries(const void *a, const void *b) {
        const ScanEntry *const *x = a, *const *y = b;

        return strcmp((*x)->path, (*y)->path);
}

static void scan_directory(const Scan *scan, int dir_fd, const char *path, unsigned depth, GPtrArray *entries);

static void enter_directory(const Scan *scan, int parent_fd, const char *name, const char *path, unsigned depth,
                            GPtrArray *entries) {
        _cleanup_close_ int fd = -1;

        if (depth > LIMIT_CATALOGUE_DEPTH) {
                tell(scan, path, "is too deep in the catalogue folder and was not entered; move it up");
                return;
        }
        fd = open_directory(scan, parent_fd, name, path);
        if (fd >= 0)
                scan_directory(scan, fd, path, depth, entries);
}

static void look_at(const Scan *scan, int dir_fd, const char *path, const struct dirent *de, unsigned depth,
                    GPtrArray *entries) {
        g_autofree char *child = path ? g_build_filename(path, de->d_name, NULL) : g_strdup(de->d_name);
        ScanEntry *entry;
        struct stat st;
        Version version;

        if (fstatat(dir_fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return; /* gone meanwhile */
        if (S_ISDIR(st.st_mode)) {
                enter_directory(scan, dir_fd, de->d_name, child, depth + 1, entries);
                return;
        }
        if (!g_str_has_prefix(de->d_name, IMAGE_NAME_PREFIX) || !g_str_has_suffix(de->d_name, IMAGE_NAME_SUFFIX))
                return;
        if (!version_from_name(de->d_name, &version)) {
                tell(scan, child, "has no version in its name; name it " IMAGE_NAME_PREFIX "X.Y.ZZ" IMAGE_NAME_SUFFIX);
                return;
        }

        entry = g_new0(ScanEntry, 1);
        entry->path = g_steal_pointer(&child);
        entry->version = version;
        g_ptr_array_add(entries, entry);
}

static void scan_directory(const Scan *scan, int dir_fd, const char *path, unsigned depth, GPtrArray *entries) {
        struct dirent *de;
        DIR *dir;
        int fd;

        fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                tell_errno(scan, path, errno);
                if (fd >= 0)
                        close(fd);
                return;
        }

        rewinddir(dir);
        while ((de = readdir(dir)))
                if (de->d_name[0] != '.')
                        look_at(scan, dir_fd, path, de, depth, entries);
        closedir(dir);
}

GPtrArray *scan_images(const Scan *scan, int dir_fd) {
        GPtrArray *entries = g_ptr_array_new_with_free_func(free_entry);

        scan_directory(scan, dir_fd, NULL, 0, entries);
        g_ptr_array_sort(entries, compare_entries);
        return entries;
}
