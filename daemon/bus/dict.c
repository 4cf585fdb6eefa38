/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "bus/dict.h"

Dict dict_open(sd_bus_message *message) {
        return (Dict) { message, sd_bus_message_open_container(message, 'a', "{sv}") };
}

int dict_close(Dict *dict) {
        if (dict->error >= 0)
                dict->error = sd_bus_message_close_container(dict->message);
        return dict->error;
}

void dict_check(Dict *dict, int r) {
        if (dict->error >= 0 && r < 0)
                dict->error = r;
}

void dict_string(Dict *dict, const char *key, const char *value) {
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_append(dict->message, "{sv}", key, "s", value));
}

void dict_u32(Dict *dict, const char *key, uint32_t value) {
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_append(dict->message, "{sv}", key, "u", value));
}

void dict_u64(Dict *dict, const char *key, uint64_t value) {
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_append(dict->message, "{sv}", key, "t", value));
}

void dict_bool(Dict *dict, const char *key, bool value) {
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_append(dict->message, "{sv}", key, "b", (int) value));
}

void dict_strv(Dict *dict, const char *key, char *const *value) {
        dict_enter(dict, key, "as");
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_append_strv(dict->message, (char **) value));
        dict_leave(dict);
}

void dict_enter(Dict *dict, const char *key, const char *signature) {
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_open_container(dict->message, 'e', "sv"));
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_append(dict->message, "s", key));
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_open_container(dict->message, 'v', signature));
}

void dict_leave(Dict *dict) {
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_close_container(dict->message));
        if (dict->error >= 0)
                dict_check(dict, sd_bus_message_close_container(dict->message));
}
