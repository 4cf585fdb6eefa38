/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memfd.h"
#include "base/util.h"
#include "catalogue/image-internal.h"

static void write_le16(uint8_t *p, uint16_t value) {
        p[0] = (uint8_t) value;
        p[1] = (uint8_t) (value >> 8);
}

static void write_le32(uint8_t *p, uint32_t value) {
        write_le16(p, (uint16_t) value);
        write_le16(p + 2, (uint16_t) (value >> 16));
}

/*
 * The header that Linux wants (arch/x86/virt/vmx/tdx/seamldr.c). Intel's signature does not cover the header,
 * so it may be replaced. @sum: of the words of the payload.
 */
static void make_header(const Image *image, uint16_t sum, uint8_t header[static PAGE_BYTES]) {
        memset(header, 0, PAGE_BYTES);
        write_le16(header, 0x200);
        memcpy(header + 4, "TDX-BLOB", 8);
        write_le32(header + 12, (uint32_t) (image->module_offset - PAGE_BYTES) / PAGE_BYTES);
        write_le32(header + 16, (uint32_t) (image->size - image->module_offset) / PAGE_BYTES);
        for (size_t i = 0; i < PAGE_BYTES; i += 2)
                sum = (uint16_t) (sum + read_le16(header + i));
        write_le16(header + 2, (uint16_t) -sum);
}

static int write_upload(const Image *image, const uint8_t *bytes, int fd) {
        uint8_t header[PAGE_BYTES];
        uint16_t sum = 0;
        int r;

        for (size_t i = PAGE_BYTES; i < image->size; i += 2)
                sum = (uint16_t) (sum + read_le16(bytes + i));
        make_header(image, sum, header);

        r = write_all(fd, header, sizeof(header));
        if (r < 0)
                return r;
        return write_all(fd, bytes + PAGE_BYTES, image->size - PAGE_BYTES);
}

/* A copy for each caller, so that nobody shares an offset with anybody; it takes less than a millisecond. */
int image_open_upload(const Image *image, int *ret_fd, size_t *ret_size) {
        _cleanup_close_ int fd = -1;
        void *bytes;
        int r;

        if (image->facts.verdict != IMAGE_OK)
                return -EBADMSG;

        fd = memfd_new("tdx-upload");
        if (fd < 0)
                return fd;
        bytes = mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, image->fd, 0);
        if (bytes == MAP_FAILED)
                return -errno;
        r = write_upload(image, bytes, fd);
        munmap(bytes, image->size);
        if (r < 0)
                return r;
        r = memfd_seal(fd);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;

        *ret_fd = steal_fd(&fd);
        *ret_size = image->size;
        return 0;
}
