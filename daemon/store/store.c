/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "store/schema.h"
#include "store/suspects.h"
#include "store/store.h"

/* A row that SQLite can read and we cannot; no function that is called here returns it. */
#define UNKNOWN_WORD SQLITE_MISMATCH

struct Store {
        sqlite3 *db;
        bool failed;
        char *error;
};

typedef sqlite3_stmt Statement;

static void statement_finalizep(Statement **statement) {
        sqlite3_finalize(*statement);
}

#define _cleanup_statement_ __attribute__((cleanup(statement_finalizep)))

static int to_errno(int code) {
        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_ROW:
        case SQLITE_DONE:
                return 0;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_PERM:
        case SQLITE_CANTOPEN:
                return -EACCES;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case UNKNOWN_WORD:
                return -EUCLEAN;
        case SCHEMA_TOO_NEW:
                return -ENOTUNIQ;
        default:
                return -EIO;
        }
}

static int fail(Store *store, int code) {
        g_free(store->error);
        store->error = g_strdup(sqlite3_errmsg(store->db));
        return to_errno(code);
}

static int setup(sqlite3 *db) {
        int r;

        /*
         * EXCLUSIVE: nobody else works on this file, and no shared memory file is needed; for that
         * it comes before the first read. A newer daemon's file is left as it is, so its version
         * is read before anything that writes.
         */
        r = sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
                         NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = schema_check(db);
        /* FULL: each commit is synced (https://www.sqlite.org/pragma.html#pragma_synchronous). */
        if (r == SQLITE_OK)
                r = sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;", NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = schema_upgrade(db);
        return r;
}

int store_open(const char *path, Store **ret) {
        g_autoptr(Store) store = g_new0(Store, 1);
        int r;

        r = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
        if (r == SQLITE_OK) {
                sqlite3_busy_timeout(store->db, 2000);
                r = setup(store->db);
        }
        if (r != SQLITE_OK)
                return to_errno(r);

        *ret = g_steal_pointer(&store);
        return 0;
}

Store *store_close(Store *store) {
        if (!store)
                return NULL;

        sqlite3_close(store->db);
        g_free(store->error);
        g_free(store);
        return NULL;
}

bool store_failed(const Store *store) {
        return store->failed;
}

const char *store_error(const Store *store) {
        return store->error ?: "no error";
}

static void bind_text(Statement *s, const char *name, const char *value) {
        sqlite3_bind_text(s, sqlite3_bind_parameter_index(s, name), value, -1, SQLITE_STATIC);
}

static void bind_int(Statement *s, const char *name, uint64_t value) {
        sqlite3_bind_int64(s, sqlite3_bind_parameter_index(s, name), (sqlite3_int64) value);
}

static int run(Statement *s) {
        int r = sqlite3_step(s);

        return r == SQLITE_DONE ? SQLITE_OK : r;
}

#define JOB_COLUMNS \
        "from_version, to_version, requester, unit, why, deadline, drain, now, ignore_activity, state, result, " \
        "error_name, error_text, created, finished, next_attempt, expires, seam_hash, signer, have_svn_before, svn_before, " \
        "svn_after, evidence, external, ignored_guests"

#define SAME(column) column " = excluded." column
#define SAME2(a, b) SAME(a) ", " SAME(b)
#define SAME4(a, b, c, d) SAME2(a, b) ", " SAME2(c, d)

