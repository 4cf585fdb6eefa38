/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>

#include <cmocka.h>

#include "test-store-records.h"

static uint32_t save(Store *store, JobRecord *record) {
        assert_int_equal(store_save_job(store, record), 0);
        assert_int_not_equal(record->id, 0);
        return record->id;
}

/* A finished job that ended at @finished. */
static uint32_t save_finished(Store *store, uint64_t finished) {
        g_autoptr(JobRecord) j = record_filled(1);

        j->state = JOB_FINISHED;
        j->result = RESULT_SUCCESS;
        j->finished = finished;
        return save(store, j);
}

static void check_loaded(Store *store, const JobRecord *record) {
        g_autoptr(JobRecord) loaded = NULL;

        assert_int_equal(store_load_job(store, record->id, &loaded), 0);
        assert_record_equal(loaded, record);
}

static void test_round_trip(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);

        for (uint32_t n = 0; n < 14; n++) {
                g_autoptr(JobRecord) j = record_filled(n);
                g_autoptr(Store) store = open_ok(path);

                for (uint32_t a = 0; a < n; a++)
                        record_fill_attempt(job_record_add_attempt(j), a);
                save(store, j);
                check_loaded(store, j);
                store = store_close(g_steal_pointer(&store));
                store = open_ok(path);
                check_loaded(store, j);
        }
}

static void test_empty_record(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) j = job_record_new();

        job_record_add_attempt(j);
        save(store, j);
        check_loaded(store, j);
}

/* Everything that a record says is saved, also what changed since the first time. */
static void test_update(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) first = record_filled(0);
        uint32_t id = save(store, first);

        for (uint32_t n = 1; n < 14; n++) {
                g_autoptr(JobRecord) j = record_filled(n);
                g_autofree char *word = g_strdup_printf("%u", n);
                char **strings[] = { &j->from, &j->to, &j->unit, &j->why, &j->error_name, &j->error_text,
                                     &j->seam_hash, &j->signer, &j->evidence };

                for (size_t i = 0; i < G_N_ELEMENTS(strings); i++)
                        record_set(strings[i], word);
                j->id = id;
                for (uint32_t a = 0; a < n; a++)
                        record_fill_attempt(job_record_add_attempt(j), a + n);
                save(store, j);
                assert_int_equal(j->id, id);
                check_loaded(store, j);
        }
}

/* The attempts of one job do not show up in another one. */
static void test_attempts_stay_apart(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) a = record_filled(1), b = record_filled(2);

        record_fill_attempt(job_record_add_attempt(a), 1);
        record_fill_attempt(job_record_add_attempt(b), 2);
        record_fill_attempt(job_record_add_attempt(b), 3);
        save(store, a);
        save(store, b);
        check_loaded(store, a);
        check_loaded(store, b);
}

static void test_ids(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        uint32_t last = 0;

        for (unsigned i = 0; i < 5; i++) {
                g_autoptr(Store) store = open_ok(path);

                for (unsigned n = 0; n < 3; n++) {
                        g_autoptr(JobRecord) j = record_filled(n);
                        uint32_t id = save(store, j);

                        assert_true(id > last);
                        last = id;
                }

                /* The newest rows disappear, as a history that is cut or cleared would make them. */
                store = store_close(g_steal_pointer(&store));
                run_sql(path, i % 2 ? "DELETE FROM attempt; DELETE FROM job" : "DELETE FROM job WHERE id > (SELECT max(id) FROM job) - 2");
        }
}

static void test_missing_job(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) j = NULL;

        assert_int_equal(store_load_job(store, 0, &j), -ENOENT);
        assert_int_equal(store_load_job(store, 1, &j), -ENOENT);
        assert_int_equal(store_load_job(store, UINT32_MAX, &j), -ENOENT);
        assert_null(j);
        assert_false(store_failed(store));
}

static void test_unfinished(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(GPtrArray) jobs = NULL, none = NULL;
        uint32_t expected[_JOB_STATE_MAX], n = 0;

        assert_int_equal(store_load_unfinished(store, &none), 0);
        assert_int_equal(none->len, 0);

        /* In an order that is neither that of the states nor that of the times. */
        for (int s = _JOB_STATE_MAX - 1; s >= 0; s--) {
                g_autoptr(JobRecord) j = record_filled((uint32_t) s);

                j->state = (JobState) s;
                j->created = (uint64_t) s;
                save(store, j);
                if (s != JOB_FINISHED)
                        expected[n++] = j->id;
        }

        assert_int_equal(store_load_unfinished(store, &jobs), 0);
        assert_int_equal(jobs->len, n);
        for (uint32_t i = 0; i < n; i++)
                assert_int_equal(((JobRecord *) jobs->pdata[i])->id, expected[i]);
}

