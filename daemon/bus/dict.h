/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>

/*
 * Writes a dictionary a{sv} into a message. The first error sticks, everything after it
 * does nothing, and dict_close() returns it: one check at the end is enough.
 */
typedef struct Dict {
        sd_bus_message *message;
        int error;
} Dict;

Dict dict_open(sd_bus_message *message);
int dict_close(Dict *dict);

void dict_string(Dict *dict, const char *key, const char *value);
void dict_u32(Dict *dict, const char *key, uint32_t value);
void dict_u64(Dict *dict, const char *key, uint64_t value);
void dict_bool(Dict *dict, const char *key, bool value);
void dict_strv(Dict *dict, const char *key, char *const *value);

/* A value of a type of its own: between the two the caller appends to dict->message. */
void dict_enter(Dict *dict, const char *key, const char *signature);
void dict_leave(Dict *dict);

/* Takes over what the caller's own append calls returned. */
void dict_check(Dict *dict, int r);