static int write_job(Store *store, const JobRecord *j, uint32_t *ret_id) {
        g_autofree char *ignored = ignored_format(j->options.ignored);
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db,
                               "INSERT INTO job (id, " JOB_COLUMNS ") VALUES "
                               "(:id, :from, :to, :requester, :unit, :why, :deadline, :drain, :now, :ignore, :state, :result, "
                               ":error_name, :error_text, :created, :finished, :next, :expires, :hash, :signer, :have_svn, :svn_before, "
                               ":svn_after, :evidence, :external, :ignored) "
                               "ON CONFLICT (id) DO UPDATE SET "
                               SAME4("from_version", "to_version", "requester", "unit") ", "
                               SAME4("why", "deadline", "drain", "now") ", "
                               SAME4("ignore_activity", "state", "result", "error_name") ", "
                               SAME4("error_text", "created", "finished", "next_attempt") ", "
                               SAME4("expires", "seam_hash", "signer", "have_svn_before") ", "
                               SAME4("svn_before", "svn_after", "evidence", "external") ", " SAME("ignored_guests"),
                               -1, &s, NULL);
        if (r != SQLITE_OK)
                return r;

        if (j->id != 0)
                bind_int(s, ":id", j->id);
        bind_text(s, ":from", j->from);
        bind_text(s, ":to", j->to);
        bind_int(s, ":requester", j->requester);
        bind_text(s, ":unit", j->unit);
        bind_text(s, ":why", j->why);
        bind_int(s, ":deadline", j->options.deadline);
        bind_int(s, ":drain", j->options.drain);
        bind_int(s, ":now", j->options.now);
        bind_int(s, ":ignore", j->options.ignore_activity);
        bind_text(s, ":state", job_state_to_string(j->state));
        bind_text(s, ":result", job_result_to_string(j->result));
        bind_text(s, ":error_name", j->error_name);
        bind_text(s, ":error_text", j->error_text);
        bind_int(s, ":created", j->created);
        bind_int(s, ":finished", j->finished);
        bind_int(s, ":next", j->next_attempt);
        bind_int(s, ":expires", j->expires);
        bind_text(s, ":hash", j->seam_hash);
        bind_text(s, ":signer", j->signer);
        bind_int(s, ":have_svn", j->have_svn_before);
        bind_int(s, ":svn_before", j->svn_before);
        bind_int(s, ":svn_after", j->svn_after);
        bind_text(s, ":evidence", j->evidence);
        bind_int(s, ":external", j->external);
        bind_text(s, ":ignored", ignored);

        r = run(s);
        *ret_id = j->id != 0 ? j->id : (uint32_t) sqlite3_last_insert_rowid(store->db);
        return r;
}

static int write_attempt(Store *store, uint32_t job, const AttemptRecord *a) {
        _cleanup_statement_ Statement *s = NULL;
        char before[VERSION_STRING_MAX];
        int r;

        r = sqlite3_prepare_v2(store->db,
                               "INSERT OR REPLACE INTO attempt VALUES (:job, :number, :started, :outcome, :status, "
                               ":kernel_error, :look, :kernel, :verify, :total, :boot, :stale, :before, "
                               ":have_remaining, :remaining, :size, :handing_over, :looked)", -1, &s, NULL);
        if (r != SQLITE_OK)
                return r;

        bind_int(s, ":job", job);
        bind_int(s, ":number", a->number);
        bind_int(s, ":started", a->started);
        bind_text(s, ":outcome", outcome_to_string(a->outcome));
        bind_text(s, ":status", a->status);
        bind_text(s, ":kernel_error", a->kernel_error);
        bind_int(s, ":look", a->look_to_handover);
        bind_int(s, ":kernel", a->kernel);
        bind_int(s, ":verify", a->verify);
        bind_int(s, ":total", a->total);
        bind_text(s, ":boot", a->boot_id);
        bind_text(s, ":stale", a->stale_error);
        bind_text(s, ":before", version_format(a->before, before));
        bind_int(s, ":have_remaining", a->have_remaining);
        bind_int(s, ":remaining", a->remaining);
        bind_int(s, ":size", a->size);
        bind_int(s, ":handing_over", a->handing_over);
        bind_int(s, ":looked", a->looked);

        return run(s);
}

static int prune_history(Store *store) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "DELETE FROM job WHERE state = 'finished' AND id <= "
                                          "(SELECT max(id) FROM job) - :keep", -1, &s, NULL);
        if (r != SQLITE_OK)
                return r;
        bind_int(s, ":keep", STORE_HISTORY_MAX);
        return run(s);
}

static int save_job(Store *store, const JobRecord *record, uint32_t *ret_id) {
        int r;

        r = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = write_job(store, record, ret_id);
        /* Only the last one still changes. */
        for (unsigned i = 0; r == SQLITE_OK && i < record->attempts->len; i++) {
                const AttemptRecord *a = record->attempts->pdata[i];

                if (a->number >= record->saved_attempts)
                        r = write_attempt(store, *ret_id, a);
        }
        if (r == SQLITE_OK)
                r = suspects_write(store->db, *ret_id, record);
        if (r == SQLITE_OK && record->state == JOB_FINISHED)
                r = prune_history(store);
        if (r == SQLITE_OK)
                r = sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL);

        return r;
}

