/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sys/stat.h>

#include "platform/guests.h"

/* What the table's parts share. */

typedef struct Guest {
        GuestFacts facts;       /* first: a Guest is its facts. Its strings are those below */
        char *key, *name, *machine, *unit;
        unsigned refs;
        uint32_t tid;           /* of the thread that made it */
        int64_t fd;             /* the VMM's descriptor of it, -1: not known */
        bool has_folder;        /* KVM has a folder for it in debugfs, that may be looked at or not */
        uint64_t ino;           /* of that folder, 0: not looked at */
        uint64_t added;         /* boottime usec */
        unsigned scan;          /* the last scan that saw it */

        /* guest-signs.c */
        int folder;             /* O_PATH; -1: not open */
        GArray *vcpus;          /* of uint32_t: the numbers in the folder */
        unsigned next_vcpu;
        bool have_guest_time;
        uint64_t guest_time;    /* of its process, when that had this VM alone */
} Guest;

/* What KVM counts, by the newest event. */
typedef struct KvmCounts {
        bool have;
        uint64_t created, count;
} KvmCounts;

struct Guests {
        const Roots *roots;
        GHashTable *table;      /* key -> Guest, owns a reference */
        GPtrArray *list;        /* of Guest, oldest first */
        GPtrArray *marked;      /* of Guest, owns references */
        bool marking;
        GHashTable *dying;      /* key -> inode number: destroyed, but the folder may still be there */
        uint64_t dying_until;   /* boottime usec */
        KvmCounts counts;
        uint64_t last_create;
        char *deaf;             /* why events are not heard */
        char *incomplete;
        char *scan_incomplete;  /* why the last scan may not have seen all */
        bool full;              /* look at everything anew */
        bool strangers;         /* of some VM the process is not known: it may be any */
        bool overflow;          /* there are more than LIMIT_GUESTS */
        bool changed;
        bool by_proc;           /* the last scan had to go over /proc */
        unsigned scan;
        unsigned n_folders;     /* Guest.folder that are open */
        uint64_t next_proc_scan; /* boottime usec */
};

/* guests.c. The folder's @st is NULL when there is none to be seen. */
void guests_add(Guests *g, const char *key, uint32_t tid, const struct stat *st);
void guests_drop(Guests *g, Guest *guest);
void guests_drop_all(Guests *g);
void guest_close_folder(Guests *g, Guest *guest);

/*
 * guest-process.c: who the VMM is. By its thread once, after that by what is known: the thread's number may be another's
 * by then.
 */
void guest_find_process(const Guests *g, Guest *guest);
void guest_describe(Guests *g, Guest *guest);
bool guest_process_is_gone(const Guests *g, const Guest *guest);

/* guest-scan.c: makes the table what KVM's folders, or else the descriptors of processes, are. */
void guests_scan(Guests *g);

/* guest-signs.c: looks at one that has not run yet. */
void guest_look(Guests *g, Guest *guest);
