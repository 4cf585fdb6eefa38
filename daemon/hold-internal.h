/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include "hold.h"

/* For hold.c, hold-text.c (a hold as text) and hold-store.c (where it survives the daemon). */

typedef struct Hold {
        Holds *holds;
        HoldFacts facts;                /* points to the strings below */
        char *who, *why, *unit;
        bool announced;                 /* by BeginBuild: no pipe, and a time when it ends */
        uint32_t match_pid;
        char *match_machine, *match_unit;
        /*
         * Of the boot's clock, which nobody sets: neither a wrong time at boot nor a correction of it may end the
         * protection of a build early.
         */
        uint64_t taken;                 /* boottime usec */
        uint64_t ends;                  /* boottime usec, UINT64_MAX: not by itself */
        int fd;                         /* the pipe's read end, -1: none */
        sd_event_source *source;        /* it is released */
} Hold;

Hold *hold_new(void);
Hold *hold_free(Hold *hold);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hold, hold_free)

/* hold-text.c */
char *hold_to_text(const Hold *hold);                   /* the caller frees it */
int hold_from_text(const char *text, Hold **ret);       /* 0, or -EBADMSG for what this version does not write */

/* hold-store.c: systemd's fd store (sd_pid_notify_with_fds(3)) */
#define HOLD_STORE_MAX 512U     /* FileDescriptorStoreMax= of the unit */

unsigned hold_store_room(void);                         /* how many descriptors it takes in all */
unsigned hold_store_need(const Hold *hold);             /* how many the hold takes */
int hold_store_put(const Hold *hold);                   /* 1, 0 when there is no store, or -errno */
void hold_store_remove(uint32_t id);

/* What was kept for this daemon, as Hold; what is not whole or not known is removed, with a line in the log. 0 or -errno. */
int hold_store_take_over(GPtrArray **ret);
