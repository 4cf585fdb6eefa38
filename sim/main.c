/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/util.h"
#include "sim/control.h"

typedef struct Options {
        const char *control;
        const char *uevents;
        GPtrArray *images;      /* borrowed strings, NULL at the end */
        GPtrArray *pairs;       /* KEY=VALUE */
        const char *mount_point;
} Options;

static const char help_text[] =
        "tdx-sim mount [OPTION...] MOUNTPOINT\n"
        "tdx-sim ctl [--control=SOCKET] COMMAND...\n"
        "\n"
        "A model of the kernel's side of TDX module updates, mounted with FUSE.\n"
        "\n"
        "mount: serves until SIGTERM or SIGINT.\n"
        "  --module=V           running TDX module (1.5.05)\n"
        "  --seamldr=V          P-SEAMLDR (1.5.00)\n"
        "  --cpu=EAX            CPUID.1:EAX in hexadecimal (0x806f8)\n"
        "  --cpus=N             CPUs, all online (4)\n"
        "  --remaining=N        updates left (9)\n"
        "  --world=A|B|C        A: refused with device-busy during a TD build;\n"
        "                       B: always refused; C: nobody asks (default)\n"
        "  --images=DIR         release tree whose images are known; repeatable\n"
        "  --busy=N             the next N uploads end with device-busy\n"
        "  --control=SOCKET     where \"tdx-sim ctl\" talks to ($TDX_SIM_CONTROL)\n"
        "  --uevents=SOCKET     datagram socket that gets the kernel's uevents\n"
        "  --set=KEY=VALUE      as \"ctl set\"; repeatable\n"
        "\n"
        "ctl: talks to a running simulator.\n"
        "  get [KEY]            all settings and counters, or one value\n"
        "  set KEY=VALUE...     all or nothing; exit status 64 for a bad one\n"
        "  upload FILE          as another process would; returns when it is handed over\n"
        "  td begin NAME PID | add NAME DATA | finalize NAME | destroy NAME\n"
        "  vm create PID FD [VCPUS [NAME [TID]]] | run PID FD | destroy PID FD\n"
        "  vm burst N           makes and destroys N VMs\n"
        "  reboot               back to the module and the updates of the start; no guests\n"
        "  tds                  a line each: name, pid, phase, corrupted\n"
        "  log                  what happened, a line each, oldest first\n"
        "\n"
        "The control socket is a stream: a request is one word a line, then an empty\n"
        "line; the answer is \"ok\" and the text, or \"error STATUS TEXT\".\n";

static void add_pair(Options *o, const char *key, const char *value) {
        g_ptr_array_add(o->pairs, g_strdup_printf("%s=%s", key, value));
}

/* All of them present and online. */
static int add_cpus(Options *o, const char *value) {
        g_autofree char *list = NULL;
        uint64_t n;

        if (parse_u64(value, &n) < 0 || n == 0 || n > SIM_CPUS_MAX) {
                fprintf(stderr, "tdx-sim: --cpus=%s is no number from 1 to %u\n", value, SIM_CPUS_MAX);
                return -EINVAL;
        }

        list = g_strdup_printf("0-%u", (unsigned) n - 1);
        add_pair(o, "cpus-present", list);
        add_pair(o, "cpus-online", list);
        return 0;
}

