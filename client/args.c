/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "client/args.h"

enum {
        OPTION_JSON = 0x100,
        OPTION_NO_PAGER,
        OPTION_NO_ASK_PASSWORD,
        OPTION_NO_LEGEND,
        OPTION_VERSION,
        OPTION_NO_WAIT,
        OPTION_DEADLINE,
        OPTION_REASON,
        OPTION_DRAIN,
        OPTION_NOW,
        OPTION_PLAN,
        OPTION_SINCE,
        OPTION_MAX,
        OPTION_MAPPING,
        OPTION_IGNORE_ACTIVITY,
        OPTION_IGNORE_GUEST,
        OPTION_WHAT,
        OPTION_WHO,
        OPTION_WHY,
        OPTION_MODE,
        OPTION_MACHINE,         /* the long spelling: -M or the VM, by the verb */
        OPTION_UNIT,
        OPTION_PID,
        OPTION_WAIT,
        OPTION_HOLD,
};

static const struct {
        const char *name;
        int value;
        const char *argument;   /* NULL for none */
        unsigned mask;          /* of the verbs that have it; 0: all */
        const char *help;
} table[] = {
        { "help", 'h', NULL, 0, "Show this help" },
        { "version", OPTION_VERSION, NULL, 0, "Show the version of tdxctl" },
        { "json", OPTION_JSON, "pretty|short|off", 0, "Show JSON; -j is pretty on a terminal, else short" },
        { "no-pager", OPTION_NO_PAGER, NULL, 0, "Do not show long output in a pager" },
        { "no-legend", OPTION_NO_LEGEND, NULL, 0, "Leave out headers and hints" },
        { "no-ask-password", OPTION_NO_ASK_PASSWORD, NULL, 0, "Do not ask for passwords" },
        { "host", 'H', "[USER@]HOST", 0, "Work on another host, over ssh" },
        { "machine", 'M', "CONTAINER", 0, "Work in a local container" },
        { "no-wait", OPTION_NO_WAIT, NULL, VERB_UPDATE, "Return when the job is queued" },
        { "deadline", OPTION_DEADLINE, "TIME", VERB_UPDATE, "Give up after a span (10min) or at a time (2026-07-01 04:00)" },
        { "reason", OPTION_REASON, "TEXT", VERB_UPDATE, "Say why; kept in the history" },
        { "plan", OPTION_PLAN, "TOKEN", VERB_UPDATE, "Only if the plan with this token still holds" },
        { "drain", OPTION_DRAIN, NULL, VERB_UPDATE | VERB_PLAN, "Make new TD builds wait until the update is done" },
        { "now", OPTION_NOW, NULL, VERB_UPDATE | VERB_PLAN, "Do not wait for the maintenance window" },
        { "ignore-guest", OPTION_IGNORE_GUEST, "PID[:START]", VERB_UPDATE | VERB_PLAN,
          "UNSAFE: take this VM for none in its build (again for more); START as in guests --json" },
        { "ignore-activity", OPTION_IGNORE_ACTIVITY, NULL, VERB_UPDATE | VERB_PLAN,
          "UNSAFE: go on although it is not known whether a TD is being built" },
        { "since", OPTION_SINCE, "TIME", VERB_HISTORY, "Only what ended since a time, or in a span (7d)" },
        { "max", OPTION_MAX, "N", VERB_HISTORY, "At most so many" },
        { "mapping", OPTION_MAPPING, "FILE", VERB_IMPORT, "The mapping file that knows the version" },
        { "what", OPTION_WHAT, "WHAT", VERB_HOLD, "update: keep updates off; build, migration: such an operation goes on" },
        { "why", OPTION_WHY, "TEXT", VERB_HOLD, "Why, for people" },
        { "mode", OPTION_MODE, "block|delay", VERB_HOLD, "Keep updates off (default), or only have time to prepare" },
        { "who", OPTION_WHO, "NAME", VERB_HOLD | VERB_BEGIN_BUILD, "Who, for people; hold's default is the command" },
        { "unit", OPTION_UNIT, "UNIT", VERB_BEGIN_BUILD, "The VM's systemd unit" },
        { "pid", OPTION_PID, "PID", VERB_BEGIN_BUILD, "The VM's process" },
        { "wait", OPTION_WAIT, "SPAN", VERB_BEGIN_BUILD, "How long to wait while an update is under way (default 20s)" },
        { "hold", OPTION_HOLD, "SPAN", VERB_BEGIN_BUILD, "After this it ends by itself (default 2min)" },
};

void args_clear(Args *args) {
        g_clear_pointer(&args->words, g_ptr_array_unref);
        g_clear_pointer(&args->problem, g_free);
}

static void bad(Args *args, char *problem) {
        args->action = ARGS_BAD;
        if (args->problem)
                g_free(problem); /* the first is the one to tell */
        else
                args->problem = problem;
}

