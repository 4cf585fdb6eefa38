/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>

#include "base/names.h"
#include "client/blockers.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/request.h"
#include "client/result.h"
#include "client/verbs.h"

static void add_svn(GString *out, JsonObject *plan) {
        uint64_t before = dict_number(plan, "svn-before"), after = dict_number(plan, "svn-after");
        g_autofree char *known = dict_has(plan, "svn-before") ? g_strdup_printf("0x%" PRIx64, before) : g_strdup("not known");

        if (!dict_has(plan, "svn-after"))
                return;
        if (dict_has(plan, "svn-before") && before == after)
                field_addf(out, "SVN", "0x%" PRIx64 ", unchanged: relying parties see no change in TEE_TCB_SVN_2", after);
        else
                field_addf(out, "SVN", "%s -> 0x%" PRIx64 ": relying parties will see the new one in TEE_TCB_SVN_2 "
                           "(TEE_TCB_SVN stays what each TD was started with)", known, after);
}

static const char *verdict(JsonObject *plan) {
        JsonArray *blockers = dict_array(plan, "blockers");

        if (!dict_flag(plan, "allowed"))
                return exit_status_of_blockers(blockers) == EXIT_DONE ? "nothing to do" : "no, it would be refused";
        for (unsigned i = 0; i < array_length(blockers); i++)
                if (g_str_equal(dict_string(array_object(blockers, i), "severity"), "wait"))
                        return "yes, and it would wait";

        return "yes, and it would start at once";
}

/* The command that does what was planned: what was given counts for it too. */
static void add_command(GString *out, const Options *options, JsonObject *plan) {
        g_autoptr(GString) text = g_string_new(NULL);

        g_string_append_printf(text, "tdxctl update %s --plan %s%s%s%s", dict_string(plan, "to"), dict_string(plan, "token"),
                               options->drain ? " --drain" : "", options->now ? " --now" : "",
                               options->ignore_activity ? " --ignore-activity" : "");
        for (size_t i = 0; i < options->n_ignored; i++)
                g_string_append_printf(text, " --ignore-guest=%" PRIu32 ":%" PRIu64, options->ignored[i].pid, options->ignored[i].start);
        field_add(out, "Do just this", text->str);
}

static char *plan_text(const Tdxctl *t, JsonObject *plan) {
        g_autoptr(GString) out = g_string_new(NULL);
        JsonArray *steps = dict_array(plan, "steps"), *blockers = dict_array(plan, "blockers");

        field_addf(out, "Update", "%s -> %s", *dict_string(plan, "from") ? dict_string(plan, "from") : "?",
                   *dict_string(plan, "to") ? dict_string(plan, "to") : "?");
        if (dict_has(plan, "cost") && dict_has(plan, "remaining-after"))
                field_addf(out, "Cost", "%" PRIu64 " update%s, %" PRIu64 " left after it until the next reboot",
                           dict_number(plan, "cost"), dict_number(plan, "cost") == 1 ? "" : "s",
                           dict_number(plan, "remaining-after"));
        add_svn(out, plan);

        for (unsigned i = 0; i < array_length(steps); i++) {
                g_autofree char *step = escape_terminal(array_string(steps, i));

                g_string_append_printf(out, "%15s%c %u. %s\n", i == 0 ? "Steps" : "", i == 0 ? ':' : ' ', i + 1, step);
        }

        field_add(out, "Allowed", verdict(plan));
        if (array_length(blockers) == 0)
                field_add(out, "Blockers", "none");
        for (unsigned i = 0; i < array_length(blockers); i++)
                blocker_line(t, out, array_object(blockers, i));
        if (t->options.legend && dict_flag(plan, "allowed"))
                add_command(out, &t->options, plan);

        return g_string_free(g_steal_pointer(&out), false);
}

int verb_plan(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) node = NULL;
        JsonObject *plan;
        int r;

        r = request_find_guests(t);
        if (r != EXIT_DONE)
                return r;

        r = request_plan(t, argc > 1 ? argv[1] : NULL, &error, &node);
        if (r < 0 && sd_bus_error_has_name(&error, BUS_ERROR_PREFIX "AlreadyCurrent"))
                return already_current(t, error.message);
        if (r < 0)
                return failure_bus(t, r, &error);

        plan = json_node_get_object(node);
        if (t->options.json != JSON_OFF) {
                output_json(t, node);
        } else {
                g_autofree char *text = plan_text(t, plan);

                output_text(t, text);
        }

        return dict_flag(plan, "allowed") ? EXIT_DONE : exit_status_of_blockers(dict_array(plan, "blockers"));
}
