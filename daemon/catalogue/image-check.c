/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>
#include <string.h>

#include "base/limit.h"
#include "catalogue/image-internal.h"

#define MAGIC "TDX-BLOB"
#define MAGIC_SIZE 8U
#define HEADER_SIZE PAGE_BYTES
#define RESERVED_OFFSET 20U             /* in both formats */
#define AGAIN "; download it again"

/* SHA-384 of the modulus of every release that Intel has published. */
static const uint8_t intel_signer[SIGNER_SIZE] = {
        0xc8, 0x57, 0x2f, 0x54, 0x88, 0x69, 0xa0, 0xbe, 0xca, 0x19, 0x37, 0x6b, 0x81, 0xc2, 0xdf, 0xfc,
        0x2a, 0x23, 0xb5, 0xa5, 0xf7, 0x1d, 0xa0, 0xb8, 0x75, 0x79, 0xb4, 0x3f, 0x40, 0x8d, 0xaa, 0x1a,
        0x33, 0xba, 0xd9, 0xc1, 0x49, 0xeb, 0x56, 0xc6, 0x34, 0xf8, 0x83, 0x73, 0x79, 0x68, 0xa3, 0x4c,
};

void image_judge(Image *image, ImageVerdict verdict, const char *format, ...) {
        va_list arguments;

        if (image->facts.verdict != IMAGE_OK)
                return;

        va_start(arguments, format);
        image->verdict_text = g_strdup_vprintf(format, arguments);
        va_end(arguments);
        image->facts.verdict = verdict;
        image->facts.verdict_text = image->verdict_text;
}

bool signer_is_intel(const uint8_t signer[static SIGNER_SIZE]) {
        return memcmp(signer, intel_signer, SIGNER_SIZE) == 0;
}

static bool signer_is_trusted(const uint8_t *signer, const Trust *trust) {
        if (signer_is_intel(signer))
                return true;

        for (size_t i = 0; trust && i < trust->n_signers; i++)
                if (memcmp(signer, trust->signers[i], SIGNER_SIZE) == 0)
                        return true;

        return false;
}

static bool all_zero(const uint8_t *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;

        return true;
}

#define INVALID(image, ...) (image_judge((image), IMAGE_INVALID, __VA_ARGS__), false)

static bool check_pages(Image *image, uint64_t sigstruct_pages, uint64_t module_pages) {
        if (sigstruct_pages == 0)
                return INVALID(image, "its header leaves no room for a signature structure" AGAIN);
        if (sigstruct_pages > LIMIT_SIGSTRUCT_PAGES)
                return INVALID(image, "its signature structure takes %" G_GUINT64_FORMAT " pages and Linux takes "
                               "at most %u; this kernel cannot load it", sigstruct_pages, LIMIT_SIGSTRUCT_PAGES);
        if (module_pages == 0)
                return INVALID(image, "its header says that it holds no module" AGAIN);
        if (module_pages > LIMIT_IMAGE_PAGES)
                return INVALID(image, "its module takes %" G_GUINT64_FORMAT " pages and Linux takes at most %u; "
                               "this kernel cannot load it", module_pages, LIMIT_IMAGE_PAGES);
        return true;
}

static bool check_size(Image *image, uint64_t expected) {
        if (image->size < expected)
                return INVALID(image, "it was cut off: it has %zu bytes and its header says %" G_GUINT64_FORMAT AGAIN,
                               image->size, expected);
        if (image->size > expected)
                return INVALID(image, "something follows it: it has %zu bytes and its header says %" G_GUINT64_FORMAT
                               AGAIN, image->size, expected);
        return true;
}

static bool check_header_100(Image *image, const uint8_t *bytes) {
        uint32_t offset = read_le32(bytes + 4), length = read_le32(bytes + 16);

        if (!check_size(image, length))
                return false;
        if (offset % PAGE_BYTES != 0)
                return INVALID(image, "its header puts the module at byte %u, which is not a multiple of %u" AGAIN,
                               offset, PAGE_BYTES);
        if (offset < HEADER_SIZE + PAGE_BYTES)
                return INVALID(image, "its header puts the module at byte %u, before the end of the signature "
                               "structure" AGAIN, offset);
        if (offset > length)
                return INVALID(image, "its header puts the module at byte %u, behind the end of the file (%u)" AGAIN,
                               offset, length);
        if (length % PAGE_BYTES != 0)
                return INVALID(image, "its module has %u bytes, which is not a multiple of %u" AGAIN,
                               length - offset, PAGE_BYTES);
        if (!check_pages(image, (offset - HEADER_SIZE) / PAGE_BYTES, (length - offset) / PAGE_BYTES))
                return false;

        image->module_offset = offset;
        return true;
}

