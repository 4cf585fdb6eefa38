/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>

#include "client/tdxctl.h"

/* Appends a blocker in a line: severity, id, text, subject and when it ends. */
void blocker_line(const Tdxctl *t, GString *out, JsonObject *blocker);

/* Whether it keeps an update from starting; a note does not. */
bool blocker_blocks(JsonObject *blocker);
