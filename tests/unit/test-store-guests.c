/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What the database keeps of VMs: who was ignored on request, and who may have been hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>

#include <cmocka.h>

#include "store/suspects.h"
#include "test-store-records.h"

static void check_loaded(Store *store, const JobRecord *record) {
        g_autoptr(JobRecord) loaded = NULL;

        assert_int_equal(store_load_job(store, record->id, &loaded), 0);
        assert_record_equal(loaded, record);
}

static void add_suspects(JobRecord *record, uint32_t first, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                record_fill_suspect(job_record_add_suspect(record), first + i);
}

/* Whatever number of them was saved before, what is saved last is what is there; and each job has its own. */
static void test_exactly_those(void **state) {
        static const unsigned added[] = { 0, 1, 0, 3, 40 };
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) j = record_filled(0), before = record_filled(0), after = record_filled(0), fewer = record_filled(0);

        add_suspects(before, 100, 2);
        add_suspects(after, 200, 2);
        assert_int_equal(store_save_job(store, before), 0);
        assert_int_equal(store_save_job(store, j), 0);
        assert_int_equal(store_save_job(store, after), 0);
        for (size_t i = 0; i < G_N_ELEMENTS(added); i++) {
                add_suspects(j, j->suspects->len, added[i]);
                assert_int_equal(store_save_job(store, j), 0);
                check_loaded(store, j);
        }

        add_suspects(fewer, 7, 1);
        fewer->id = j->id;
        assert_int_equal(store_save_job(store, fewer), 0);
        check_loaded(store, fewer);
        check_loaded(store, before);
        check_loaded(store, after);
}

static int64_t count_of_job(const char *path, const char *table, uint32_t job) {
        g_autofree char *sql = g_strdup_printf("SELECT count(*) FROM %s WHERE job = %u", table, job);

        return query_int(path, sql);
}

/* A job that is dropped from the history takes its suspects with it. */
static void test_cascade(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t), *sql = NULL;
        g_autoptr(JobRecord) old = record_filled(0), new = record_filled(0);
        g_autoptr(Store) store = open_ok(path);

        old->state = new->state = JOB_FINISHED;
        add_suspects(old, 0, 3);
        add_suspects(new, 0, 2);
        record_fill_attempt(job_record_add_attempt(old), 1);
        assert_int_equal(store_save_job(store, old), 0);
        store = store_close(g_steal_pointer(&store));
        assert_int_equal(count_of_job(path, "suspect", old->id), 3);
        assert_int_equal(count_of_job(path, "attempt", old->id), 1);

        /* So many jobs later. */
        sql = g_strdup_printf("UPDATE sqlite_sequence SET seq = %u WHERE name = 'job'", old->id + STORE_HISTORY_MAX);
        run_sql(path, sql);
        store = open_ok(path);
        assert_int_equal(store_save_job(store, new), 0);
        store = store_close(g_steal_pointer(&store));
        assert_int_equal(count_of_job(path, "suspect", old->id), 0);
        assert_int_equal(count_of_job(path, "attempt", old->id), 0);
        assert_int_equal(count_of_job(path, "suspect", new->id), 2);
}

/* They are saved with the job or not at all. */
static void test_one_transaction(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(JobRecord) j = record_filled(0), loaded = NULL;
        g_autoptr(Store) store = open_ok(path);

        j->state = JOB_UPLOADING;
        add_suspects(j, 0, 1);
        assert_int_equal(store_save_job(store, j), 0);
        store = store_close(g_steal_pointer(&store));
        run_sql(path, "CREATE TRIGGER disk BEFORE INSERT ON suspect WHEN NEW.number = 3 BEGIN SELECT RAISE(ABORT, 'no room'); END");

        store = open_ok(path);
        add_suspects(j, 1, 2);
        j->state = JOB_FINISHED;
        assert_true(store_save_job(store, j) < 0);
        assert_true(store_failed(store));
        assert_non_null(strstr(store_error(store), "no room"));
        assert_int_equal(store_load_job(store, j->id, &loaded), 0);
        assert_int_equal(loaded->state, JOB_UPLOADING);
        assert_int_equal(loaded->suspects->len, 1);

        /* It is tried again later, when there is room. */
        store = store_close(g_steal_pointer(&store));
        run_sql(path, "DROP TRIGGER disk");
        store = open_ok(path);
        assert_int_equal(store_save_job(store, j), 0);
        check_loaded(store, j);
}

static void test_ignored_text(void **state) {
        static const struct {
                const char *text;
                unsigned n;
                IgnoredGuest guests[2];
        } good[] = {
                { "", 0, {} },
                { "1:2", 1, { { 1, 2 } } },
                { "4711:123456 1:1", 2, { { 4711, 123456 }, { 1, 1 } } },
                { "4294967295:18446744073709551615", 1, { { UINT32_MAX, UINT64_MAX } } },
        };
        static const char *const bad[] = {
                " ", "1", "1:", ":1", ":", "0:1", "1:0", "-1:1", "1:-1", "+1:1", "1: 2", "1:2 ", " 1:2", "1:2  3:4", "1:2,3:4", "1:2:3", "1:2\t",
                "0x1:1", "1:2x", "one:two", "4294967296:1", "1:18446744073709551616", "1:2 3", "1:2 0:4", "1:2\n",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                g_autoptr(GArray) guests = NULL;
                g_autofree char *text = NULL;

                assert_int_equal(ignored_parse(good[i].text, &guests), 0);
                assert_int_equal(guests ? guests->len : 0, good[i].n);
                for (unsigned k = 0; k < good[i].n; k++) {
                        assert_int_equal(g_array_index(guests, IgnoredGuest, k).pid, good[i].guests[k].pid);
                        assert_true(g_array_index(guests, IgnoredGuest, k).start_time == good[i].guests[k].start_time);
                }
                text = ignored_format(guests);
                assert_string_equal(text, good[i].text);
        }

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                GArray *guests = NULL;

                if (ignored_parse(bad[i], &guests) != -EBADMSG || guests)
                        fail_msg("\"%s\" was taken", bad[i]);
        }
}

/* A job that still waits must not forget whom it may step over, nor step over somebody else: the daemon does not start. */
static void test_damaged_ignored(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(JobRecord) j = record_filled(2);
        g_autoptr(GPtrArray) jobs = NULL;
        g_autoptr(Store) store = open_ok(path);

        j->state = JOB_WAITING;
        assert_int_equal(store_save_job(store, j), 0);
        store = store_close(g_steal_pointer(&store));
        run_sql(path, "UPDATE job SET ignored_guests = '4711'");
        store = open_ok(path);
        assert_int_equal(store_load_unfinished(store, &jobs), -EUCLEAN);
        assert_null(jobs);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_exactly_those), cmocka_unit_test(test_cascade),         cmocka_unit_test(test_one_transaction),
                cmocka_unit_test(test_ignored_text),  cmocka_unit_test(test_damaged_ignored),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
