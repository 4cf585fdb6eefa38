/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "client/table.h"
#include "client/tdxctl.h"

typedef enum Colour {
        COLOUR_BOLD,
        COLOUR_GREEN,
        COLOUR_YELLOW,
        COLOUR_RED,
        COLOUR_GREY,
        COLOUR_UNDERLINE,
        COLOUR_NONE,
} Colour;

/* Whether standard output is a terminal that may be coloured. */
bool output_may_colour(void);
/* The escape sequence, or "" when there are to be no colours. */
const char *colour(const Tdxctl *t, Colour c);

/* The columns of the terminal on standard output, 0 if it is none; 80 if it does not say. */
unsigned output_width(void);

/* Text that is complete: through the pager when that is wanted and standard output is a terminal. */
void output_text(const Tdxctl *t, const char *text);
/* A table with its header, or @nothing if it has no rows; as blocks when the terminal is too narrow for it. */
void output_table(const Tdxctl *t, const Table *table, const char *nothing);
/* One JSON value in the form that was asked for, always on one line when @t says short. */
void output_json(const Tdxctl *t, JsonNode *node);
void output_json_object(const Tdxctl *t, JsonObject *object);

/* The text of a value with nothing in it that a terminal acts on. The caller frees it. */
char *json_text(JsonNode *node, bool pretty);

/* Appends "      label: value\n", the value made harmless. Nothing for an empty value. */
void field_add(GString *out, const char *label, const char *value);
void field_addf(GString *out, const char *label, const char *format, ...) __attribute__((format(printf, 3, 4)));
