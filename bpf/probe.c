/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "base/log.h"
#include "base/util.h"
#include "load.h"
#include "platform/probe-maps.h"
#include "platform/proof.h"

typedef enum Action {
        ACTION_LOAD,
        ACTION_CHECK,
        ACTION_REMOVE,
} Action;

typedef struct Options {
        const char *pins;
        RootOptions roots;
        Action action;
} Options;

static void help(void) {
        puts("tdx-updated-probe [OPTIONS...]\n\n"
             "Loads the probes that record which TDs are in their build, for tdx-updated. They stay until the host\n"
             "is rebooted, or until they are removed. A second start leaves them alone, unless they are of another\n"
             "version, or do not know all TDs and no TD exists any more.\n\n"
             "  -h --help              Show this\n"
             "     --version           Show the version\n"
             "     --check             Only say whether they are loaded, and what they have recorded (1: not loaded)\n"
             "     --remove            Remove them\n"
             "     --pins=DIR          Pin them here (" PROBE_PINS ")\n"
             "     --log-level=LEVEL   err, warning, notice, info or debug\n\n"
             "For a simulated host, where it is seen whether a TD is older than the probes:\n"
             "     --sysfs=DIR --cgroup=DIR\n\n"
             "A kernel without TDX host support is no failure: there is nothing to probe then.\n"
             "Exit status: 0, 1 for a failure, 64 for wrong usage.");
}

enum { OPT_VERSION = 256, OPT_CHECK, OPT_REMOVE, OPT_PINS, OPT_LEVEL, OPT_SYSFS, OPT_CGROUP };

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, OPT_VERSION },
        { "check", no_argument, NULL, OPT_CHECK },
        { "remove", no_argument, NULL, OPT_REMOVE },
        { "pins", required_argument, NULL, OPT_PINS },
        { "log-level", required_argument, NULL, OPT_LEVEL },
        { "sysfs", required_argument, NULL, OPT_SYSFS },
        { "cgroup", required_argument, NULL, OPT_CGROUP },
        {},
};

static int set_log_level(const char *text) {
        int level = log_level_from_string(text);

        if (level < 0) {
                fprintf(stderr, "tdx-updated-probe: there is no log level \"%s\"; see --help\n", text);
                return -EINVAL;
        }
        log_set_level(level);
        return 0;
}

