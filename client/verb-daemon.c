/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/table.h"
#include "client/verbs.h"

int verb_refresh(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "Refresh", &m);
        if (r < 0)
                return failure_errno(t, r);
        r = bus_call(t, m, CALL_AUTH | CALL_SLOW, &error, NULL);
        if (r < 0)
                return failure_bus(t, r, &error);

        return verb_status(t, argc, argv);
}

static void print_config(const Tdxctl *t, JsonArray *keys) {
        static const char *const header[] = { "KEY", "VALUE", "DEFAULT", "SOURCE" };
        g_autoptr(GString) out = g_string_new(NULL);
        g_auto(Table) table = {};

        table_init(&table, G_N_ELEMENTS(header), header);
        for (unsigned i = 0; i < array_length(keys); i++) {
                JsonObject *key = array_object(keys, i);

                for (size_t k = 0; k < G_N_ELEMENTS(header); k++) {
                        g_autofree char *name = g_ascii_strdown(header[k], -1);

                        table_add(&table, dict_string(key, name));
                }
        }

        table_print(&table, out, t->options.legend ? colour(t, COLOUR_UNDERLINE) : NULL, colour(t, COLOUR_NONE));
        output_text(t, out->str);
}

int verb_config(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) keys = NULL;
        int r;

        r = bus_query(t, "DescribeConfig", CALL_PLAIN, &error, &keys);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF)
                output_json(t, keys);
        else
                print_config(t, json_node_get_array(keys));
        return EXIT_DONE;
}
