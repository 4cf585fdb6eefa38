/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "client/tdxctl.h"

/*
 * A sealed copy in memory of a regular file, to hand over to the daemon, which takes no
 * descriptor of a file system that could make it wait. Says what is wrong with it and
 * returns the exit status, EXIT_DONE with *@ret_fd.
 */
int file_open(const Tdxctl *t, const char *path, int *ret_fd);

/* The version in a name of the release tree's form (tdx_module_X.Y.ZZ.blob), or NULL. The caller frees it. */
char *file_version(const char *path);
