/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "sim/model.h"

/* Which files exist, by path below the mount point ("/sys/..."). */

/* In three groups, as content.c has them: the driver, the machine, KVM. */
typedef enum NodeId {
        NODE_DIR,
        NODE_LINK,
        NODE_LOADING,
        NODE_DATA,
        NODE_STATUS,
        NODE_ERROR,
        NODE_REMAINING_SIZE,
        NODE_CANCEL,
        NODE_VERSION,
        NODE_SEAMLDR_VERSION,
        NODE_REMAINING_UPDATES,

        NODE_CPUS_PRESENT,
        NODE_CPUS_ONLINE,
        NODE_CPU_ONLINE,
        NODE_CPUINFO,
        NODE_BOOT_ID,

        NODE_KVM_INTEL_TDX,
        NODE_MISC_CURRENT,
        NODE_MISC_CAPACITY,
        NODE_MISC_MAX,
        NODE_MISC_EVENTS,
        NODE_MISC_EVENTS_LOCAL,
        NODE_KVM_EXITS,
        NODE_VM_EXITS,
        NODE_VCPU_PID,
        NODE_PROC_STAT,
        NODE_PROC_STATUS,
        NODE_PROC_COMM,
        NODE_PROC_CGROUP,
} NodeId;

typedef struct Node {
        char *path;
        mode_t mode;            /* with S_IFMT */
        NodeId id;
        const char *target;     /* of a link */
        unsigned cpu, vcpu;
        unsigned pid, fd;       /* of a VM */
        unsigned tid;           /* of a process's thread */
        char *cgroup;           /* its path below the cgroup root, "" the root; or NULL */
        uint64_t ino;
        uint64_t since;         /* monotonic usec when it was made, 0: with the mount */
        bool hidden;            /* found by its name only, as threads in /proc are */
        GPtrArray *children;    /* of a directory: borrowed nodes */
        unsigned n_folders;     /* among them */
} Node;

typedef struct Tree Tree;

Tree *tree_new(void);
Tree *tree_free(Tree *tree);

/* Built again when the model's files have changed. Borrowed until the next call. */
const Node *tree_lookup(Tree *tree, const Model *m, const char *path);
