/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "catalogue/catalogue.h"
#include "catalogue/known-releases.h"

const KnownRelease *known_release_by_hash(const uint8_t hash[static SEAM_HASH_SIZE]) {
        for (size_t i = 0; i < G_N_ELEMENTS(known_releases); i++)
                if (memcmp(known_releases[i].seam_hash, hash, SEAM_HASH_SIZE) == 0)
                        return &known_releases[i];

        return NULL;
}

const KnownRelease *known_release_by_version(Version version) {
        for (size_t i = 0; i < G_N_ELEMENTS(known_releases); i++)
                if (version_compare(known_releases[i].version, version) == 0)
                        return &known_releases[i];

        return NULL;
}
