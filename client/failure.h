/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>

#include <json-glib/json-glib.h>
#include <systemd/sd-bus.h>

#include "base/errors.h"
#include "client/tdxctl.h"

/*
 * All of these say what went wrong, once, on standard error and with --json as an object on
 * standard output, and return the exit status, so that a verb can end with "return failure(...)".
 */
int failure(const Tdxctl *t, ErrorId id, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* For what is no error of the API; @name stands in the JSON. */
int failure_named(const Tdxctl *t, const char *name, int exit_status, const char *text);
int failure_printf(const Tdxctl *t, const char *name, int exit_status, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* A call that failed: @r is its negative errno. AlreadyCurrent is not a failure. */
int failure_bus(const Tdxctl *t, int r, const sd_bus_error *error);
/* The bus itself could not be reached. */
int failure_connect(const Tdxctl *t, int r);
int failure_errno(const Tdxctl *t, int r);

/* The exit status for a D-Bus error name, which need not be one of ours. */
int exit_status_of_error(const char *dbus_name);
/* For how a finished job ended: its result and its error's name. */
int exit_status_of_result(const char *result, const char *error_name);
/* Whether a blocker of this id is hard or policy, where only the id is known. */
bool blocker_refuses(const char *id);
/* For the blockers of a plan: the first that is hard or policy decides, 0 if all only wait. */
int exit_status_of_blockers(JsonArray *blockers);
