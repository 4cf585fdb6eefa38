/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sys/types.h>

#include <glib.h>

#include "core/facts.h"

/*
 * One TDX module image. Its bytes are read once into a sealed memfd; everything
 * after that, the checks and the upload, works on that copy, so that what was
 * verified is what the kernel gets.
 */
typedef struct Image Image;

typedef enum ImageFormat {
        IMAGE_FORMAT_UNKNOWN,
        IMAGE_FORMAT_100,       /* as Intel publishes it */
        IMAGE_FORMAT_200,       /* as Linux takes it */
} ImageFormat;

/* Whom to trust: SHA-384 of the RSA modulus, little-endian bytes as stored in the SIGSTRUCT. */
typedef struct Trust {
        const uint8_t (*signers)[SIGNER_SIZE];  /* beside Intel's, which is built in and always trusted */
        size_t n_signers;
} Trust;

/*
 * Reads and verifies the image behind @fd. @fd must be a regular file; it stays the
 * caller's. @name: its file name without folders (carries the version), or NULL.
 * @claimed: the version that an import option names, or NULL.
 *
 * 0: *@ret is an image whose facts say what the verdict is; a bad image is an answer,
 *    not an error, and its facts hold whatever could still be read.
 * -errno: an accident (read error, no memory), or -EINVAL/-EISDIR/-ENXIO for what is no regular file.
 */
int image_read(int fd, const char *name, const Version *claimed, const Trust *trust, Image **ret);

Image *image_ref(Image *image);
Image *image_unref(Image *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Image, image_unref)

const ImageFacts *image_facts(const Image *image);              /* lives as long as the image */
ImageFormat image_format(const Image *image);
bool image_have_version(const Image *image);                    /* false: facts' version means nothing */
const char *image_path(const Image *image);                     /* "" when it came by descriptor */
bool image_shadowed(const Image *image);                        /* the same version stands in an earlier folder */
uint32_t image_date(const Image *image);                        /* 0x20240129: BCD yyyymmdd */
const uint8_t *image_seam_hash(const Image *image);             /* SEAM_HASH_SIZE bytes */
const uint8_t *image_signer(const Image *image);                /* SIGNER_SIZE bytes */

/*
 * The image in format 0x200, sealed, positioned at 0; a new descriptor that the caller closes.
 * Only for IMAGE_OK. @ret_size in bytes.
 */
int image_open_upload(const Image *image, int *ret_fd, size_t *ret_size);
