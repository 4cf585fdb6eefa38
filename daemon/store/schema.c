/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdio.h>

#include <glib.h>

#include "store/schema.h"

/*
 * Step N brings version N to N + 1. A step that was released is never changed: add one.
 * AUTOINCREMENT: an id is never used again, also when its job was dropped from the history.
 */
static const char *const steps[] = {
        "CREATE TABLE job ("
        "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  from_version TEXT NOT NULL, to_version TEXT NOT NULL,"
        "  requester INTEGER NOT NULL, unit TEXT NOT NULL, why TEXT NOT NULL,"
        "  deadline INTEGER NOT NULL, drain INTEGER NOT NULL, now INTEGER NOT NULL, ignore_activity INTEGER NOT NULL,"
        "  state TEXT NOT NULL, result TEXT NOT NULL, error_name TEXT NOT NULL, error_text TEXT NOT NULL,"
        "  created INTEGER NOT NULL, finished INTEGER NOT NULL, next_attempt INTEGER NOT NULL,"
        "  expires INTEGER NOT NULL,"
        "  seam_hash TEXT NOT NULL, signer TEXT NOT NULL,"
        "  have_svn_before INTEGER NOT NULL, svn_before INTEGER NOT NULL, svn_after INTEGER NOT NULL,"
        "  evidence TEXT NOT NULL, external INTEGER NOT NULL"
        ") STRICT;"
        "CREATE INDEX job_finished ON job (finished);"
        "CREATE TABLE attempt ("
        "  job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL,"
        "  started INTEGER NOT NULL, outcome TEXT NOT NULL, status TEXT NOT NULL, kernel_error TEXT NOT NULL,"
        "  look_to_handover INTEGER NOT NULL, kernel INTEGER NOT NULL, verify INTEGER NOT NULL, total INTEGER NOT NULL,"
        "  boot_id TEXT NOT NULL, stale_error TEXT NOT NULL, before_version TEXT NOT NULL,"
        "  have_remaining INTEGER NOT NULL, remaining INTEGER NOT NULL, size INTEGER NOT NULL,"
        "  handing_over INTEGER NOT NULL,"
        "  PRIMARY KEY (job, number)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",

        "ALTER TABLE job ADD COLUMN ignored_guests TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE attempt ADD COLUMN looked INTEGER NOT NULL DEFAULT 0;"
        "CREATE TABLE suspect ("
        "  job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL,"
        "  pid INTEGER NOT NULL, start_time INTEGER NOT NULL, name TEXT NOT NULL, machine TEXT NOT NULL, unit TEXT NOT NULL,"
        "  since INTEGER NOT NULL, evidence TEXT NOT NULL,"
        "  PRIMARY KEY (job, number)"
        ") STRICT, WITHOUT ROWID;",
};

static int read_version(sqlite3 *db, int *ret) {
        sqlite3_stmt *statement = NULL;
        int r;

        r = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_step(statement);
        if (r == SQLITE_ROW) {
                *ret = sqlite3_column_int(statement, 0);
                r = SQLITE_OK;
        }

        sqlite3_finalize(statement);
        return r;
}

static int check_version(sqlite3 *db, int *ret) {
        int r;

        r = read_version(db, ret);
        if (r != SQLITE_OK)
                return r;

        return *ret < 0 || *ret > (int) G_N_ELEMENTS(steps) ? SCHEMA_TOO_NEW : SQLITE_OK;
}

int schema_check(sqlite3 *db) {
        int version = 0;

        return check_version(db, &version);
}

int schema_upgrade(sqlite3 *db) {
        int version = 0, r;

        r = check_version(db, &version);
        if (r != SQLITE_OK)
                return r;

        for (; version < (int) G_N_ELEMENTS(steps); version++) {
                g_autofree char *sql = g_strdup_printf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT;",
                                                       steps[version], version + 1);

                r = sqlite3_exec(db, sql, NULL, NULL, NULL);
                if (r != SQLITE_OK) {
                        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
                        return r;
                }
        }

        return SQLITE_OK;
}
