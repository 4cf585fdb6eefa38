/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/version.h"

/*
 * What is known: plain values, filled by the catalogue and the platform, read by
 * the pure rules in this folder. Nothing here owns what it points to.
 */

#define SEAM_HASH_SIZE 48U      /* SHA-384 */
#define SIGNER_SIZE    48U      /* SHA-384 of the modulus */

typedef enum ImageVerdict {
        IMAGE_OK,
        IMAGE_INVALID,          /* its form is wrong: header, checksum, sizes, hash, fields */
        IMAGE_UNTRUSTED,        /* its form is right, its signature, signer or version is not */
        _IMAGE_VERDICT_MAX,
} ImageVerdict;

/* One line of Intel's mapping_file.json. */
typedef struct Mapping {
        Version version;
        Version min_module;     /* min_module_version_for_td_preserving */
        const Version *min_seamldr;
        size_t n_min_seamldr;
        uint64_t features0;     /* tdx_feature0 */
} Mapping;

typedef struct ImageFacts {
        Version version;
        ImageVerdict verdict;
        const char *verdict_text;       /* what is wrong and what to do, when not IMAGE_OK */
        bool debug;                     /* SIGSTRUCT module type bit 31 */
        uint16_t svn;                   /* SEAM SVN, high byte major */
        const uint32_t *cpus;           /* CPUID.1:EAX of the supported CPUs */
        size_t n_cpus;
        const Mapping *mapping;         /* NULL: no mapping file knows this version */
} ImageFacts;

#define FEATURES0_TD_PRESERVING (UINT64_C(1) << 1)
#define FEATURES0_UPDATE_COMPAT (UINT64_C(1) << 47)

typedef struct HostFacts {
        const char *unsupported;        /* why there is no upload interface, or NULL */
        bool lost;                      /* version gives ENXIO, or was seen to in this boot */
        bool have_running;
        Version running;
        bool have_seamldr;
        Version seamldr;
        bool have_remaining;
        uint32_t remaining;             /* num_remaining_updates */
        bool have_svn;
        uint16_t svn;                   /* of the running module, from the catalogue or the release table */
        const uint32_t *cpus;           /* distinct CPUID.1:EAX of the online CPUs */
        size_t n_cpus;
        unsigned cpus_present;          /* 0: could not be read */
        unsigned cpus_online;
        const char *cpus_offline_text;  /* what to do to bring them online, or NULL */
} HostFacts;
