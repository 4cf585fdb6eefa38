/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "base/limit.h"
#include "catalogue/image-internal.h"

bool version_from_name(const char *name, Version *ret) {
        char text[LIMIT_VERSION_LENGTH];
        size_t length;

        if (!name || !g_str_has_prefix(name, IMAGE_NAME_PREFIX) || !g_str_has_suffix(name, IMAGE_NAME_SUFFIX))
                return false;

        name += strlen(IMAGE_NAME_PREFIX);
        length = strlen(name);
        if (length < strlen(IMAGE_NAME_SUFFIX))
                return false;
        length -= strlen(IMAGE_NAME_SUFFIX);
        if (length >= sizeof(text))
                return false;
        memcpy(text, name, length);
        text[length] = '\0';

        return version_parse(text, ret) >= 0;
}

static char *check_known(const KnownRelease *known, Version version, const char *said_by) {
        if (version_compare(known->version, version) == 0)
                return NULL;

        return g_strdup_printf("it holds Intel's release %s (by its SEAM hash) but %s says %s; "
                               "give it its right version or remove it",
                               VERSION_STRING(known->version), said_by, VERSION_STRING(version));
}

/*
 * A release that is in the table has one SEAM hash. Another hash under Intel's own signature is therefore
 * another release, only its name is wrong. (Other signers' modules may carry the versions of Intel's.)
 */
static char *check_unknown(const VersionClaims *claims, Version version) {
        const KnownRelease *known = known_release_by_version(version);

        if (!known || !claims->intel)
                return NULL;

        return g_strdup_printf("Intel signed it, but it is not Intel's release %s (its SEAM hash is another one); "
                               "give it its right version or remove it", VERSION_STRING(version));
}

VersionAnswer version_decide(const VersionClaims *claims) {
        const struct {
                const Version *version;
                const char *said_by;
        } voices[] = {
                { claims->by_name, "its file name" },
                { claims->by_caller, "the version given with it" },
                { claims->by_sigstruct, "its signature structure" },
        };
        VersionAnswer answer = {};
        const char *first = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(voices); i++) {
                if (!voices[i].version)
                        continue;
                if (!first) {
                        first = voices[i].said_by;
                        answer.known = true;
                        answer.version = *voices[i].version;
                } else if (!answer.conflict && version_compare(answer.version, *voices[i].version) != 0)
                        answer.conflict = g_strdup_printf("%s says version %s but %s says %s; "
                                                          "give it its right version or remove it",
                                                          first, VERSION_STRING(answer.version),
                                                          voices[i].said_by, VERSION_STRING(*voices[i].version));
                if (!answer.conflict && claims->by_hash)
                        answer.conflict = check_known(claims->by_hash, *voices[i].version, voices[i].said_by);
        }

        if (!answer.known && claims->by_hash) {
                answer.known = true;
                answer.version = claims->by_hash->version;
        }
        if (!answer.known)
                answer.conflict = g_strdup("its version is not known: its SEAM hash is no known release's, its "
                                           "signature structure does not carry it and it did not come under a name like "
                                           IMAGE_NAME_PREFIX "X.Y.ZZ" IMAGE_NAME_SUFFIX
                                           "; give the version with it, as Intel's release notes name it");
        else if (!answer.conflict && !claims->by_hash)
                answer.conflict = check_unknown(claims, answer.version);

        return answer;
}
