/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "catalogue/catalogue.h"
#include "catalogue/sigstruct.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * The first byte chooses what is repaired, since no fuzzer finds a checksum or a hash by chance: a good header
 * of either format with the right sizes, the SEAM hash, the checksum. The input is put behind the header then.
 */
enum {
        REPAIR_HEADER = 1 << 0,
        FORMAT_200 = 1 << 1,
        REPAIR_HASH = 1 << 2,
        REPAIR_CHECKSUM = 1 << 3,
        WITH_NAME = 1 << 4,
        WITH_CLAIM = 1 << 5,
};

static void put_le32(uint8_t *p, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                p[i] = (uint8_t) (value >> 8 * i);
}

static GByteArray *build(uint8_t what, const uint8_t *data, size_t size) {
        GByteArray *image = g_byte_array_new();
        size_t pages;

        if (!(what & REPAIR_HEADER)) {
                g_byte_array_append(image, data, (unsigned) size);
                return image;
        }

        pages = MAX((size + 4095) / 4096, 2);
        g_byte_array_set_size(image, (unsigned) ((1 + pages) * 4096));
        memset(image->data, 0, image->len);
        memcpy(image->data + 4096, data, size);
        image->data[1] = what & FORMAT_200 ? 2 : 1;
        memcpy(image->data + (what & FORMAT_200 ? 4 : 8), "TDX-BLOB", 8);
        if (what & FORMAT_200) {
                put_le32(image->data + 12, 1);
                put_le32(image->data + 16, (uint32_t) pages - 1);
        } else {
                put_le32(image->data + 4, 8192);
                put_le32(image->data + 16, image->len);
        }
        return image;
}

static void repair(uint8_t what, GByteArray *image) {
        uint16_t sum = 0;

        if (what & REPAIR_HASH && image->len > 8192 && sha384(image->data + 8192, image->len - 8192, image->data + 4096 + 900) < 0)
                abort();
        if (!(what & REPAIR_CHECKSUM) || image->len < 4)
                return;

        image->data[2] = image->data[3] = 0;
        for (size_t i = 0; i + 1 < image->len; i += 2)
                sum = (uint16_t) (sum + read_le16(image->data + i));
        image->data[2] = (uint8_t) -sum;
        image->data[3] = (uint8_t) ((uint16_t) -sum >> 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint8_t nobody[1][SIGNER_SIZE];
        g_autoptr(GByteArray) bytes = NULL;
        g_autoptr(Image) image = NULL;
        const Trust trust = { nobody, 1 };
        const Version claim = { 1, 5, 6 };
        _cleanup_close_ int fd = -1, upload = -1;
        size_t upload_size;

        if (size < 1)
                return 0;

        bytes = build(data[0], data + 1, size - 1);
        repair(data[0], bytes);
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        if (fd < 0 || write(fd, bytes->data, bytes->len) != (ssize_t) bytes->len)
                abort();
        if (image_read(fd, data[0] & WITH_NAME ? "tdx_module_1.5.06.blob" : NULL, data[0] & WITH_CLAIM ? &claim : NULL,
                       &trust, &image) < 0)
                abort();

        /* Nobody can sign: whatever is accepted here is a forgery. A refusal says why. */
        if (image_facts(image)->verdict == IMAGE_OK || !image_facts(image)->verdict_text)
                abort();
        if (image_open_upload(image, &upload, &upload_size) >= 0)
                abort();
        return 0;
}