static const struct option long_options[] = {
        { "module", required_argument, NULL, 'k' },
        { "seamldr", required_argument, NULL, 'k' },
        { "cpu", required_argument, NULL, 'k' },
        { "remaining", required_argument, NULL, 'k' },
        { "world", required_argument, NULL, 'k' },
        { "busy", required_argument, NULL, 'k' },
        { "cpus", required_argument, NULL, 'n' },
        { "images", required_argument, NULL, 'i' },
        { "control", required_argument, NULL, 'c' },
        { "uevents", required_argument, NULL, 'u' },
        { "set", required_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        {}
};

/* 1: go on; 0: all is said; negative: bad usage. The first word is the verb: '+' stops at the next one. */
static int parse_options(int argc, char *argv[], Options *o) {
        int c, index;

        while ((c = getopt_long(argc, argv, "+", long_options, &index)) >= 0)
                switch (c) {
                case 'k':
                        add_pair(o, long_options[index].name, optarg);
                        break;
                case 'n':
                        if (add_cpus(o, optarg) < 0)
                                return -EINVAL;
                        break;
                case 'i':
                        g_ptr_array_add(o->images, optarg);
                        break;
                case 'c':
                        o->control = optarg;
                        break;
                case 'u':
                        o->uevents = optarg;
                        break;
                case 's':
                        g_ptr_array_add(o->pairs, g_strdup(optarg));
                        break;
                case 'h':
                        fputs(help_text, stdout);
                        return 0;
                case 'v':
                        puts("tdx-sim " PROJECT_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }
        return 1;
}

static void inspect(void *userdata, const uint8_t *data, size_t size, SimImage *ret) {
        Host *host = userdata;

        sim_image_inspect(data, size, ret);
        if (!ret->refused && ret->hash_ok)
                ret->known = releases_lookup(host->releases, ret->hash, &ret->version);
}

static int emit(void *userdata, const char *action, const char *devpath, const char *subsystem,
                const char *const *fields) {
        Host *host = userdata;

        if (!host->uevents)
                return 0;
        uevent_sender_set_max(host->uevents, model_knobs(host->model)->uevents_queue);
        return uevent_send(host->uevents, action, devpath, subsystem, fields);
}

static int run(Host *host, const Options *o) {
        Control *control = NULL;
        int r;

        if (o->uevents) {
                r = uevent_sender_new(o->uevents, &host->uevents);
                if (r < 0)
                        return log_error(r, "Cannot send uevents to %s: %s", o->uevents, strerror(-r));
        }
        if (o->control) {
                r = control_new(host, o->control, &control);
                if (r < 0)
                        return log_error(r, "Cannot listen on %s: %s", o->control, strerror(-r));
        }

        r = host_serve(host, o->mount_point);
        if (r < 0)
                log_error(r, "Cannot serve %s: %s", o->mount_point, strerror(-r));
        control_free(control);
        return r;
}

static int mount_main(Options *o) {
        Host host = {
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .seamldr = PTHREAD_MUTEX_INITIALIZER,
        };
        ModelOps ops = { .inspect = inspect, .uevent = emit, .userdata = &host };
        g_autofree char *text = NULL, *boot_id = NULL;
        int status = EXIT_USAGE;

        host.model = model_new(&ops, host_now());
        boot_id = g_uuid_string_random();
        g_ptr_array_insert(o->pairs, 0, g_strdup_printf("boot-id=%s", boot_id));
        g_ptr_array_add(o->pairs, NULL);
        if (model_set(host.model, host_now(), (const char *const *) o->pairs->pdata, &text) < 0)
                fprintf(stderr, "tdx-sim: %s\n", text);
        else {
                model_boot(host.model);
                host.tree = tree_new();
                host.releases = releases_new((const char *const *) o->images->pdata);
                status = run(&host, o) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }

        host.uevents = uevent_sender_free(host.uevents);
        host.tree = tree_free(host.tree);
        host.releases = releases_free(host.releases);
        host.model = model_free(host.model);
        return status;
}

static int bad_usage(const char *text) {
        fprintf(stderr, "tdx-sim: %s; see tdx-sim --help\n", text);
        return EXIT_USAGE;
}

static int dispatch(const char *verb, int argc, char *argv[], Options *o) {
        int r;

        r = parse_options(argc, argv, o);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        if (!o->control)
                o->control = getenv("TDX_SIM_CONTROL");

        if (strcmp(verb, "ctl") == 0) {
                if (!o->control)
                        return bad_usage("ctl needs --control=SOCKET or $TDX_SIM_CONTROL");
                if (optind == argc)
                        return bad_usage("ctl needs a command");
                return ctl_main(o->control, (const char *const *) argv + optind);
        }

        if (optind != argc - 1)
                return bad_usage("mount needs one mount point");
        o->mount_point = argv[optind];
        g_ptr_array_add(o->images, NULL);
        return mount_main(o);
}

int main(int argc, char *argv[]) {
        Options o = {};
        int status;

        log_open();
        if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
                fputs(help_text, stdout);
                return EXIT_SUCCESS;
        }
        if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
                puts("tdx-sim " PROJECT_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc < 2 || (strcmp(argv[1], "mount") != 0 && strcmp(argv[1], "ctl") != 0))
                return bad_usage("the first word is mount or ctl");

        o.images = g_ptr_array_new();
        o.pairs = g_ptr_array_new_with_free_func(g_free);
        status = dispatch(argv[1], argc - 1, argv + 1, &o);
        g_ptr_array_unref(o.images);
        g_ptr_array_unref(o.pairs);
        return status;
}
