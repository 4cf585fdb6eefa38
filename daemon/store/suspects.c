/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/fileio.h"
#include "store/suspects.h"

typedef sqlite3_stmt Statement;

static void finalizep(Statement **s) {
        sqlite3_finalize(*s);
}
#define _cleanup_statement_ __attribute__((cleanup(finalizep)))

static void bind_text(Statement *s, int index, const char *value) {
        sqlite3_bind_text(s, index, value, -1, SQLITE_STATIC);
}

static void take_text(Statement *s, int column, char **field) {
        record_set(field, (const char *) sqlite3_column_text(s, column));
}

static int write_one(Statement *s, uint32_t job, unsigned number, const SuspectRecord *suspect) {
        int r;

        sqlite3_bind_int64(s, 1, job);
        sqlite3_bind_int64(s, 2, number);
        sqlite3_bind_int64(s, 3, suspect->pid);
        sqlite3_bind_int64(s, 4, (sqlite3_int64) suspect->start_time);
        bind_text(s, 5, suspect->name);
        bind_text(s, 6, suspect->machine);
        bind_text(s, 7, suspect->unit);
        sqlite3_bind_int64(s, 8, (sqlite3_int64) suspect->since);
        bind_text(s, 9, suspect->evidence);

        r = sqlite3_step(s);
        sqlite3_reset(s);
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int delete_rest(sqlite3 *db, uint32_t job, unsigned n) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(db, "DELETE FROM suspect WHERE job = ? AND number > ?", -1, &s, NULL);
        if (r != SQLITE_OK)
                return r;
        sqlite3_bind_int64(s, 1, job);
        sqlite3_bind_int64(s, 2, n);
        r = sqlite3_step(s);
        return r == SQLITE_DONE ? SQLITE_OK : r;
}

int suspects_write(sqlite3 *db, uint32_t job, const JobRecord *record) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = delete_rest(db, job, record->suspects->len);
        if (r != SQLITE_OK || record->suspects->len == 0)
                return r;

        r = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO suspect VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", -1, &s, NULL);
        for (unsigned i = 0; r == SQLITE_OK && i < record->suspects->len; i++)
                r = write_one(s, job, i + 1, record->suspects->pdata[i]);

        return r;
}

int suspects_read(sqlite3 *db, JobRecord *record) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(db, "SELECT pid, start_time, name, machine, unit, since, evidence FROM suspect WHERE job = ? ORDER BY number",
                               -1, &s, NULL);
        if (r != SQLITE_OK)
                return r;
        sqlite3_bind_int64(s, 1, record->id);

        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                SuspectRecord *suspect = job_record_add_suspect(record);

                suspect->pid = (uint32_t) sqlite3_column_int64(s, 0);
                suspect->start_time = (uint64_t) sqlite3_column_int64(s, 1);
                take_text(s, 2, &suspect->name);
                take_text(s, 3, &suspect->machine);
                take_text(s, 4, &suspect->unit);
                suspect->since = (uint64_t) sqlite3_column_int64(s, 5);
                take_text(s, 6, &suspect->evidence);
        }

        return r == SQLITE_DONE ? SQLITE_OK : r;
}

char *ignored_format(const GArray *ignored) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (unsigned i = 0; ignored && i < ignored->len; i++) {
                const IgnoredGuest *guest = &g_array_index(ignored, IgnoredGuest, i);

                g_string_append_printf(text, "%s%" PRIu32 ":%" PRIu64, i > 0 ? " " : "", guest->pid, guest->start_time);
        }

        return g_string_free(g_steal_pointer(&text), false);
}

static int parse_one(char *word, IgnoredGuest *ret) {
        char *colon = strchr(word, ':');
        uint64_t pid;

        if (!colon)
                return -EBADMSG;
        *colon = '\0';
        if (parse_u64(word, &pid) < 0 || pid == 0 || pid > UINT32_MAX ||
            parse_u64(colon + 1, &ret->start_time) < 0 || ret->start_time == 0)
                return -EBADMSG;
        ret->pid = (uint32_t) pid;
        return 0;
}

int ignored_parse(const char *text, GArray **ret) {
        g_autoptr(GArray) ignored = g_array_new(false, false, sizeof(IgnoredGuest));
        g_auto(GStrv) words = g_strsplit(text, " ", -1);

        for (unsigned i = 0; *text && words[i]; i++) {
                IgnoredGuest guest;

                if (parse_one(words[i], &guest) < 0)
                        return -EBADMSG;
                g_array_append_val(ignored, guest);
        }

        *ret = ignored->len > 0 ? g_steal_pointer(&ignored) : NULL;
        return 0;
}
