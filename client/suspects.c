/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <stdio.h>

#include "client/dict.h"
#include "client/escape.h"
#include "client/suspects.h"
#include "client/time-text.h"

/* Its machine, else its unit: what an operator finds it by. */
static void print_guest(JsonObject *guest) {
        const char *where = *dict_string(guest, "machine") ? dict_string(guest, "machine") : dict_string(guest, "unit");
        g_autofree char *name = escape_terminal(dict_string(guest, "name"));
        g_autofree char *place = escape_terminal(where);
        g_autofree char *since = format_timestamp(dict_number(guest, "since"));
        g_autofree char *evidence = escape_terminal(dict_string(guest, "evidence"));

        fprintf(stderr, "tdxctl:   VM \"%s\" (PID %" PRIu64 "%s%s%s%s)%s%s\n", name, dict_number(guest, "pid"),
                *place ? ", " : "", place, dict_number(guest, "since") > 0 ? ", since " : "",
                dict_number(guest, "since") > 0 ? since : "", *evidence ? ": " : "", evidence);
}

void suspects_warn(JsonObject *details) {
        JsonArray *guests = dict_array(details, "suspect-guests");
        g_autofree char *to = escape_terminal(dict_string(details, "to"));

        if (array_length(guests) == 0)
                return;

        fflush(stdout);
        fprintf(stderr, "tdxctl: WARNING: a TD may have been in its build while job %" PRIu64 " updated the module to %s.\n"
                "tdxctl: The measurement of these TDs may be wrong; rebuild them:\n", dict_number(details, "job"), to);
        for (unsigned i = 0; i < array_length(guests); i++)
                print_guest(array_object(guests, i));
}
