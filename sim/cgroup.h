/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "sim/model.h"

/* The misc controller of cgroup 2, for the one resource "tdx" (kernel/cgroup/misc.c). */
typedef struct Cgroup {
        char *path;             /* below the root; "" is the root itself */
        struct Cgroup *parent;  /* NULL: it is the root */
        uint64_t max;           /* UINT64_MAX: none */
        uint64_t usage;         /* wraps below 0, as the kernel's shows */
        uint64_t events;        /* refusals here and below; the root's are not counted */
        uint64_t events_local;  /* refusals by this group's own maximum */
} Cgroup;

#define CGROUP_OF_VMS "machine.slice"   /* exists from the start */

void cgroup_free(Cgroup *cgroup);

/* As model_set(). With those above it; -EBUSY: it is not empty. */
int model_cgroup_add(Model *m, uint64_t now, const char *path, char **ret_text);
int model_cgroup_remove(Model *m, uint64_t now, const char *path, char **ret_text);

const GPtrArray *model_cgroups(const Model *m);
Cgroup *model_cgroup_find(const Model *m, const char *path);

/* What a write to misc.max does; 0 or the errno of misc_cg_max_write(). */
int model_misc_max_store(Model *m, Cgroup *cgroup, const char *text, size_t size);

/* misc_cg_try_charge() of one unit: 0, or -EBUSY and the group whose limit it is. */
int cgroup_charge(Model *m, Cgroup *cgroup, const Cgroup **ret_full);
void cgroup_uncharge(Cgroup *cgroup);
void cgroups_reset(Model *m);
bool model_misc_has_tdx(const Model *m);
