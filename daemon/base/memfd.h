/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stddef.h>

/* Memory with a descriptor, not executable where the kernel knows that. The descriptor, or -errno. */
int memfd_new(const char *name);

/* From here on nobody can change it. 0 or -errno. */
int memfd_seal(int fd);

/* 0 or -errno. */
int write_all(int fd, const void *data, size_t size);
