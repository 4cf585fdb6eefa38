/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "base/names.h"
#include "base/util.h"
#include "bus/bus.h"
#include "platform/builds.h"

typedef struct Options {
        RootOptions roots;
        const char *state, *config, *probes;
        GPtrArray *directories;         /* of borrowed strings */
        bool check_config;
        int log_level;                  /* -1: what the configuration says */
} Options;

static void help(void) {
        const ConfigKey *keys;
        size_t n;

        printf("tdx-updated [OPTIONS...]\n\n"
               "Updates the TDX module of this host when no TD is being built; the service behind tdxctl.\n\n"
               "  -h --help                 Show this\n"
               "     --version              Show the version\n"
               "     --check-config         Check the configuration and exit\n"
               "     --config=FILE          Read this file alone instead of /etc/" CONFIG_NAME "/" CONFIG_NAME ".conf and its drop-ins\n"
               "     --catalogue=DIR        Read this directory instead of the usual ones; may be given more than once\n"
               "     --state=DIR            Keep queue, history and imported images here (" STATE_DIRECTORY ")\n"
               "     --log-level=LEVEL      err, warning, notice, info or debug\n\n"
               "For a simulated host (each is logged, and shown in StateReason):\n"
               "     --sysfs=DIR --proc=DIR --cgroup=DIR --debugfs=DIR --uevents=SOCKET --cpu-signature=EAX\n"
               "     --probes=DIR           Where tdx-updated-probe has pinned its maps (" PROBE_PINS ")\n\n"
               "Keys of the section [Update] of the configuration, and their defaults:\n");
        keys = config_keys(&n);
        for (size_t i = 0; i < n; i++)
                printf("  %s=%s\n      %s\n", keys[i].name, keys[i].fallback, keys[i].text);
}

static int parse_signature(const char *text, uint32_t *ret) {
        char *end;
        unsigned long value;

        errno = 0;
        value = strtoul(text, &end, 16);
        if (errno != 0 || end == text || *end || value == 0 || value > UINT32_MAX)
                return -EINVAL;
        *ret = (uint32_t) value;
        return 0;
}

enum { OPT_VERSION = 256, OPT_CHECK, OPT_CONFIG, OPT_CATALOGUE, OPT_STATE, OPT_LEVEL, OPT_SYSFS, OPT_PROC, OPT_CGROUP,
       OPT_DEBUGFS, OPT_UEVENTS, OPT_PROBES, OPT_SIGNATURE };

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, OPT_VERSION },
        { "check-config", no_argument, NULL, OPT_CHECK },
        { "config", required_argument, NULL, OPT_CONFIG },
        { "catalogue", required_argument, NULL, OPT_CATALOGUE },
        { "state", required_argument, NULL, OPT_STATE },
        { "log-level", required_argument, NULL, OPT_LEVEL },
        { "sysfs", required_argument, NULL, OPT_SYSFS },
        { "proc", required_argument, NULL, OPT_PROC },
        { "cgroup", required_argument, NULL, OPT_CGROUP },
        { "debugfs", required_argument, NULL, OPT_DEBUGFS },
        { "uevents", required_argument, NULL, OPT_UEVENTS },
        { "probes", required_argument, NULL, OPT_PROBES },
        { "cpu-signature", required_argument, NULL, OPT_SIGNATURE },
        {},
};

/* 1: go on, 0: done, negative: wrong usage. */
static int parse_options(int argc, char *argv[], Options *o) {
        int c;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case OPT_VERSION:
                        puts("tdx-updated " PROJECT_VERSION);
                        return 0;
                case OPT_CHECK:
                        o->check_config = true;
                        break;
                case OPT_CONFIG:
                        o->config = optarg;
                        break;
                case OPT_CATALOGUE:
                        g_ptr_array_add(o->directories, optarg);
                        break;
                case OPT_STATE:
                        o->state = optarg;
                        break;
                case OPT_LEVEL:
                        o->log_level = log_level_from_string(optarg);
                        if (o->log_level < 0) {
                                fprintf(stderr, "tdx-updated: there is no log level \"%s\"; see --help\n", optarg);
                                return -EINVAL;
                        }
                        break;
                case OPT_SYSFS:
                        o->roots.sysfs = optarg;
                        break;
                case OPT_PROC:
                        o->roots.proc = optarg;
                        break;
                case OPT_CGROUP:
                        o->roots.cgroup = optarg;
                        break;
                case OPT_DEBUGFS:
                        o->roots.debugfs = optarg;
                        break;
                case OPT_UEVENTS:
                        o->roots.uevents = optarg;
                        break;
                case OPT_PROBES:
                        o->probes = optarg;
                        break;
                case OPT_SIGNATURE:
                        if (parse_signature(optarg, &o->roots.cpu_signature) < 0) {
                                fprintf(stderr, "tdx-updated: --cpu-signature= takes CPUID.1:EAX in hexadecimal, such as 0x806f8\n");
                                return -EINVAL;
                        }
                        break;
                default:
                        return -EINVAL;
                }

        if (optind < argc) {
                fprintf(stderr, "tdx-updated: it takes no arguments (\"%s\"); see --help\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int load_config(const Options *o, char **directories, Config **ret) {
        g_autoptr(GPtrArray) problems = NULL;
        int r;

        r = config_load(o->config, directories, ret, &problems);
        for (unsigned i = 0; problems && i < problems->len; i++)
                log_full(LOG_ERR, 0, FIELDS("MESSAGE_ID", MESSAGE_CONFIG_INVALID), "%s", (char *) problems->pdata[i]);
        if (r < 0 && !problems)
                log_error(r, "Failed to read the configuration");
        return r;
}

static int open_store(const char *state, Store **ret) {
        g_autofree char *path = g_build_filename(state, DATABASE_NAME, NULL);
        int r;

        if (mkdir(state, 0700) < 0 && errno != EEXIST)
                return log_error(errno, "Failed to make %s", state);

        r = store_open(path, ret);
        if (r == -ENOTUNIQ)
                return log_error(0, "%s was written by a newer tdx-updated; install that, or move the file away (the history goes with it)", path) ?: r;
        if (r == -EUCLEAN)
                return log_error(0, "%s is damaged or no database; move it away (the history goes with it) and start again", path) ?: r;
        return r < 0 ? log_error(r, "Failed to open %s", path) : 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        sd_notify(false, "RELOADING=1");
        (void) manager_reload(userdata);
        sd_notify(false, "READY=1");
        return 0;
}

static int setup_event(sd_event **ret) {
        sigset_t signals;
        sd_event *event = NULL;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;
        signal(SIGPIPE, SIG_IGN);

        r = sd_event_default(&event);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
        /* Pings at between half and three quarters of the interval (sd_event_set_watchdog(3)). */
        if (r >= 0)
                r = sd_event_set_watchdog(event, true);
        if (r < 0)
                sd_event_unref(event);
        else
                *ret = event;
        return r;
}

/* Before the bus's own exit source, which closes the connection: what there is to tell at the end is still heard. */
static int on_exit_event(sd_event_source *source, void *userdata) {
        sd_notify(false, "STOPPING=1");
        manager_stop(userdata);
        return 0;
}

static int watch_exit(sd_event *event, Manager *manager) {
        sd_event_source *source = NULL;
        int r;

        r = sd_event_add_exit(event, &source, on_exit_event, manager);
        if (r >= 0)
                r = sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT);
        if (r >= 0)
                r = sd_event_source_set_floating(source, true);
        sd_event_source_unref(source);
        return r;
}