static bool json_mode(const char *text, JsonMode *ret) {
        if (strcmp(text, "pretty") == 0)
                *ret = JSON_PRETTY;
        else if (strcmp(text, "short") == 0)
                *ret = JSON_SHORT;
        else if (strcmp(text, "off") == 0)
                *ret = JSON_OFF;
        else
                return false;

        return true;
}

static void mark_given(Args *args, int value) {
        G_STATIC_ASSERT(G_N_ELEMENTS(table) <= 64);

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (table[i].value == value)
                        args->given |= UINT64_C(1) << i;
}

const char *args_foreign(const Args *args, unsigned mask) {
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (args->given & UINT64_C(1) << i && table[i].mask != 0 && !(table[i].mask & mask))
                        return table[i].name;

        return args->version_given && !(mask & VERB_IMPORT) ? "version" : NULL;
}

static void set_host(Options *options, Transport transport, const char *host, Args *args) {
        if (options->transport != TRANSPORT_LOCAL)
                bad(args, g_strdup("Only one of --host and --machine can be given, once"));
        if (!*host || *host == '-')
                bad(args, g_strdup("--host and --machine need a name"));
        options->transport = transport;
        options->host = host;
}

static void set_max(Options *options, const char *text, Args *args) {
        uint64_t max;

        if (parse_u64(text, &max) < 0 || max == 0 || max > UINT32_MAX)
                bad(args, g_strdup_printf("--max wants a number from 1 on, not \"%s\"", text));
        else
                options->max = (uint32_t) max;
}

/* "--version" alone shows the version; to "import" it gives one, also as a word of its own. */
static void version_option(int argc, char *argv[], Options *options, Args *args) {
        const char *verb = args->words->len > 0 ? args->words->pdata[0] : NULL;

        if (optarg) {
                options->version = optarg;
        } else if (verb && strcmp(verb, "import") == 0) {
                if (optind >= argc || argv[optind][0] == '-') {
                        bad(args, g_strdup("import --version wants a version"));
                        return;
                }
                options->version = argv[optind++];
        } else {
                if (args->action == ARGS_RUN)
                        args->action = ARGS_VERSION;
                return;
        }

        args->version_given = true;
}

static void set_pid(Options *options, const char *text, Args *args) {
        uint64_t pid;

        if (parse_u64(text, &pid) < 0 || pid == 0 || pid > INT32_MAX)
                bad(args, g_strdup_printf("--pid wants a process's number, not \"%s\"", text));
        else
                options->pid = (uint32_t) pid;
}

/* A start time is never 0 (proc(5) counts from boot on): here it means that it has to be looked up. */
static void add_ignored_guest(Options *options, const char *text, Args *args) {
        const char *colon = strchr(text, ':');
        g_autofree char *pid_text = colon ? g_strndup(text, (size_t) (colon - text)) : g_strdup(text);
        uint64_t pid, start = 0;

        if (parse_u64(pid_text, &pid) < 0 || pid == 0 || pid > UINT32_MAX ||
            (colon && (parse_u64(colon + 1, &start) < 0 || start == 0)))
                bad(args, g_strdup_printf("--ignore-guest wants PID or PID:START, not \"%s\"", text));
        else if (options->n_ignored == G_N_ELEMENTS(options->ignored))
                bad(args, g_strdup_printf("--ignore-guest can be given %zu times", G_N_ELEMENTS(options->ignored)));
        else
                options->ignored[options->n_ignored++] = (GuestId) { (uint32_t) pid, start };
}

static void hold_option(int c, Options *options, Args *args) {
        switch (c) {
        case OPTION_WHAT:
                options->what = optarg;
                break;
        case OPTION_WHO:
                options->who = optarg;
                break;
        case OPTION_WHY:
                options->why = optarg;
                break;
        case OPTION_MODE:
                options->mode = optarg;
                break;
        case OPTION_UNIT:
                options->unit = optarg;
                break;
        case OPTION_PID:
                set_pid(options, optarg, args);
                break;
        case OPTION_WAIT:
                options->wait = optarg;
                break;
        case OPTION_HOLD:
                options->hold = optarg;
                break;
        }
}

static void verb_option(int c, Options *options, Args *args) {
        switch (c) {
        case OPTION_NO_WAIT:
                options->no_wait = true;
                break;
        case OPTION_DEADLINE:
                options->deadline = optarg;
                break;
        case OPTION_REASON:
                options->reason = optarg;
                break;
        case OPTION_DRAIN:
                options->drain = true;
                break;
        case OPTION_NOW:
                options->now = true;
                break;
        case OPTION_PLAN:
                options->plan = optarg;
                break;
        case OPTION_SINCE:
                options->since = optarg;
                break;
        case OPTION_MAX:
                set_max(options, optarg, args);
                break;
        case OPTION_MAPPING:
                options->mapping = optarg;
                break;
        case OPTION_IGNORE_ACTIVITY:
                options->ignore_activity = true;
                break;
        case OPTION_IGNORE_GUEST:
                add_ignored_guest(options, optarg, args);
                break;
        default:
                hold_option(c, options, args);
        }
        mark_given(args, c);
}

