/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "platform/roots.h"

/* What is proven without knowing the VMs (tier T0): that no TD can be built here, or how many TDs there are. */
typedef struct Proof {
        const char *impossible; /* why no TD can be built here, or NULL; static */
        bool have_tds;
        uint64_t tds;           /* that have begun and are not destroyed */
        char *tds_error;        /* why it could not be read, for people; NULL: it could */
} Proof;

/* Is it certain that there is no TD right now? */
bool proof_counts_none(const Roots *roots);

void proof_read(const Roots *roots, Proof *ret);
void proof_clear(Proof *proof);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Proof, proof_clear)