static void check_history(Store *store, uint64_t since, uint32_t max, const uint32_t *ids, unsigned n) {
        g_autoptr(GPtrArray) jobs = NULL;

        assert_int_equal(store_load_history(store, since, max, &jobs), 0);
        assert_int_equal(jobs->len, n);
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(((JobRecord *) jobs->pdata[i])->id, ids[i]);
}

static void test_history(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) waiting = record_filled(1);
        uint32_t at300, at100, at200, also200, newest_first[4];

        waiting->finished = 500;
        waiting->state = JOB_WAITING;
        at300 = save_finished(store, 300);
        at100 = save_finished(store, 100);
        save(store, waiting);
        at200 = save_finished(store, 200);
        also200 = save_finished(store, 200);

        /* Newest first; of two at the same time, the later job. */
        newest_first[0] = at300;
        newest_first[1] = also200;
        newest_first[2] = at200;
        newest_first[3] = at100;
        check_history(store, 0, 100, newest_first, 4);
        check_history(store, 0, UINT32_MAX, newest_first, 4);
        check_history(store, 0, 3, newest_first, 3);
        check_history(store, 0, 1, newest_first, 1);
        check_history(store, 0, 0, newest_first, 0);
        check_history(store, 100, 9, newest_first, 4);
        check_history(store, 101, 9, newest_first, 3);
        check_history(store, 200, 9, newest_first, 3);
        check_history(store, 300, 9, newest_first, 1);
        check_history(store, 301, 9, newest_first, 0);
        check_history(store, UINT64_MAX, 9, newest_first, 0);
}

/* STORE_HISTORY_MAX finished jobs at most; whatever is not finished stays, however old. */
static void test_prune(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t), *sql = NULL;
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) oldest = record_filled(JOB_WAITING);
        g_autoptr(GPtrArray) history = NULL;
        uint32_t newest;

        record_fill_attempt(job_record_add_attempt(oldest), 1);
        save(store, oldest);
        save_finished(store, 1000);
        store = store_close(g_steal_pointer(&store));

        /* Copies of the finished job, each with an attempt. */
        sql = g_strdup_printf(
                "CREATE TEMP TABLE copy AS SELECT * FROM job WHERE state = 'finished';"
                "UPDATE copy SET id = NULL;"
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) INSERT INTO job SELECT copy.* FROM copy, n;"
                "CREATE TEMP TABLE tried AS SELECT * FROM attempt;"
                "INSERT INTO attempt SELECT job.id, tried.number, tried.started, tried.outcome, tried.status, tried.kernel_error,"
                " tried.look_to_handover, tried.kernel, tried.verify, tried.total, tried.boot_id, tried.stale_error, tried.before_version,"
                " tried.have_remaining, tried.remaining, tried.size, tried.handing_over, tried.looked FROM job, tried WHERE job.id <> tried.job;",
                STORE_HISTORY_MAX + 50);
        run_sql(path, sql);

        store = open_ok(path);
        newest = save_finished(store, 2000);
        assert_int_equal(store_load_history(store, 0, UINT32_MAX, &history), 0);
        assert_in_range(history->len, STORE_HISTORY_MAX - 1, STORE_HISTORY_MAX);
        assert_int_equal(((JobRecord *) history->pdata[0])->id, newest);
        /* The oldest are gone, not some others. */
        assert_int_equal(((JobRecord *) history->pdata[history->len - 1])->id, newest - history->len + 1);
        check_loaded(store, oldest);
        store = store_close(g_steal_pointer(&store));
        /* Their attempts went with them. */
        assert_int_equal(query_int(path, "SELECT count(*) FROM attempt WHERE job NOT IN (SELECT id FROM job)"), 0);
}

static void check_fact(Store *store, const char *key, const char *value) {
        g_autofree char *found = NULL;

        assert_int_equal(store_get(store, key, &found), 0);
        if (value)
                assert_string_equal(found, value);
        else
                assert_null(found);
}

