/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/*
 * The errors of the API: one table from the D-Bus name to the errno that the
 * daemon uses inside and to the exit status of tdxctl. doc/errors.md shows the
 * same table; a test compares them.
 */
typedef enum ErrorId {
        ERROR_NONE,
        ERROR_NOT_SUPPORTED,
        ERROR_NOT_SAFE,
        ERROR_BUSY,
        ERROR_ALREADY_CURRENT,
        ERROR_DOWNGRADE,
        ERROR_INCOMPATIBLE_CPU,
        ERROR_INCOMPATIBLE_SEAMLDR,
        ERROR_INCOMPATIBLE_MODULE,
        ERROR_IMAGE_INVALID,
        ERROR_IMAGE_UNTRUSTED,
        ERROR_DEBUG_IMAGE,
        ERROR_NO_SUCH_VERSION,
        ERROR_NO_SUCH_JOB,
        ERROR_NO_SUCH_HOLD,
        ERROR_NO_BUDGET,
        ERROR_HELD,
        ERROR_DEADLINE_EXPIRED,
        ERROR_NOT_CANCELABLE,
        ERROR_PLAN_STALE,
        ERROR_MODULE_LOST,
        ERROR_UPLOAD_FAILED,
        ERROR_VERIFY_FAILED,
        ERROR_FOREIGN_UPDATE,
        ERROR_LIMIT_EXCEEDED,
        /* Names of other owners that the API uses as they are. */
        ERROR_INVALID_ARGS,
        ERROR_ACCESS_DENIED,
        ERROR_INTERACTIVE_AUTHORIZATION,
        ERROR_IO,
        _ERROR_MAX,
} ErrorId;

/* tdxctl's exit status: sysexits(3) where it has a word for it. */
enum {
        EXIT_DONE = 0,
        EXIT_OTHER = 1,
        EXIT_BAD_USAGE = 64,
        EXIT_IMAGE_INVALID = 65,
        EXIT_NO_SUCH = 66,
        EXIT_UNAVAILABLE = 69,
        EXIT_FAILED = 70,
        EXIT_LOST = 71,
        EXIT_NO_BUDGET = 73,
        EXIT_NOT_NOW = 75,
        EXIT_BLOCKED = 76,
        EXIT_NOT_AUTHORISED = 77,
        EXIT_CONFIGURATION = 78,
};

typedef struct ErrorEntry {
        const char *dbus_name;  /* full D-Bus error name */
        int error;              /* positive errno */
        int exit_status;
} ErrorEntry;

/* Never NULL for a valid id; ERROR_NONE has the name "". */
const ErrorEntry *error_entry(ErrorId id);

/* ERROR_NONE for a name that is not in the table. */
ErrorId error_from_dbus_name(const char *name);

/* The name without its prefix ("NoBudget"), as documents and JSON show it. */
const char *error_short_name(ErrorId id);
