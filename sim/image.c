/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include <glib.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>

#include "sim/image.h"

#define MAX_SIG_PAGES 1U        /* seamldr.c: SEAMLDR_MAX_NR_SIG_PAGES */
#define MAX_MODULE_PAGES 496U   /* seamldr.c: SEAMLDR_MAX_NR_MODULE_PAGES */

static uint16_t read16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static uint32_t read32(const uint8_t *p) {
        return read16(p) | (uint32_t) read16(p + 2) << 16;
}

static bool all_zero(const uint8_t *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (p[i])
                        return false;
        return true;
}

/* In the order of the kernel's own function; each of them is -EINVAL there. */
static const char *check_header(const uint8_t *data, size_t size) {
        uint32_t sig_pages, module_pages;

        if (size < SIM_PAGE)
                return "shorter than its header";

        sig_pages = read32(data + 12);
        module_pages = read32(data + 16);
        if ((uint32_t) (SIM_PAGE + sig_pages * SIM_PAGE + module_pages * SIM_PAGE) != size)
                return "its length is not what the header says";
        if (read16(data) != 0x200)
                return "not format 0x200";
        if (sig_pages > MAX_SIG_PAGES || module_pages > MAX_MODULE_PAGES)
                return "too many pages";
        if (memcmp(data + 4, "TDX-BLOB", 8) != 0)
                return "no TDX-BLOB signature";
        if (!all_zero(data + 20, SIM_PAGE - 20))
                return "reserved bytes are not zero";

        return NULL;
}

static void reverse(uint8_t *to, const uint8_t *from, size_t n) {
        for (size_t i = 0; i < n; i++)
                to[i] = from[n - 1 - i];
}

/* RSA-3072, PKCS #1 v1.5, SHA-384 over bytes 0..127 and 900..2047 of the SIGSTRUCT. */
static bool verify_signature(const uint8_t *sig) {
        uint8_t modulus[384], exponent[4], signature[384], signed_part[128 + 1148];
        gnutls_datum_t m = { modulus, sizeof(modulus) };
        gnutls_datum_t e = { exponent, sizeof(exponent) };
        gnutls_datum_t s = { signature, sizeof(signature) };
        gnutls_datum_t text = { signed_part, sizeof(signed_part) };
        gnutls_pubkey_t key;
        bool ok;

        reverse(modulus, sig + 128, sizeof(modulus));
        reverse(exponent, sig + 512, sizeof(exponent));
        reverse(signature, sig + 516, sizeof(signature));
        memcpy(signed_part, sig, 128);
        memcpy(signed_part + 128, sig + 900, 1148);

        if (gnutls_pubkey_init(&key) < 0)
                return false;
        ok = gnutls_pubkey_import_rsa_raw(key, &m, &e) >= 0 &&
             gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_RSA_SHA384, 0, &text, &s) >= 0;
        gnutls_pubkey_deinit(key);
        return ok;
}

static void read_cpus(const uint8_t *sig, SimImage *ret) {
        ret->n_cpus = MIN(read32(sig + 1024), SIM_MAX_CPUS);
        for (size_t i = 0; i < ret->n_cpus; i++)
                ret->cpus[i] = read32(sig + 1028 + 4 * i);
}

void sim_image_inspect(const uint8_t *data, size_t size, SimImage *ret) {
        const uint8_t *sig = data + SIM_PAGE;
        size_t offset;

        *ret = (SimImage) { .refused = check_header(data, size) };
        if (ret->refused)
                return;

        /* The kernel lets an image without a SIGSTRUCT pass; the P-SEAMLDR does not. */
        if (read32(data + 12) != 1)
                return;

        offset = 2 * SIM_PAGE;
        if (gnutls_hash_fast(GNUTLS_DIG_SHA384, data + offset, size - offset, ret->hash) < 0)
                return;
        ret->hash_ok = memcmp(ret->hash, sig + 900, SIM_HASH_SIZE) == 0;
        ret->signature_ok = verify_signature(sig);
        read_cpus(sig, ret);
}

int sim_image_hash(const uint8_t *data, size_t size, uint8_t ret[static SIM_HASH_SIZE]) {
        size_t offset;

        if (size < SIM_PAGE)
                return -EBADMSG;

        if (read16(data) == 0x200)
                offset = SIM_PAGE + (size_t) read32(data + 12) * SIM_PAGE;
        else if (read16(data) == 0x100)
                offset = read32(data + 4);
        else
                return -EBADMSG;

        if (offset < SIM_PAGE || offset >= size)
                return -EBADMSG;

        return gnutls_hash_fast(GNUTLS_DIG_SHA384, data + offset, size - offset, ret) < 0 ? -EBADMSG : 0;
}
