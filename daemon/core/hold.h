/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Somebody keeps updates off, or says that a build or a migration goes on. */
typedef enum HoldWhat {
        HOLD_UPDATE,
        HOLD_BUILD,
        HOLD_MIGRATION,
        _HOLD_WHAT_MAX,
} HoldWhat;

typedef enum HoldMode {
        HOLD_BLOCK,             /* nothing happens while it is held */
        HOLD_DELAY,             /* only for HOLD_UPDATE: is told by PrepareForUpdate(true), and gets HoldMaxSec= */
        _HOLD_MODE_MAX,
} HoldMode;

/* What the gate and ListHolds see of a hold. Nothing here owns what it points to. */
typedef struct HoldFacts {
        uint32_t id;
        HoldWhat what;
        HoldMode mode;
        const char *who, *why;
        const char *unit;       /* systemd unit of the holder, "" when not known */
        uint32_t uid, pid;      /* of the holder */
        uint64_t since;         /* realtime usec */
        uint64_t until;         /* realtime usec when it ends by itself, 0: when it is released */
} HoldFacts;

const char *hold_what_to_string(HoldWhat what);
int hold_what_from_string(const char *name);            /* -1: no such thing */
const char *hold_mode_to_string(HoldMode mode);
int hold_mode_from_string(const char *name);            /* -1: no such mode */
