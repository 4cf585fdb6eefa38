/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>

/* A job as an entry of "jobs": id, path, version, state, reason; @properties by their D-Bus names. */
JsonObject *job_object(const char *path, JsonObject *properties);

/* One line for people, with its newline. */
void job_line(GString *out, JsonObject *properties);