static void test_facts(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);

        check_fact(store, STORE_KEY_LAST_VERSION, NULL);
        assert_int_equal(store_set(store, STORE_KEY_LAST_VERSION, "1.5.05"), 0);
        assert_int_equal(store_set(store, STORE_KEY_LOST_BOOT, "a-boot-id"), 0);
        assert_int_equal(store_set(store, STORE_KEY_LAST_VERSION, "1.5.06"), 0);
        assert_int_equal(store_set(store, STORE_KEY_DESIRED, ""), 0);
        store = store_close(g_steal_pointer(&store));
        store = open_ok(path);
        check_fact(store, STORE_KEY_LAST_VERSION, "1.5.06");
        check_fact(store, STORE_KEY_LOST_BOOT, "a-boot-id");
        check_fact(store, STORE_KEY_DESIRED, "");
        check_fact(store, "never-set", NULL);
}

/* A job that was busy for weeks: the first and the last are kept, all are counted, also over a restart. */
static void test_many_attempts(void **state) {
        g_autoptr(JobRecord) j = job_record_new(), loaded = NULL;
        _cleanup_tree_ Tree tree = tree_new();
        g_autofree char *path = database_path(&tree);
        g_autoptr(Store) store = open_ok(path);

        for (unsigned i = 1; i <= 3 * ATTEMPTS_KEPT; i++) {
                AttemptRecord *a = job_record_add_attempt(j);

                job_record_set_outcome(j, a, OUTCOME_BUSY);
                record_set(&a->status, "transferring");
                assert_int_equal(a->number, i);
                if (i % 50 == 0)
                        assert_int_equal(store_save_job(store, j), 0);
        }
        assert_int_equal(store_save_job(store, j), 0);
        assert_int_equal(j->attempts->len, ATTEMPTS_KEPT);
        assert_int_equal(job_record_n_attempts(j), 3 * ATTEMPTS_KEPT);

        assert_int_equal(store_load_job(store, j->id, &loaded), 0);
        assert_int_equal(loaded->attempts->len, ATTEMPTS_KEPT);
        assert_int_equal(((AttemptRecord *) loaded->attempts->pdata[0])->number, 1);
        assert_int_equal(((AttemptRecord *) loaded->attempts->pdata[1])->number, 2 * ATTEMPTS_KEPT + 2);
        assert_int_equal(job_record_n_attempts(loaded), 3 * ATTEMPTS_KEPT);
        assert_int_equal(j->outcomes[OUTCOME_BUSY], 3 * ATTEMPTS_KEPT);
        assert_int_equal(loaded->outcomes[OUTCOME_BUSY], 3 * ATTEMPTS_KEPT);
}

static void test_records(void **state) {
        g_autoptr(JobRecord) j = job_record_new();
        AttemptRecord *a, *b;

        assert_null(job_record_last_attempt(j));
        a = job_record_add_attempt(j);
        assert_int_equal(a->number, 1);
        job_record_set_outcome(j, a, OUTCOME_BUSY);
        b = job_record_add_attempt(j);
        assert_int_equal(b->number, 2);
        job_record_set_outcome(j, b, OUTCOME_REFUSED);
        assert_ptr_equal(job_record_last_attempt(j), b);
        job_record_set_outcome(j, job_record_add_attempt(j), OUTCOME_BUSY);
        assert_int_equal(j->outcomes[OUTCOME_BUSY], 2);
        assert_int_equal(j->outcomes[OUTCOME_REFUSED], 1);
        assert_int_equal(j->outcomes[OUTCOME_LOST], 0);
        job_record_set_outcome(j, b, OUTCOME_STUCK);
        assert_int_equal(j->outcomes[OUTCOME_REFUSED], 0);
        assert_int_equal(j->outcomes[OUTCOME_STUCK], 1);
        job_record_drop_last_attempt(j);
        assert_int_equal(job_record_n_attempts(j), 2);
        assert_int_equal(j->outcomes[OUTCOME_BUSY], 1);

        record_set(&j->why, NULL);
        assert_string_equal(j->why, "");
        record_set(&j->why, j->why);
        assert_string_equal(j->why, "");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_empty_record), cmocka_unit_test(test_update),
                cmocka_unit_test(test_attempts_stay_apart), cmocka_unit_test(test_ids),  cmocka_unit_test(test_missing_job),
                cmocka_unit_test(test_unfinished),  cmocka_unit_test(test_history),      cmocka_unit_test(test_prune),
                cmocka_unit_test(test_facts),       cmocka_unit_test(test_records),      cmocka_unit_test(test_many_attempts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
