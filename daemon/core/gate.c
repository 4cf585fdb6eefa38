/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>

#include "core/gate.h"

/*
 * Intel's documents and reference tool compare CPUID.1:EAX with the stepping
 * (the lowest four bits) masked; facts of the table are in the SIGSTRUCT.
 */
#define STEPPING_MASK UINT32_C(0xf)

bool cpu_matches(uint32_t cpu, const uint32_t *table, size_t n, bool exact) {
        uint32_t mask = exact ? UINT32_MAX : ~STEPPING_MASK;

        for (size_t i = 0; i < n; i++)
                if ((cpu & mask) == (table[i] & mask))
                        return true;

        return false;
}

static char *cpu_table_text(const uint32_t *cpus, size_t n) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (size_t i = 0; i < n; i++)
                g_string_append_printf(text, "%s0x%" PRIx32, i > 0 ? ", " : "", cpus[i]);

        return g_string_free(g_steal_pointer(&text), false);
}

static void add_stepping(const Policy *policy, uint32_t cpu, const char *table, BlockerList *list) {
        Blocker *blocker;

        blocker = blocker_list_add(list, BLOCKER_STEPPING_UNLISTED, NULL,
                                   "CPU 0x%" PRIx32 " is in the image's table (%s) only with its stepping set aside%s",
                                   cpu, table,
                                   policy->require_exact_stepping ? ", and RequireExactStepping= asks for more" : "");
        if (!policy->require_exact_stepping)
                blocker->severity = SEVERITY_NOTE;
}

/* Every CPU of the host must fit: the install runs on each. */
static void check_cpus(const HostFacts *host, const ImageFacts *image, const Policy *policy, BlockerList *list) {
        g_autofree char *table = cpu_table_text(image->cpus, image->n_cpus);
        bool refused = false, noted = false;

        if (host->n_cpus == 0) {
                blocker_list_add(list, BLOCKER_INCOMPATIBLE_CPU, NULL,
                                 "The host's CPU signature could not be read, so it is not known whether the image fits");
                return;
        }

        for (size_t i = 0; i < host->n_cpus && (!refused || !noted); i++) {
                uint32_t cpu = host->cpus[i];

                if (!cpu_matches(cpu, image->cpus, image->n_cpus, false)) {
                        if (!refused)
                                blocker_list_add(list, BLOCKER_INCOMPATIBLE_CPU, NULL,
                                                 "The image is not for CPU 0x%" PRIx32 ", only for %s; choose one that is",
                                                 cpu, table);
                        refused = true;
                } else if (!noted && !cpu_matches(cpu, image->cpus, image->n_cpus, true)) {
                        add_stepping(policy, cpu, table, list);
                        noted = true;
                }
        }
}

static void check_seamldr(const HostFacts *host, const Mapping *mapping, BlockerList *list) {
        g_autoptr(GString) wanted = g_string_new(NULL);

        if (!host->have_seamldr) {
                blocker_list_add(list, BLOCKER_INCOMPATIBLE_SEAMLDR, NULL,
                                 "The P-SEAMLDR's version could not be read, so it is not known whether it can load the image");
                return;
        }

        /* One entry a P-SEAMLDR line; the running one must be of that line and not older. */
        for (size_t i = 0; i < mapping->n_min_seamldr; i++) {
                Version min = mapping->min_seamldr[i];

                if (version_same_line(host->seamldr, min) && version_compare(host->seamldr, min) >= 0)
                        return;
                g_string_append_printf(wanted, "%s%s", i > 0 ? " or " : "", VERSION_STRING(min));
        }

        blocker_list_add(list, BLOCKER_INCOMPATIBLE_SEAMLDR, NULL,
                         "The image needs P-SEAMLDR %s or newer of the same line, the host has %s; only a BIOS update changes it",
                         wanted->len > 0 ? wanted->str : "(none listed)", VERSION_STRING(host->seamldr));
}

/*
 * The kernel can only upgrade: it asks the running module for handoff data in that
 * module's own format, which an older one may be unable to read, and then the module is lost.
 */