static bool check_header_200(Image *image, const uint8_t *bytes) {
        uint64_t sigstruct_pages = read_le32(bytes + 12), module_pages = read_le32(bytes + 16);

        if (!check_pages(image, sigstruct_pages, module_pages) ||
            !check_size(image, HEADER_SIZE + PAGE_BYTES * (sigstruct_pages + module_pages)))
                return false;

        image->module_offset = HEADER_SIZE + PAGE_BYTES * sigstruct_pages;
        return true;
}

static uint16_t word_sum(const uint8_t *bytes, size_t size) {
        uint16_t sum = 0;

        for (size_t i = 0; i + 1 < size; i += 2)
                sum = (uint16_t) (sum + read_le16(bytes + i));

        return sum;
}

/* Both formats begin with their version; the magic stands at 8 or at 4. */
static bool check_header(Image *image, const uint8_t *bytes) {
        uint16_t version, sum;

        if (image->size == 0)
                return INVALID(image, "the file is empty" AGAIN);
        if (image->size < HEADER_SIZE)
                return INVALID(image, "it was cut off: it has %zu bytes and the header alone has %u" AGAIN,
                               image->size, HEADER_SIZE);

        version = read_le16(bytes);
        if (version != 0x100 && version != 0x200)
                return INVALID(image, "it is no TDX module image, or of a later format: its format is %#x, and "
                               "0x100 and 0x200 are known", version);
        if (memcmp(bytes + (version == 0x100 ? 8 : 4), MAGIC, MAGIC_SIZE) != 0)
                return INVALID(image, "it is no TDX module image: \"" MAGIC "\" is not in its header");

        image->format = version == 0x100 ? IMAGE_FORMAT_100 : IMAGE_FORMAT_200;
        if (!(version == 0x100 ? check_header_100 : check_header_200)(image, bytes))
                return false;
        if (!all_zero(bytes + RESERVED_OFFSET, HEADER_SIZE - RESERVED_OFFSET))
                return INVALID(image, "the reserved part of its header is not zero" AGAIN);

        sum = word_sum(bytes, image->size);
        if (sum != 0)
                return INVALID(image, "its checksum is wrong (the words add up to %#x and must add up to 0): "
                               "it is damaged" AGAIN, sum);
        return true;
}

static void take_facts(Image *image) {
        image->facts.debug = image->sigstruct.debug;
        image->facts.svn = image->sigstruct.svn;
        image->facts.cpus = image->sigstruct.cpus;
        image->facts.n_cpus = image->sigstruct.n_cpus;
}

static int check_module(Image *image, const uint8_t *bytes) {
        uint8_t hash[SEAM_HASH_SIZE];
        int r;

        r = sha384(bytes + image->module_offset, image->size - image->module_offset, hash);
        if (r < 0)
                return r;
        if (memcmp(hash, image->sigstruct.seam_hash, SEAM_HASH_SIZE) != 0)
                image_judge(image, IMAGE_INVALID, "the SEAM hash in its signature structure is not that of its module: "
                            "it is damaged or was changed" AGAIN);
        return 0;
}

static int check_signature(Image *image, const uint8_t *bytes, const Trust *trust) {
        bool valid;
        int r;

        r = sigstruct_verify(bytes + HEADER_SIZE, &valid);
        if (r < 0)
                return r;
        if (!valid)
                image_judge(image, IMAGE_UNTRUSTED, "its signature is wrong: what was signed is not what it holds; "
                            "get it from Intel again");
        else if (!signer_is_trusted(image->sigstruct.signer, trust))
                image_judge(image, IMAGE_UNTRUSTED, "it is signed by a key that is not Intel's and that the "
                            "configuration does not trust; get it from Intel");
        return 0;
}

int image_check(Image *image, const uint8_t *bytes, const Trust *trust) {
        g_autofree char *problem = NULL;
        bool header;
        int r;

        header = check_header(image, bytes);
        if (image->format == IMAGE_FORMAT_UNKNOWN || image->size < HEADER_SIZE + SIGSTRUCT_SIZE)
                return 0;

        /* The facts are told even if the image is bad. Its signature structure is at the same place in every image. */
        problem = sigstruct_parse(bytes + HEADER_SIZE, &image->sigstruct);
        take_facts(image);
        if (!header)
                return 0;
        if (problem)
                image_judge(image, IMAGE_INVALID, "%s" AGAIN, problem);
        if (!all_zero(bytes + HEADER_SIZE + SIGSTRUCT_SIZE, image->module_offset - HEADER_SIZE - SIGSTRUCT_SIZE))
                image_judge(image, IMAGE_INVALID, "the padding behind its signature structure is not zero" AGAIN);

        r = check_module(image, bytes);
        if (r < 0)
                return r;
        return check_signature(image, bytes, trust);
}
