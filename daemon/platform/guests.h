/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/activity.h"
#include "platform/roots.h"

/*
 * The VMs that are alive, as KVM reports them (tier T2): kept from its uevents, and from a scan of debugfs (or, where that
 * is not mounted, of /proc) at the start and whenever events were lost. No loop, no socket: who reads events and who has a
 * timer is elsewhere.
 */
typedef struct Guests Guests;

/* One uevent of /dev/kvm (virt/kvm/kvm_main.c, kvm_uevent_notify_change()). */
typedef struct KvmEvent {
        bool create;            /* else destroy */
        uint32_t tid;           /* PID=: the creating task's id, initial PID namespace; 0: not in the event */
        uint64_t created;       /* CREATED=: VMs made since KVM was loaded */
        uint64_t count;         /* COUNT=: VMs alive */
        bool have_counts;
        const char *key;        /* STATS_PATH= without "/kvm/": "PID-FD"; NULL: debugfs is not there */
} KvmEvent;

/* Reads "TID-FD", as KVM writes it. Either output may be NULL. */
bool guest_key_parse(const char *key, uint32_t *ret_tid, uint32_t *ret_fd);

int guests_new(const Roots *roots, Guests **ret);
Guests *guests_free(Guests *guests);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guests, guests_free)

void guests_on_event(Guests *guests, const KvmEvent *event);

/* Events may have been lost, or are not heard at all (@why, kept; NULL: they were only lost now): the next update scans. */
void guests_on_loss(Guests *guests, const char *why);

/*
 * Brings the picture up to date: scans if it has to, drops those that are gone, looks at the signs of those that have not
 * run yet. @no_tds: KVM counts no TD right now. Returns true if anything has changed since the last call.
 */
bool guests_update(Guests *guests, bool no_tds);

/* Oldest first; valid until the next call that is not this one. */
const GuestFacts *const *guests_get(const Guests *guests, size_t *ret_n);

/* Why the list is not known to be complete, NULL: it is. Borrowed as above. */
const char *guests_incomplete(const Guests *guests);

/* boottime usec of the last create event, or of when listening began; 0: events are not heard. */
uint64_t guests_last_create(const Guests *guests);

/*
 * From now on remember every VM that appears, those too that are gone again by the time of the question. For who was made
 * between the last look and the end of an update.
 */
void guests_mark(Guests *guests);
const GuestFacts *const *guests_since_mark(const Guests *guests, size_t *ret_n);
