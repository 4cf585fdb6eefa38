/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdint.h>

#include <glib.h>

/*
 * Where the kernel's files are. The real places, or others (a simulator, a test bed)
 * that the command line names; nothing here comes from the environment.
 */
typedef struct Roots {
        int sysfs_fd;           /* O_PATH */
        int proc_fd;
        int cgroup_fd;          /* -1: no cgroup file system there */
        int debugfs_fd;         /* -1: not mounted */
        char *uevents;          /* a datagram socket instead of the kernel's netlink group, or NULL */
        uint32_t cpu_signature; /* CPUID.1:EAX instead of /proc/cpuinfo's, 0: none */
        char *overrides;        /* the options that were given, for people; NULL: none */
        char *override_names;   /* the same without their values */
} Roots;

typedef struct RootOptions {
        const char *sysfs, *proc, *cgroup, *debugfs, *uevents;  /* NULL: the real one */
        uint32_t cpu_signature;
} RootOptions;

/* 0 or -errno; *@ret_path is then the place that could not be opened (borrowed). */
int roots_open(const RootOptions *options, Roots **ret, const char **ret_path);
Roots *roots_free(Roots *roots);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Roots, roots_free)