static void check_versions(const HostFacts *host, const ImageFacts *image, BlockerList *list) {
        Version from = host->running, to = image->version;
        int order = version_compare(to, from);

        if (order == 0) {
                blocker_list_add(list, BLOCKER_ALREADY_CURRENT, NULL,
                                 "%s runs already; installing it again would spend an update for nothing", VERSION_STRING(to));
                return;
        }
        if (order < 0)
                blocker_list_add(list, BLOCKER_DOWNGRADE, NULL,
                                 "%s is older than the running %s; a running module can only be replaced by a newer one, "
                                 "an older one needs a BIOS with it and a reboot",
                                 VERSION_STRING(to), VERSION_STRING(from));

        if (!version_same_line(from, to))
                blocker_list_add(list, BLOCKER_INCOMPATIBLE_MODULE, NULL,
                                 "%s is of another line than the running %s; only within %u.%u can the module be replaced at run time",
                                 VERSION_STRING(to), VERSION_STRING(from), from.major, from.minor);
        else if (image->mapping && version_compare(from, image->mapping->min_module) < 0)
                blocker_list_add(list, BLOCKER_INCOMPATIBLE_MODULE, NULL,
                                 "%s can replace %s and newer, the host runs %s; update to a version in between first",
                                 VERSION_STRING(to), VERSION_STRING(image->mapping->min_module), VERSION_STRING(from));
}

static void check_image(const HostFacts *host, const ImageFacts *image, const Policy *policy, BlockerList *list) {
        if (image->verdict != IMAGE_OK) {
                blocker_list_add(list,
                                 image->verdict == IMAGE_INVALID ? BLOCKER_IMAGE_INVALID : BLOCKER_IMAGE_UNTRUSTED,
                                 NULL, "The image %s: %s", image->verdict == IMAGE_INVALID ? "cannot be used" : "is not trusted",
                                 image->verdict_text ?: "its check has failed");
                /* Nothing else that it says can be relied on. */
                return;
        }

        if (image->debug && !policy->allow_debug)
                blocker_list_add(list, BLOCKER_DEBUG_IMAGE, NULL,
                                 "%s is a debug module, in which no TD is confidential; AllowDebugImages= would allow it",
                                 VERSION_STRING(image->version));

        if (host->have_running && !host->lost)
                check_versions(host, image, list);

        if (image->mapping)
                check_seamldr(host, image->mapping, list);
        else
                blocker_list_add(list, BLOCKER_INCOMPATIBLE_MODULE, NULL,
                                 "No mapping_file.json of the catalogue knows %s, so it is not known what it can replace; "
                                 "add the mapping file of its release",
                                 VERSION_STRING(image->version));

        check_cpus(host, image, policy, list);

        if (host->have_svn && image->svn < host->svn)
                blocker_list_add(list, BLOCKER_SVN_LOWER, NULL,
                                 "The image's security version 0x%x is lower than the running module's 0x%x",
                                 image->svn, host->svn);
}

static void check_host(const HostFacts *host, const Policy *policy, BlockerList *list) {
        if (host->lost) {
                blocker_list_add(list, BLOCKER_MODULE_LOST, NULL,
                                 "The TDX module is gone and every TD with it; only a reboot brings it back");
                return;
        }

        if (host->unsupported) {
                blocker_list_add(list, BLOCKER_UNSUPPORTED, NULL, "%s", host->unsupported);
                return;
        }
        if (!host->have_running)
                blocker_list_add(list, BLOCKER_UNSUPPORTED, NULL,
                                 "The running module's version cannot be read, so nothing can be compared with it");

        /* The kernel does not look: at 0 the old module is shut down and the new one is refused. */
        if (!host->have_remaining)
                blocker_list_add(list, BLOCKER_NO_BUDGET, NULL,
                                 "The number of remaining updates could not be read; an update without one loses the module");
        else if (host->remaining == 0)
                blocker_list_add(list, BLOCKER_NO_BUDGET, NULL,
                                 "No update is left; only a reboot gives new ones");
        else if (host->remaining - 1 < policy->keep_remaining)
                blocker_list_add(list, BLOCKER_RESERVE, NULL,
                                 "%u update%s left, and KeepRemaining=%u must stay; a reboot gives new ones, or lower KeepRemaining=",
                                 host->remaining, host->remaining == 1 ? " is" : "s are", policy->keep_remaining);

        /*
         * The install must run on every CPU; the kernel stops only the online ones, and with
         * one missing the P-SEAMLDR refuses when the old module is gone already.
         */
        if (host->cpus_present == 0 || host->cpus_online == 0)
                blocker_list_add(list, BLOCKER_CPUS_OFFLINE, NULL,
                                 "It could not be read which CPUs are online; all must be, or the module is lost");
        else if (host->cpus_online < host->cpus_present)
                blocker_list_add(list, BLOCKER_CPUS_OFFLINE, NULL,
                                 "%u of %u CPUs are online, all must be: %s", host->cpus_online, host->cpus_present,
                                 host->cpus_offline_text ?: "write 1 to /sys/devices/system/cpu/cpuN/online");
}

