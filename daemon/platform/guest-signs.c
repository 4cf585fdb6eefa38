/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fileio.h"
#include "base/limit.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/guests-internal.h"
#include "platform/process.h"

/* An open descriptor saves the kernel the way there at each look; it does not keep the VM or its folder. */
static int get_folder(Guests *g, Guest *guest, int *ret_own) {
        g_autofree char *path = g_strdup_printf(ABI_DEBUGFS_KVM "/%s", guest->key);
        int fd;

        if (guest->folder >= 0)
                return guest->folder;

        fd = openat(g->roots->debugfs_fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        if (g->n_folders < LIMIT_GUEST_FOLDERS) {
                g->n_folders++;
                guest->folder = fd;
        } else
                *ret_own = fd;
        return fd;
}

static int compare_numbers(const void *a, const void *b) {
        const uint32_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static int list_vcpus(int folder, GArray *vcpus) {
        struct dirent *entry;
        DIR *dir;
        int fd;

        g_array_set_size(vcpus, 0);
        fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                close(fd);
                return -errno;
        }

        while ((errno = 0, entry = readdir(dir))) {
                uint64_t number;

                if (g_str_has_prefix(entry->d_name, ABI_GUEST_VCPU) &&
                    parse_u64(entry->d_name + strlen(ABI_GUEST_VCPU), &number) >= 0 && number <= UINT32_MAX) {
                        uint32_t n = (uint32_t) number;

                        g_array_append_val(vcpus, n);
                }
        }
        fd = -errno;
        closedir(dir);
        g_array_sort(vcpus, compare_numbers);
        return fd;
}

/*
 * A folder has two links and one for each folder in it (debugfs_create_dir()), which tells cheaply whether there are new
 * ones. Not all file systems count so; those get the long way.
 */
static bool vcpus_are_known(int folder, const GArray *vcpus) {
        struct stat st;

        return vcpus->len > 0 && fstat(folder, &st) >= 0 && st.st_nlink == (nlink_t) vcpus->len + 2;
}

/* As read_u64_at(), for what is polled: one small read. */
static int read_number(int folder, const char *path, uint64_t *ret) {
        _cleanup_close_ int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
        char text[32];
        ssize_t n;

        if (fd < 0)
                return -errno;
        do
                n = read(fd, text, sizeof(text) - 1);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return parse_u64(text, ret) < 0 ? -EBADMSG : 0;
}

/* How many of a VM's vCPUs are looked at in one turn. */
#define VCPUS_A_TURN 2U

/*
 * vcpuN/pid: the thread that ran the vCPU last. Set in KVM_RUN before anything else, and never back to 0. All of them are
 * looked at when they are new, later the first one (which mostly runs first) and, in turn, one of the others.
 */
static Sign look_vcpus(int folder, Guest *guest) {
        bool unreadable = false, fresh = !vcpus_are_known(folder, guest->vcpus);
        unsigned n;

        if (fresh && list_vcpus(folder, guest->vcpus) < 0)
                return SIGN_UNREADABLE;

        n = fresh ? guest->vcpus->len : MIN(guest->vcpus->len, VCPUS_A_TURN);
        for (unsigned i = 0; i < n; i++) {
                unsigned k = i == 0 ? 0 : 1 + guest->next_vcpu++ % (guest->vcpus->len - 1);
                char path[32];
                uint64_t pid;

                g_snprintf(path, sizeof(path), ABI_GUEST_VCPU "%" PRIu32 "/" ABI_GUEST_VCPU_PID, g_array_index(guest->vcpus, uint32_t, k));
                if (read_number(folder, path, &pid) < 0)
                        unreadable = true;
                else if (pid != 0)
                        return SIGN_SEEN;
        }

        return unreadable ? SIGN_UNREADABLE : SIGN_ABSENT;
}

/*
 * For as long as it is open, the file holds a reference to the VM (kvm_debugfs_open()): if it were the last one, the VM
 * would be torn down by us, here. So it is asked only where the vCPUs cannot be.
 */
static Sign look_exits(int folder) {
        uint64_t exits;

        if (read_number(folder, ABI_GUEST_EXITS, &exits) < 0)
                return SIGN_UNREADABLE;
        return exits > 0 ? SIGN_SEEN : SIGN_ABSENT;
}

/*
 * Time that the process spent in guests. It stays when a VM is gone, so only what comes on top counts, while the
 * process has this VM alone, and while there is none that is not known of, or of which the process is not known.
 */
static Sign look_guest_time(const Guests *g, Guest *guest) {
        g_auto(ProcessStat) stat = {};

        if (guest->facts.start_time == 0 || process_stat_read(g->roots, guest->facts.pid, &stat) < 0 ||
            stat.start_time != guest->facts.start_time)
                return SIGN_UNREADABLE;

        if (guest->facts.siblings != 1 || g->incomplete || g->strangers || !guest->have_guest_time) {
                guest->guest_time = stat.guest_time;
                guest->have_guest_time = true;
                return SIGN_ABSENT;
        }

        return stat.guest_time > guest->guest_time ? SIGN_SEEN : SIGN_ABSENT;
}

/* Without a vCPU that ran there is neither an exit nor guest time: those are looked at only where vCPUs cannot be. */
static GuestSigns look_signs(Guests *g, Guest *guest) {
        GuestSigns signs = { SIGN_UNREADABLE, SIGN_UNREADABLE, SIGN_UNREADABLE };
        _cleanup_close_ int own = -1;
        int folder = -ENOENT;

        if (guest->has_folder && !g->by_proc)
                folder = get_folder(g, guest, &own);
        if (folder >= 0)
                signs.vcpu_pid = look_vcpus(folder, guest);
        if (signs.vcpu_pid != SIGN_UNREADABLE) {
                signs.exits = signs.guest_time = SIGN_ABSENT;
                return signs;
        }

        if (folder >= 0)
                signs.exits = look_exits(folder);
        if (signs.exits != SIGN_SEEN)
                signs.guest_time = look_guest_time(g, guest);
        return signs;
}

void guest_look(Guests *g, Guest *guest) {
        GuestSigns signs = look_signs(g, guest);

        if (memcmp(&signs, &guest->facts.signs, sizeof(signs)) != 0)
                g->changed = true;
        guest->facts.signs = signs;
        if (!guest_signs_ran(signs))
                return;

        guest->facts.ran = clock_realtime(&system_clock);
        guest_close_folder(g, guest);
}
