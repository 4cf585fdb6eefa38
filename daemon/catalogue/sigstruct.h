/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/facts.h"

/*
 * Intel's signature structure: what the P-SEAMLDR checks an image by. It carries the
 * key, the signature, the hash of the module and the facts that Intel vouches for.
 * Layout: Intel's blob_structure.txt; little-endian throughout.
 */
#define SIGSTRUCT_SIZE      2048U
#define SIGSTRUCT_MAX_CPUS  255U

typedef struct Sigstruct {
        bool debug;                     /* module type bit 31 */
        uint32_t date;                  /* BCD yyyymmdd */
        uint16_t svn;
        uint8_t seam_hash[SEAM_HASH_SIZE];
        uint8_t signer[SIGNER_SIZE];    /* SHA-384 of the modulus as stored */
        bool have_version;              /* 2.0 structures carry it, 1.5 ones have zeros there */
        Version version;
        uint32_t cpus[SIGSTRUCT_MAX_CPUS];
        size_t n_cpus;
} Sigstruct;

/*
 * Reads the fields, whatever they are. Returns NULL when the structure has the form that it must have,
 * else what is wrong with it, which the caller frees. *@ret holds what could be read in both cases.
 */
char *sigstruct_parse(const uint8_t bytes[static SIGSTRUCT_SIZE], Sigstruct *ret);

/*
 * Is the signature right, by the key in the structure itself? Says nothing about whose key it is.
 * 0, or -errno for an accident.
 */
int sigstruct_verify(const uint8_t bytes[static SIGSTRUCT_SIZE], bool *ret_valid);

/* SHA-384. 0 or -errno. */
int sha384(const void *data, size_t size, uint8_t ret[static SEAM_HASH_SIZE]);

static inline uint16_t read_le16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static inline uint32_t read_le32(const uint8_t *p) {
        return (uint32_t) read_le16(p) | (uint32_t) read_le16(p + 2) << 16;
}
