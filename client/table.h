/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stddef.h>

#include <glib.h>

/* A text table: cells are made harmless for the terminal, columns as wide as their widest cell. */
typedef struct Table {
        size_t n_columns;
        GPtrArray *cells;       /* row after row, the header first */
} Table;

void table_init(Table *table, size_t n_columns, const char *const header[]);
void table_clear(Table *table);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Table, table_clear)

void table_add(Table *table, const char *cell);
void table_addf(Table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t table_rows(const Table *table);

/* How many columns a terminal must have for it. */
size_t table_width(const Table *table);

/* Appends it as blocks of "label: value" lines, for a terminal that is too narrow; the labels are the header's words. */
void table_print_blocks(const Table *table, GString *out);

/* Appends the table; @head and @tail go around the header line (colours), NULL @head leaves it out. */
void table_print(const Table *table, GString *out, const char *head, const char *tail);
