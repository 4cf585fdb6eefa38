/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-event.h>

#include "bpf/builds-map.h"
#include "core/activity.h"

/*
 * Reader of what the probes (bpf/, loaded by tdx-updated-probe.service) have recorded (tier T1). It only opens
 * pinned maps: no capability is needed, and nothing is lost while the daemon is not there.
 */
typedef struct Builds Builds;

/*
 * @pins: the directory with the pinned maps; it may be empty or missing, now or later: then that is the answer.
 * @changed: a build began or ended; called from the loop. 0 or -errno.
 */
int builds_new(sd_event *event, const char *pins, void (*changed)(void *userdata), void *userdata, Builds **ret);
Builds *builds_free(Builds *builds);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Builds, builds_free)

/*
 * As of now. When nothing has happened since the last call this is a look at shared memory, at what the kernel says that the
 * probes missed, and at whether the processes are alive. Entries of processes that are gone are left out. Valid until the
 * next call.
 */
void builds_read(Builds *builds, ProbeFacts *ret);
