/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/version.h"

/*
 * What the kernel and the P-SEAMLDR see in an uploaded image. Written apart from the
 * daemon's own checks on purpose: one mistake must not hide in both.
 */
#define SIM_PAGE 4096U
#define SIM_HASH_SIZE 48U
#define SIM_MAX_CPUS 255U

typedef struct SimImage {
        const char *refused;            /* by the kernel, before anything happens; NULL: its checks passed */
        bool hash_ok;                   /* the SEAM hash is that of the module */
        bool signature_ok;              /* RSA verifies with the modulus in the image */
        uint8_t hash[SIM_HASH_SIZE];    /* of the module's pages */
        uint32_t cpus[SIM_MAX_CPUS];    /* CPUID.1:EAX */
        size_t n_cpus;
        bool known;                     /* some release tree names this hash */
        Version version;
} SimImage;

/* Everything but known and version. Never fails: a bad image is an answer. */
void sim_image_inspect(const uint8_t *data, size_t size, SimImage *ret);

/* SHA-384 of the module in a file's bytes, of either format. 0 or -EBADMSG. */
int sim_image_hash(const uint8_t *data, size_t size, uint8_t ret[static SIM_HASH_SIZE]);
