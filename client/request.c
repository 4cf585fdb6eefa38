/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>

#include "base/errors.h"
#include "base/fileio.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/request.h"

static int append_ignored(sd_bus_message *m, const Options *options) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "ignore-guests");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(ut)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(ut)");
        for (size_t i = 0; r >= 0 && i < options->n_ignored; i++)
                r = sd_bus_message_append(m, "(ut)", options->ignored[i].pid, options->ignored[i].start);
        for (int depth = 0; r >= 0 && depth < 3; depth++)
                r = sd_bus_message_close_container(m);

        return r;
}

int request_append(sd_bus_message *m, const Options *options, const char *version, uint64_t deadline) {
        int r;

        r = sd_bus_message_append(m, "s", version ?: "");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        if (deadline > 0)
                r = sd_bus_message_append(m, "{sv}", "deadline", "t", deadline);
        if (r >= 0 && options->reason)
                r = sd_bus_message_append(m, "{sv}", "reason", "s", options->reason);
        if (r >= 0 && options->plan)
                r = sd_bus_message_append(m, "{sv}", "plan", "s", options->plan);
        if (r >= 0 && options->drain)
                r = sd_bus_message_append(m, "{sv}", "drain", "b", true);
        if (r >= 0 && options->now)
                r = sd_bus_message_append(m, "{sv}", "now", "b", true);
        if (r >= 0 && options->ignore_activity)
                r = sd_bus_message_append(m, "{sv}", "ignore-activity", "b", true);
        if (r >= 0 && options->n_ignored > 0)
                r = append_ignored(m, options);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(m);
}

int request_plan(Tdxctl *t, const char *version, sd_bus_error *error, JsonNode **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        g_autoptr(JsonNode) plan = NULL;
        int r;

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "Plan", &m);
        if (r < 0)
                return r;
        r = request_append(m, &t->options, version, 0);
        if (r < 0)
                return r;
        r = bus_call_json(t, m, CALL_PLAIN, error, &plan);
        if (r < 0)
                return r;
        if (!JSON_NODE_HOLDS_OBJECT(plan))
                return -EBADMSG;

        *ret = g_steal_pointer(&plan);
        return 0;
}

static int guest_start(Tdxctl *t, JsonArray *guests, GuestId *id) {
        for (unsigned i = 0; i < array_length(guests); i++) {
                JsonObject *guest = array_object(guests, i);

                if (dict_number(guest, "pid") != id->pid)
                        continue;
                id->start = dict_number(guest, "start-time");
                if (id->start > 0)
                        return EXIT_DONE;
                return failure(t, ERROR_INVALID_ARGS, "It is not known when process %u was started; give --ignore-guest=%u:START "
                               "(field 22 of /proc/%u/stat)", id->pid, id->pid, id->pid);
        }

        return failure_printf(t, "NoSuchGuest", EXIT_NO_SUCH, "KVM reports no VM of process %u; see \"tdxctl guests\"", id->pid);
}

int request_find_guests(Tdxctl *t) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonNode) guests = NULL;
        int r;

        for (size_t i = 0; i < t->options.n_ignored; i++) {
                GuestId *id = &t->options.ignored[i];

                if (id->start > 0)
                        continue;
                if (!guests) {
                        r = bus_query(t, "ListGuests", CALL_AUTH, &error, &guests);
                        if (r < 0)
                                return failure_bus(t, r, &error);
                }
                r = guest_start(t, json_node_get_array(guests), id);
                if (r != EXIT_DONE)
                        return r;
        }

        return EXIT_DONE;
}

int request_id(const char *text, uint32_t *ret) {
        uint64_t id;

        if (parse_u64(text, &id) < 0 || id == 0 || id > UINT32_MAX)
                return -EINVAL;

        *ret = (uint32_t) id;
        return 0;
}
