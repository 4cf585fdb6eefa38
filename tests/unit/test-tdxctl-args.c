/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/args.h"

#define PARSE(options, args, ...)                                                       \
        ({                                                                              \
                char *argv_[] = { (char *) "tdxctl", __VA_ARGS__, NULL };               \
                args_clear(args);                                                       \
                args_parse((int) G_N_ELEMENTS(argv_) - 1, argv_, options, args);        \
        })

static void test_options_stand_anywhere(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "--no-legend", (char *) "update", (char *) "--no-wait", (char *) "1.5.13", (char *) "--reason=why");
        assert_int_equal(args.action, ARGS_RUN);
        assert_int_equal(args.words->len, 2);
        assert_string_equal(args.words->pdata[0], "update");
        assert_string_equal(args.words->pdata[1], "1.5.13");
        assert_null(args_foreign(&args, VERB_UPDATE));
        assert_non_null(args_foreign(&args, VERB_PLAN));
        assert_true(o.no_wait);
        assert_false(o.legend);
        assert_true(o.pager);
        assert_true(o.ask_password);
        assert_string_equal(o.reason, "why");
}

static void test_words_after_dashes(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "inspect", (char *) "--", (char *) "--json=short");
        assert_int_equal(args.words->len, 2);
        assert_string_equal(args.words->pdata[1], "--json=short");
        assert_int_equal(o.json, JSON_OFF);
}

static void test_version_is_two_things(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "--version");
        assert_int_equal(args.action, ARGS_VERSION);
        PARSE(&o, &args, (char *) "list", (char *) "--version");
        assert_int_equal(args.action, ARGS_VERSION);

        PARSE(&o, &args, (char *) "import", (char *) "file", (char *) "--version", (char *) "1.5.13", (char *) "--no-pager");
        assert_int_equal(args.action, ARGS_RUN);
        assert_string_equal(o.version, "1.5.13");
        assert_int_equal(args.words->len, 2);
        assert_false(o.pager);
        PARSE(&o, &args, (char *) "import", (char *) "--version=1.5.13", (char *) "file");
        assert_string_equal(o.version, "1.5.13");
        assert_string_equal(args.words->pdata[1], "file");

        PARSE(&o, &args, (char *) "import", (char *) "file", (char *) "--version", (char *) "--no-pager");
        assert_int_equal(args.action, ARGS_BAD);
}

/* An option of several verbs is one of each; the first that a verb does not have is named. */
static void test_foreign_options(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "plan", (char *) "--drain", (char *) "--ignore-activity");
        assert_null(args_foreign(&args, VERB_UPDATE));
        assert_null(args_foreign(&args, VERB_PLAN));
        assert_non_null(args_foreign(&args, VERB_HISTORY));
        PARSE(&o, &args, (char *) "plan", (char *) "--drain", (char *) "--reason=x");
        assert_string_equal(args_foreign(&args, VERB_PLAN), "reason");
        PARSE(&o, &args, (char *) "begin-build", (char *) "--who=x", (char *) "--mode=delay");
        assert_null(args_foreign(&args, VERB_HOLD));
        assert_string_equal(args_foreign(&args, VERB_BEGIN_BUILD), "mode");
        PARSE(&o, &args, (char *) "list", (char *) "--version=1");
        assert_string_equal(args_foreign(&args, VERB_UPDATE), "version");
        assert_null(args_foreign(&args, VERB_IMPORT));
}

static void test_ignored_guests(void **state) {
        static const char *const bad[] = { "", "0", "x", "7:", "7:0", "7:x", ":5", "-7", "7:-5", "7 ", "4294967296", "7:18446744073709551616" };
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "update", (char *) "--ignore-guest=7", (char *) "--ignore-guest", (char *) "4294967295:18446744073709551615");
        assert_int_equal(args.action, ARGS_RUN);
        assert_int_equal(o.n_ignored, 2);
        assert_int_equal(o.ignored[0].pid, 7);
        assert_int_equal(o.ignored[0].start, 0);
        assert_int_equal(o.ignored[1].pid, UINT32_MAX);
        assert_int_equal(o.ignored[1].start, UINT64_MAX);

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                PARSE(&o, &args, (char *) "update", (char *) "--ignore-guest", (char *) bad[i]);
                if (args.action != ARGS_BAD)
                        fail_msg("\"%s\" was taken for a guest", bad[i]);
        }
}

static void test_too_many_ignored_guests(void **state) {
        char *argv[2 + G_N_ELEMENTS(((Options *) NULL)->ignored) + 1];
        g_auto(Args) args = {};
        Options o;

        argv[0] = (char *) "tdxctl";
        argv[1] = (char *) "update";
        for (size_t i = 2; i < G_N_ELEMENTS(argv); i++)
                argv[i] = (char *) "--ignore-guest=7:5";

        args_parse((int) G_N_ELEMENTS(argv) - 1, argv, &o, &args);
        assert_int_equal(args.action, ARGS_RUN);
        assert_int_equal(o.n_ignored, G_N_ELEMENTS(o.ignored));
        args_clear(&args);
        args_parse((int) G_N_ELEMENTS(argv), argv, &o, &args);
        assert_int_equal(args.action, ARGS_BAD);
}

