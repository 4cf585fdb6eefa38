/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include <glib.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>

#include "catalogue/sigstruct.h"

enum {
        OFFSET_MODULE_TYPE = 12,
        OFFSET_DATE = 20,
        OFFSET_SIGNED_1_END = 128,      /* the signature covers 0..127 and 900..2047 */
        OFFSET_MODULUS = 128,
        OFFSET_EXPONENT = 512,
        OFFSET_SIGNATURE = 516,
        OFFSET_SIGNED_2 = 900,
        OFFSET_SEAM_HASH = 900,
        OFFSET_SVN = 948,
        OFFSET_VERSION = 1000,          /* update u16, minor u8, major u8 */
        OFFSET_N_CPUS = 1024,
        OFFSET_CPUS = 1028,

        RSA_SIZE = 384,
        EXPONENT_SIZE = 4,
};

#define MODULE_TYPE_DEBUG (UINT32_C(1) << 31)

static const struct {
        const char *name;
        size_t offset;
        uint32_t value;
} constants[] = {
        { "header type", 0, 6 },
        { "header length", 4, 0xe1 },
        { "header version", 8, 0x10000 },
        { "vendor", 16, 0x8086 },
        { "size", 24, 0x200 },
        { "key size", 28, 0x60 },
        { "modulus size", 32, 0x60 },
        { "exponent size", 36, 1 },
        { "RSA exponent", OFFSET_EXPONENT, 65537 },
};

G_DEFINE_AUTO_CLEANUP_FREE_FUNC(gnutls_pubkey_t, gnutls_pubkey_deinit, NULL)

static int accident(int error) {
        return error == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -EIO;
}

int sha384(const void *data, size_t size, uint8_t ret[static SEAM_HASH_SIZE]) {
        int r;

        r = gnutls_hash_fast(GNUTLS_DIG_SHA384, data, size, ret);
        return r < 0 ? accident(r) : 0;
}

static char *check_form(const uint8_t *bytes) {
        uint32_t n_cpus = read_le32(bytes + OFFSET_N_CPUS);

        for (size_t i = 0; i < G_N_ELEMENTS(constants); i++) {
                uint32_t value = read_le32(bytes + constants[i].offset);

                if (value != constants[i].value)
                        return g_strdup_printf("the signature structure's %s is %#x and must be %#x",
                                               constants[i].name, value, constants[i].value);
        }
        if (n_cpus < 1 || n_cpus > SIGSTRUCT_MAX_CPUS)
                return g_strdup_printf("the signature structure lists %u CPUs and must list 1 to %u",
                                       n_cpus, SIGSTRUCT_MAX_CPUS);
        return NULL;
}

char *sigstruct_parse(const uint8_t bytes[static SIGSTRUCT_SIZE], Sigstruct *ret) {
        uint32_t n_cpus = read_le32(bytes + OFFSET_N_CPUS);

        *ret = (Sigstruct) {
                .debug = read_le32(bytes + OFFSET_MODULE_TYPE) & MODULE_TYPE_DEBUG,
                .date = read_le32(bytes + OFFSET_DATE),
                .svn = read_le16(bytes + OFFSET_SVN),
                .have_version = bytes[OFFSET_VERSION + 3] != 0,
                .version.update = read_le16(bytes + OFFSET_VERSION),
                .version.minor = bytes[OFFSET_VERSION + 2],
                .version.major = bytes[OFFSET_VERSION + 3],
                .n_cpus = n_cpus <= SIGSTRUCT_MAX_CPUS ? n_cpus : 0,
        };
        memcpy(ret->seam_hash, bytes + OFFSET_SEAM_HASH, SEAM_HASH_SIZE);
        for (size_t i = 0; i < ret->n_cpus; i++)
                ret->cpus[i] = read_le32(bytes + OFFSET_CPUS + 4 * i);
        if (sha384(bytes + OFFSET_MODULUS, RSA_SIZE, ret->signer) < 0)
                return g_strdup("the SHA-384 of its key cannot be computed: GnuTLS refuses");

        return check_form(bytes);
}

/* GnuTLS takes big-endian numbers. */
static void reverse(uint8_t *to, const uint8_t *from, size_t size) {
        for (size_t i = 0; i < size; i++)
                to[i] = from[size - 1 - i];
}

int sigstruct_verify(const uint8_t bytes[static SIGSTRUCT_SIZE], bool *ret_valid) {
        uint8_t modulus[RSA_SIZE], exponent[EXPONENT_SIZE], signature[RSA_SIZE];
        uint8_t data[OFFSET_SIGNED_1_END + SIGSTRUCT_SIZE - OFFSET_SIGNED_2];
        g_auto(gnutls_pubkey_t) key = NULL;
        int r;

        reverse(modulus, bytes + OFFSET_MODULUS, sizeof(modulus));
        reverse(exponent, bytes + OFFSET_EXPONENT, sizeof(exponent));
        reverse(signature, bytes + OFFSET_SIGNATURE, sizeof(signature));
        memcpy(data, bytes, OFFSET_SIGNED_1_END);
        memcpy(data + OFFSET_SIGNED_1_END, bytes + OFFSET_SIGNED_2, SIGSTRUCT_SIZE - OFFSET_SIGNED_2);

        r = gnutls_pubkey_init(&key);
        if (r < 0)
                return accident(r);

        r = gnutls_pubkey_import_rsa_raw(key,
                                         &(gnutls_datum_t) { modulus, sizeof(modulus) },
                                         &(gnutls_datum_t) { exponent, sizeof(exponent) });
        if (r >= 0)
                r = gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_RSA_SHA384, 0,
                                               &(gnutls_datum_t) { data, sizeof(data) },
                                               &(gnutls_datum_t) { signature, sizeof(signature) });
        if (r == GNUTLS_E_MEMORY_ERROR)
                return -ENOMEM;

        /* Every other failure is GnuTLS's way of saying no, to a key or to a signature. */
        *ret_valid = r >= 0;
        return 0;
}
