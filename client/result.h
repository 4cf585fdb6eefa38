/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>

#include "client/tdxctl.h"

/* Shows how a job ended (@details: as an entry of the history) and returns the exit status. */
int result_show(Tdxctl *t, JsonObject *details);

/* The daemon answered AlreadyCurrent: a success, there is nothing to do. */
int already_current(Tdxctl *t, const char *message);

/* One attempt of an attempt log in a line without a newline. The caller frees it. */
char *attempt_text(JsonObject *attempt);
