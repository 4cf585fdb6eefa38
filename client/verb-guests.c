/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>

#include "base/errors.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/table.h"
#include "client/time-text.h"
#include "client/verbs.h"

static void add_number(Table *table, JsonObject *dict, const char *key) {
        if (dict_has(dict, key))
                table_addf(table, "%" PRIu64, dict_number(dict, key));
        else
                table_add(table, NULL);
}

static void add_time(Table *table, JsonObject *dict, const char *key) {
        g_autofree char *text = format_timestamp(dict_number(dict, key));

        table_add(table, text);
}

static void print_guests(const Tdxctl *t, JsonArray *guests) {
        static const char *const header[] = { "PID", "NAME", "MACHINE", "TD", "PHASE", "SINCE", "TIER", "EVIDENCE" };
        g_auto(Table) table = {};

        table_init(&table, G_N_ELEMENTS(header), header);
        for (unsigned i = 0; i < array_length(guests); i++) {
                JsonObject *guest = array_object(guests, i);
                const char *machine = dict_string(guest, "machine");

                add_number(&table, guest, "pid");
                table_add(&table, dict_string(guest, "name"));
                table_add(&table, *machine ? machine : dict_string(guest, "unit"));
                table_add(&table, dict_string(guest, "is-td"));
                table_add(&table, dict_string(guest, "phase"));
                add_time(&table, guest, "since");
                table_add(&table, dict_string(guest, "tier"));
                table_add(&table, dict_string(guest, "evidence"));
        }

        output_table(t, &table, "KVM reports no VM.\n");
}

int verb_guests(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) guests = NULL;
        int r;

        r = bus_query(t, "ListGuests", CALL_AUTH, &error, &guests);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF)
                output_json(t, guests);
        else
                print_guests(t, json_node_get_array(guests));
        return EXIT_DONE;
}

static void print_holds(const Tdxctl *t, JsonArray *holds) {
        static const char *const header[] = { "WHAT", "MODE", "WHO", "UID", "PID", "UNIT", "SINCE", "WHY" };
        g_auto(Table) table = {};

        table_init(&table, G_N_ELEMENTS(header), header);
        for (unsigned i = 0; i < array_length(holds); i++) {
                JsonObject *hold = array_object(holds, i);

                table_add(&table, dict_string(hold, "what"));
                table_add(&table, dict_string(hold, "mode"));
                table_add(&table, dict_string(hold, "who"));
                add_number(&table, hold, "uid");
                add_number(&table, hold, "pid");
                table_add(&table, dict_string(hold, "unit"));
                add_time(&table, hold, "since");
                table_add(&table, dict_string(hold, "why"));
        }

        output_table(t, &table, "Nobody keeps updates off, and no build is announced.\n");
}

int verb_holds(Tdxctl *t, int argc, char *argv[]) {
        static const char *const fields[] = { "what", "who", "why", "mode", "unit", "uid", "pid", "since", NULL };
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) structs = NULL, holds = NULL;
        int r;

        r = bus_query(t, "ListHolds", CALL_AUTH, &error, &structs);
        if (r < 0)
                return failure_bus(t, r, &error);

        holds = array_named(structs, fields);
        if (t->options.json != JSON_OFF)
                output_json(t, holds);
        else
                print_holds(t, json_node_get_array(holds));
        return EXIT_DONE;
}
