/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/version.h"

/*
 * What an attempt came to, from status, error, remaining_size and version together:
 * none of them alone is enough (stale error texts, silent no-ops, one word for harmless
 * and for fatal failures; drivers/base/firmware_loader/sysfs_upload.c, tdx-host.c).
 */
typedef enum Outcome {
        OUTCOME_NONE,           /* not known yet */
        OUTCOME_SUCCESS,        /* the target runs */
        OUTCOME_MISMATCH,       /* another version than the target runs now */
        OUTCOME_NOTHING,        /* nothing ran */
        OUTCOME_BUSY,           /* the kernel asks to come again; the old module runs */
        OUTCOME_REFUSED,        /* refused before the old module was shut down */
        OUTCOME_LOST,           /* the module is gone */
        OUTCOME_FAILED,         /* anything else; the old module runs */
        OUTCOME_STUCK,          /* not idle within AttemptTimeoutSec= */
        OUTCOME_FOREIGN,        /* the version changed by somebody else's doing */
        OUTCOME_ABORTED,        /* the last look failed; nothing was handed over */
        OUTCOME_INTERRUPTED,    /* the daemon or the host went away before anything was handed over */
        _OUTCOME_MAX,
} Outcome;

typedef struct AttemptFacts {
        bool handed_over;       /* our write of 0 to loading was accepted, or may have been (after a crash) */
        int write_error;        /* positive errno of a write that failed, 0: none */
        bool idle;              /* the kernel has ended: status was read as idle, or the interface has gone */
        bool ran;               /* status was seen as something else since the handover */
        const char *error;      /* as read at the end without newline, "" when empty, NULL when unreadable */
        const char *stale_error; /* as read before the attempt; NULL when not known */
        bool have_remaining;
        uint64_t remaining;     /* remaining_size at the end, bytes */
        uint64_t size;          /* of the image, bytes */
        int version_error;      /* positive errno of reading version at the end, 0: none */
        Version version;        /* at the end */
        Version before;
        Version target;
} AttemptFacts;

Outcome outcome_classify(const AttemptFacts *facts);

/* The part behind the colon of "<status>:<error>", or all of it; "" for "". */
const char *outcome_error_word(const char *error);

const char *outcome_to_string(Outcome outcome);
int outcome_from_string(const char *name);
