/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Files that are not ours to change: newer, damaged, something else; and the older ones that are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <errno.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "test-store-records.h"

static unsigned count_entries(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n;
}

/* Opening fails with @error, and the file is byte for byte what it was. */
static void check_refused(const Tree *t, int error) {
        g_autofree char *path = database_path(t), *before = NULL, *after = NULL;
        size_t size_before, size_after;
        unsigned entries = count_entries(t->path);
        Store *store = NULL;

        assert_true(g_file_get_contents(path, &before, &size_before, NULL));
        assert_int_equal(store_open(path, &store), error);
        assert_null(store);
        assert_true(g_file_get_contents(path, &after, &size_after, NULL));
        assert_int_equal(size_before, size_after);
        assert_memory_equal(before, after, size_before);
        assert_int_equal(count_entries(t->path), entries);
}

static void make_database(const char *path) {
        g_autoptr(Store) store = open_ok(path);

        for (uint32_t n = 0; n < 60; n++) {
                g_autoptr(JobRecord) j = record_filled(n);

                assert_int_equal(store_save_job(store, j), 0);
        }
}

static void test_newer(void **state) {
        static const char *const versions[] = {
                "PRAGMA user_version = 1000", "PRAGMA user_version = 2147483647", "PRAGMA user_version = -1",
                /* A newer daemon may keep its journal otherwise; that is not ours to change, either. */
                "PRAGMA journal_mode = DELETE; PRAGMA user_version = 1000",
                "DROP TABLE attempt; DROP TABLE job; PRAGMA user_version = 1000",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
                _cleanup_tree_ Tree t = tree_new();
                g_autofree char *path = database_path(&t);

                make_database(path);
                run_sql(path, versions[i]);
                check_refused(&t, -ENOTUNIQ);
        }
}

static void test_no_database(void **state) {
        g_autofree char *noise = g_malloc(65536), *text = g_strnfill(10000, 'x');

        for (unsigned i = 0; i < 65536; i++)
                noise[i] = (char) (i * 2654435761U >> 13);
        for (unsigned i = 0; i < 4; i++) {
                _cleanup_tree_ Tree t = tree_new();

                if (i == 0)
                        tree_put_bytes(&t, "state.db", noise, 65536);
                else if (i == 1)
                        tree_put(&t, "state.db", text);
                else if (i == 2)
                        tree_put(&t, "state.db", "hello\n");
                else
                        tree_put_bytes(&t, "state.db", "SQLite format 3\0garbage that is too short", 40);
                check_refused(&t, -EUCLEAN);
        }
}

/* Damage that does not show in the header is found when it is read; it never becomes an answer. */
static void check_damaged(const char *path) {
        g_autoptr(GPtrArray) jobs = NULL;
        g_autoptr(Store) store = NULL;
        int r;

        r = store_open(path, &store);
        if (r == 0)
                r = store_load_unfinished(store, &jobs);
        if (r == 0) {
                g_clear_pointer(&jobs, g_ptr_array_unref);
                r = store_load_history(store, 0, UINT32_MAX, &jobs);
        }
        assert_int_equal(r, -EUCLEAN);
}

static void test_damaged(void **state) {
        for (unsigned i = 0; i < 3; i++) {
                _cleanup_tree_ Tree t = tree_new();
                g_autofree char *path = database_path(&t), *content = NULL;
                size_t size;

                make_database(path);
                assert_true(g_file_get_contents(path, &content, &size, NULL));
                assert_true(size > 5 * 4096);
                if (i == 0)
                        size /= 2;
                else
                        memset(content + (i == 1 ? 4096 : 100), 0xa5, i == 1 ? size - 4096 : 3000);
                tree_put_bytes(&t, "state.db", content, size);
                check_damaged(path);
        }
}

/* A word that this version does not know is not taken for another one. */
static void test_unknown_words(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);

        make_database(path);
        run_sql(path, "UPDATE job SET state = 'dreaming' WHERE id = 7");
        check_damaged(path);
}

static unsigned count_history(const char *path) {
        g_autoptr(GPtrArray) jobs = NULL, unfinished = NULL;
        g_autoptr(Store) store = open_ok(path);

        assert_int_equal(store_load_unfinished(store, &unfinished), 0);
        assert_int_equal(store_load_history(store, 0, UINT32_MAX, &jobs), 0);
        return jobs->len;
}

