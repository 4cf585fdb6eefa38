/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/gate.h"
#include "platform/roots.h"

/*
 * Evidence that no TD is being built. For now only what is proven without knowing the
 * VMs (tier T0): everything else is unknown, and unknown is busy.
 */
typedef struct Evidence {
        Activity activity;
        const char *tier;       /* "T0" or "none" */
        char *text;             /* what was seen */
        unsigned guests;        /* VMs that are known, 0 also when that is not known */
        unsigned building;      /* TDs known to be in their build */
} Evidence;

void evidence_read(const Roots *roots, Evidence *ret);
void evidence_clear(Evidence *evidence);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Evidence, evidence_clear)
