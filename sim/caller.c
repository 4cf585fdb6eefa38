/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include <glib.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "sim/caller.h"

bool caller_has_rawio(pid_t tid) {
        g_autofree char *path = NULL, *text = NULL;
        unsigned long long effective;
        const char *line;

        if (tid <= 0)
                return true;

        path = g_strdup_printf("/proc/%d/status", (int) tid);
        if (read_file_at(AT_FDCWD, path, LIMIT_SYSFS_FILE, &text, NULL) < 0)
                return true;

        line = strstr(text, "\nCapEff:");
        if (!line || sscanf(line, "\nCapEff: %llx", &effective) != 1)
                return true;

        return effective >> CAP_SYS_RAWIO & 1;
}
