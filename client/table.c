/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>
#include <stdbool.h>

#include "client/escape.h"
#include "client/table.h"

void table_init(Table *table, size_t n_columns, const char *const header[]) {
        *table = (Table) { .n_columns = n_columns, .cells = g_ptr_array_new_with_free_func(g_free) };
        for (size_t i = 0; i < n_columns; i++)
                table_add(table, header[i]);
}

void table_clear(Table *table) {
        g_clear_pointer(&table->cells, g_ptr_array_unref);
}

void table_add(Table *table, const char *cell) {
        g_ptr_array_add(table->cells, escape_terminal(cell && *cell ? cell : "-"));
}

void table_addf(Table *table, const char *format, ...) {
        g_autofree char *cell = NULL;
        va_list ap;

        va_start(ap, format);
        cell = g_strdup_vprintf(format, ap);
        va_end(ap);
        table_add(table, cell);
}

size_t table_rows(const Table *table) {
        return table->cells->len / table->n_columns - 1;
}

static void measure(const Table *table, size_t first, long widths[]) {
        for (size_t i = first; i < table->cells->len; i++)
                widths[i % table->n_columns] = MAX(widths[i % table->n_columns], g_utf8_strlen(table->cells->pdata[i], -1));
}

size_t table_width(const Table *table) {
        g_autofree long *widths = g_new0(long, table->n_columns);
        size_t sum = 2 * (table->n_columns - 1);

        measure(table, 0, widths);
        for (size_t i = 0; i < table->n_columns; i++)
                sum += (size_t) widths[i];

        return sum;
}

void table_print_blocks(const Table *table, GString *out) {
        for (size_t i = table->n_columns; i < table->cells->len; i++) {
                size_t column = i % table->n_columns;
                const char *label = table->cells->pdata[column];

                if (column == 0 && i > table->n_columns)
                        g_string_append_c(out, '\n');
                g_string_append_printf(out, "%8s: %s\n", label, (const char *) table->cells->pdata[i]);
        }
}

void table_print(const Table *table, GString *out, const char *head, const char *tail) {
        g_autofree long *widths = g_new0(long, table->n_columns);
        size_t n = table->n_columns, first = head ? 0 : n;

        measure(table, first, widths);
        for (size_t i = first; i < table->cells->len; i++) {
                const char *cell = table->cells->pdata[i];
                bool last = i % n == n - 1;

                if (head && i == 0)
                        g_string_append(out, head);
                g_string_append(out, cell);
                if (!last)
                        g_string_append_printf(out, "%*s", (int) (widths[i % n] - g_utf8_strlen(cell, -1) + 2), "");
                if (head && i == n - 1)
                        g_string_append(out, tail);
                if (last)
                        g_string_append_c(out, '\n');
        }
}
