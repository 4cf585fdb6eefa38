/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sqlite3.h>

#include "store/record.h"

/* The part of the store that is about VMs. In the caller's transaction; SQLite's codes. */
int suspects_write(sqlite3 *db, uint32_t job, const JobRecord *record);
int suspects_read(sqlite3 *db, JobRecord *record);

/* "PID:START PID:START", "" for none. The caller frees it. */
char *ignored_format(const GArray *ignored);

/* *@ret is NULL for "". 0 or -EBADMSG. */
int ignored_parse(const char *text, GArray **ret);
