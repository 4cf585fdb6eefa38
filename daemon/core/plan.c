/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "core/plan.h"

static int refuse(const Blocker *blocker, ErrorId *ret_error, char **ret_text) {
        *ret_error = blocker_error(blocker->id);
        *ret_text = g_strdup(blocker->text);
        return -1;
}

static int newest_of_line(const HostFacts *host, const ImageFacts *const images[], size_t n, Version below) {
        int best = -1;

        for (size_t i = 0; i < n; i++) {
                Version v = images[i]->version;

                if (!version_same_line(v, host->running) || version_compare(v, host->running) <= 0 ||
                    version_compare(v, below) >= 0)
                        continue;
                if (best < 0 || version_compare(v, images[best]->version) > 0)
                        best = (int) i;
        }

        return best;
}

int select_newest(const HostFacts *host, const ImageFacts *const images[], size_t n, const Policy *policy,
                  ErrorId *ret_error, char **ret_text) {
        g_auto(BlockerList) own = {}, first = {};
        Version below = { UINT16_MAX, UINT16_MAX, UINT16_MAX };
        const Blocker *refusal;
        int candidate;

        eligibility_evaluate(host, NULL, policy, &own);
        refusal = blocker_list_refusal(&own);
        if (refusal && (refusal->id == BLOCKER_MODULE_LOST || refusal->id == BLOCKER_UNSUPPORTED))
                return refuse(refusal, ret_error, ret_text);

        /* An older one that fits beats a newer one that does not. */
        while ((candidate = newest_of_line(host, images, n, below)) >= 0) {
                g_auto(BlockerList) list = {};

                eligibility_evaluate(host, images[candidate], policy, &list);
                if (!blocker_list_refusal(&list))
                        return candidate;
                if (first.n == 0) {
                        first = list;
                        list = (BlockerList) {};
                }
                below = images[candidate]->version;
        }

        refusal = blocker_list_refusal(&first);
        if (refusal)
                return refuse(refusal, ret_error, ret_text);

        if (n == 0) {
                *ret_error = ERROR_NO_SUCH_VERSION;
                *ret_text = g_strdup("The catalogue has no image; import one, or install your vendor's package of TDX modules");
        } else {
                *ret_error = ERROR_ALREADY_CURRENT;
                *ret_text = g_strdup_printf("The catalogue has nothing newer for the running %s", VERSION_STRING(host->running));
        }
        return -1;
}

char *plan_token(const uint8_t hash[static SEAM_HASH_SIZE], Version running, const char *configuration) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        char version[VERSION_STRING_MAX];

        version_format(running, version);
        g_checksum_update(sum, hash, SEAM_HASH_SIZE);
        g_checksum_update(sum, (const uint8_t *) version, (gssize) strlen(version) + 1);
        g_checksum_update(sum, (const uint8_t *) configuration, (gssize) strlen(configuration));

        return g_strdup(g_checksum_get_string(sum));
}
