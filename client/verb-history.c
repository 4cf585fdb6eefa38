/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>

#include "base/clock.h"
#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/suspects.h"
#include "client/table.h"
#include "client/time-text.h"
#include "client/verbs.h"

static char *remark(JsonObject *entry) {
        const char *error = array_string(dict_array(entry, "error"), 1), *reason = dict_string(entry, "reason");
        unsigned suspects = array_length(dict_array(entry, "suspect-guests"));
        g_autoptr(GString) text = g_string_new(*error ? error : reason);

        if (suspects > 0)
                g_string_prepend(text, suspects == 1 ? "1 suspect guest; " : "suspect guests; ");
        if (dict_flag(entry, "external"))
                g_string_prepend(text, "not by this daemon; ");
        if (g_str_has_suffix(text->str, "; "))
                g_string_truncate(text, text->len - 2);

        return g_string_free(g_steal_pointer(&text), false);
}

static void add_row(Table *table, JsonObject *entry) {
        g_autofree char *finished = format_timestamp(dict_number(entry, "finished")), *text = remark(entry);

        if (dict_number(entry, "job") > 0)
                table_addf(table, "%" PRIu64, dict_number(entry, "job"));
        else
                table_add(table, "-");
        table_add(table, finished);
        table_add(table, dict_string(entry, "from"));
        table_add(table, dict_string(entry, "to"));
        table_add(table, dict_string(entry, "result"));
        table_addf(table, "%u", array_length(dict_array(entry, "attempts")));
        table_addf(table, "%" PRIu64, dict_number(entry, "requester"));
        table_add(table, text);
}

static void print(const Tdxctl *t, JsonArray *entries) {
        static const char *const header[] = { "JOB", "FINISHED", "FROM", "TO", "RESULT", "ATTEMPTS", "UID", "REMARK" };
        g_auto(Table) table = {};

        table_init(&table, G_N_ELEMENTS(header), header);
        for (unsigned i = 0; i < array_length(entries); i++)
                add_row(&table, array_object(entries, i));

        output_table(t, &table, "No updates yet.\n");
}

int verb_history(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        g_autoptr(JsonNode) entries = NULL;
        uint64_t since = 0;
        int r;

        if (t->options.since && parse_since(t->options.since, clock_realtime(&system_clock), &since) < 0)
                return failure(t, ERROR_INVALID_ARGS,
                               "\"%s\" is no time; write a span like 7d, or a time like 2026-07-01 or \"2026-07-01 04:00:00\"",
                               t->options.since);

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "GetHistory", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "tu", since, t->options.max);
        if (r < 0)
                return failure_errno(t, r);
        r = bus_call_json(t, m, CALL_PLAIN, &error, &entries);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF)
                output_json(t, entries);
        else
                print(t, json_node_get_array(entries));
        for (unsigned i = 0; i < array_length(json_node_get_array(entries)); i++)
                suspects_warn(array_object(json_node_get_array(entries), i));
        return EXIT_DONE;
}
