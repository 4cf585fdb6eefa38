/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>

#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/table.h"
#include "client/verbs.h"

/* What keeps an image from being the target, in its ids; notes do not. */
static char *eligibility(JsonObject *image) {
        g_autoptr(GString) text = g_string_new(NULL);
        JsonArray *blockers = dict_array(image, "blockers");

        for (unsigned i = 0; i < array_length(blockers); i++) {
                JsonObject *blocker = array_object(blockers, i);

                if (!g_str_equal(dict_string(blocker, "severity"), "note"))
                        g_string_append_printf(text, "%s%s", text->len > 0 ? "," : "", dict_string(blocker, "id"));
        }

        if (dict_flag(image, "eligible"))
                return g_strdup("yes");

        return text->len > 0 ? g_string_free(g_steal_pointer(&text), false) : g_strdup("no");
}

static void add_row(Table *table, JsonObject *image, const char *running) {
        bool runs = *running && g_str_equal(dict_string(image, "version"), running);
        g_autofree char *eligible = eligibility(image);

        table_add(table, runs ? "*" : " ");
        table_add(table, dict_string(image, "version"));
        table_add(table, dict_string(image, "date"));
        if (dict_has(image, "svn"))
                table_addf(table, "0x%" PRIx64, dict_number(image, "svn"));
        else
                table_add(table, "-");
        table_add(table, eligible);
        table_addf(table, "%s%s", dict_string(image, "path"), dict_flag(image, "shadowed") ? " (shadowed)" : "");
}

static void print(const Tdxctl *t, JsonArray *images, const char *running) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_auto(Table) table = {};

        table_init(&table, 6, (const char *const[]) { " ", "VERSION", "DATE", "SVN", "ELIGIBLE", "PATH" });
        for (unsigned i = 0; i < array_length(images); i++)
                add_row(&table, array_object(images, i), running);

        table_print(&table, out, t->options.legend ? colour(t, COLOUR_UNDERLINE) : NULL, colour(t, COLOUR_NONE));
        if (t->options.legend)
                g_string_append_printf(out, "\n%zu image%s, * runs now. Why one is not eligible: tdxctl plan VERSION\n",
                                       table_rows(&table), table_rows(&table) == 1 ? "" : "s");
        output_text(t, out->str);
}

int verb_list(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) properties = NULL;
        g_autoptr(JsonNode) images = NULL;
        int r;

        r = bus_query(t, "ListImages", CALL_PLAIN, &error, &images);
        if (r < 0)
                return failure_bus(t, r, &error);
        if (t->options.json != JSON_OFF) {
                output_json(t, images);
                return EXIT_DONE;
        }

        r = bus_properties(t, BUS_PATH, BUS_INTERFACE, &error, &properties);
        if (r < 0)
                return failure_bus(t, r, &error);

        print(t, json_node_get_array(images), dict_string(properties, "ModuleVersion"));
        return EXIT_DONE;
}