/* 1: go on, 0: done, negative: wrong usage. */
static int parse_options(int argc, char *argv[], Options *o) {
        int c;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case OPT_VERSION:
                        puts("tdx-updated-probe " PROJECT_VERSION);
                        return 0;
                case OPT_CHECK:
                case OPT_REMOVE:
                        if (o->action != ACTION_LOAD) {
                                fputs("tdx-updated-probe: --check and --remove are two things; see --help\n", stderr);
                                return -EINVAL;
                        }
                        o->action = c == OPT_CHECK ? ACTION_CHECK : ACTION_REMOVE;
                        break;
                case OPT_PINS:
                        o->pins = optarg;
                        break;
                case OPT_LEVEL:
                        if (set_log_level(optarg) < 0)
                                return -EINVAL;
                        break;
                case OPT_SYSFS:
                        o->roots.sysfs = optarg;
                        break;
                case OPT_CGROUP:
                        o->roots.cgroup = optarg;
                        break;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                fprintf(stderr, "tdx-updated-probe: it takes no arguments (\"%s\"); see --help\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static bool no_td(void *userdata) {
        g_auto(Proof) proof = {};

        proof_read(userdata, &proof);
        if (!proof.impossible && !proof.have_tds)
                log_notice("It is not known whether a TD is older than the probes: %s", proof.tds_error);
        return proof.impossible || (proof.have_tds && proof.tds == 0);
}

static bool is_complete(const ProbeMaps *maps) {
        return probe_maps_counters(maps)->flags & PROBE_COMPLETE;
}

/* 1: there are good ones, 0: there are none, or none that are worth to be kept, or -errno, logged. */
static int examine(const char *pins, const Roots *roots) {
        g_autoptr(ProbeMaps) maps = NULL;
        uint64_t lost;
        int r;

        r = probe_maps_open(pins, &maps);
        if (r == -ENOENT)
                return 0;
        if (r == -EPROTO) {
                log_notice("The probes in %s are of another version and are replaced; TDs that run already are not known then", pins);
                return 0;
        }
        if (r >= 0)
                r = probe_maps_lost(maps, &lost);
        if (r < 0)
                return log_error(-r, "Failed to open the probes in %s; tdx-updated-probe --remove removes them", pins);

        /* New ones know no more than these, as long as a TD runs that is older than them. */
        if ((!is_complete(maps) || lost > 0) && no_td((void *) roots)) {
                log_info("The probes are replaced: no TD exists now, so new ones will know all of them");
                return 0;
        }
        return 1;
}

static int load(const Options *o, const Roots *roots) {
        const LoadOptions options = { .pins = o->pins, .attach = &kprobe_multi, .no_td = no_td, .userdata = (void *) roots };
        g_autoptr(ProbeMaps) maps = NULL;
        _cleanup_close_ int lock = -1;
        const char *function;
        int r;

        r = probes_lock(o->pins, &lock);
        if (r < 0)
                return r;
        r = examine(o->pins, roots);
        if (r < 0)
                return r;
        if (r > 0) {
                log_info("The probes are loaded already");
                return 0;
        }

        r = probes_load(&options, &function);
        if (r < 0)
                return r;
        if (r == LOAD_NO_FUNCTION) {
                log_notice("%s() is not in this kernel: it has no TDX host support, or another one than is known here; nothing is probed", function);
                return 0;
        }

        /* As the daemon is going to see them. */
        r = probe_maps_open(o->pins, &maps);
        if (r < 0)
                return log_error(-r, "Failed to open the probes that were just loaded");
        if (is_complete(maps))
                log_info("The probes are loaded, and no TD is older than they are");
        else
                log_notice("The probes are loaded, but TDs may be older than they are: these are judged by KVM's reports "
                           "(systemctl restart tdx-updated-probe when no TD exists)");
        return 0;
}

static int check(const Options *o) {
        g_autoptr(ProbeMaps) maps = NULL;
        g_autoptr(GArray) records = NULL;
        uint64_t generation, lost;
        unsigned building = 0;
        int r;

        r = probe_maps_open(o->pins, &maps);
        if (r == -ENOENT) {
                puts("The probes are not loaded");
                return -ENOENT;
        }
        if (r == -EPROTO) {
                printf("The probes in %s are of another version than this program\n", o->pins);
                return r;
        }
        if (r >= 0)
                r = probe_maps_lost(maps, &lost);
        if (r >= 0)
                r = probe_maps_snapshot(maps, &records, &generation);
        if (r < 0)
                return log_error(-r, "Failed to read the probes in %s", o->pins);

        for (unsigned i = 0; i < records->len; i++)
                if (g_array_index(records, ProbeRecord, i).value.state == PROBE_BUILDING)
                        building++;
        printf("The probes are loaded\nTDs: %u, in their build: %u\nOlder TDs: %s\nChanges: %" PRIu64 ", lost: %" PRIu64 "\n", records->len,
               building, is_complete(maps) ? "none" : "not excluded", generation, lost);
        return 0;
}

static int remove_probes(const Options *o) {
        _cleanup_close_ int lock = -1;
        int r;

        r = probes_lock(o->pins, &lock);
        if (r >= 0)
                r = probes_remove(o->pins);
        if (r == 0)
                log_info("There were no probes");
        return r;
}

static int run(const Options *o) {
        g_autoptr(Roots) roots = NULL;
        const char *path;
        int r;

        switch (o->action) {
        case ACTION_CHECK:
                return check(o);
        case ACTION_REMOVE:
                return remove_probes(o);
        case ACTION_LOAD:
                break;
        }

        r = roots_open(&o->roots, &roots, &path);
        if (r < 0)
                return log_error(-r, "Failed to open %s", path);
        return load(o, roots);
}

int main(int argc, char *argv[]) {
        Options options = { .pins = PROBE_PINS };
        int r;

        log_open();
        r = parse_options(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? EX_USAGE : EXIT_SUCCESS;

        return run(&options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
