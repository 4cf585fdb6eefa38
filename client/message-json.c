/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

#include "base/util.h"
#include "client/message-json.h"

static JsonNode *node_int(int64_t value) {
        return json_node_init_int(json_node_alloc(), value);
}

static JsonNode *node_string(const char *value) {
        return json_node_init_string(json_node_alloc(), value);
}

static JsonNode *node_u64(uint64_t value) {
        g_autofree char *digits = NULL;

        if (value <= INT64_MAX)
                return node_int((int64_t) value);

        digits = g_strdup_printf("%" PRIu64, value);
        return node_string(digits);
}

static JsonNode *node_double(double value) {
        if (!isfinite(value))
                return json_node_init_null(json_node_alloc());

        return json_node_init_double(json_node_alloc(), value);
}

static JsonNode *basic_node(char type, const void *value) {
        switch (type) {
        case SD_BUS_TYPE_BYTE:
                return node_int(*(const uint8_t *) value);
        case SD_BUS_TYPE_BOOLEAN:
                return json_node_init_boolean(json_node_alloc(), *(const int *) value != 0);
        case SD_BUS_TYPE_INT16:
                return node_int(*(const int16_t *) value);
        case SD_BUS_TYPE_UINT16:
                return node_int(*(const uint16_t *) value);
        case SD_BUS_TYPE_INT32:
                return node_int(*(const int32_t *) value);
        case SD_BUS_TYPE_UINT32:
                return node_int(*(const uint32_t *) value);
        case SD_BUS_TYPE_INT64:
                return node_int(*(const int64_t *) value);
        case SD_BUS_TYPE_UINT64:
                return node_u64(*(const uint64_t *) value);
        case SD_BUS_TYPE_DOUBLE:
                return node_double(*(const double *) value);
        default: /* a descriptor */
                return json_node_init_null(json_node_alloc());
        }
}

static int basic_to_json(sd_bus_message *m, char type, JsonNode **ret) {
        /* sd-bus fills in as many bytes as the type has, or a pointer. */
        union {
                uint64_t number;
                double real;
                int flag;
                const char *string;
        } value = {};
        int r;

        r = sd_bus_message_read_basic(m, type, &value);
        if (r < 0)
                return r;

        if (type == SD_BUS_TYPE_STRING || type == SD_BUS_TYPE_OBJECT_PATH || type == SD_BUS_TYPE_SIGNATURE)
                *ret = node_string(value.string);
        else
                *ret = basic_node(type, &value);
        return 0;
}

static char *key_text(JsonNode *key) {
        if (JSON_NODE_HOLDS_VALUE(key) && json_node_get_value_type(key) == G_TYPE_STRING)
                return g_strdup(json_node_get_string(key));

        return json_to_string(key, false);
}

static int entries_to_json(sd_bus_message *m, JsonNode **ret) {
        g_autoptr(JsonObject) object = json_object_new();
        int r;

        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                g_autoptr(JsonNode) key = NULL, value = NULL;
                g_autofree char *name = NULL;

                r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, NULL);
                if (r < 0)
                        return r;
                r = message_to_json(m, &key);
                if (r < 0)
                        return r;
                r = message_to_json(m, &value);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;

                name = key_text(key);
                json_object_set_member(object, name, g_steal_pointer(&value));
        }
        if (r < 0)
                return r;

        *ret = json_node_init_object(json_node_alloc(), object);
        return 0;
}

static int elements_to_json(sd_bus_message *m, JsonNode **ret) {
        g_autoptr(JsonArray) array = json_array_new();
        int r;

        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                JsonNode *element;

                r = message_to_json(m, &element);
                if (r < 0)
                        return r;
                json_array_add_element(array, element);
        }
        if (r < 0)
                return r;

        *ret = json_node_init_array(json_node_alloc(), array);
        return 0;
}

static int container_to_json(sd_bus_message *m, char type, const char *contents, JsonNode **ret) {
        g_autoptr(JsonNode) node = NULL;
        int r;

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;

        if (type == SD_BUS_TYPE_VARIANT)
                r = message_to_json(m, &node);
        else if (type == SD_BUS_TYPE_ARRAY && contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN)
                r = entries_to_json(m, &node);
        else
                r = elements_to_json(m, &node);
        if (r < 0)
                return r;

        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&node);
        return 0;
}

int message_to_json(sd_bus_message *m, JsonNode **ret) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -ENXIO;

        if (contents)
                return container_to_json(m, type, contents, ret);

        return basic_to_json(m, type, ret);
}
