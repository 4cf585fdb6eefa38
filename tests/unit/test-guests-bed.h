/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "platform/guests.h"
#include "test-tree.h"

/* A host's files, as plain ones: KVM's folder in debugfs, processes, sysfs. Needs cmocka.h before it. */
typedef struct Bed {
        Tree tree;
        Roots roots;
        Guests *guests;
        uint64_t created, count;        /* what KVM's events say */
        bool dark;                      /* nothing in a VM's folder can be read */
} Bed;

static inline int bed_open(const Bed *b, const char *path) {
        g_autofree char *full = g_build_filename(b->tree.path, path, NULL);
        int fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static inline Bed bed_new(void) {
        Bed b = { .tree = tree_new() };

        tree_mkdir(&b.tree, "sys/module/kvm");
        tree_mkdir(&b.tree, "sys/devices/virtual/misc/kvm");
        tree_mkdir(&b.tree, "debug/kvm");
        tree_mkdir(&b.tree, "proc");
        b.roots = (Roots) {
                .sysfs_fd = bed_open(&b, "sys"),
                .proc_fd = bed_open(&b, "proc"),
                .debugfs_fd = bed_open(&b, "debug"),
                .cgroup_fd = -1,
        };
        return b;
}

/* The daemon starts: it listens, then it looks. */
static inline void bed_start(Bed *b) {
        assert_int_equal(guests_new(&b->roots, &b->guests), 0);
}

static inline void bed_free(Bed *b) {
        guests_free(b->guests);
        closep(&b->roots.sysfs_fd);
        closep(&b->roots.proc_fd);
        closep(&b->roots.debugfs_fd);
        tree_free(&b->tree);
}

#define _cleanup_bed_ __attribute__((cleanup(bed_free)))

static inline void bed_put(const Bed *b, const char *text, const char *format, ...) __attribute__((format(printf, 3, 4)));
static inline void bed_put(const Bed *b, const char *text, const char *format, ...) {
        g_autofree char *path = NULL;
        va_list ap;

        va_start(ap, format);
        path = g_strdup_vprintf(format, ap);
        va_end(ap);
        tree_put(&b->tree, path, text);
}

/* proc(5): start time is the 22nd field of stat, guest time the 43rd; 100 ticks a second are USER_HZ's. */
static inline void bed_stat(const Bed *b, unsigned pid, const char *name, uint64_t start, uint64_t guest) {
        g_autofree char *text = g_strdup_printf("%u (%s) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %" PRIu64
                                                " 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 %" PRIu64
                                                " 41 42 43 44 45 46 47 48\n", pid, name, start, guest);

        bed_put(b, text, "proc/%u/stat", pid);
}

static inline void bed_thread(const Bed *b, unsigned tid, unsigned pid) {
        g_autofree char *status = g_strdup_printf("Name:\tx\nTgid:\t%u\n", pid);

        bed_put(b, status, "proc/%u/status", tid);
}

/* A VMM's process that began with the boot. */
static inline void bed_process(const Bed *b, unsigned pid, const char *name) {
        bed_stat(b, pid, name, 1000, 0);
        bed_thread(b, pid, pid);
        bed_put(b, "0::/machine.slice/machine-qemu\\x2d3\\x2dweb.scope/libvirt/emulator\n", "proc/%u/cgroup", pid);
}

/* KVM's folder of a VM. */
static inline void bed_folder(const Bed *b, const char *key, unsigned n_vcpus) {
        if (!b->dark)
                bed_put(b, "0\n", "debug/kvm/%s/exits", key);
        for (unsigned i = 0; i < n_vcpus; i++) {
                g_autofree char *pid = g_strdup_printf("debug/kvm/%s/vcpu%u/pid", key, i);

                if (b->dark)
                        tree_mkdir(&b->tree, pid);
                else
                        tree_put(&b->tree, pid, "0\n");
        }
}

static inline void bed_remove(const Bed *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void bed_remove(const Bed *b, const char *format, ...) {
        g_autofree char *path = NULL;
        va_list ap;

        va_start(ap, format);
        path = g_strdup_vprintf(format, ap);
        va_end(ap);
        tree_remove(&b->tree, path);
}

static inline void bed_rename(const Bed *b, const char *from, const char *to) {
        g_autofree char *a = g_build_filename(b->tree.path, from, NULL), *c = g_build_filename(b->tree.path, to, NULL);

        assert_int_equal(rename(a, c), 0);
}

static inline void bed_tell(Bed *b, bool create, unsigned tid, const char *key) {
        KvmEvent event = { create, tid, b->created, b->count, true, key };

        guests_on_event(b->guests, &event);
}

/* Folder and event of a VM whose VMM is a process of one thread, whose number begins the key. */
static inline void bed_create(Bed *b, const char *key, unsigned n_vcpus) {
        bed_folder(b, key, n_vcpus);
        b->created++;
        b->count++;
        bed_tell(b, true, (unsigned) atoi(key), key);
}

static inline void bed_destroy(Bed *b, const char *key) {
        b->count--;
        bed_tell(b, false, (unsigned) atoi(key), key);
        bed_remove(b, "debug/kvm/%s", key);
}

static inline const GuestFacts *find_in(const GuestFacts *const *list, size_t n, const char *key) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(list[i]->key, key) == 0)
                        return list[i];
        return NULL;
}

static inline const GuestFacts *bed_find(const Bed *b, const char *key) {
        size_t n;
        const GuestFacts *const *list = guests_get(b->guests, &n);

        return find_in(list, n, key);
}

/* As bed_find(), after one more look. */
static inline const GuestFacts *bed_look(Bed *b, const char *key) {
        const GuestFacts *guest;

        (void) guests_update(b->guests, false);
        guest = bed_find(b, key);
        if (!guest)
                fail_msg("there is no guest %s", key);
        return guest;
}

static inline size_t bed_count(const Bed *b) {
        size_t n;

        (void) guests_get(b->guests, &n);
        return n;
}

static inline size_t bed_update(Bed *b) {
        (void) guests_update(b->guests, false);
        return bed_count(b);
}
