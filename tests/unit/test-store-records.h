/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <sqlite3.h>

#include "store/store.h"
#include "test-tree.h"

/* Needs cmocka.h before it. Every field has a value of its own, so that a mixed-up column is seen. */
static inline void record_fill_attempt(AttemptRecord *a, uint32_t n) {
        a->started = 1700000000000000 + n;
        a->outcome = (Outcome) (1 + n % (_OUTCOME_MAX - 1));
        record_set(&a->status, n % 2 ? "transferring" : "programming");
        record_set(&a->kernel_error, "transferring:device-busy");
        a->look_to_handover = 100 + n;
        a->kernel = 200 + n;
        a->verify = 300 + n;
        a->total = 400 + n;
        record_set(&a->boot_id, "01234567-89ab-cdef-0123-456789abcdef");
        record_set(&a->stale_error, "preparing:hw-error");
        a->before = (Version) { 1, 5, (uint16_t) n };
        a->have_remaining = n % 2;
        a->remaining = UINT32_MAX - n;
        a->size = 479232 + n;
        a->handing_over = n / 2 % 2;
        a->looked = n % 2 ? 1700000000500000 + n : 0;
}

static inline void record_fill_suspect(SuspectRecord *s, uint32_t n) {
        s->pid = 4711 + n;
        s->start_time = n % 2 ? 71 + n : 0;
        record_set(&s->name, "qemu-system-x86");
        record_set(&s->machine, n % 2 ? "qemu-1-web" : "");
        record_set(&s->unit, "machine-qemu\\x2d1\\x2dweb.scope");
        s->since = 81 + n;
        record_set(&s->evidence, "it's 'quoted'");
}

static inline JobRecord *record_filled(uint32_t n) {
        JobRecord *j = job_record_new();

        record_set(&j->from, "1.5.05");
        record_set(&j->to, "1.5.16");
        j->requester = 1000 + n;
        record_set(&j->unit, "user@1000.service");
        record_set(&j->why, "CVE of the month; it's \"urgent\" \xe2\x9c\x93\n'); DROP TABLE job; --");
        j->options = (JobOptions) { .deadline = 11 + n, .drain = n % 2, .now = n / 2 % 2, .ignore_activity = n / 4 % 2 };
        j->state = (JobState) (n % _JOB_STATE_MAX);
        j->result = (JobResult) (n % _RESULT_MAX);
        record_set(&j->error_name, "org.tdx.Update1.Error.UploadFailed");
        record_set(&j->error_text, "what happened");
        j->created = 21 + n;
        j->finished = 31 + n;
        j->next_attempt = 41 + n;
        j->expires = 51 + n;
        record_set(&j->seam_hash, "27b67e0b20508f0acfb8a99df4283a7c86ae569d85d556a91d4eb20e56b5d42d");
        record_set(&j->signer, "c8572f548869a0beca19376b81c2dffc2a23b5a5f71da0b87579b43f408daa1a");
        j->have_svn_before = n % 2;
        j->svn_before = (uint16_t) (61 + n);
        j->svn_after = (uint16_t) (UINT16_MAX - n);
        record_set(&j->evidence, "T0: no TD exists");
        j->external = n / 3 % 2;
        for (unsigned i = 0; i < n % 3; i++) {
                IgnoredGuest guest = { UINT32_MAX - i, UINT64_MAX - n };

                j->options.ignored = j->options.ignored ?: g_array_new(false, false, sizeof(IgnoredGuest));
                g_array_append_val(j->options.ignored, guest);
                record_fill_suspect(job_record_add_suspect(j), n + i);
        }
        return j;
}

static inline void assert_attempt_equal(const AttemptRecord *a, const AttemptRecord *b) {
        assert_int_equal(a->number, b->number);
        assert_int_equal(a->started, b->started);
        assert_int_equal(a->outcome, b->outcome);
        assert_string_equal(a->status, b->status);
        assert_string_equal(a->kernel_error, b->kernel_error);
        assert_int_equal(a->look_to_handover, b->look_to_handover);
        assert_int_equal(a->kernel, b->kernel);
        assert_int_equal(a->verify, b->verify);
        assert_int_equal(a->total, b->total);
        assert_string_equal(a->boot_id, b->boot_id);
        assert_string_equal(a->stale_error, b->stale_error);
        assert_int_equal(version_compare(a->before, b->before), 0);
        assert_int_equal(a->have_remaining, b->have_remaining);
        assert_int_equal(a->remaining, b->remaining);
        assert_int_equal(a->size, b->size);
        assert_int_equal(a->handing_over, b->handing_over);
        assert_int_equal(a->looked, b->looked);
}

