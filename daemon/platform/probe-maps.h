/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "bpf/builds-map.h"

/* The pinned maps of the probes, as root may read them without any capability; for the daemon's reader and the loader. */
typedef struct ProbeMaps ProbeMaps;

typedef struct ProbeRecord {
        uint64_t td;
        struct probe_td value;
} ProbeRecord;

/*
 * 0 or -errno: -ENOENT if there are none, -EPROTO if they are of another version or not the probes' at all. The probes stay
 * attached while this is open, even if their pins are removed.
 */
int probe_maps_open(const char *pins, ProbeMaps **ret);
ProbeMaps *probe_maps_free(ProbeMaps *maps);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ProbeMaps, probe_maps_free)

/* Are they still what is pinned there? */
bool probe_maps_are_current(const ProbeMaps *maps);

/* Shared memory, which nobody but the probes can write. */
const struct probe_counters *probe_maps_counters(const ProbeMaps *maps);

/* Goes up with every change; the value belongs to the last snapshot if it has not moved since. */
uint64_t probe_maps_generation(const ProbeMaps *maps);

/*
 * All TDs at one moment, and the generation of that moment. 0 or -errno: -EAGAIN if there was none in which nothing changed,
 * -EBADMSG if what is recorded contradicts itself.
 */
int probe_maps_snapshot(const ProbeMaps *maps, GArray **ret, uint64_t *ret_generation);

/*
 * Calls that the probes did not see, as far as the kernel knows, and changes that they could not record. Above 0 what they
 * say of any one TD may be wrong. 0 or -errno.
 */
int probe_maps_lost(const ProbeMaps *maps, uint64_t *ret);

/* A descriptor of the ring buffer, which one process alone can read; borrowed. */
int probe_maps_events_fd(const ProbeMaps *maps);
