/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <pthread.h>

#include "sim/model.h"
#include "sim/releases.h"
#include "sim/tree.h"
#include "sim/uevent.h"

/*
 * The one model of this process. FUSE's threads and the control socket's share it:
 * whoever holds the lock may use all of it.
 */
typedef struct Host {
        pthread_mutex_t lock;
        pthread_mutex_t seamldr;        /* the P-SEAMLDR takes one call at a time */
        Model *model;
        Tree *tree;
        Releases *releases;
        UeventSender *uevents;
        GHashTable *open_files;         /* fuse.c: their release may not come before the end */
} Host;

uint64_t host_now(void);

/* In fuse.c: serves @mount_point until SIGTERM or SIGINT. 0 or -errno. */
int host_serve(Host *host, const char *mount_point);
