/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

/* A temporary directory with files in it, gone at the end of the scope. Needs cmocka.h before it. */
typedef struct Tree {
        char *path;
        int fd;
} Tree;

static inline Tree tree_new(void) {
        Tree t = { .path = g_dir_make_tmp("tdx-updated-test-XXXXXX", NULL) };

        assert_non_null(t.path);
        t.fd = open(t.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(t.fd >= 0);
        return t;
}

static inline void tree_put_bytes(const Tree *t, const char *path, const void *bytes, size_t size) {
        g_autofree char *full = g_build_filename(t->path, path, NULL), *dir = g_path_get_dirname(full);

        assert_int_equal(g_mkdir_with_parents(dir, 0755), 0);
        assert_true(g_file_set_contents(full, bytes, (gssize) size, NULL));
}

static inline void tree_put(const Tree *t, const char *path, const char *text) {
        tree_put_bytes(t, path, text, strlen(text));
}

static inline void tree_mkdir(const Tree *t, const char *path) {
        g_autofree char *full = g_build_filename(t->path, path, NULL);

        assert_int_equal(g_mkdir_with_parents(full, 0755), 0);
}

static inline void tree_remove_path(const char *path) {
        g_autoptr(GDir) dir = NULL;
        const char *name;

        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK))
                dir = g_dir_open(path, 0, NULL);
        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *below = g_build_filename(path, name, NULL);

                tree_remove_path(below);
        }
        (void) g_remove(path);
}

static inline void tree_remove(const Tree *t, const char *path) {
        g_autofree char *full = g_build_filename(t->path, path, NULL);

        tree_remove_path(full);
}

static inline void tree_free(Tree *t) {
        close(t->fd);
        tree_remove_path(t->path);
        g_free(t->path);
}

#define _cleanup_tree_ __attribute__((cleanup(tree_free)))