/* In a finished job it is a gap in the history, and no reason not to start. */
static void test_unknown_words_in_history(void **state) {
        static const char *const changes[] = {
                "UPDATE job SET result = 'perhaps' WHERE id = 7",
                "UPDATE job SET ignored_guests = '1' WHERE id = 7",
                "UPDATE job SET ignored_guests = '1:2 ' WHERE id = 7",
                "UPDATE job SET ignored_guests = '0:2' WHERE id = 7",
                "UPDATE job SET ignored_guests = '4294967296:2' WHERE id = 7",
                "UPDATE job SET ignored_guests = '1:x' WHERE id = 7",
                "INSERT INTO attempt VALUES (7, 99, 0, 'maybe', '', '', 0, 0, 0, 0, '', '', '1.5.05', 0, 0, 0, 0, 0)",
                "INSERT INTO attempt VALUES (7, 99, 0, 'busy', '', '', 0, 0, 0, 0, '', '', 'old', 0, 0, 0, 0, 0)",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
                _cleanup_tree_ Tree t = tree_new();
                g_autofree char *path = database_path(&t);

                unsigned all;

                make_database(path);
                all = count_history(path);
                run_sql(path, changes[i]);
                assert_int_equal(count_history(path), all - 1);
        }
}

static void test_cannot_open(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *missing = g_build_filename(t.path, "no/such/dir/state.db", NULL);
        Store *store = NULL;

        assert_int_equal(store_open(t.path, &store), -EACCES);
        assert_int_equal(store_open(missing, &store), -EACCES);
        assert_null(store);
}

/* One daemon at a time: another one is told so, and nothing is mixed. */
static void test_second_daemon(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path), second = NULL;
        g_autoptr(JobRecord) j = record_filled(1);

        assert_int_equal(store_save_job(store, j), 0);
        assert_int_equal(store_open(path, &second), -EBUSY);
        assert_int_equal(store_save_job(store, j), 0);
}

/* The file and its log, nothing else: no shared memory that somebody else could open. */
static void test_own_files(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t), *shared = g_strconcat(path, "-shm", NULL);

        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(Store) store = open_ok(path);
                g_autoptr(JobRecord) j = record_filled(1);

                assert_int_equal(store_save_job(store, j), 0);
                assert_int_equal(count_entries(t.path), 2);
                assert_false(g_file_test(shared, G_FILE_TEST_EXISTS));
        }
        assert_int_equal(count_entries(t.path), 1);
}

/* An empty file is what an interrupted first start leaves behind. */
static void test_empty_file(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = NULL;

        tree_put(&t, "state.db", "");
        store = open_ok(path);
}

static char *fixture_sql(const char *name) {
        g_autofree char *path = g_build_filename(getenv("TEST_DATA"), name, NULL);
        char *sql = NULL;

        assert_true(g_file_get_contents(path, &sql, NULL, NULL));
        return sql;
}

/* What the tables look like: names, types, keys, one line a column. */
static char *describe_schema(const char *path) {
        static const char sql[] =
                "SELECT m.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk "
                "FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY m.name, c.name";
        g_autoptr(GString) text = g_string_new(NULL);
        sqlite3 *db = NULL;
        sqlite3_stmt *s = NULL;

        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
        while (sqlite3_step(s) == SQLITE_ROW)
                g_string_append_printf(text, "%s\n", (const char *) sqlite3_column_text(s, 0));
        sqlite3_finalize(s);
        sqlite3_close(db);
        return g_string_free(g_steal_pointer(&text), FALSE);
}

/* The tables of a database that was brought up to date are those of a new one. */
static void check_newest(const Tree *t, const char *path) {
        g_autofree char *new_path = g_build_filename(t->path, "new.db", NULL), *upgraded = NULL, *fresh = NULL;
        g_autoptr(Store) new_store = open_ok(new_path);

        new_store = store_close(g_steal_pointer(&new_store));
        upgraded = describe_schema(path);
        fresh = describe_schema(new_path);
        assert_string_equal(upgraded, fresh);
        assert_int_equal(query_int(path, "PRAGMA user_version"), query_int(new_path, "PRAGMA user_version"));
}

