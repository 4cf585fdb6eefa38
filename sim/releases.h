/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include "sim/image.h"

/*
 * SEAM hash -> version, from the file names tdx_module_X.Y.ZZ.blob in release trees.
 * A 1.5 image does not carry its version, so somebody has to know.
 */
typedef struct Releases Releases;

/* @directories: NULL-terminated; may be NULL. */
Releases *releases_new(const char *const *directories);
Releases *releases_free(Releases *releases);

/* Looks again through the folders when the hash is new. */
bool releases_lookup(Releases *releases, const uint8_t hash[static SIM_HASH_SIZE], Version *ret);
