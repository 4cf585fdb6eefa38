/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-event.h>

#include "platform/guests.h"
#include "platform/roots.h"

/*
 * The kernel's own events, as it sends them to its netlink group 1. udev's copies are not used: they come later, only
 * where udevd runs, and not into a private network namespace (the unit has one).
 */
typedef struct Uevents Uevents;

typedef struct UeventHandler {
        /* tdx_host or its upload interface came or went, or events were lost: look again. */
        void (*on_interface)(void *userdata);
        /* KVM made or destroyed a VM. */
        void (*on_kvm)(const KvmEvent *event, void *userdata);
        /* What was lost, or could not be understood, can only be seen by looking. */
        void (*on_loss)(void *userdata);
        /* After some of on_kvm and on_loss: that was all for now. */
        void (*on_kvm_done)(void *userdata);
        void *userdata;
} UeventHandler;

/* The handler is called from the loop, and from uevents_drain(). 0 or -errno; @roots must outlive it. */
int uevents_new(sd_event *event, const Roots *roots, const UeventHandler *handler, Uevents **ret);
Uevents *uevents_free(Uevents *uevents);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Uevents, uevents_free)

/* Takes in what is pending now. For a look that must not miss what the kernel has said already. */
void uevents_drain(Uevents *uevents);

/* The size of the receive buffer that the kernel gave. */
int uevents_buffer_size(const Uevents *uevents);

typedef enum UeventKind {
        UEVENT_OTHER,           /* nothing that is looked for */
        UEVENT_INTERFACE,
        UEVENT_KVM,             /* in the KvmEvent */
        UEVENT_BROKEN,          /* KVM's, but not to be understood */
} UeventKind;

/* One message as the kernel sends it. The event's key is written to @key. */
#define UEVENT_KEY_SIZE 24U
UeventKind uevent_parse(const char *message, size_t size, char key[static UEVENT_KEY_SIZE], KvmEvent *ret);