void eligibility_evaluate(const HostFacts *host, const ImageFacts *image, const Policy *policy, BlockerList *list) {
        check_host(host, policy, list);
        if (image)
                check_image(host, image, policy, list);
}

/* One blocker a reason, so that each names its guest. */
static void check_activity(const MomentFacts *moment, BlockerList *list) {
        const ActivityVerdict *activity = moment->activity;

        for (size_t i = 0; i < activity->n_reasons; i++) {
                const ActivityReason *reason = &activity->reasons[i];
                bool ignored = reason->ignored || (!reason->building && moment->ignore_activity);
                Blocker *blocker;

                blocker = blocker_list_add(list, reason->building ? BLOCKER_TD_BUILDING : BLOCKER_ACTIVITY_UNKNOWN, reason->subject,
                                           "%s%s", reason->text, ignored ? " (ignored on request)" : "");
                if (ignored)
                        blocker->severity = SEVERITY_NOTE;
        }

        /* Whoever made this verdict had no reason and no proof either: that is not idle. */
        if (activity->activity != ACTIVITY_IDLE && activity->n_reasons == 0)
                blocker_list_add(list, BLOCKER_ACTIVITY_UNKNOWN, NULL, "It is not known whether a TD is being built");
}

static void check_holds(const MomentFacts *moment, BlockerList *list) {
        for (size_t i = 0; i < moment->n_holds; i++) {
                const HoldFacts *hold = &moment->holds[i];
                g_autofree char *subject = g_strdup_printf("%s[%" PRIu32 "]", hold->who, hold->pid);
                Blocker *blocker = NULL;

                if (hold->what == HOLD_BUILD)
                        blocker = blocker_list_add(list, BLOCKER_TD_BUILDING, subject, "%s says that a TD is being built: %s", subject, hold->why);
                else if (hold->what == HOLD_MIGRATION)
                        blocker = blocker_list_add(list, BLOCKER_TD_MIGRATING, subject, "%s says that a TD is being migrated: %s", subject, hold->why);
                else if (hold->mode == HOLD_BLOCK)
                        blocker = blocker_list_add(list, BLOCKER_HELD, subject, "%s keeps updates off: %s", subject, hold->why);
                else if (!moment->delays_are_over)
                        blocker = blocker_list_add(list, BLOCKER_DRAINING, subject, "%s prepares for the update (at most HoldMaxSec=): %s",
                                                   subject, hold->why);
                if (blocker)
                        blocker->until = blocker->id == BLOCKER_DRAINING ? moment->delays_end : hold->until;
        }
}

static void check_window(const MomentFacts *moment, BlockerList *list) {
        Blocker *blocker;

        if (!moment->outside_window)
                return;

        blocker = blocker_list_add(list, BLOCKER_OUTSIDE_WINDOW, NULL, "%s%s",
                                   moment->window_opens == 0 ? "No maintenance window (MaintenanceWindow=) ever opens again" :
                                   moment->window_opens == UINT64_MAX ? "It cannot be found out when the next maintenance window (MaintenanceWindow=) opens" :
                                   "It is outside of the maintenance windows (MaintenanceWindow=)",
                                   moment->step_over_window ? " (stepped over on request)" : "; the option now steps over them");
        blocker->until = moment->window_opens == UINT64_MAX ? 0 : moment->window_opens;
        if (moment->step_over_window)
                blocker->severity = SEVERITY_NOTE;
}

void gate_evaluate(const HostFacts *host, const ImageFacts *image, const Policy *policy,
                   const MomentFacts *moment, BlockerList *list) {
        eligibility_evaluate(host, image, policy, list);

        if (moment->store_failed)
                blocker_list_add(list, BLOCKER_STORE_FAILED, NULL,
                                 "The job database cannot be written, so an attempt could be repeated after a crash; "
                                 "see the journal, and make room on its disk");

        if (moment->foreign_upload)
                blocker_list_add(list, BLOCKER_FOREIGN_UPLOAD, NULL,
                                 "Somebody else uses the upload interface: %s; it goes on when that has ended",
                                 moment->foreign_upload);

        check_activity(moment, list);
        check_holds(moment, list);
        check_window(moment, list);

        if (moment->next_attempt > moment->now) {
                Blocker *blocker;

                blocker = blocker_list_add(list, BLOCKER_BACKOFF, NULL,
                                           "The kernel answered busy; the next attempt is in %.1f s",
                                           (double) (moment->next_attempt - moment->now) / 1e6);
                blocker->until = moment->next_attempt;
        }
}
