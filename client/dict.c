/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/fileio.h"
#include "client/dict.h"
#include "client/escape.h"

static JsonNode *value_node(JsonObject *dict, const char *key) {
        JsonNode *node = dict ? json_object_get_member(dict, key) : NULL;

        return node && JSON_NODE_HOLDS_VALUE(node) ? node : NULL;
}

const char *dict_string(JsonObject *dict, const char *key) {
        JsonNode *node = value_node(dict, key);

        return node && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : "";
}

uint64_t dict_number(JsonObject *dict, const char *key) {
        JsonNode *node = value_node(dict, key);
        uint64_t value;

        if (!node)
                return 0;
        /* Numbers that are too large for JSON: see message_to_json(). */
        if (json_node_get_value_type(node) == G_TYPE_STRING)
                return parse_u64(json_node_get_string(node), &value) < 0 ? 0 : value;
        if (json_node_get_value_type(node) != G_TYPE_INT64)
                return 0;

        return (uint64_t) json_node_get_int(node);
}

double dict_real(JsonObject *dict, const char *key) {
        JsonNode *node = value_node(dict, key);

        return node && json_node_get_value_type(node) == G_TYPE_DOUBLE ? json_node_get_double(node) : 0;
}

bool dict_flag(JsonObject *dict, const char *key) {
        JsonNode *node = value_node(dict, key);

        return node && json_node_get_value_type(node) == G_TYPE_BOOLEAN && json_node_get_boolean(node);
}

bool dict_has(JsonObject *dict, const char *key) {
        return dict && json_object_has_member(dict, key);
}

JsonArray *dict_array(JsonObject *dict, const char *key) {
        JsonNode *node = dict ? json_object_get_member(dict, key) : NULL;

        return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

JsonObject *dict_object(JsonObject *dict, const char *key) {
        JsonNode *node = dict ? json_object_get_member(dict, key) : NULL;

        return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

unsigned array_length(JsonArray *array) {
        return array ? json_array_get_length(array) : 0;
}

JsonObject *array_object(JsonArray *array, unsigned i) {
        JsonNode *node = i < array_length(array) ? json_array_get_element(array, i) : NULL;

        return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

const char *array_string(JsonArray *array, unsigned i) {
        JsonNode *node = i < array_length(array) ? json_array_get_element(array, i) : NULL;

        if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
                return "";

        return json_node_get_string(node);
}

JsonNode *array_named(JsonNode *structs, const char *const names[]) {
        JsonArray *in = JSON_NODE_HOLDS_ARRAY(structs) ? json_node_get_array(structs) : NULL, *out = json_array_new();
        JsonNode *node;

        for (unsigned i = 0; i < array_length(in); i++) {
                JsonNode *fields = json_array_get_element(in, i);
                JsonArray *array = JSON_NODE_HOLDS_ARRAY(fields) ? json_node_get_array(fields) : NULL;
                JsonObject *object = json_object_new();

                for (unsigned k = 0; k < array_length(array) && names[k]; k++)
                        json_object_set_member(object, names[k], json_node_copy(json_array_get_element(array, k)));
                json_array_add_object_element(out, object);
        }

        node = json_node_new(JSON_NODE_ARRAY);
        json_node_take_array(node, out);
        return node;
}

char *array_join(JsonArray *array, const char *separator) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (unsigned i = 0; i < array_length(array); i++) {
                g_autofree char *element = escape_terminal(array_string(array, i));

                g_string_append_printf(text, "%s%s", i > 0 ? separator : "", element);
        }

        return g_string_free(g_steal_pointer(&text), false);
}

char *kebab_case(const char *name) {
        g_autoptr(GString) out = g_string_new(NULL);

        for (const char *p = name; *p; p++) {
                if (g_ascii_isupper(*p) && p != name)
                        g_string_append_c(out, '-');
                g_string_append_c(out, g_ascii_tolower(*p));
        }

        return g_string_free(g_steal_pointer(&out), false);
}

JsonObject *dict_kebab(JsonObject *dict) {
        JsonObject *out = json_object_new();
        JsonObjectIter iter;
        const char *name;
        JsonNode *node;

        json_object_iter_init_ordered(&iter, dict);
        while (json_object_iter_next_ordered(&iter, &name, &node)) {
                g_autofree char *key = kebab_case(name);

                json_object_set_member(out, key, json_node_copy(node));
        }

        return out;
}
