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
        assert_int_equal(args.used, VERB_UPDATE);
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
                "--now", "--plan=TOKEN", "--since=TIME", "--max=N", "--mapping=FILE", "--version=VERSION",
        };
        g_autoptr(GString) out = g_string_new(NULL);

        args_help(out, 0);
        args_help(out, VERB_UPDATE);
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
                cmocka_unit_test(test_json_after_a_mistake),
                cmocka_unit_test(test_help_wins_over_nothing),
                cmocka_unit_test(test_help_names_every_option),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