static void common_option(int c, int argc, char *argv[], Options *options, Args *args) {
        switch (c) {
        case 'h':
                if (args->action == ARGS_RUN)
                        args->action = ARGS_HELP;
                break;
        case 'j':
                options->json = isatty(STDOUT_FILENO) ? JSON_PRETTY : JSON_SHORT;
                break;
        case OPTION_JSON:
                if (!json_mode(optarg, &options->json))
                        bad(args, g_strdup_printf("--json wants pretty, short or off, not \"%s\"", optarg));
                break;
        case 'H':
                set_host(options, TRANSPORT_REMOTE, optarg, args);
                break;
        case 'M':
                set_host(options, TRANSPORT_MACHINE, optarg, args);
                break;
        case OPTION_MACHINE:
                if (options->machine || !*optarg)
                        bad(args, g_strdup("--machine wants a name, once"));
                options->machine = optarg;
                break;
        case OPTION_NO_PAGER:
                options->pager = false;
                break;
        case OPTION_NO_ASK_PASSWORD:
                options->ask_password = false;
                break;
        case OPTION_NO_LEGEND:
                options->legend = false;
                break;
        case OPTION_VERSION:
                version_option(argc, argv, options, args);
                break;
        default:
                verb_option(c, options, args);
        }
}

static void unknown_option(char *argv[], int c, Args *args) {
        const char *given = optind > 0 ? argv[optind - 1] : "";

        if (c == ':')
                bad(args, g_strdup_printf("Option %s wants an argument", given));
        else if (optopt > ' ' && optopt < 0x100)
                bad(args, g_strdup_printf("There is no option -%c", optopt));
        else
                bad(args, g_strdup_printf("There is no option %s, or it takes no argument, or it is not unique", given));
}

/* Announcing a build, --machine is the VM's, wherever it stands; -M is always the container to work in. */
static void machine_option(Options *options, Args *args) {
        const char *verb = args->words->len > 0 ? args->words->pdata[0] : "", *machine = options->machine;

        if (!machine || strcmp(verb, "begin-build") == 0)
                return;
        options->machine = NULL;
        set_host(options, TRANSPORT_MACHINE, machine, args);
}

/* getopt_long()'s form of the table. */
static void long_options(struct option longs[]) {
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                longs[i] = (struct option) {
                        .name = table[i].name,
                        .has_arg = table[i].value == OPTION_VERSION ? optional_argument :
                                   table[i].argument ? required_argument : no_argument,
                        .val = table[i].value == 'M' ? OPTION_MACHINE : table[i].value,
                };
}

void args_parse(int argc, char *argv[], Options *options, Args *ret) {
        struct option longs[G_N_ELEMENTS(table) + 1] = {};
        int c;

        *ret = (Args) { .words = g_ptr_array_new() };
        *options = (Options) { .pager = true, .ask_password = true, .legend = true };
        long_options(longs);

        /* "-": words come in their order, as option 1; ":": missing arguments are told apart. */
        optind = 0;
        while ((c = getopt_long(argc, argv, "-:hjH:M:", longs, NULL)) >= 0)
                if (c == 1)
                        g_ptr_array_add(ret->words, optarg);
                else if (c == '?' || c == ':')
                        unknown_option(argv, c, ret);
                else
                        common_option(c, argc, argv, options, ret);
        if (optind < argc)
                options->command = ret->words->len;
        while (optind < argc)
                g_ptr_array_add(ret->words, argv[optind++]);
        machine_option(options, ret);
}

void args_help(GString *out, unsigned mask) {
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree char *left = NULL;
                bool brief = table[i].value < 0x100;

                if (table[i].mask != mask)
                        continue;
                left = g_strdup_printf("%s%c%s--%s%s%s", brief ? "-" : " ", brief ? table[i].value : ' ', brief ? " " : "  ",
                                       table[i].name, table[i].argument ? "=" : "", table[i].argument ?: "");
                g_string_append_printf(out, "  %-30s %s\n", left, table[i].help);
        }
        if (mask == VERB_IMPORT)
                g_string_append_printf(out, "  %-30s %s\n", "    --version=VERSION", "The version, if the image is no known release");
        if (mask == VERB_BEGIN_BUILD)
                g_string_append_printf(out, "  %-30s %s\n", "    --machine=NAME", "The VM's name as systemd-machined knows it (-M is still a container)");
}
