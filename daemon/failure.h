/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <glib.h>

#include "base/errors.h"

/* An answer that is no: its id in the API, and a sentence. */
typedef struct Failure {
        ErrorId id;
        char *text;
} Failure;

void failure_clear(Failure *failure);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Failure, failure_clear)

/* Returns the error's -errno. */
int failure_set(Failure *failure, ErrorId id, const char *format, ...) __attribute__((format(printf, 3, 4)));
