/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "client/blockers.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/output.h"
#include "client/time-text.h"

static Colour severity_colour(const char *severity) {
        if (g_str_equal(severity, "hard") || g_str_equal(severity, "policy"))
                return COLOUR_RED;

        return g_str_equal(severity, "wait") ? COLOUR_YELLOW : COLOUR_GREY;
}

void blocker_line(const Tdxctl *t, GString *out, JsonObject *blocker) {
        g_autofree char *id = escape_terminal(dict_string(blocker, "id"));
        g_autofree char *severity = escape_terminal(dict_string(blocker, "severity"));
        g_autofree char *text = escape_terminal(dict_string(blocker, "text"));
        g_autofree char *subject = escape_terminal(dict_string(blocker, "subject"));

        g_string_append_printf(out, "%s%16s%s  %s: %s", colour(t, severity_colour(severity)), severity,
                               colour(t, COLOUR_NONE), id, text);
        if (*subject)
                g_string_append_printf(out, " [%s]", subject);
        if (dict_number(blocker, "until") > 0) {
                g_autofree char *until = format_timestamp(dict_number(blocker, "until"));

                g_string_append_printf(out, " (until %s)", until);
        }
        g_string_append_c(out, '\n');
}

bool blocker_blocks(JsonObject *blocker) {
        return blocker && !g_str_equal(dict_string(blocker, "severity"), "note");
}