/* Of a build it is the VM's, else the container to work in; the short one is always that. */
static void test_machine_is_two_things(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "--machine=vm", (char *) "begin-build", (char *) "-M", (char *) "box");
        assert_int_equal(args.action, ARGS_RUN);
        assert_string_equal(o.machine, "vm");
        assert_int_equal(o.transport, TRANSPORT_MACHINE);
        assert_string_equal(o.host, "box");
        PARSE(&o, &args, (char *) "status", (char *) "--machine", (char *) "box");
        assert_null(o.machine);
        assert_int_equal(o.transport, TRANSPORT_MACHINE);
        assert_string_equal(o.host, "box");
        PARSE(&o, &args, (char *) "status", (char *) "--machine=a", (char *) "-H", (char *) "b");
        assert_int_equal(args.action, ARGS_BAD);
        PARSE(&o, &args, (char *) "begin-build", (char *) "--machine=a", (char *) "--machine=b");
        assert_int_equal(args.action, ARGS_BAD);
        PARSE(&o, &args, (char *) "begin-build", (char *) "--machine=");
        assert_int_equal(args.action, ARGS_BAD);
}

static void test_command_behind_dashes(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "hold", (char *) "--what=build", (char *) "--", (char *) "make", (char *) "-j", (char *) "--");
        assert_int_equal(o.command, 1);
        assert_int_equal(args.words->len, 4);
        assert_string_equal(args.words->pdata[3], "--");
        assert_int_equal(o.json, JSON_OFF);
        PARSE(&o, &args, (char *) "hold", (char *) "make", (char *) "--", (char *) "x");
        assert_int_equal(o.command, 2);
        PARSE(&o, &args, (char *) "hold", (char *) "make");
        assert_int_equal(o.command, 0);
        PARSE(&o, &args, (char *) "hold", (char *) "--");
        assert_int_equal(o.command, 0);
}

/* The error is told in the form that was asked for, wherever that stands. */
static void test_json_after_a_mistake(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "--nonsense", (char *) "--max=x", (char *) "--json=short");
        assert_int_equal(args.action, ARGS_BAD);
        assert_non_null(strstr(args.problem, "--nonsense"));
        assert_int_equal(o.json, JSON_SHORT);
}

static void test_help_wins_over_nothing(void **state) {
        g_auto(Args) args = {};
        Options o;

        PARSE(&o, &args, (char *) "update", (char *) "-h");
        assert_int_equal(args.action, ARGS_HELP);
        PARSE(&o, &args, (char *) "--bad", (char *) "-h");
        assert_int_equal(args.action, ARGS_BAD);
}

static void test_help_names_every_option(void **state) {
        static const char *const options[] = {
                "-h --help", "--version", "--json=pretty|short|off", "--no-pager", "--no-legend", "--no-ask-password",
                "-H --host=[USER@]HOST", "-M --machine=CONTAINER", "--no-wait", "--deadline=TIME", "--reason=TEXT", "--drain",
                "--now", "--plan=TOKEN", "--ignore-guest=PID[:START]", "--ignore-activity", "--what=WHAT", "--why=TEXT",
                "--mode=block|delay", "--who=NAME", "--machine=NAME", "--unit=UNIT", "--pid=PID", "--wait=SPAN", "--hold=SPAN",
                "--since=TIME", "--max=N", "--mapping=FILE", "--version=VERSION",
        };
        g_autoptr(GString) out = g_string_new(NULL);

        args_help(out, 0);
        args_help(out, VERB_UPDATE);
        args_help(out, VERB_UPDATE | VERB_PLAN);
        args_help(out, VERB_HOLD);
        args_help(out, VERB_HOLD | VERB_BEGIN_BUILD);
        args_help(out, VERB_BEGIN_BUILD);
        args_help(out, VERB_HISTORY);
        args_help(out, VERB_IMPORT);
        for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
                g_autofree char *word = g_strconcat(options[i], " ", NULL);

                if (!strstr(out->str, word))
                        fail_msg("\"%s\" is not in the help", options[i]);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_options_stand_anywhere),
                cmocka_unit_test(test_words_after_dashes),
                cmocka_unit_test(test_version_is_two_things),
                cmocka_unit_test(test_foreign_options),
                cmocka_unit_test(test_ignored_guests),
                cmocka_unit_test(test_too_many_ignored_guests),
                cmocka_unit_test(test_machine_is_two_things),
                cmocka_unit_test(test_command_behind_dashes),
                cmocka_unit_test(test_json_after_a_mistake),
                cmocka_unit_test(test_help_wins_over_nothing),
                cmocka_unit_test(test_help_names_every_option),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
