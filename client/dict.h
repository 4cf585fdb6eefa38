/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <json-glib/json-glib.h>

/*
 * Values out of the daemon's dictionaries. What is missing or of another type reads as
 * "", 0, false, NULL: a newer or older daemon must not make the client fail.
 * @dict may be NULL.
 */
const char *dict_string(JsonObject *dict, const char *key);
uint64_t dict_number(JsonObject *dict, const char *key);
double dict_real(JsonObject *dict, const char *key);
bool dict_flag(JsonObject *dict, const char *key);
bool dict_has(JsonObject *dict, const char *key);
JsonArray *dict_array(JsonObject *dict, const char *key);
JsonObject *dict_object(JsonObject *dict, const char *key);

/* The element as an object or a string; an empty one when it is something else (@array may be NULL). */
unsigned array_length(JsonArray *array);
JsonObject *array_object(JsonArray *array, unsigned i);
const char *array_string(JsonArray *array, unsigned i);

/* Structs (arrays of fields, in order) as objects; @names ends with NULL. What is no array of structs is an empty array. */
JsonNode *array_named(JsonNode *structs, const char *const names[]);

/* A string array in one text, each element made harmless. The caller frees it. */
char *array_join(JsonArray *array, const char *separator);

/* "ModuleVersion" as "module-version". The caller frees it. */
char *kebab_case(const char *name);

/* A copy (values shared) with every key in kebab-case. */
JsonObject *dict_kebab(JsonObject *dict);