static int serve(sd_event *event, Manager *manager) {
        g_autoptr(Bus) bus = NULL;
        ManagerEvents events;
        int r;

        r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, manager);
        if (r < 0)
                return log_error(r, "Failed to watch for SIGHUP");
        r = watch_exit(event, manager);
        if (r < 0)
                return log_error(r, "Failed to prepare for the end");
        r = bus_new(event, manager, &bus);
        if (r < 0)
                return r;

        /* The name first: what the start itself has to tell is heard by those who listen to it. Calls wait for the loop. */
        events = bus_events(bus);
        r = bus_request_name(bus);
        if (r >= 0)
                r = manager_start(manager, &events);
        if (r < 0)
                return r;

        sd_notify(false, "READY=1");
        bus_notify_status(bus);
        r = sd_event_loop(event);
        if (r < 0)
                return log_error(r, "The event loop failed");
        /* What sd_event_exit() was given: not 0 when the bus has gone, or a source has failed. */
        return r > 0 ? log_error(ECONNRESET, "Stopping, to be started again with what was lost") : 0;
}

/* Takes the configuration. */
static int start(const Options *o, char **directories, Config *config) {
        g_autofree char *imports = g_build_filename(o->state, "images", NULL);
        g_autoptr(Manager) manager = NULL;
        g_autoptr(Roots) roots = NULL;
        g_autoptr(Store) store = NULL;
        sd_event *event = NULL;
        const char *path;
        ManagerOptions options;
        int r;

        r = roots_open(&o->roots, &roots, &path);
        if (r < 0)
                log_error(r, "Failed to open %s", path);
        else
                r = open_store(o->state, &store);
        if (r >= 0) {
                r = setup_event(&event);
                if (r < 0)
                        log_error(r, "Failed to set the event loop up");
        }
        if (r < 0) {
                config_free(config);
                return r;
        }
        if (roots->overrides)
                log_full(LOG_NOTICE, 0, FIELDS("MESSAGE_ID", MESSAGE_OVERRIDE), "Not on the real host, by the command line: %s", roots->overrides);

        options = (ManagerOptions) {
                .event = event,
                .roots = g_steal_pointer(&roots),
                .config = config,
                .store = g_steal_pointer(&store),
                .config_file = o->config,
                .directories = directories,
                .import_directory = imports,
                .probes = o->probes,
                .log_level = o->log_level,
        };
        r = manager_new(&options, &manager);
        if (r >= 0)
                r = serve(event, manager);

        g_clear_pointer(&manager, manager_free);
        sd_event_unref(event);
        return r;
}

/* Returns the exit status. */
static int run(const Options *o) {
        char **directories = NULL;
        Config *config = NULL;
        int r;

        if (o->directories->len > 0) {
                g_ptr_array_add(o->directories, NULL);
                directories = (char **) o->directories->pdata;
        }

        r = load_config(o, directories, &config);
        if (r == -EINVAL)
                return EX_CONFIG;
        if (r < 0 || o->check_config) {
                config_free(config);
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }

        log_set_level(o->log_level >= 0 ? o->log_level : config->log_level);
        return start(o, directories, config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        Options o = { .state = STATE_DIRECTORY, .probes = PROBE_PINS, .directories = g_ptr_array_new(), .log_level = -1 };
        int r, status;

        log_open();
        r = parse_options(argc, argv, &o);
        status = r > 0 ? run(&o) : r == 0 ? EXIT_SUCCESS : EX_USAGE;
        g_ptr_array_unref(o.directories);

        return status;
}
