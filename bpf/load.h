/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include <bpf/libbpf.h>

typedef enum LoadResult {
        LOAD_DONE,
        LOAD_NO_FUNCTION,       /* one of the functions is not in this kernel */
} LoadResult;

/* How the programs are attached. A test has functions of its own. */
typedef struct ProbeAttach {
        enum bpf_attach_type type;
        /* NULL and errno: ESRCH if there is no such function. */
        struct bpf_link *(*attach)(struct bpf_program *program, const char *function, bool at_return);
} ProbeAttach;

extern const ProbeAttach kprobe_multi;  /* to functions of the kernel */

typedef struct LoadOptions {
        const char *pins;
        const ProbeAttach *attach;
        /* Is it proven that no TD exists now? Asked when the probes are attached. */
        bool (*no_td)(void *userdata);
        void *userdata;
} LoadOptions;

/*
 * Loads, attaches and pins the probes. What is pinned there goes when the new ones are in place, so that there is no time
 * without. LoadResult (*@ret_function, static, is then the one that is missing), or -errno: logged, with what to do.
 */
int probes_load(const LoadOptions *options, const char **ret_function);

/* Removes the pins and, unless somebody has them open, the probes. 1, 0 if there were none, or -errno, logged. */
int probes_remove(const char *pins);

/*
 * Keeps other loaders away until *@ret_fd is closed. -errno, logged: the directory above @pins is not on a BPF file system,
 * or cannot be opened.
 */
int probes_lock(const char *pins, int *ret_fd);