static inline void assert_suspect_equal(const SuspectRecord *a, const SuspectRecord *b) {
        assert_int_equal(a->pid, b->pid);
        assert_int_equal(a->start_time, b->start_time);
        assert_string_equal(a->name, b->name);
        assert_string_equal(a->machine, b->machine);
        assert_string_equal(a->unit, b->unit);
        assert_int_equal(a->since, b->since);
        assert_string_equal(a->evidence, b->evidence);
}

static inline void assert_ignored_equal(const GArray *a, const GArray *b) {
        assert_int_equal(a ? a->len : 0, b ? b->len : 0);
        for (unsigned i = 0; a && i < a->len; i++) {
                assert_int_equal(g_array_index(a, IgnoredGuest, i).pid, g_array_index(b, IgnoredGuest, i).pid);
                assert_true(g_array_index(a, IgnoredGuest, i).start_time == g_array_index(b, IgnoredGuest, i).start_time);
        }
}

static inline void assert_record_equal(const JobRecord *a, const JobRecord *b) {
        assert_int_equal(a->id, b->id);
        assert_string_equal(a->from, b->from);
        assert_string_equal(a->to, b->to);
        assert_int_equal(a->requester, b->requester);
        assert_string_equal(a->unit, b->unit);
        assert_string_equal(a->why, b->why);
        assert_int_equal(a->options.deadline, b->options.deadline);
        assert_int_equal(a->options.drain, b->options.drain);
        assert_int_equal(a->options.now, b->options.now);
        assert_int_equal(a->options.ignore_activity, b->options.ignore_activity);
        assert_int_equal(a->state, b->state);
        assert_int_equal(a->result, b->result);
        assert_string_equal(a->error_name, b->error_name);
        assert_string_equal(a->error_text, b->error_text);
        assert_int_equal(a->created, b->created);
        assert_int_equal(a->finished, b->finished);
        assert_int_equal(a->next_attempt, b->next_attempt);
        assert_int_equal(a->expires, b->expires);
        assert_string_equal(a->seam_hash, b->seam_hash);
        assert_string_equal(a->signer, b->signer);
        assert_int_equal(a->have_svn_before, b->have_svn_before);
        assert_int_equal(a->svn_before, b->svn_before);
        assert_int_equal(a->svn_after, b->svn_after);
        assert_string_equal(a->evidence, b->evidence);
        assert_int_equal(a->external, b->external);
        assert_ignored_equal(a->options.ignored, b->options.ignored);
        assert_int_equal(a->suspects->len, b->suspects->len);
        for (unsigned i = 0; i < a->suspects->len; i++)
                assert_suspect_equal(a->suspects->pdata[i], b->suspects->pdata[i]);
        assert_int_equal(a->attempts->len, b->attempts->len);
        for (unsigned i = 0; i < a->attempts->len; i++)
                assert_attempt_equal(a->attempts->pdata[i], b->attempts->pdata[i]);
}

static inline char *database_path(const Tree *t) {
        return g_build_filename(t->path, "state.db", NULL);
}

static inline Store *open_ok(const char *path) {
        Store *store = NULL;

        assert_int_equal(store_open(path, &store), 0);
        assert_non_null(store);
        assert_false(store_failed(store));
        return store;
}

/* Plain SQL on the file, while no store has it open. */
static inline void run_sql(const char *path, const char *sql) {
        sqlite3 *db = NULL;
        char *message = NULL;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
                fail_msg("%s: %s", sql, message);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The first column of the first row. */
static inline sqlite3_int64 query_int(const char *path, const char *sql) {
        sqlite3 *db = NULL;
        sqlite3_stmt *s = NULL;
        sqlite3_int64 value;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        value = sqlite3_column_int64(s, 0);
        sqlite3_finalize(s);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
        return value;
}