/* A database as version 1 wrote it is brought up to date, and its jobs are there. */
static void test_version_1(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t), *sql = fixture_sql("store-schema-1.sql"), *fact = NULL;
        g_autoptr(GPtrArray) unfinished = NULL, history = NULL;
        g_autoptr(Store) store = NULL;
        const AttemptRecord *a;
        const JobRecord *j;

        run_sql(path, sql);
        assert_int_equal(query_int(path, "PRAGMA user_version"), 1);
        store = open_ok(path);

        assert_int_equal(store_load_unfinished(store, &unfinished), 0);
        assert_int_equal(unfinished->len, 1);
        j = unfinished->pdata[0];
        assert_int_equal(j->id, 4);
        assert_string_equal(j->from, "1.5.05");
        assert_string_equal(j->to, "1.5.16");
        assert_int_equal(j->requester, 1000);
        assert_string_equal(j->why, "it's time");
        assert_int_equal(j->state, JOB_UPLOADING);
        assert_int_equal(j->attempts->len, 2);
        a = j->attempts->pdata[0];
        assert_int_equal(a->outcome, OUTCOME_BUSY);
        assert_string_equal(a->kernel_error, "transferring:device-busy");
        a = j->attempts->pdata[1];
        assert_int_equal(a->number, 2);
        assert_int_equal(a->outcome, OUTCOME_NONE);
        assert_int_equal(a->remaining, 9);
        assert_int_equal(version_compare(a->before, (Version) { 1, 5, 5 }), 0);
        assert_int_equal(a->looked, 0);
        assert_null(j->options.ignored);
        assert_int_equal(j->suspects->len, 0);

        assert_int_equal(store_load_history(store, 0, 10, &history), 0);
        assert_int_equal(history->len, 1);
        j = history->pdata[0];
        assert_int_equal(j->result, RESULT_SUCCESS);
        assert_int_equal(j->svn_before, 0x104);
        assert_int_equal(j->svn_after, 0x105);
        assert_int_equal(store_get(store, STORE_KEY_LAST_VERSION, &fact), 0);
        assert_string_equal(fact, "1.5.05 01234567-89ab-cdef-0123-456789abcdef");

        store = store_close(g_steal_pointer(&store));
        check_newest(&t, path);
}

/* The same of version 2: it knows ignored VMs, the time of the last look, and suspects. */
static void test_version_2(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t), *sql = fixture_sql("store-schema-2.sql");
        g_autoptr(JobRecord) waiting = NULL, finished = NULL;
        g_autoptr(Store) store = NULL;
        const SuspectRecord *s;

        run_sql(path, sql);
        assert_int_equal(query_int(path, "PRAGMA user_version"), 2);
        store = open_ok(path);

        assert_int_equal(store_load_job(store, 4, &waiting), 0);
        assert_true(waiting->options.ignore_activity);
        assert_int_equal(waiting->options.ignored->len, 2);
        assert_int_equal(g_array_index(waiting->options.ignored, IgnoredGuest, 0).pid, 4711);
        assert_int_equal(g_array_index(waiting->options.ignored, IgnoredGuest, 0).start_time, 123456);
        assert_int_equal(g_array_index(waiting->options.ignored, IgnoredGuest, 1).pid, UINT32_MAX);
        assert_true(g_array_index(waiting->options.ignored, IgnoredGuest, 1).start_time == UINT64_MAX);
        assert_int_equal(job_record_last_attempt(waiting)->looked, 1700000010600000);
        assert_int_equal(waiting->suspects->len, 0);

        assert_int_equal(store_load_job(store, 3, &finished), 0);
        assert_true(finished->options.drain);
        assert_null(finished->options.ignored);
        assert_int_equal(finished->suspects->len, 2);
        s = finished->suspects->pdata[0];
        assert_int_equal(s->pid, 4711);
        assert_int_equal(s->start_time, 123456);
        assert_string_equal(s->name, "qemu-system-x86");
        assert_string_equal(s->machine, "qemu-9-web");
        assert_string_equal(s->unit, "machine-qemu\\x2d9\\x2dweb.scope");
        assert_int_equal(s->since, 1700000000700000);
        assert_string_equal(s->evidence, "it appeared before the update was over, and after the last look");
        s = finished->suspects->pdata[1];
        assert_int_equal(s->pid, 4712);
        assert_int_equal(s->start_time, 0);
        assert_string_equal(s->machine, "");

        store = store_close(g_steal_pointer(&store));
        check_newest(&t, path);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_newer),         cmocka_unit_test(test_no_database),  cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_unknown_words), cmocka_unit_test(test_unknown_words_in_history),
                cmocka_unit_test(test_cannot_open),  cmocka_unit_test(test_second_daemon),
                cmocka_unit_test(test_own_files),     cmocka_unit_test(test_empty_file),    cmocka_unit_test(test_version_1),
                cmocka_unit_test(test_version_2),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
