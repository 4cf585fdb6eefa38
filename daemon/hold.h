/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sys/types.h>

#include <systemd/sd-event.h>

#include "core/activity.h"
#include "core/hold.h"
#include "failure.h"

/*
 * The holds that are taken. Each is a pipe: the holder has the write end, and closing it (or dying) is the release.
 * An announced build (BeginBuild) has no descriptor; it ends by EndBuild, by its VM, or by time. All of them live in
 * systemd's fd store as well, so that they survive a restart and a crash of the daemon.
 */
typedef struct Holds Holds;

typedef struct HoldRequest {
        HoldWhat what;
        HoldMode mode;
        const char *who, *why, *unit;   /* never NULL */
        uid_t uid;
        pid_t pid;
} HoldRequest;

/* The VM that a build is announced for; all empty: none in particular. */
typedef struct BuildMatch {
        uint32_t pid;                   /* 0: any */
        const char *machine, *unit;     /* "": any */
} BuildMatch;

typedef struct HoldLimits {
        unsigned all, per_user;
} HoldLimits;

/*
 * Takes over what the fd store kept. @changed: a hold was taken or has ended; called from the loop, never from within a
 * call to this file. 0 or -errno.
 */
int holds_new(sd_event *event, void (*changed)(void *userdata), void *userdata, Holds **ret);
Holds *holds_free(Holds *holds);        /* what is held stays held, by the fd store */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Holds, holds_free)

/* The caller gives *@ret_fd away, and closes its own copy. 0, or -errno with the failure set. */
int holds_take(Holds *holds, const HoldRequest *request, const HoldLimits *limits, int *ret_fd, Failure *failure);

/* @hold_usec: it ends by itself after that. */
int holds_announce(Holds *holds, const HoldRequest *request, const BuildMatch *match, uint64_t hold_usec, const HoldLimits *limits,
                   uint32_t *ret_id, Failure *failure);
int holds_end(Holds *holds, uint32_t id, uid_t uid, Failure *failure);

/* Ends the announced builds whose VM was made after the announcement and has run. */
void holds_match(Holds *holds, const GuestFacts *const *guests, size_t n_guests);

/* Oldest first; valid until the next call that changes something. */
const HoldFacts *holds_get(const Holds *holds, size_t *ret_n);
