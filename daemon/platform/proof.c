/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/limit.h"
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
}

void proof_clear(Proof *proof) {
        g_free(proof->tds_error);
        *proof = (Proof) {};
}
