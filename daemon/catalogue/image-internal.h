/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "catalogue/catalogue.h"
#include "catalogue/sigstruct.h"

/* For the files of this folder only. */

#define PAGE_BYTES 4096U

struct Image {
        unsigned n_ref;
        ImageFacts facts;               /* points into this object */
        char *verdict_text;
        Sigstruct sigstruct;
        Mapping mapping;
        int fd;                         /* sealed memfd; -1 when the image is not good enough to be used */
        size_t size;
        ImageFormat format;
        size_t module_offset;           /* 0: the header does not say */
        bool have_version;
        char *path;
        bool shadowed;
};

/* Sets the verdict, if there is none yet: the first finding is the one to report. */
void image_judge(Image *image, ImageVerdict verdict, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Everything but the version, on the bytes of the sealed copy. 0 or -errno. */
int image_check(Image *image, const uint8_t *bytes, const Trust *trust);
bool signer_is_intel(const uint8_t signer[static SIGNER_SIZE]);

/* What speaks for a version; NULL: says nothing. */
typedef struct VersionClaims {
        const KnownRelease *by_hash;
        const Version *by_name;         /* of the file */
        const Version *by_sigstruct;
        const Version *by_caller;
        bool intel;                     /* Intel's key signed it */
} VersionClaims;

typedef struct VersionAnswer {
        bool known;
        Version version;
        char *conflict;                 /* why it must not be trusted, or NULL; the caller frees it */
} VersionAnswer;

/* Pure. What the image is listed as, and whether all that is said about it agrees. */
VersionAnswer version_decide(const VersionClaims *claims);

#define IMAGE_NAME_PREFIX "tdx_module_"
#define IMAGE_NAME_SUFFIX ".blob"

/* "tdx_module_1.5.06.blob" */
bool version_from_name(const char *name, Version *ret);

void image_set_path(Image *image, const char *path);
void image_set_shadowed(Image *image);
void image_set_mapping(Image *image, const Mapping *mapping);  /* copies; NULL takes it away */

/* The bytes as they came, sealed; borrowed, -1 when it is not IMAGE_OK. */
int image_fd(const Image *image, size_t *ret_size);
