/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "base/errors.h"

/*
 * A reason why an update may not start. The ids are stable: they stand in the
 * D-Bus API, in JSON, in the journal and in the documents.
 */
typedef enum BlockerId {
        /* In the order in which they decide the error of a request. */
        BLOCKER_MODULE_LOST,
        BLOCKER_UNSUPPORTED,
        BLOCKER_ALREADY_CURRENT,
        BLOCKER_NO_IMAGE,
        BLOCKER_IMAGE_INVALID,
        BLOCKER_IMAGE_UNTRUSTED,
        BLOCKER_DOWNGRADE,
        BLOCKER_INCOMPATIBLE_MODULE,
        BLOCKER_INCOMPATIBLE_SEAMLDR,
        BLOCKER_INCOMPATIBLE_CPU,
        BLOCKER_SVN_LOWER,
        BLOCKER_NO_BUDGET,
        BLOCKER_DEBUG_IMAGE,
        BLOCKER_STEPPING_UNLISTED,
        BLOCKER_RESERVE,
        /* These only wait. */
        BLOCKER_STORE_FAILED,
        BLOCKER_FOREIGN_UPLOAD,
        BLOCKER_CPUS_OFFLINE,
        BLOCKER_HELD,
        BLOCKER_OUTSIDE_WINDOW,
        BLOCKER_TD_BUILDING,
        BLOCKER_TD_MIGRATING,
        BLOCKER_ACTIVITY_UNKNOWN,
        BLOCKER_DRAINING,
        BLOCKER_BACKOFF,
        BLOCKER_FLEET_SLOT,     /* reserved: nothing raises it yet */
        _BLOCKER_MAX,
} BlockerId;

typedef enum Severity {
        SEVERITY_HARD,          /* the request cannot be carried out */
        SEVERITY_POLICY,        /* the host's configuration forbids it */
        SEVERITY_WAIT,          /* it will end, by itself or by somebody's doing */
        SEVERITY_NOTE,          /* shown, blocks nothing */
        _SEVERITY_MAX,
} Severity;

typedef struct Blocker {
        BlockerId id;
        Severity severity;
        char *text;             /* what is wrong and what ends it, one sentence for people */
        char *subject;          /* the guest, hold or file; "" for none */
        uint64_t until;         /* realtime usec when it ends by itself, 0 when not known */
} Blocker;

/* An owned list, in the order of the ids. */
typedef struct BlockerList {
        Blocker *items;
        size_t n;
} BlockerList;

void blocker_list_clear(BlockerList *list);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(BlockerList, blocker_list_clear)

/* Takes @subject as it is (NULL for none); the severity is the id's own. */
Blocker *blocker_list_add(BlockerList *list, BlockerId id, const char *subject, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* The first that refuses a request (hard or policy), or the first that makes it wait, or NULL. */
const Blocker *blocker_list_refusal(const BlockerList *list);
const Blocker *blocker_list_wait(const BlockerList *list);
const Blocker *blocker_list_find(const BlockerList *list, BlockerId id);

const char *blocker_id_to_string(BlockerId id);
const char *severity_to_string(Severity severity);
Severity blocker_severity(BlockerId id);

/* The API's error for a refusal; ERROR_NOT_SAFE, ERROR_HELD or ERROR_BUSY for what waits. */
ErrorId blocker_error(BlockerId id);