/* Remembers whether durability is given, whatever the call was. */
static int conclude_write(Store *store, int code) {
        store->failed = code != SQLITE_OK;
        return store->failed ? fail(store, code) : 0;
}

int store_save_job(Store *store, JobRecord *record) {
        uint32_t id = 0;
        int r, q;

        r = save_job(store, record, &id);
        q = conclude_write(store, r);
        if (q < 0) {
                if (!sqlite3_get_autocommit(store->db))
                        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
                return q;
        }

        record->id = id;
        record->saved_attempts = job_record_n_attempts(record);
        return 0;
}

/* In WAL mode a commit is written, and synced only with FULL (https://www.sqlite.org/pragma.html#pragma_synchronous). */
int store_note_job(Store *store, JobRecord *record) {
        int r, q;

        q = sqlite3_exec(store->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
        r = store_save_job(store, record);
        if (q == SQLITE_OK)
                q = sqlite3_exec(store->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);

        return q == SQLITE_OK ? r : conclude_write(store, q);
}

static char *column_text(Statement *s, int column) {
        return g_strdup((const char *) sqlite3_column_text(s, column) ?: "");
}

static void take_text(Statement *s, int *column, char **field) {
        g_free(*field);
        *field = column_text(s, (*column)++);
}

static uint64_t take_int(Statement *s, int *column) {
        return (uint64_t) sqlite3_column_int64(s, (*column)++);
}

/* -1 for a word that this version does not know. */
static int take_word(Statement *s, int *column, int (*parse)(const char *)) {
        return parse((const char *) sqlite3_column_text(s, (*column)++) ?: "");
}

static int read_attempts(Store *store, JobRecord *j) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "SELECT number, started, outcome, status, kernel_error, look_to_handover, kernel, verify, "
                                          "total, boot_id, stale_error, before_version, have_remaining, remaining, size, handing_over, looked "
                                          "FROM attempt WHERE job = :job ORDER BY number", -1, &s, NULL);
        if (r != SQLITE_OK)
                return r;
        bind_int(s, ":job", j->id);

        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                AttemptRecord *a = job_record_add_attempt(j);
                int c = 0, outcome;

                a->number = (uint32_t) take_int(s, &c);
                a->started = take_int(s, &c);
                outcome = take_word(s, &c, outcome_from_string);
                if (outcome < 0)
                        return UNKNOWN_WORD;
                job_record_set_outcome(j, a, (Outcome) outcome);
                take_text(s, &c, &a->status);
                take_text(s, &c, &a->kernel_error);
                a->look_to_handover = take_int(s, &c);
                a->kernel = take_int(s, &c);
                a->verify = take_int(s, &c);
                a->total = take_int(s, &c);
                take_text(s, &c, &a->boot_id);
                take_text(s, &c, &a->stale_error);
                if (version_parse((const char *) sqlite3_column_text(s, c++) ?: "", &a->before) < 0)
                        return UNKNOWN_WORD;
                a->have_remaining = take_int(s, &c) != 0;
                a->remaining = (uint32_t) take_int(s, &c);
                a->size = take_int(s, &c);
                a->handing_over = take_int(s, &c) != 0;
                a->looked = take_int(s, &c);
        }
        j->saved_attempts = job_record_n_attempts(j);

        return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int read_job(Store *store, Statement *s, JobRecord **ret) {
        g_autoptr(JobRecord) j = job_record_new();
        int c = 0, state, result, r;

        j->id = (uint32_t) take_int(s, &c);
        take_text(s, &c, &j->from);
        take_text(s, &c, &j->to);
        j->requester = (uid_t) take_int(s, &c);
        take_text(s, &c, &j->unit);
        take_text(s, &c, &j->why);
        j->options.deadline = take_int(s, &c);
        j->options.drain = take_int(s, &c) != 0;
        j->options.now = take_int(s, &c) != 0;
        j->options.ignore_activity = take_int(s, &c) != 0;
        state = take_word(s, &c, job_state_from_string);
        result = take_word(s, &c, job_result_from_string);
        if (state < 0 || result < 0)
                return UNKNOWN_WORD;
        j->state = (JobState) state;
        j->result = (JobResult) result;
        take_text(s, &c, &j->error_name);
        take_text(s, &c, &j->error_text);
        j->created = take_int(s, &c);
        j->finished = take_int(s, &c);
        j->next_attempt = take_int(s, &c);
        j->expires = take_int(s, &c);
        take_text(s, &c, &j->seam_hash);
        take_text(s, &c, &j->signer);
        j->have_svn_before = take_int(s, &c) != 0;
        j->svn_before = (uint16_t) take_int(s, &c);
        j->svn_after = (uint16_t) take_int(s, &c);
        take_text(s, &c, &j->evidence);
        j->external = take_int(s, &c) != 0;
        if (ignored_parse((const char *) sqlite3_column_text(s, c++) ?: "", &j->options.ignored) < 0)
                return UNKNOWN_WORD;

        r = read_attempts(store, j);
        if (r == SQLITE_OK)
                r = suspects_read(store->db, j);
        if (r == SQLITE_OK)
                *ret = g_steal_pointer(&j);
        return r;
}

