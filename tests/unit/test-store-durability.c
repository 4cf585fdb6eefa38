/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What the store says is saved is saved: it is synced before the call returns, it outlives
 * the process, and a disk that is full is an error that leaves nothing half-written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "test-store-records.h"

/*
 * SQLite's writes go through its table of system calls, its syncs straight to the C
 * library, whose symbols these take the place of.
 */
static unsigned syncs;
static bool disk_full;

int fsync(int fd) {
        syncs++;
        return (int) syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
        syncs++;
        return (int) syscall(SYS_fdatasync, fd);
}

static ssize_t write_or_full(int fd, const void *data, size_t size, off_t offset) {
        if (disk_full) {
                errno = ENOSPC;
                return -1;
        }

        return pwrite(fd, data, size, offset);
}

static int setup(void **state) {
        sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

        assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr) write_or_full), SQLITE_OK);
        assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr) write_or_full), SQLITE_OK);
        return 0;
}

static void test_synced(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = open_ok(path);
        g_autoptr(JobRecord) j = record_filled(1);

        for (unsigned i = 0; i < 10; i++) {
                syncs = 0;
                record_fill_attempt(job_record_add_attempt(j), i);
                assert_int_equal(store_save_job(store, j), 0);
                assert_true(syncs > 0);

                syncs = 0;
                assert_int_equal(store_set(store, STORE_KEY_LAST_VERSION, i % 2 ? "1.5.05" : "1.5.06"), 0);
                assert_true(syncs > 0);
        }
        store = store_close(g_steal_pointer(&store));

        /* Write-ahead log: the header says so in bytes 18 and 19 (https://www.sqlite.org/fileformat.html). */
        {
                g_autofree char *content = NULL;
                size_t size;

                assert_true(g_file_get_contents(path, &content, &size, NULL));
                assert_true(size > 20 && content[18] == 2 && content[19] == 2);
        }
}

static unsigned count_jobs(Store *store) {
        g_autoptr(GPtrArray) unfinished = NULL, history = NULL;

        assert_int_equal(store_load_unfinished(store, &unfinished), 0);
        assert_int_equal(store_load_history(store, 0, UINT32_MAX, &history), 0);
        return unfinished->len + history->len;
}

/* The child saves without an end, and tells each id only after the store has said that it is saved. */
static void save_for_ever(const char *path, int pipe_fd) {
        Store *store = NULL;

        if (store_open(path, &store) < 0)
                _exit(1);
        for (uint32_t n = 0;; n++) {
                JobRecord *j = record_filled(n);

                record_fill_attempt(job_record_add_attempt(j), n);
                record_fill_attempt(job_record_add_attempt(j), n + 1);
                if (store_save_job(store, j) < 0 || write(pipe_fd, &j->id, sizeof(j->id)) != sizeof(j->id))
                        _exit(1);
                job_record_free(j);
        }
}

static void test_killed(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        uint32_t last = 0;

        /* Killed after as many saved jobs as the round says, at whatever point it then is. */
        for (unsigned round = 1; round <= 10; round++) {
                g_autoptr(Store) store = NULL;
                int fds[2], status;
                uint32_t id;
                pid_t pid;

                assert_int_equal(pipe(fds), 0);
                pid = fork();
                if (pid == 0) {
                        close(fds[0]);
                        save_for_ever(path, fds[1]);
                }
                close(fds[1]);
                for (unsigned i = 0; i < round; i++) {
                        assert_int_equal(read(fds[0], &id, sizeof(id)), sizeof(id));
                        assert_true(id > last);
                        last = id;
                }
                kill(pid, SIGKILL);
                while (read(fds[0], &id, sizeof(id)) == sizeof(id))
                        last = id;
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status));
                close(fds[0]);

                store = open_ok(path);
                for (uint32_t i = 1; i <= last; i++) {
                        g_autoptr(JobRecord) j = NULL;

                        assert_int_equal(store_load_job(store, i, &j), 0);
                        assert_int_equal(j->attempts->len, 2);
                }
                /* One may have been saved without having been told, none in part. */
                assert_in_range(count_jobs(store), last, last + round);
                {
                        g_autoptr(JobRecord) j = record_filled(0);

                        assert_int_equal(store_save_job(store, j), 0);
                        assert_true(j->id > last);
                        record_fill_attempt(job_record_add_attempt(j), 0);
                        record_fill_attempt(job_record_add_attempt(j), 1);
                        assert_int_equal(store_save_job(store, j), 0);
                        last = j->id;
                }
        }
}

