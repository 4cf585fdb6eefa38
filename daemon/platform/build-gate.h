/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "platform/roots.h"

/*
 * BuildGate=misc: the kernel itself keeps builds from beginning around the handover. Each TD charges one unit of "tdx" to the
 * cgroup of the task that begins it (KVM_TDX_INIT_VM); a cgroup whose misc.max for tdx is 0 gets none. Those that run already
 * are not touched by a lower maximum (kernel/cgroup/misc.c).
 */
typedef struct BuildGate BuildGate;

/*
 * @save: makes the text durable before anything is changed, and "" when all is as it was; -errno: nothing is changed.
 * @groups: paths below the cgroup root, NULL-terminated.
 */
typedef struct BuildGateRequest {
        const Roots *roots;
        char **groups;
        int (*save)(const char *text, void *userdata);
        void *userdata;
} BuildGateRequest;

/*
 * Closes every group. 0, or -errno with all of them as they were (*@ret_group: the one that could not be closed; the
 * caller frees it).
 */
int build_gate_close(const BuildGateRequest *request, BuildGate **ret, char **ret_group);

/* Opens what it closed. A group that has gone is no error; one that cannot be written is kept in the saved text. */
int build_gate_open(BuildGate *gate);
BuildGate *build_gate_free(BuildGate *gate);    /* opens it if it is closed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BuildGate, build_gate_free)

/* After a crash: @text is what was saved. Values that somebody else has set meanwhile are left alone. */
int build_gate_restore(const BuildGateRequest *request, const char *text);
