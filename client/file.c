/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/errors.h"
#include "base/limit.h"
#include "base/util.h"
#include "client/failure.h"
#include "client/file.h"

#define MOST MAX(LIMIT_IMAGE_SIZE, LIMIT_MAPPING_SIZE)

static int copy(int from, int to) {
        g_autofree char *buffer = g_malloc(64 * 1024);
        size_t left = MOST;

        while (left > 0) {
                ssize_t n = read(from, buffer, MIN(left, 64U * 1024));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                if (write(to, buffer, (size_t) n) != n)
                        return errno > 0 ? -errno : -EIO;
                left -= (size_t) n;
        }

        return 0;
}

/*
 * What is too large to be valid keeps only its size, for which the daemon will refuse it. The copy has the file's name,
 * since the name of an image carries its version; what is longer than a memfd's name may be (memfd_create(2)) carries none.
 */
static int sealed_copy(int from, const char *path, off_t size) {
        g_autofree char *name = g_path_get_basename(path);
        _cleanup_close_ int to = -1;
        int r;

        to = memfd_create(strlen(name) < 240 ? name : "file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (to < 0)
                return -errno;
        r = copy(from, to);
        if (r < 0)
                return r;
        if (size > MOST && ftruncate(to, size) < 0)
                return -errno;
        if (lseek(to, 0, SEEK_SET) < 0 ||
            fcntl(to, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;

        return steal_fd(&to);
}

static int failure_open(const Tdxctl *t, const char *path, int error) {
        g_autofree char *text = g_strdup_printf("%s cannot be read: %s", path, g_strerror(error));

        switch (error) {
        case ENOENT:
        case ENOTDIR:
                return failure_named(t, "FileNotFound", EXIT_NO_SUCH, text);
        case EACCES:
        case EPERM:
                return failure_named(t, "AccessDenied", EXIT_NOT_AUTHORISED, text);
        default:
                return failure_named(t, "IOError", EXIT_OTHER, text);
        }
}

int file_open(const Tdxctl *t, const char *path, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        if (t->options.transport == TRANSPORT_REMOTE)
                return failure(t, ERROR_INVALID_ARGS, "A file cannot be handed over ssh; copy it to %s and run tdxctl there",
                               t->options.host);

        /* Non-blocking, so that a FIFO does not hang it. */
        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno != ENXIO) /* a socket, or a device without a driver */
                return failure_open(t, path, errno);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return failure(t, ERROR_IMAGE_INVALID, "%s is no regular file; give the file itself", path);

        r = sealed_copy(fd, path, st.st_size);
        if (r < 0)
                return failure_open(t, path, -r);

        *ret_fd = r;
        return EXIT_DONE;
}

char *file_version(const char *path) {
        g_autofree char *name = g_path_get_basename(path);
        g_autoptr(GRegex) form = g_regex_new("^tdx_module_(\\d+\\.\\d+\\.\\d+)\\.blob$", G_REGEX_DOLLAR_ENDONLY, 0, NULL);
        g_autoptr(GMatchInfo) match = NULL;

        return g_regex_match(form, name, 0, &match) ? g_match_info_fetch(match, 1) : NULL;
}
