/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <linux/types.h>

/*
 * What the probes record: shared by the BPF programs, the loader and the daemon's reader. A change of anything in here,
 * or of what the programs do, needs another PROBE_VERSION: the loader replaces pins of any other version.
 */
#define PROBE_MAGIC             0x42584454U     /* "TDXB" */
#define PROBE_VERSION           1U

/* Below the root's own BPF file system, which systemd mounts with mode 0700; everything in it is root's, 0600. */
#define PROBE_PINS              "/sys/fs/bpf/tdx-updated"
#define PROBE_PIN_COUNTERS      "counters"      /* array of one struct probe_counters, mmapable, frozen */
#define PROBE_PIN_TDS           "tds"           /* hash: the kernel's struct tdx_td pointer -> struct probe_td */
#define PROBE_PIN_EVENTS        "events"        /* ring buffer of struct probe_event; one reader */
#define PROBE_PIN_PROGRAM       "program-"      /* and the probe's name */
#define PROBE_PIN_LINK          "link-"         /* and the probe's name */

/* More than there can be: each TD has a private KeyID of its own, and of these there are fewer. */
#define PROBE_TDS_MAX           4096U
/* Threads that are inside of one of the functions at the same time. */
#define PROBE_CALLS_MAX         4096U
/* Bytes. It only wakes the reader; what is true is in the map. */
#define PROBE_EVENTS_SIZE       65536U
#define PROBE_COMM_SIZE         16U

/* No TD was older than the probes when they were attached. */
#define PROBE_COMPLETE          1U

/*
 * The loader writes the first part before it freezes the map, the programs the second one with atomic additions.
 *
 * A consistent look: read .done, then .begun. If they differ, a program is at work: try again. Read the map and the other
 * counters. If .begun is still the same, nothing has changed in between. A .begun that has not moved since the last such look
 * means that nothing has happened.
 */
struct probe_counters {
        __u32 magic;
        __u32 version;
        __u64 attached;         /* boottime ns: TDs that began from then on are recorded */
        __u64 flags;            /* PROBE_COMPLETE */
        __u64 reserved[5];      /* to the end of the cache line */

        __u64 begun;            /* changes that have begun */
        __u64 done;             /* changes that are complete */
        __u64 building;         /* TDs in the map that are in their build */
        __u64 lost;             /* changes that could not be recorded */
};

enum probe_state {
        PROBE_BUILDING = 1,
        PROBE_FINALIZED = 2,
};

struct probe_td {
        __u64 began;            /* boottime ns */
        __u64 ended;            /* boottime ns when it was finalised, 0: not yet */
        __u32 tgid;             /* the process that began it, in the initial PID namespace */
        __u32 state;            /* enum probe_state */
        char comm[PROBE_COMM_SIZE];     /* the name of the thread that began it */
};

enum probe_event_kind {
        PROBE_EVENT_BEGUN = 1,  /* tdh_mng_init() is being called */
        PROBE_EVENT_UNDONE = 2, /* it has failed */
        PROBE_EVENT_FINALIZED = 3,      /* tdh_mr_finalize() has returned 0 */
        PROBE_EVENT_GONE = 4,   /* tdh_mng_key_freeid() is being called */
};

struct probe_event {
        __u64 td;
        __u64 when;             /* boottime ns */
        __u32 tgid;             /* of the process at work */
        __u32 kind;             /* enum probe_event_kind */
};

/*
 * Where the programs are attached, in this order: X(name of the pins, name of the program, function, at its return). The
 * begin of a build comes last, and a return before its entry, so that of every TD that is recorded all that follows is seen.
 */
#define PROBES(X) \
        X("freeid", on_freeid, "tdh_mng_key_freeid", 0) \
        X("finalize-return", on_finalize_return, "tdh_mr_finalize", 1) \
        X("finalize", on_finalize, "tdh_mr_finalize", 0) \
        X("init-return", on_init_return, "tdh_mng_init", 1) \
        X("init", on_init, "tdh_mng_init", 0)
#define PROBES_COUNT            5U
