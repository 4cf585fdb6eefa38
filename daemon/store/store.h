/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "store/record.h"

/*
 * The durable queue and history: SQLite with synchronous=FULL, so that what a call
 * has reported as saved is there after a power cut. One connection, one thread.
 */
typedef struct Store Store;

/* Kept at most; older finished jobs are dropped. */
#define STORE_HISTORY_MAX 10000U

/*
 * Opens or creates the database and brings an older schema up to date.
 * -ENOTUNIQ: it was written by a newer version; -EUCLEAN: it is damaged or no database.
 * In both cases it is left as it is. Other -errno as usual. Logs nothing.
 */
int store_open(const char *path, Store **ret);
Store *store_close(Store *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_close)

/*
 * Saves a job and all its attempts in one transaction. A record with id 0 is new and gets
 * its id, which no other job ever had or will have. 0 or -errno; on failure nothing is changed.
 */
int store_save_job(Store *store, JobRecord *record);

/*
 * The same without waiting for the disk: it outlives the daemon, not a power cut. For what a reboot makes void anyway: that an
 * attempt has begun to stage, and that nothing was handed over.
 */
int store_note_job(Store *store, JobRecord *record);

/* Unfinished jobs, oldest first. The caller frees the array (of JobRecord). */
int store_load_unfinished(Store *store, GPtrArray **ret);

/* One job, finished or not. -ENOENT. */
int store_load_job(Store *store, uint32_t id, JobRecord **ret);

/* Finished jobs that ended at or after @since (realtime usec), newest first, at most @max. */
int store_load_history(Store *store, uint64_t since, uint32_t max, GPtrArray **ret);

/* Small facts that outlive the daemon. *@ret is NULL when there is none. */
int store_get(Store *store, const char *key, char **ret);
int store_set(Store *store, const char *key, const char *value);

/* Did the last write fail? Then durability is gone until one succeeds. */
bool store_failed(const Store *store);

/* What SQLite says about the last failure; borrowed. */
const char *store_error(const Store *store);

#define STORE_KEY_LOST_BOOT     "lost-boot"     /* boot id of the boot in which the module was lost */
#define STORE_KEY_LAST_VERSION  "last-version"  /* the version that was last seen running, a space, the boot's id */
#define STORE_KEY_BUILD_GATE    "build-gate"    /* what build_gate_restore() wants, "": all is as it was */
#define STORE_KEY_DESIRED       "desired-version"
#define STORE_KEY_ASIDE         "aside/"        /* + SEAM hash: an image that must not be tried again, and why */
