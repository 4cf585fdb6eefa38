/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stddef.h>

/*
 * Limits on what comes from outside. Each bounds memory or time that somebody
 * else could make the daemon spend.
 */
#define LIMIT_IMAGE_PAGES       496U                    /* seamldr.c: SEAMLDR_MAX_NR_MODULE_PAGES */
#define LIMIT_SIGSTRUCT_PAGES   1U                      /* seamldr.c: SEAMLDR_MAX_NR_SIG_PAGES */
#define LIMIT_IMAGE_SIZE        (4096U * (1U + LIMIT_SIGSTRUCT_PAGES + LIMIT_IMAGE_PAGES))
#define LIMIT_MAPPING_SIZE      (1U * 1024U * 1024U)    /* Intel's own has 2 KB */
#define LIMIT_MAPPING_ENTRIES   4096U
#define LIMIT_CATALOGUE_IMAGES  512U
#define LIMIT_CATALOGUE_DEPTH   4U
#define LIMIT_SYSFS_FILE        (64U * 1024U)
#define LIMIT_CPUINFO_FILE      (64U * 1024U * 1024U)
#define LIMIT_CPUS              8192U
#define LIMIT_REASON_LENGTH     1024U
#define LIMIT_VERSION_LENGTH    32U
#define LIMIT_PENDING_AUTH      128U
#define LIMIT_PENDING_AUTH_USER 8U
#define LIMIT_GUESTS            4096U                   /* far above the number of key ids for TDs */
#define LIMIT_GUEST_FOLDERS     256U                    /* descriptors that are kept for those that have not run */
#define LIMIT_PROC_FILE         (64U * 1024U)
#define LIMIT_IGNORED_GUESTS    64U
#define LIMIT_READABLE_JOBS     256U
