/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <glib.h>

#include "catalogue/catalogue.h"
#include "core/gate.h"
#include "window.h"

/*
 * The configuration in force: immutable once loaded; a reload makes a new one.
 */
typedef struct Config {
        char **catalogue_directories;           /* NULL-terminated, strongest first */
        uint8_t (*signers)[SIGNER_SIZE];
        unsigned n_signers;
        Policy policy;
        uint64_t default_deadline;              /* usec, UINT64_MAX: none */
        uint64_t attempt_timeout;               /* usec, UINT64_MAX: none */
        unsigned refused_retries;
        unsigned max_jobs, max_jobs_per_user;
        /* usec, UINT64_MAX: never */
        uint64_t stale_guest, quiet;
        uint64_t hold_max, drain_after, drain_max;
        uint64_t build_wait_max, build_hold_max;
        unsigned max_holds, max_holds_per_user;
        Window **windows;
        size_t n_windows;
        bool build_gate;                        /* BuildGate=misc */
        char **build_gate_groups;               /* NULL-terminated; with BuildGate=misc at least one */
        int log_level;
        GHashTable *sources;                    /* key -> file and line that set it */
        char *fingerprint;                      /* a text that changes with any value that a plan depends on */
} Config;

/* One line for each thing that is wrong: "FILE:LINE: what, and what to do". */
typedef GPtrArray ConfigProblems;

/*
 * Reads the main file and its drop-ins as systemd does (a drop-in of the same name in
 * /etc hides the one in /run, and that the one in /usr/lib; an assignment without a value
 * empties a list), or only @file when it is not NULL.
 * @directories: catalogue directories instead of the built-in ones, or NULL.
 * 0, or -EINVAL with *@ret_problems (the caller unrefs it), or another -errno for an accident.
 */
int config_load(const char *file, char **directories, Config **ret, ConfigProblems **ret_problems);

Config *config_free(Config *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)

/* For DescribeConfig and the documents. */
typedef struct ConfigKey {
        const char *name;
        const char *fallback;   /* the default, as one would write it */
        const char *text;       /* one sentence */
} ConfigKey;

const ConfigKey *config_keys(size_t *ret_n);
char *config_value(const Config *config, const ConfigKey *key);         /* the caller frees it */
const char *config_source(const Config *config, const ConfigKey *key);  /* "" for the default */