/* While nothing can be written: an error, the flag, and what was saved before can be read. */
static void check_full(Store *store, JobRecord *old, int error, void (*fill)(bool full)) {
        g_autoptr(JobRecord) loaded = NULL, again = NULL, new = record_filled(2);
        uint64_t created = old->created;
        g_autofree char *fact = NULL;

        fill(true);
        old->evidence[0] = 'X';
        record_fill_attempt(job_record_add_attempt(old), 7);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(store_save_job(store, old), error);
                assert_true(store_failed(store));
                assert_true(strlen(store_error(store)) > 3 && strcmp(store_error(store), "not an error") != 0);
                assert_int_equal(store_save_job(store, new), error);
                assert_int_equal(new->id, 0);
                assert_int_equal(store_set(store, STORE_KEY_LAST_VERSION, "2.0.08"), error);
                assert_true(store_failed(store));
        }

        /* Neither the change, nor its attempt, nor the new job. A read does not heal the store. */
        assert_int_equal(store_load_job(store, old->id, &loaded), 0);
        assert_int_equal(loaded->created, created);
        assert_int_equal(loaded->evidence[0], 'T');
        assert_int_equal(loaded->attempts->len, old->attempts->len - 1);
        assert_int_equal(count_jobs(store), 1);
        assert_int_equal(store_get(store, STORE_KEY_LAST_VERSION, &fact), 0);
        assert_string_equal(fact, "1.5.05");
        assert_true(store_failed(store));

        fill(false);
        assert_int_equal(store_save_job(store, old), 0);
        assert_false(store_failed(store));
        assert_int_equal(store_load_job(store, old->id, &again), 0);
        assert_record_equal(again, old);
}

static void check_full_and_reopened(const char *path, int error, void (*fill)(bool full)) {
        g_autoptr(JobRecord) old = record_filled(1), loaded = NULL;
        g_autoptr(Store) store = open_ok(path);

        record_fill_attempt(job_record_add_attempt(old), 1);
        assert_int_equal(store_save_job(store, old), 0);
        assert_int_equal(store_set(store, STORE_KEY_LAST_VERSION, "1.5.05"), 0);
        check_full(store, old, error, fill);
        store = store_close(g_steal_pointer(&store));
        store = open_ok(path);
        assert_int_equal(store_load_job(store, old->id, &loaded), 0);
        assert_record_equal(loaded, old);
        assert_int_equal(count_jobs(store), 1);
        store = store_close(g_steal_pointer(&store));
        assert_int_equal(query_int(path, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

static void fill_disk(bool full) {
        disk_full = full;
}

static void test_disk_full(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);

        check_full_and_reopened(path, -ENOSPC, fill_disk);
}

/* The kernel's own refusal in the middle of a file: EFBIG, and a short write before it. */
static void limit_files(bool full) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = full ? 5000 : limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_file_limit(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);

        signal(SIGXFSZ, SIG_IGN);
        check_full_and_reopened(path, -EIO, limit_files);
}

/* No room for a new database: an error, and a later start works. */
static void test_no_room_to_start(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        g_autofree char *path = database_path(&t);
        g_autoptr(Store) store = NULL;

        disk_full = true;
        assert_int_equal(store_open(path, &store), -ENOSPC);
        assert_null(store);
        disk_full = false;
        store = open_ok(path);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_synced),     cmocka_unit_test(test_killed),    cmocka_unit_test(test_disk_full),
                cmocka_unit_test(test_file_limit), cmocka_unit_test(test_no_room_to_start),
        };

        return cmocka_run_group_tests(tests, setup, NULL);
}
