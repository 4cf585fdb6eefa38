/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>
#include <systemd/sd-bus.h>

/*
 * The next complete value of @m. Dictionaries become objects, arrays and structs become
 * arrays, variants their content. JSON's integers of json-glib are signed: a number of
 * 2^63 and above becomes a string of its digits. A descriptor or NaN becomes null.
 * 0 or the negative errno of sd-bus (-ENXIO when there is no value).
 */
int message_to_json(sd_bus_message *m, JsonNode **ret);
