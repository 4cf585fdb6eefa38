/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sqlite3.h>

/* SQLITE_OK, or SCHEMA_TOO_NEW. Only reads. */
int schema_check(sqlite3 *db);

/* Brings the schema up to the newest version in steps, each in its own transaction. A SQLite result code. */
int schema_upgrade(sqlite3 *db);

/* SCHEMA_TOO_NEW: the file is from a newer daemon and is left alone. */
#define SCHEMA_TOO_NEW SQLITE_SCHEMA
