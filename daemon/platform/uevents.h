/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-event.h>

#include "platform/roots.h"

/*
 * The kernel's own events, as it sends them to its netlink group 1. udev's copies are not used: they come later, only
 * where udevd runs, and not into a private network namespace (the unit has one).
 */
typedef struct Uevents Uevents;

/*
 * @on_interface: tdx_host or its upload interface came or went, or events were lost: look again. Called from the loop.
 * 0 or -errno; @roots must outlive it.
 */
int uevents_new(sd_event *event, const Roots *roots, void (*on_interface)(void *userdata), void *userdata, Uevents **ret);
Uevents *uevents_free(Uevents *uevents);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Uevents, uevents_free)
