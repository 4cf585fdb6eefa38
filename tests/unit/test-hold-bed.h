/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include "hold.h"
#include "test-tree.h"

/*
 * Holds with a service manager that keeps descriptors, as sd_pid_notify_with_fds(3) says: one message stores, another
 * removes by name, and what hangs up is dropped. Needs cmocka.h before it.
 */
typedef struct Stored {
        char *name;
        int fd;
} Stored;

typedef struct Bed {
        Tree tree;
        char *path;             /* of the notification socket */
        int socket;
        GArray *store;          /* of Stored, oldest first */
        sd_event *event;
        Holds *holds;
        unsigned changes;       /* how often we were told */
        bool inside;            /* in a call into hold.c */
} Bed;

Bed *bed_new(void);
void bed_free(Bed **bed);
#define _cleanup_bed_ __attribute__((cleanup(bed_free)))

void bed_start(Bed *bed);               /* the daemon starts; what was kept comes as 3 and on */
void bed_stop(Bed *bed);                /* it ends or crashes, which are the same: it says nothing any more */
void bed_restart(Bed *bed);
void bed_run(Bed *bed);                 /* everything that is ready */
void bed_wait(Bed *bed);                /* until we were told once more; fails if that does not come */
void bed_on_change(void *bed);          /* for holds_new() */

#define PASSED_FDS 64                   /* 3 and on: where the stored ones come back, so nothing else may be there */
void reserve_passed(void);
void store_run(Bed *bed);               /* what systemd does with what has come, and with what has hung up */
unsigned n_stored(Bed *bed);

extern const HoldLimits plenty;
extern const BuildMatch no_match;
#define LONG_USEC (3600 * USEC_PER_SEC)

HoldRequest request_of(HoldWhat what, uid_t uid);
int take(Bed *bed, const HoldRequest *request);
uint32_t announce(Bed *bed, uid_t uid, const BuildMatch *match, uint64_t usec);
size_t n_holds(Bed *bed);
const HoldFacts *hold_at(Bed *bed, size_t i);
