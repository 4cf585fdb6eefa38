/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "client/tdxctl.h"

/* Follows one job to its end, over restarts of the daemon. */
typedef struct Follow Follow;

/* Subscribes to every signal that matters; call it before the job is made. 0 or -errno. */
int follow_new(Tdxctl *t, Follow **ret);
Follow *follow_free(Follow *f);

static inline void follow_freep(Follow **f) {
        if (*f)
                *f = follow_free(*f);
}

/* Shows the job's way and its end, and returns the exit status; all messages are its own. */
int follow_run(Follow *f, const char *path);
