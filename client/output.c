/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/escape.h"
#include "client/output.h"
#include "client/pager.h"

#define LABEL_WIDTH 15

bool output_may_colour(void) {
        const char *no_color = getenv("NO_COLOR"), *systemd = getenv("SYSTEMD_COLORS"), *term = getenv("TERM");

        if (!isatty(STDOUT_FILENO) || (no_color && *no_color))
                return false;
        if (systemd && (strcmp(systemd, "0") == 0 || strcmp(systemd, "no") == 0 ||
                        strcmp(systemd, "false") == 0 || strcmp(systemd, "off") == 0))
                return false;

        return term && strcmp(term, "dumb") != 0;
}

const char *colour(const Tdxctl *t, Colour c) {
        static const char *const sequences[] = {
                [COLOUR_BOLD] = "\x1b[1m",
                [COLOUR_GREEN] = "\x1b[32m",
                [COLOUR_YELLOW] = "\x1b[33m",
                [COLOUR_RED] = "\x1b[1;31m",
                [COLOUR_GREY] = "\x1b[2m",
                [COLOUR_UNDERLINE] = "\x1b[4m",
                [COLOUR_NONE] = "\x1b[0m",
        };

        return t->colour ? sequences[c] : "";
}

void output_text(const Tdxctl *t, const char *text) {
        if (t->options.pager && isatty(STDOUT_FILENO) && pager_show(text) >= 0)
                return;

        fputs(text, stdout);
}

unsigned output_width(void) {
        struct winsize size = {};

        if (!isatty(STDOUT_FILENO))
                return 0;

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void output_table(const Tdxctl *t, const Table *table, const char *nothing) {
        g_autoptr(GString) out = g_string_new(NULL);
        unsigned width = output_width();

        if (table_rows(table) == 0)
                g_string_append(out, t->options.legend ? nothing : "");
        else if (width > 0 && table_width(table) > width)
                table_print_blocks(table, out);
        else
                table_print(table, out, t->options.legend ? colour(t, COLOUR_UNDERLINE) : NULL, colour(t, COLOUR_NONE));
        output_text(t, out->str);
}

/* In JSON such characters stand only in strings; json-glib escapes C0 up to 0x1e and DEL itself. */
static char *escape_rest(const char *text) {
        g_autoptr(GString) out = g_string_new(NULL);

        for (const char *p = text; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                if (c == 0x1f || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
                        g_string_append_printf(out, "\\u%04x", c);
                else
                        g_string_append_unichar(out, c);
        }

        return g_string_free(g_steal_pointer(&out), false);
}

char *json_text(JsonNode *node, bool pretty) {
        g_autofree char *text = json_to_string(node, pretty);

        return escape_rest(text);
}

void output_json(const Tdxctl *t, JsonNode *node) {
        g_autofree char *text = json_text(node, t->options.json == JSON_PRETTY), *line = g_strconcat(text, "\n", NULL);

        output_text(t, line);
}

void output_json_object(const Tdxctl *t, JsonObject *object) {
        g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);

        output_json(t, node);
}

void field_add(GString *out, const char *label, const char *value) {
        g_autofree char *safe = escape_terminal(value);

        if (*safe)
                g_string_append_printf(out, "%*s: %s\n", LABEL_WIDTH, label, safe);
}

void field_addf(GString *out, const char *label, const char *format, ...) {
        g_autofree char *value = NULL;
        va_list ap;

        va_start(ap, format);
        value = g_strdup_vprintf(format, ap);
        va_end(ap);
        field_add(out, label, value);
}
