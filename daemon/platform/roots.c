/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>

#include "base/util.h"
#include "platform/roots.h"

static int open_root(const char *given, const char *real, const char **ret_path) {
        int fd;

        *ret_path = given ?: real;
        fd = open(*ret_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static char *describe(const RootOptions *o, bool with_values) {
        g_autofree char *signature = g_strdup_printf("0x%" PRIx32, o->cpu_signature);
        const struct {
                const char *option, *value;
        } options[] = {
                { "sysfs", o->sysfs },     { "proc", o->proc },       { "cgroup", o->cgroup },
                { "debugfs", o->debugfs }, { "uevents", o->uevents }, { "cpu-signature", o->cpu_signature != 0 ? signature : NULL },
        };
        g_autoptr(GString) text = g_string_new(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
                if (options[i].value)
                        g_string_append_printf(text, "%s--%s%s%s", text->len > 0 ? " " : "", options[i].option,
                                               with_values ? "=" : "", with_values ? options[i].value : "");

        return text->len > 0 ? g_string_free(g_steal_pointer(&text), false) : NULL;
}

int roots_open(const RootOptions *options, Roots **ret, const char **ret_path) {
        g_autoptr(Roots) roots = g_new0(Roots, 1);
        const char *ignored;

        *roots = (Roots) { .sysfs_fd = -1, .proc_fd = -1, .cgroup_fd = -1, .debugfs_fd = -1 };

        roots->sysfs_fd = open_root(options->sysfs, "/sys", ret_path);
        if (roots->sysfs_fd < 0)
                return roots->sysfs_fd;
        roots->proc_fd = open_root(options->proc, "/proc", ret_path);
        if (roots->proc_fd < 0)
                return roots->proc_fd;

        /* These two may be missing on a real host: then they are no evidence. */
        roots->cgroup_fd = open_root(options->cgroup, "/sys/fs/cgroup", options->cgroup ? ret_path : &ignored);
        if (roots->cgroup_fd < 0 && options->cgroup)
                return roots->cgroup_fd;
        roots->debugfs_fd = open_root(options->debugfs, "/sys/kernel/debug", options->debugfs ? ret_path : &ignored);
        if (roots->debugfs_fd < 0 && options->debugfs)
                return roots->debugfs_fd;

        roots->uevents = g_strdup(options->uevents);
        roots->cpu_signature = options->cpu_signature;
        roots->overrides = describe(options, true);
        roots->override_names = describe(options, false);

        *ret = g_steal_pointer(&roots);
        return 0;
}

Roots *roots_free(Roots *roots) {
        if (!roots)
                return NULL;

        closep(&roots->sysfs_fd);
        closep(&roots->proc_fd);
        closep(&roots->cgroup_fd);
        closep(&roots->debugfs_fd);
        g_free(roots->uevents);
        g_free(roots->overrides);
        g_free(roots->override_names);
        g_free(roots);
        return NULL;
}
