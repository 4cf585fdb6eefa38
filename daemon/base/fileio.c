/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/util.h"

int read_file_at(int dir_fd, const char *path, size_t limit, char **ret, size_t *ret_size) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        _cleanup_close_ int fd = -1;

        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;

        for (;;) {
                char buffer[4096];
                ssize_t n;

                n = read(fd, buffer, sizeof(buffer));
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                if (bytes->len + (size_t) n > limit)
                        return -EFBIG;
                g_byte_array_append(bytes, (uint8_t *) buffer, (unsigned) n);
        }

        if (ret_size)
                *ret_size = bytes->len;
        g_byte_array_append(bytes, (const uint8_t *) "", 1);
        *ret = (char *) g_byte_array_free(g_steal_pointer(&bytes), false);
        return 0;
}

int read_from_start(int fd, void *buffer, size_t size, size_t *ret_size) {
        size_t done = 0;

        while (done < size) {
                ssize_t n;

                n = pread(fd, (uint8_t *) buffer + done, size - done, (off_t) done);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                done += (size_t) n;
        }

        *ret_size = done;
        return 0;
}

int read_line_at(int dir_fd, const char *path, char **ret) {
        g_autofree char *text = NULL;
        int r;

        r = read_file_at(dir_fd, path, LIMIT_SYSFS_FILE, &text, NULL);
        if (r < 0)
                return r;

        text[strcspn(text, "\n")] = '\0';
        *ret = g_steal_pointer(&text);
        return 0;
}

int write_string_at(int dir_fd, const char *path, const char *text) {
        _cleanup_close_ int fd = -1;
        ssize_t n;

        fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;

        do
                n = write(fd, text, strlen(text));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        return (size_t) n == strlen(text) ? 0 : -EIO;
}

int parse_u64(const char *text, uint64_t *ret) {
        uint64_t value = 0;

        if (!*text)
                return -EINVAL;

        for (const char *p = text; *p; p++) {
                if (*p < '0' || *p > '9')
                        return -EINVAL;
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (*p - '0'), &value))
                        return -ERANGE;
        }

        *ret = value;
        return 0;
}

int read_u64_at(int dir_fd, const char *path, uint64_t *ret) {
        g_autofree char *line = NULL;
        int r;

        r = read_line_at(dir_fd, path, &line);
        if (r < 0)
                return r;

        return parse_u64(line, ret) < 0 ? -EBADMSG : 0;
}

static int take_number(const char **p, uint64_t *ret) {
        g_autofree char *digits = g_strndup(*p, strspn(*p, "0123456789"));

        *p += strlen(digits);
        return parse_u64(digits, ret) < 0 ? -EINVAL : 0;
}

int cpu_list_next(const char **p, uint64_t *ret_first, uint64_t *ret_last) {
        uint64_t first, last;

        if (!**p)
                return 0;

        if (take_number(p, &first) < 0)
                return -EINVAL;
        last = first;
        if (**p == '-') {
                (*p)++;
                if (take_number(p, &last) < 0)
                        return -EINVAL;
        }
        if (last < first || (**p && (**p != ',' || !*++*p)))
                return -EINVAL;

        *ret_first = first;
        *ret_last = last;
        return 1;
}

int parse_cpu_list(const char *text, unsigned *ret_count) {
        uint64_t first, last;
        unsigned count = 0;
        int r;

        while ((r = cpu_list_next(&text, &first, &last)) > 0) {
                if (last >= LIMIT_CPUS)
                        return -EINVAL;
                count += (unsigned) (last - first + 1);
        }
        if (r < 0 || count == 0)
                return -EINVAL;

        *ret_count = count;
        return 0;
}
