/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "platform/roots.h"

/*
 * BuildGate=misc: the kernel itself keeps builds from beginning around the handover. Each TD charges one unit of "tdx" to the
 * cgroup of the task that begins it (KVM_TDX_INIT_VM) and to every one above it; where misc.max for tdx is 0 that fails with
 * EBUSY. Those that run already are not touched by a lower maximum (kernel/cgroup/misc.c, misc_cg_try_charge()). Since the
 * charge walks up to the root, closing a group closes all below it, whatever their own maximum is.
 *
 * A refused build has a price, up to Linux 7.3 at least: KVM gives a charge back that it did not get (arch/x86/kvm/vmx/tdx.c,
 * __tdx_td_init(), free_hkid), so misc.current is one too low from then on until the host is booted, in the group and in the
 * root. The root's count proves nothing any more: build_gate_refused() says so. At -1 a group lets the next build in, its
 * maximum 0 or not; below that the root takes no TD at all; and the kernel warns at the first (with panic_on_warn it dies).
 * So as many builds as TDs run in the group, and one more, are kept off for certain; who comes after them may get in.
 */
typedef struct BuildGate BuildGate;

/*
 * @save: makes the text durable before anything is changed, and "" when all is as it was; -errno: nothing is changed.
 * @groups: paths below the cgroup root, NULL-terminated.
 * @saved: what is saved now, NULL: nothing. What could not be opened yet must not be forgotten for what is closed next.
 */
typedef struct BuildGateRequest {
        const Roots *roots;
        char **groups;
        const char *saved;
        int (*save)(const char *text, void *userdata);
        void *userdata;
} BuildGateRequest;

/* A path strictly below the cgroup root, as one would write it: "machine.slice", "kubepods.slice/pods". */
bool build_gate_group_is_valid(const char *group);

/*
 * Closes every group, after what is saved has been restored. 0, or -errno with all of them as they were (*@ret_group: the
 * one that could not be closed; the caller frees it; NULL: it was not a group's fault). -ENOENT: the group is not there, or
 * has no misc.max (the controller is not on in cgroup.subtree_control above it); -ENODATA: misc.max has no line for tdx
 * (KVM is not loaded, or without TDX); -EROFS: the unit may not write there; -EOVERFLOW: the group's count is below 0.
 */
int build_gate_close(const BuildGateRequest *request, BuildGate **ret, char **ret_group);

/*
 * Opens what it closed. A group that has gone is no error; one that cannot be written is kept in the saved text, and the
 * next call tries it again.
 */
int build_gate_open(BuildGate *gate);
BuildGate *build_gate_leave(BuildGate *gate);   /* frees it, and leaves it closed: what is saved says so */
BuildGate *build_gate_free(BuildGate *gate);    /* opens it if it is closed, and logs what it cannot */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BuildGate, build_gate_free)

/* How many builds it has refused so far. */
uint64_t build_gate_refused(BuildGate *gate);

/*
 * After a crash: @text is what was saved. Values that somebody else has set meanwhile are left alone. -EBADMSG: it is no
 * such text, and nothing is changed.
 */
int build_gate_restore(const BuildGateRequest *request, const char *text);
