/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/util.h"
#include "test-tree.h"

static void test_parse_u64(void **state) {
        static const struct {
                const char *text;
                int r;
                uint64_t value;
        } rows[] = {
                { "0", 0, 0 }, { "9", 0, 9 }, { "007", 0, 7 }, { "4096", 0, 4096 },
                { "18446744073709551615", 0, UINT64_MAX }, { "18446744073709551616", -ERANGE, 0 },
                { "99999999999999999999999", -ERANGE, 0 }, { "", -EINVAL, 0 }, { " 1", -EINVAL, 0 }, { "1 ", -EINVAL, 0 },
                { "1\n", -EINVAL, 0 }, { "+1", -EINVAL, 0 }, { "-1", -EINVAL, 0 }, { "0x10", -EINVAL, 0 }, { "1e3", -EINVAL, 0 },
                { "1.0", -EINVAL, 0 }, { "one", -EINVAL, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                uint64_t value = 42;

                assert_int_equal(parse_u64(rows[i].text, &value), rows[i].r);
                assert_true(value == (rows[i].r < 0 ? 42 : rows[i].value));
        }
}

static void test_cpu_list(void **state) {
        static const struct {
                const char *text;
                unsigned count;         /* 0: refused */
        } rows[] = {
                { "0", 1 }, { "0-3", 4 }, { "0-3,8", 5 }, { "0,2,4", 3 }, { "0-1,4-5,8-9", 6 }, { "7", 1 }, { "0-8191", 8192 },
                { "", 0 }, { ",", 0 }, { "0-", 0 }, { "-3", 0 }, { "3-0", 0 }, { "0,", 0 }, { ",0", 0 }, { "0-3-5", 0 },
                { "a", 0 }, { "0-3 ", 0 }, { "0\n", 0 }, { "8192", 0 }, { "0-18446744073709551615", 0 },
                { "18446744073709551616", 0 }, { "0-8192", 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                unsigned count = 77;
                int r = parse_cpu_list(rows[i].text, &count);

                if (r != (rows[i].count > 0 ? 0 : -EINVAL) || count != (rows[i].count > 0 ? rows[i].count : 77))
                        fail_msg("\"%s\": %d, %u CPUs", rows[i].text, r, count);
        }
}

static int fd_of_text(const char *text) {
        int fd = memfd_create("test", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
        return fd;
}

static void test_read_from_start(void **state) {
        _cleanup_close_ int fd = fd_of_text("0123456789");
        char buffer[16] = "................";
        size_t size = 77;

        assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
        assert_int_equal(read_from_start(fd, buffer, 4, &size), 0);
        assert_int_equal(size, 4);
        assert_memory_equal(buffer, "0123....", 8);
        assert_int_equal(read_from_start(fd, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(size, 10);
        assert_memory_equal(buffer, "0123456789......", 16);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 5);
        assert_int_equal(read_from_start(-1, buffer, 1, &size), -EBADF);
}

static void test_read_file(void **state) {
        g_autofree char *text = NULL, *binary = NULL, *big = NULL, *exact = NULL, *untouched = NULL;
        _cleanup_tree_ Tree t = tree_new();
        size_t size = 0;

        tree_put(&t, "a/file", "one\ntwo\n");
        assert_int_equal(read_file_at(t.fd, "a/file", 100, &text, &size), 0);
        assert_int_equal(size, 8);
        assert_string_equal(text, "one\ntwo\n");

        /* A NUL byte is content like any other, and the buffer ends with one more. */
        tree_put_bytes(&t, "binary", "a\0b", 3);
        assert_int_equal(read_file_at(t.fd, "binary", 3, &binary, &size), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(binary, "a\0b", 4);

        /* Longer than one read. */
        big = g_strnfill(100000, 'x');
        tree_put(&t, "big", big);
        assert_int_equal(read_file_at(t.fd, "big", 100000, &exact, &size), 0);
        assert_int_equal(size, 100000);
        assert_string_equal(exact, big);
        assert_int_equal(read_file_at(t.fd, "big", 99999, &untouched, NULL), -EFBIG);
        assert_null(untouched);
}

/* The kernel's answers travel up as they are. */
static void test_read_errors(void **state) {
        g_autofree char *text = NULL;
        _cleanup_tree_ Tree t = tree_new();

        tree_put(&t, "dir/file", "x");
        assert_int_equal(read_file_at(t.fd, "missing", 100, &text, NULL), -ENOENT);
        assert_int_equal(read_file_at(t.fd, "dir", 100, &text, NULL), -EISDIR);
        assert_int_equal(read_file_at(t.fd, "dir/file/below", 100, &text, NULL), -ENOTDIR);
        assert_int_equal(symlinkat("loop", t.fd, "loop"), 0);
        assert_int_equal(read_line_at(t.fd, "loop", &text), -ELOOP);
        assert_null(text);
}

static void test_read_line(void **state) {
        static const struct {
                const char *content, *line;
        } rows[] = { { "idle\n", "idle" }, { "idle", "idle" }, { "\n", "" }, { "", "" }, { "1.5.06\nmore\n", "1.5.06" }, { " x \n", " x " } };
        g_autofree char *big = g_strnfill(LIMIT_SYSFS_FILE + 1, 'x');
        char *line = NULL;
        _cleanup_tree_ Tree t = tree_new();

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                tree_put(&t, "line", rows[i].content);
                assert_int_equal(read_line_at(t.fd, "line", &line), 0);
                assert_string_equal(line, rows[i].line);
                g_clear_pointer(&line, g_free);
        }
        tree_put(&t, "line", big);
        assert_int_equal(read_line_at(t.fd, "line", &line), -EFBIG);
}

static void test_read_u64(void **state) {
        static const struct {
                const char *content;
                int r;
                uint64_t value;
        } rows[] = {
                { "5\n", 0, 5 }, { "0", 0, 0 }, { "18446744073709551615\n", 0, UINT64_MAX },
                { "18446744073709551616\n", -EBADMSG, 0 }, { "\n", -EBADMSG, 0 }, { "", -EBADMSG, 0 }, { "-1\n", -EBADMSG, 0 },
                { "5 \n", -EBADMSG, 0 }, { "five\n", -EBADMSG, 0 },
        };
        uint64_t value;
        _cleanup_tree_ Tree t = tree_new();

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                value = 42;
                tree_put(&t, "number", rows[i].content);
                assert_int_equal(read_u64_at(t.fd, "number", &value), rows[i].r);
                assert_true(value == (rows[i].r < 0 ? 42 : rows[i].value));
        }
        assert_int_equal(read_u64_at(t.fd, "missing", &value), -ENOENT);
}

static void test_write(void **state) {
        g_autofree char *text = NULL;
        _cleanup_tree_ Tree t = tree_new();
        int fds[2];

        /* Never made, never cut: that would be wrong in sysfs. */
        assert_int_equal(write_string_at(t.fd, "missing", "1"), -ENOENT);
        tree_put(&t, "loading", "0\n");
        assert_int_equal(write_string_at(t.fd, "loading", "1"), 0);
        assert_int_equal(read_file_at(t.fd, "loading", 10, &text, NULL), 0);
        assert_string_equal(text, "1\n");
        assert_int_equal(write_string_at(t.fd, "", "1"), -ENOENT);
        assert_int_equal(write_string_at(AT_FDCWD, "/dev/full", "1"), -ENOSPC);

        /* One write of the whole string: a pipe of packets keeps it together. */
        assert_int_equal(pipe2(fds, O_DIRECT | O_CLOEXEC | O_NONBLOCK), 0);
        {
                g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fds[1]);
                char buffer[64];

                assert_int_equal(write_string_at(AT_FDCWD, path, "-1"), 0);
                assert_int_equal(read(fds[0], buffer, sizeof(buffer)), 2);
                assert_memory_equal(buffer, "-1", 2);
        }
        close(fds[0]);
        close(fds[1]);
}

static unsigned count_fds(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n;
}

static void test_no_leaks(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        unsigned before;

        tree_put(&t, "line", "x\n");
        before = count_fds();
        for (unsigned i = 0; i < 10; i++) {
                g_autofree char *text = NULL;
                uint64_t value;

                (void) read_line_at(t.fd, "line", &text);
                (void) read_u64_at(t.fd, "line", &value);
                (void) write_string_at(t.fd, "line", "y");
                (void) read_u64_at(t.fd, ".", &value);
        }
        assert_int_equal(count_fds(), before);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse_u64),   cmocka_unit_test(test_cpu_list), cmocka_unit_test(test_read_file),
                cmocka_unit_test(test_read_errors), cmocka_unit_test(test_read_line), cmocka_unit_test(test_read_u64),
                cmocka_unit_test(test_write),       cmocka_unit_test(test_read_from_start), cmocka_unit_test(test_no_leaks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
