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
#include "platform/evidence.h"

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

static void conclude(Evidence *e, Activity activity, const char *tier, char *text) {
        e->activity = activity;
        e->tier = tier;
        e->text = text;
}

void evidence_read(const Roots *roots, Evidence *ret) {
        g_autofree char *parameter = NULL;
        uint64_t tds = 0;
        int r;

        *ret = (Evidence) {};

        if (read_line_at(roots->sysfs_fd, ABI_KVM_INTEL_TDX, &parameter) >= 0 && strcmp(parameter, "N") == 0) {
                conclude(ret, ACTIVITY_IDLE, "T0", g_strdup("kvm_intel runs without TDX, so no TD can be built"));
                return;
        }

        if (kvm_is_absent(roots)) {
                conclude(ret, ACTIVITY_IDLE, "T0", g_strdup("KVM is not loaded, so there is no VM"));
                return;
        }

        r = read_misc_tdx(roots, &tds);
        if (r >= 0 && tds == 0)
                conclude(ret, ACTIVITY_IDLE, "T0", g_strdup("no TD exists (the misc cgroup counts 0)"));
        else if (r >= 0)
                conclude(ret, ACTIVITY_UNKNOWN, "none",
                         g_strdup_printf("%" G_GUINT64_FORMAT " TD%s, and whether any is still in its build cannot be seen; "
                                         "it goes on when no TD is left", tds, tds == 1 ? " exists" : "s exist"));
        else
                conclude(ret, ACTIVITY_UNKNOWN, "none",
                         g_strdup_printf("the misc cgroup's count of TDs cannot be read (%s); "
                                         "mount cgroup2 with the misc controller", g_strerror(-r)));
}

void evidence_clear(Evidence *evidence) {
        g_free(evidence->text);
        *evidence = (Evidence) {};
}
