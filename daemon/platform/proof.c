/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/proof.h"

/*
 * kernel/cgroup/misc.c: each TD charges one unit of "tdx" in KVM_TDX_INIT_VM, before its
 * build touches the module, and gives it back when it is destroyed. The root's own count is
 * exact. 0 or the count in *@ret; -ENODATA when there is no such line.
 */
static int read_misc_tdx(const Roots *roots, uint64_t *ret) {
        g_autofree char *text = NULL;
        char *save = NULL;
        int r;

        if (roots->cgroup_fd < 0)
                return -ENOENT;
        r = read_file_at(roots->cgroup_fd, ABI_MISC_CURRENT, LIMIT_SYSFS_FILE, &text, NULL);
        if (r < 0)
                return r;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (g_str_has_prefix(line, "tdx "))
                        return parse_u64(line + 4, ret);

        return -ENODATA;
}

static bool is_absent(const Roots *roots, const char *path) {
        return faccessat(roots->sysfs_fd, path, F_OK, 0) < 0 && errno == ENOENT;
}

/*
 * KVM has its folders whether it is modules or built in (it has parameters). That the folder above can be
 * looked into is what makes their absence a proof.
 */
static bool kvm_is_absent(const Roots *roots) {
        return faccessat(roots->sysfs_fd, ABI_MODULES, X_OK, 0) == 0 && is_absent(roots, ABI_KVM) &&
               is_absent(roots, ABI_KVM_INTEL);
}

/* "tdx.max N": how often a TD was refused in this cgroup or below it. */
static bool has_refused(int root_fd, const char *group) {
        g_autofree char *path = g_build_filename(group, ABI_MISC_EVENTS, NULL), *text = NULL;
        char *save = NULL;

        if (read_file_at(root_fd, path, LIMIT_SYSFS_FILE, &text, NULL) < 0)
                return false; /* no misc controller there */
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (g_str_has_prefix(line, "tdx.max ") && strcmp(line, "tdx.max 0") != 0)
                        return true;

        return false;
}

/*
 * Where a cgroup's misc.max has refused a TD, KVM gives a charge back that it did not get (arch/x86/kvm/vmx/tdx.c,
 * __tdx_td_init(), free_hkid, up to Linux 7.3 at least): from then on the count is one too low, and its 0 proves nothing. The
 * group's misc.events tell; they add up towards the root, which has none itself. The caller frees the group.
 */
static char *find_refusal(const Roots *roots) {
        _cleanup_close_ int fd = openat(roots->cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
        char *found = NULL;
        struct dirent *entry;

        if (!dir)
                return g_strdup(".");
        (void) steal_fd(&fd);
        while (!found && (entry = readdir(dir)))
                if ((entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN) && entry->d_name[0] != '.' && has_refused(roots->cgroup_fd, entry->d_name))
                        found = g_strdup(entry->d_name);
        closedir(dir);
        return found;
}

void proof_read(const Roots *roots, Proof *ret) {
        g_autofree char *parameter = NULL;
        int r;

        *ret = (Proof) {};

        if (read_line_at(roots->sysfs_fd, ABI_KVM_INTEL_TDX, &parameter) >= 0 && strcmp(parameter, "N") == 0)
                ret->impossible = "kvm_intel runs without TDX, so no TD can be built";
        else if (kvm_is_absent(roots))
                ret->impossible = "KVM is not loaded, so there is no VM";

        r = read_misc_tdx(roots, &ret->tds);
        ret->have_tds = r >= 0;
        if (r < 0)
                ret->tds_error = g_strdup_printf("the misc cgroup's count of TDs cannot be read (%s); "
                                                 "mount cgroup2 with the misc controller", g_strerror(-r));
        if (ret->have_tds && ret->tds == 0) {
                g_autofree char *group = find_refusal(roots);

                if (group) {
                        ret->have_tds = false;
                        ret->tds_error = g_strdup_printf("the misc cgroup's count of TDs is wrong since a TD was refused (misc.events of %s); "
                                                         "it is right again after a reboot", group);
                }
        }
}

void proof_clear(Proof *proof) {
        g_free(proof->tds_error);
        *proof = (Proof) {};
}

bool proof_counts_none(const Roots *roots) {
        g_auto(Proof) proof = {};

        proof_read(roots, &proof);
        return proof.have_tds && proof.tds == 0;
}
