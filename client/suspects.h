/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>

/*
 * Warns on standard error of the TDs that may have been in their build when @details' update ran (@details: as an entry of
 * the history); nothing when there are none.
 */
void suspects_warn(JsonObject *details);