static void record_destroy(void *data) {
        job_record_free(data);
}

/* A finished job that cannot be read is a gap in the history; an unfinished one must not be guessed at. */
static int read_jobs(Store *store, Statement *s, bool skip_unreadable, GPtrArray **ret) {
        g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func(record_destroy);
        int r;

        while ((r = sqlite3_step(s)) == SQLITE_ROW) {
                JobRecord *j;

                r = read_job(store, s, &j);
                if (r == UNKNOWN_WORD && skip_unreadable) {
                        log_warning(0, "Job %d is in the history with words that are not known, leaving it out", sqlite3_column_int(s, 0));
                        continue;
                }
                if (r != SQLITE_OK) {
                        r = fail(store, r);
                        g_free(store->error);
                        store->error = g_strdup_printf("job %d cannot be read", sqlite3_column_int(s, 0));
                        return r;
                }
                g_ptr_array_add(jobs, j);
        }
        if (r != SQLITE_DONE)
                return fail(store, r);

        *ret = g_steal_pointer(&jobs);
        return 0;
}

int store_load_unfinished(Store *store, GPtrArray **ret) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "SELECT id, " JOB_COLUMNS " FROM job WHERE state <> 'finished' ORDER BY id", -1, &s, NULL);
        return r == SQLITE_OK ? read_jobs(store, s, false, ret) : fail(store, r);
}

int store_load_history(Store *store, uint64_t since, uint32_t max, GPtrArray **ret) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "SELECT id, " JOB_COLUMNS " FROM job WHERE state = 'finished' AND finished >= :since "
                                          "ORDER BY finished DESC, id DESC LIMIT :max", -1, &s, NULL);
        if (r != SQLITE_OK)
                return fail(store, r);
        bind_int(s, ":since", MIN(since, (uint64_t) INT64_MAX));
        bind_int(s, ":max", max);
        return read_jobs(store, s, true, ret);
}

int store_load_job(Store *store, uint32_t id, JobRecord **ret) {
        g_autoptr(GPtrArray) jobs = NULL;
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "SELECT id, " JOB_COLUMNS " FROM job WHERE id = :id", -1, &s, NULL);
        if (r != SQLITE_OK)
                return fail(store, r);
        bind_int(s, ":id", id);
        r = read_jobs(store, s, false, &jobs);
        if (r < 0)
                return r;
        if (jobs->len == 0)
                return -ENOENT;

        *ret = g_ptr_array_steal_index(jobs, 0);
        return 0;
}

int store_get(Store *store, const char *key, char **ret) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "SELECT value FROM fact WHERE key = :key", -1, &s, NULL);
        if (r != SQLITE_OK)
                return fail(store, r);
        bind_text(s, ":key", key);
        r = sqlite3_step(s);
        if (r != SQLITE_ROW && r != SQLITE_DONE)
                return fail(store, r);

        *ret = r == SQLITE_ROW ? column_text(s, 0) : NULL;
        return 0;
}

int store_set(Store *store, const char *key, const char *value) {
        _cleanup_statement_ Statement *s = NULL;
        int r;

        r = sqlite3_prepare_v2(store->db, "INSERT OR REPLACE INTO fact VALUES (:key, :value)", -1, &s, NULL);
        if (r == SQLITE_OK) {
                bind_text(s, ":key", key);
                bind_text(s, ":value", value);
                r = run(s);
        }

        return conclude_write(store, r);
}
