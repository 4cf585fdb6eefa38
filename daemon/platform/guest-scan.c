/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fileio.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/guests-internal.h"

/* Between two rounds over /proc when no event says that one is needed: it has thousands of links. */
#define PROC_INTERVAL (10 * USEC_PER_SEC)

/* KVM tells of a VM a moment before its descriptor is there. */
#define INSTALL_TIME (2 * USEC_PER_SEC)

typedef DIR AutoDir;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AutoDir, closedir)

static AutoDir *open_dir(int dir_fd, const char *path) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        AutoDir *dir;

        if (fd < 0)
                return NULL;
        dir = fdopendir(fd);
        if (dir)
                (void) steal_fd(&fd);
        return dir;
}

static void set_incomplete(Guests *g, char *text) {
        g_free(g->scan_incomplete);
        g->scan_incomplete = text;
}

/*
 * The folder of a VM that KVM has said to be destroyed is removed right after. In doubt, a ghost is better than a VM
 * that nobody sees.
 */
static bool is_dying(const Guests *g, const char *key, const struct stat *st) {
        const uint64_t *ino = g_hash_table_lookup(g->dying, key);

        return ino && *ino == st->st_ino && !g->full && clock_boottime(&system_clock) < g->dying_until;
}

static void see_folder(Guests *g, int kvm_fd, const char *name) {
        Guest *guest = g_hash_table_lookup(g->table, name);
        struct stat st;
        uint32_t tid;

        if (!guest_key_parse(name, &tid, NULL))
                return;
        if (guest && guest->ino != 0 && !g->full) {
                guest->scan = g->scan;
                return;
        }
        if (fstatat(kvm_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
                return;

        /* Another VM that has the same name by now. */
        if (guest && guest->ino != 0 && guest->ino != st.st_ino) {
                guests_drop(g, guest);
                guest = NULL;
        }
        if (guest)
                guest->ino = st.st_ino;
        else if (!is_dying(g, name, &st)) {
                guests_add(g, name, tid, &st);
                guest = g_hash_table_lookup(g->table, name);
        }
        if (guest)
                guest->scan = g->scan;
}

/*
 * KVM makes the folder before it tells of the VM, and removes it after it told of its end; so what has no folder is gone.
 * One that never got a folder (a duplicate name) has nothing to be seen but its process.
 */
static void drop_unseen(Guests *g) {
        for (unsigned i = g->list->len; i > 0; i--) {
                Guest *guest = g->list->pdata[i - 1];

                if (guest->has_folder ? guest->scan != g->scan : guest_process_is_gone(g, guest))
                        guests_drop(g, guest);
        }
}

static void forget_dead(Guests *g, int kvm_fd) {
        GHashTableIter iter;
        void *key;

        g_hash_table_iter_init(&iter, g->dying);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                if (faccessat(kvm_fd, key, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                        g_hash_table_iter_remove(&iter);
}

static void scan_folders(Guests *g, AutoDir *dir) {
        struct dirent *entry;

        /* What was known over /proc has other names. */
        if (g->by_proc)
                guests_drop_all(g);
        g->by_proc = g->overflow = false;

        g->scan++;
        while ((errno = 0, entry = readdir(dir)))
                see_folder(g, dirfd(dir), entry->d_name);
        if (errno != 0) {
                set_incomplete(g, g_strdup_printf("KVM's folder in debugfs cannot be read (%s)", g_strerror(errno)));
                return;
        }

        drop_unseen(g);
        forget_dead(g, dirfd(dir));
        g->full = false;
        set_incomplete(g, NULL);
}

/* /proc/PID/fd of others, and with hidepid= their existence, are for those with CAP_SYS_PTRACE (fs/proc/base.c). */
static bool may_see_all(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        if (syscall(SYS_capget, &header, data) < 0)
                return false;
        return data[CAP_TO_INDEX(CAP_SYS_PTRACE)].effective & CAP_TO_MASK(CAP_SYS_PTRACE);
}

static Guest *find_by_descriptor(Guests *g, uint32_t pid, int64_t fd) {
        for (unsigned i = 0; i < g->list->len; i++) {
                Guest *guest = g->list->pdata[i];

                if (guest->facts.pid == pid && guest->fd == fd && guest->scan != g->scan)
                        return guest;
        }
        return NULL;
}

static void see_descriptor(Guests *g, uint32_t pid, uint32_t fd) {
        g_autofree char *key = g_strdup_printf("%" PRIu32 "-%" PRIu32, pid, fd);
        Guest *guest = find_by_descriptor(g, pid, fd);

        if (!guest)
                guest = find_by_descriptor(g, pid, -1);
        if (!guest)
                guest = g_hash_table_lookup(g->table, key);
        if (!guest) {
                guests_add(g, key, pid, NULL);
                guest = g_hash_table_lookup(g->table, key);
        }
        if (guest) {
                guest->fd = fd;
                guest->scan = g->scan;
        }
}

/* False if it could not be looked at. A process that has ended meanwhile has no VM. */
static bool see_process(Guests *g, const char *name, uint32_t pid) {
        g_autofree char *path = g_strdup_printf("%s/fd", name);
        g_autoptr(AutoDir) dir = open_dir(g->roots->proc_fd, path);
        struct dirent *entry;

        if (!dir)
                return errno == ENOENT || errno == ESRCH;

        while ((errno = 0, entry = readdir(dir))) {
                char text[sizeof(ABI_KVM_VM_LINK) + 1];
                uint64_t fd;
                ssize_t n;

                if (parse_u64(entry->d_name, &fd) < 0 || fd > INT32_MAX)
                        continue;
                n = readlinkat(dirfd(dir), entry->d_name, text, sizeof(text));
                if (n < 0 && errno != ENOENT && errno != ESRCH)
                        return false;
                if (n == (ssize_t) strlen(ABI_KVM_VM_LINK) && memcmp(text, ABI_KVM_VM_LINK, (size_t) n) == 0)
                        see_descriptor(g, pid, (uint32_t) fd);
        }
        return errno == 0 || errno == ENOENT || errno == ESRCH;
}

static void drop_unseen_by_proc(Guests *g, bool all_seen) {
        uint64_t now = clock_boottime(&system_clock);

        for (unsigned i = g->list->len; i > 0; i--) {
                Guest *guest = g->list->pdata[i - 1];

                if (guest->scan == g->scan)
                        continue;
                if (guest_process_is_gone(g, guest) || (all_seen && now - guest->added >= INSTALL_TIME))
                        guests_drop(g, guest);
                else if (all_seen)
                        g->full = true;
        }
}

#define MOUNT_TEXT "mount debugfs (systemctl start sys-kernel-debug.mount) and restart tdx-updated"

static void scan_proc(Guests *g) {
        g_autoptr(AutoDir) dir = NULL;
        unsigned unseen = 0;
        struct dirent *entry;
        int error;

        g->scan++;
        g->full = g->overflow = false;
        dir = open_dir(g->roots->proc_fd, ".");
        while (dir && (errno = 0, entry = readdir(dir))) {
                uint64_t pid;

                if (parse_u64(entry->d_name, &pid) >= 0 && pid > 0 && pid <= INT32_MAX && !see_process(g, entry->d_name, (uint32_t) pid))
                        unseen++;
        }
        error = errno;

        if (!dir || error != 0)
                set_incomplete(g, g_strdup_printf("debugfs has no folder of KVM's, and /proc cannot be read (%s); " MOUNT_TEXT, g_strerror(error)));
        else if (unseen > 0 || !may_see_all())
                set_incomplete(g, g_strdup_printf("debugfs has no folder of KVM's, so VMs are looked for in /proc, where %u processes cannot be looked "
                                                  "into without CAP_SYS_PTRACE; " MOUNT_TEXT ", or add CapabilityBoundingSet=CAP_SYS_PTRACE to its "
                                                  "[Service] section (systemctl edit tdx-updated)", unseen));
        else
                set_incomplete(g, NULL);
        drop_unseen_by_proc(g, !g->scan_incomplete);
}

void guests_scan(Guests *g) {
        g_autoptr(AutoDir) dir = NULL;
        uint64_t now = clock_boottime(&system_clock);

        errno = ENOENT;
        if (g->roots->debugfs_fd >= 0)
                dir = open_dir(g->roots->debugfs_fd, ABI_DEBUGFS_KVM);
        if (dir) {
                scan_folders(g, dir);
                return;
        }
        if (errno != ENOENT) {
                set_incomplete(g, g_strdup_printf("KVM's folder in debugfs cannot be opened (%s); it is for root", g_strerror(errno)));
                return;
        }

        /* KVM is there, but debugfs is not mounted, or switched off. */
        if (!g->by_proc)
                g->full = true;
        g->by_proc = true;
        if (!g->full && now < g->next_proc_scan)
                return;
        g->next_proc_scan = now + PROC_INTERVAL;
        scan_proc(g);
}
