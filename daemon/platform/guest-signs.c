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

/* vcpuN/pid: the thread that ran the vCPU last. Set in KVM_RUN before anything else, and never back to 0. */
static Sign look_vcpus(int folder, GArray *vcpus) {
        bool unreadable = false;

        if (!vcpus_are_known(folder, vcpus) && list_vcpus(folder, vcpus) < 0)
                return SIGN_UNREADABLE;

        for (unsigned i = 0; i < vcpus->len; i++) {
                char path[32];
                uint64_t pid;

                g_snprintf(path, sizeof(path), ABI_GUEST_VCPU "%" PRIu32 "/" ABI_GUEST_VCPU_PID, g_array_index(vcpus, uint32_t, i));
                if (read_u64_at(folder, path, &pid) < 0)
                        unreadable = true;
                else if (pid != 0)
                        return SIGN_SEEN;
        }

        return unreadable ? SIGN_UNREADABLE : SIGN_ABSENT;
}

/*
 * Without a vCPU that ran there is no exit either, so this is looked at only where that cannot be seen. For as long as
 * it is open, the file holds a reference to the VM (kvm_debugfs_open()): if it were the last one, the VM would be
 * torn down by us, here.
 */
static Sign look_exits(int folder, Sign vcpu_pid) {
        uint64_t exits;

        if (vcpu_pid != SIGN_UNREADABLE)
                return SIGN_ABSENT;
        if (read_u64_at(folder, ABI_GUEST_EXITS, &exits) < 0)
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

void guest_look(Guests *g, Guest *guest) {
        GuestSigns signs = { SIGN_UNREADABLE, SIGN_UNREADABLE, SIGN_UNREADABLE };
        _cleanup_close_ int own = -1;
        int folder = -ENOENT;

        if (guest->has_folder && !g->by_proc)
                folder = get_folder(g, guest, &own);
        if (folder >= 0) {
                signs.vcpu_pid = look_vcpus(folder, guest->vcpus);
                if (signs.vcpu_pid != SIGN_SEEN)
                        signs.exits = look_exits(folder, signs.vcpu_pid);
        }
        if (!guest_signs_ran(signs))
                signs.guest_time = look_guest_time(g, guest);

        if (memcmp(&signs, &guest->facts.signs, sizeof(signs)) != 0)
                g->changed = true;
        guest->facts.signs = signs;
        if (!guest_signs_ran(signs))
                return;

        guest->facts.ran = clock_realtime(&system_clock);
        guest_close_folder(g, guest);
}
