/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <limits.h>
#include <string.h>

#include "base/errors.h"
#include "client/bus.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/verbs.h"

typedef struct Verb {
        const char *name;
        const char *arguments;
        unsigned min_arguments, max_arguments;
        unsigned options;       /* VerbMask */
        bool offline;           /* needs no bus */
        int (*run)(Tdxctl *t, int argc, char *argv[]);
        const char *help;
} Verb;

static const Verb table[] = {
        { "status", "", 0, 0, 0, false, verb_status, "What runs, what is left, what keeps an update away (default)" },
        { "list", "", 0, 0, 0, false, verb_list, "The images in the catalogue" },
        { "plan", "[VERSION]", 0, 1, VERB_PLAN, false, verb_plan, "What an update would do, and everything that blocks it" },
        { "why", "[VERSION|JOB]", 0, 1, VERB_PLAN, false, verb_why, "What keeps the first job, or an update, from starting now" },
        { "update", "[VERSION]", 0, 1, VERB_UPDATE, false, verb_update, "Update the TDX module and follow the job" },
        { "jobs", "", 0, 0, 0, false, verb_jobs, "The unfinished jobs" },
        { "show", "JOB", 1, 1, 0, false, verb_show, "Everything about one job" },
        { "wait", "[JOB]", 0, 1, 0, false, verb_wait, "Follow a job to its end; the newest unfinished one" },
        { "cancel", "[JOB]", 0, 1, 0, false, verb_cancel, "Cancel a job; the only unfinished one" },
        { "history", "", 0, 0, VERB_HISTORY, false, verb_history, "The updates that were" },
        { "monitor", "", 0, 0, 0, false, verb_monitor, "Show the daemon's signals as they come" },
        { "guests", "", 0, 0, 0, false, verb_guests, "The VMs that KVM reports, and which may be in their build" },
        { "holds", "", 0, 0, 0, false, verb_holds, "Who keeps updates off, and the builds that are announced" },
        { "hold", "-- COMMAND [ARG...]", 0, UINT_MAX, VERB_HOLD, false, verb_hold, "Run a command and keep updates off as long as it runs" },
        { "begin-build", "", 0, 0, VERB_BEGIN_BUILD, false, verb_begin_build, "Announce a TD build, for VMM hooks; shows its number" },
        { "end-build", "ID", 1, 1, 0, false, verb_end_build, "The announced build is over" },
        { "import", "FILE", 1, 1, VERB_IMPORT, false, verb_import, "Verify an image and add it to the catalogue" },
        { "inspect", "FILE", 1, 1, 0, false, verb_inspect, "Check an image without adding it" },
        { "refresh", "", 0, 0, 0, false, verb_refresh, "Read the kernel's files and the catalogue again" },
        { "config", "", 0, 0, 0, false, verb_config, "The configuration in force" },
        { "help", "", 0, 0, 0, true, verb_help, "Show this help" },
};

static const struct {
        const char *of;
        unsigned mask;
} sections[] = {
        { "", 0 },
        { " of update", VERB_UPDATE },
        { " of update, plan and why", VERB_UPDATE | VERB_PLAN },
        { " of history", VERB_HISTORY },
        { " of hold", VERB_HOLD },
        { " of hold and begin-build", VERB_HOLD | VERB_BEGIN_BUILD },
        { " of begin-build", VERB_BEGIN_BUILD },
        { " of import", VERB_IMPORT },
};

int verb_help(Tdxctl *t, int argc, char *argv[]) {
        g_autoptr(GString) out = g_string_new(NULL);

        g_string_append_printf(out, "%stdxctl%s [OPTIONS...] COMMAND ...\n\n"
                               "Update the TDX module of this host while its TDs keep running.\n\nCommands:\n",
                               colour(t, COLOUR_BOLD), colour(t, COLOUR_NONE));
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autofree char *left = g_strdup_printf("%s %s", table[i].name, table[i].arguments);

                g_string_append_printf(out, "  %-30s %s\n", left, table[i].help);
        }

        for (size_t i = 0; i < G_N_ELEMENTS(sections); i++) {
                g_string_append_printf(out, "\nOptions%s:\n", sections[i].of);
                args_help(out, sections[i].mask);
        }
        g_string_append(out,
                        "\nExit status: 0 done or already current, 1 other (a cancelled job, Ctrl-C), 64 usage,\n"
                        "65 image invalid, 66 no such image, job, build or VM, 69 unsupported or daemon unreachable,\n"
                        "70 failed and the old module runs (else the message says which), 71 module lost,\n"
                        "73 no update left, 75 not now, 76 blocked by policy or compatibility,\n"
                        "77 not authorised, 78 configuration; hold: the command's own,\n"
                        "126 or 127 if it cannot be started, 128 + N if signal N ended it\n");

        output_text(t, out->str);
        return EXIT_DONE;
}

static int usage(const Tdxctl *t, const char *text) {
        g_autofree char *full = g_strdup_printf("%s; see \"tdxctl help\"", text);

        return failure_named(t, "Usage", EXIT_BAD_USAGE, full);
}

static const Verb *find(const char *name) {
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (strcmp(table[i].name, name) == 0)
                        return &table[i];

        return NULL;
}

static int check(const Tdxctl *t, const Args *args, const Verb *verb) {
        const char *foreign = args_foreign(args, verb->options);
        unsigned n = args->words->len - 1;
        g_autofree char *text = NULL;

        if (n < verb->min_arguments)
                text = g_strdup_printf("%s wants an argument: tdxctl %s %s", verb->name, verb->name, verb->arguments);
        else if (n > verb->max_arguments)
                text = g_strdup_printf("Too many arguments for %s", verb->name);
        else if (foreign)
                text = g_strdup_printf("%s has no option --%s", verb->name, foreign);

        return text ? usage(t, text) : EXIT_DONE;
}

int verbs_run(Tdxctl *t, Args *args) {
        const Verb *verb;
        int r;

        if (args->action == ARGS_BAD)
                return usage(t, args->problem);
        if (args->action == ARGS_HELP)
                return verb_help(t, 0, NULL);
        if (args->action == ARGS_VERSION) {
                output_text(t, "tdxctl " PROJECT_VERSION "\n");
                return EXIT_DONE;
        }

        if (args->words->len == 0)
                g_ptr_array_add(args->words, (char *) "status");
        verb = find(args->words->pdata[0]);
        if (!verb) {
                g_autofree char *text = g_strdup_printf("There is no command \"%s\"", (char *) args->words->pdata[0]);

                return usage(t, text);
        }
        r = check(t, args, verb);
        if (r != EXIT_DONE)
                return r;

        if (!verb->offline) {
                r = bus_connect(t);
                if (r < 0)
                        return failure_connect(t, r);
        }

        return verb->run(t, (int) args->words->len, (char **) args->words->pdata);
}
