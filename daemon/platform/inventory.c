/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/cpuinfo.h"
#include "platform/inventory.h"

struct Inventory {
        const Roots *roots;
        HostFacts facts;
        CpuInfo cpuinfo;
        char *cpuinfo_online;           /* the list of online CPUs when cpuinfo was read */
        char *offline_text;
        char boot_id[40];
};

static bool exists(const Roots *roots, const char *path) {
        return faccessat(roots->sysfs_fd, path, F_OK, 0) == 0;
}

static void read_boot_id(Inventory *inventory) {
        g_autofree char *line = NULL;

        if (read_line_at(inventory->roots->proc_fd, ABI_BOOT_ID, &line) >= 0)
                g_strlcpy(inventory->boot_id, line, sizeof(inventory->boot_id));
}

Inventory *inventory_new(const Roots *roots) {
        Inventory *inventory = g_new0(Inventory, 1);

        inventory->roots = roots;
        read_boot_id(inventory);
        return inventory;
}

Inventory *inventory_free(Inventory *inventory) {
        if (!inventory)
                return NULL;

        cpuinfo_clear(&inventory->cpuinfo);
        g_free(inventory->offline_text);
        g_free(inventory->cpuinfo_online);
        g_free(inventory);
        return NULL;
}

/* The causes that tdx.rst and the driver's own conditions know. */
static const char *find_unsupported(const Inventory *inventory) {
        const Roots *roots = inventory->roots;

        if (exists(roots, ABI_UPLOAD))
                return NULL;

        if (!exists(roots, ABI_TDX_HOST)) {
                if (!inventory->cpuinfo.has_tdx_host)
                        return "This host has no TDX: the CPU lacks it or the BIOS has not enabled it "
                               "(no tdx_host_platform in /proc/cpuinfo)";
                return "The kernel's TDX host driver is not there; it needs Linux 7.2 or later with "
                       "CONFIG_TDX_HOST_SERVICES (try: modprobe tdx_host)";
        }
        if (inventory->cpuinfo.has_seamret_bug)
                return "The CPU has the bug seamret_invd_vmcs, with which the kernel offers no updates; "
                       "newer microcode or hardware does not have it";

        return "The running TDX module or its P-SEAMLDR cannot be updated at run time (no TD-preserving updates)";
}

static void read_cpus(Inventory *inventory) {
        HostFacts *f = &inventory->facts;
        g_autofree char *present = NULL, *online = NULL;
        int fd = inventory->roots->sysfs_fd;

        f->cpus_present = f->cpus_online = 0;
        if (read_line_at(fd, ABI_CPUS_PRESENT, &present) < 0 || parse_cpu_list(present, &f->cpus_present) < 0 ||
            read_line_at(fd, ABI_CPUS_ONLINE, &online) < 0 || parse_cpu_list(online, &f->cpus_online) < 0)
                f->cpus_present = f->cpus_online = 0;

        g_clear_pointer(&inventory->offline_text, g_free);
        if (f->cpus_online < f->cpus_present)
                inventory->offline_text = g_strdup_printf("online are %s of %s; write 1 to /sys/devices/system/cpu/cpuN/online "
                                                          "of the others, or boot without nosmt and maxcpus=",
                                                          online, present);
        f->cpus_offline_text = inventory->offline_text;

        /* cpuinfo is long on large hosts, and its signatures change only with the set of CPUs. */
        if (f->cpus_online == 0 || f->n_cpus == 0 || g_strcmp0(inventory->cpuinfo_online, online) != 0) {
                cpuinfo_read(inventory->roots, &inventory->cpuinfo);
                g_free(inventory->cpuinfo_online);
                inventory->cpuinfo_online = g_steal_pointer(&online);
                f->cpus = inventory->cpuinfo.signatures;
                f->n_cpus = inventory->cpuinfo.n_signatures;
        }
}

int inventory_read(Inventory *inventory) {
        HostFacts *f = &inventory->facts;
        g_autofree char *line = NULL;
        int r;

        read_cpus(inventory);
        f->unsupported = find_unsupported(inventory);

        r = read_line_at(inventory->roots->sysfs_fd, ABI_VERSION, &line);
        f->have_running = r >= 0 && version_parse(line, &f->running) >= 0;
        if (r >= 0 && !f->have_running) {
                log_warning(0, "The kernel's %s says \"%s\", which is no version; treating it as unknown", ABI_VERSION, line);
                return EBADMSG;
        }
        /* ENXIO while the device exists: no module is initialised (tdx-host.c, version_show). */
        if (r == -ENXIO)
                f->lost = true;

        return r < 0 ? -r : 0;
}

void inventory_read_hardware(Inventory *inventory) {
        HostFacts *f = &inventory->facts;
        g_autofree char *line = NULL;
        uint64_t remaining;
        int r, fd = inventory->roots->sysfs_fd;

        r = read_line_at(fd, ABI_SEAMLDR_VERSION, &line);
        f->have_seamldr = r >= 0 && version_parse(line, &f->seamldr) >= 0;
        if (r < 0 && r != -ENOENT && !f->lost)
                log_warning(r, "Failed to read the P-SEAMLDR's version, treating it as unknown");

        r = read_u64_at(fd, ABI_REMAINING_UPDATES, &remaining);
        f->have_remaining = r >= 0 && remaining <= UINT32_MAX;
        f->remaining = f->have_remaining ? (uint32_t) remaining : 0;
        if (r < 0 && r != -ENOENT && !f->lost)
                log_warning(r, "Failed to read the number of remaining updates, treating it as unknown");
}

void inventory_set_lost(Inventory *inventory) {
        inventory->facts.lost = true;
}

void inventory_set_svn(Inventory *inventory, bool have, uint16_t svn) {
        inventory->facts.have_svn = have;
        inventory->facts.svn = svn;
}

const HostFacts *inventory_facts(const Inventory *inventory) {
        return &inventory->facts;
}

const char *inventory_boot_id(const Inventory *inventory) {
        return inventory->boot_id;
}
