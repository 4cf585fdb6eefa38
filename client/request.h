/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>

#include "client/tdxctl.h"

/*
 * The options of Plan and ApplyVersion, as a{sv}. @deadline: 0 for none.
 * 0 or the negative errno of sd-bus.
 */
int request_append(sd_bus_message *m, const Options *options, const char *version, uint64_t deadline);

/* Plan's answer, an object. 0 or a negative errno. */
int request_plan(Tdxctl *t, const char *version, sd_bus_error *error, JsonNode **ret);

/*
 * Asks the daemon for the start times of the VMs to be ignored that were given without: who names a process means the one
 * that is there now. An exit status; what went wrong has been said.
 */
int request_find_guests(Tdxctl *t);

/* The number of a job or an announced build on the command line: 0 and *@ret, or -EINVAL. */
int request_id(const char *text, uint32_t *ret);
