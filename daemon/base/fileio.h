/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads a whole file of unknown size, at most @limit bytes, into a NUL-terminated
 * buffer that the caller frees with g_free(). sysfs and procfs files report no size.
 * Returns 0, or -EFBIG when there is more than @limit, or the negative errno of
 * open(2) or read(2) as the kernel gave it (ENXIO and EBUSY are answers here).
 */
int read_file_at(int dir_fd, const char *path, size_t limit, char **ret, size_t *ret_size);

/*
 * Reads a file's first @size bytes, or as many as it has, and leaves its offset where it is.
 * 0 or -errno.
 */
int read_from_start(int fd, void *buffer, size_t size, size_t *ret_size);

/* As read_file_at(), for one line: the trailing newline is cut off. */
int read_line_at(int dir_fd, const char *path, char **ret);

/* One write(2) of the whole string, as sysfs wants it. 0 or -errno. */
int write_string_at(int dir_fd, const char *path, const char *text);

/* Reads a decimal number. -EBADMSG when the text is not just a number in range. */
int read_u64_at(int dir_fd, const char *path, uint64_t *ret);

/* Decimal digits only, no sign, no space, nothing after them. 0 or -EINVAL / -ERANGE. */
int parse_u64(const char *text, uint64_t *ret);

/*
 * The next range of a kernel CPU list ("0-3,8"); @p moves behind it. 1, 0 at the end of the list, or -EINVAL. An empty
 * list has no range, and a comma wants one behind it.
 */
int cpu_list_next(const char **p, uint64_t *ret_first, uint64_t *ret_last);

/* Counts the CPUs of a list that has at least one. 0 or -EINVAL. */
int parse_cpu_list(const char *text, unsigned *ret_count);
