/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/memfd.h"
#include "base/util.h"
#include "catalogue/image-internal.h"

/*
 * Copies at most @size bytes: never more is read than fstat(2) said, since a file of procfs that would block
 * has the size 0.
 */
static int copy_to_memfd(int fd, size_t size, size_t *ret_size) {
        g_autofree uint8_t *buffer = g_malloc(MAX(size, 1));
        _cleanup_close_ int memfd = -1;
        size_t done;
        int r;

        r = read_from_start(fd, buffer, size, &done);
        if (r < 0)
                return r;

        memfd = memfd_new("tdx-image");
        if (memfd < 0)
                return memfd;
        r = write_all(memfd, buffer, done);
        if (r < 0)
                return r;
        r = memfd_seal(memfd);
        if (r < 0)
                return r;

        *ret_size = done;
        return steal_fd(&memfd);
}

static int check_regular(int fd, size_t *ret_size) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
                return -ENXIO;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;

        *ret_size = (size_t) st.st_size;
        return 0;
}

static int check_copy(Image *image, const Trust *trust) {
        void *bytes;
        int r;

        if (image->size == 0) {
                static const uint8_t nothing[1];

                return image_check(image, nothing, trust);
        }

        bytes = mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, image->fd, 0);
        if (bytes == MAP_FAILED)
                return -errno;
        r = image_check(image, bytes, trust);
        munmap(bytes, image->size);
        return r;
}

static void judge_version(Image *image, const char *name, const Version *claimed) {
        bool signed_facts = image->facts.n_cpus > 0;
        Version by_name;
        VersionClaims claims = {
                .by_hash = known_release_by_hash(image->sigstruct.seam_hash),
                .by_name = version_from_name(name, &by_name) ? &by_name : NULL,
                .by_sigstruct = signed_facts && image->sigstruct.have_version ? &image->sigstruct.version : NULL,
                .by_caller = claimed,
                /* A debug build has the version of its release and another hash. */
                .intel = signer_is_intel(image->sigstruct.signer) && !image->sigstruct.debug,
        };
        VersionAnswer answer = version_decide(&claims);

        image->have_version = answer.known;
        image->facts.version = answer.version;
        if (answer.conflict)
                image_judge(image, IMAGE_UNTRUSTED, "%s", answer.conflict);
        g_free(answer.conflict);
}

int image_read(int fd, const char *name, const Version *claimed, const Trust *trust, Image **ret) {
        g_autoptr(Image) image = NULL;
        size_t size = 0;
        int r;

        r = check_regular(fd, &size);
        if (r < 0)
                return r;

        image = g_new0(Image, 1);
        image->n_ref = 1;
        image->fd = -1;
        if (size > LIMIT_IMAGE_SIZE)
                image_judge(image, IMAGE_INVALID, "it has %zu bytes, more than any TDX module image may have (%u); "
                            "it is something else", size, LIMIT_IMAGE_SIZE);
        else {
                image->fd = copy_to_memfd(fd, size, &image->size);
                if (image->fd < 0)
                        return image->fd;
                r = check_copy(image, trust);
                if (r < 0)
                        return r;
        }

        judge_version(image, name, claimed);
        if (image->facts.verdict != IMAGE_OK)
                closep(&image->fd);

        *ret = g_steal_pointer(&image);
        return 0;
}

Image *image_ref(Image *image) {
        image->n_ref++;
        return image;
}

Image *image_unref(Image *image) {
        if (!image || --image->n_ref > 0)
                return NULL;

        image_set_mapping(image, NULL);
        closep(&image->fd);
        g_free(image->verdict_text);
        g_free(image->path);
        g_free(image);
        return NULL;
}

void image_set_path(Image *image, const char *path) {
        g_free(image->path);
        image->path = g_strdup(path);
}

void image_set_shadowed(Image *image) {
        image->shadowed = true;
}

void image_set_mapping(Image *image, const Mapping *mapping) {
        Mapping copy = {};

        if (mapping) {
                copy = *mapping;
                copy.min_seamldr = g_memdup2(mapping->min_seamldr, mapping->n_min_seamldr * sizeof(Version));
        }

        g_free((void *) image->mapping.min_seamldr);
        image->mapping = copy;
        image->facts.mapping = mapping ? &image->mapping : NULL;
}

int image_fd(const Image *image, size_t *ret_size) {
        *ret_size = image->size;
        return image->fd;
}

const ImageFacts *image_facts(const Image *image) {
        return &image->facts;
}

ImageFormat image_format(const Image *image) {
        return image->format;
}

bool image_have_version(const Image *image) {
        return image->have_version;
}

const char *image_path(const Image *image) {
        return image->path ?: "";
}

bool image_shadowed(const Image *image) {
        return image->shadowed;
}

uint32_t image_date(const Image *image) {
        return image->sigstruct.date;
}

const uint8_t *image_seam_hash(const Image *image) {
        return image->sigstruct.seam_hash;
}

const uint8_t *image_signer(const Image *image) {
        return image->sigstruct.signer;
}
