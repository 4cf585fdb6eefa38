/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"
#include "sim/caller.h"
#include "sim/content.h"
#include "sim/host.h"

/* The mount: paths to nodes, nodes to the model. Every read and write reaches the model. */

/* An attribute's text is made by the read at offset 0, as kernfs does, and the rest of it comes from there. */
typedef struct OpenFile {
        pthread_mutex_t lock;
        GString *text;
} OpenFile;

static OpenFile *open_file_new(void) {
        OpenFile *file = g_new0(OpenFile, 1);

        pthread_mutex_init(&file->lock, NULL);
        return file;
}

static void open_file_free(OpenFile *file) {
        if (file->text)
                g_string_free(file->text, true);
        pthread_mutex_destroy(&file->lock);
        g_free(file);
}

uint64_t host_now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

static Host *enter(void) {
        Host *host = fuse_get_context()->private_data;

        pthread_mutex_lock(&host->lock);
        model_advance(host->model, host_now());
        return host;
}

static void leave(Host *host) {
        pthread_mutex_unlock(&host->lock);
}

static int get_node(Host *host, const char *path, const Node **ret) {
        const Node *node = tree_lookup(host->tree, host->model, path);

        if (!node)
                return -ENOENT;
        *ret = node;
        return 0;
}

/* The model's time is monotonic, that of files is people's. */
static uint64_t realtime_ahead;

static struct timespec time_of(const Node *node) {
        uint64_t made = node->since + realtime_ahead;

        if (node->since == 0)
                return (struct timespec) {};
        return (struct timespec) { (time_t) (made / USEC_PER_SEC), (long) (made % USEC_PER_SEC * 1000) };
}

static bool in_sysfs(const char *path) {
        return g_str_has_prefix(path, "/sys/");
}

static int sim_getattr(const char *path, struct stat *st, struct fuse_file_info *fi) {
        const Node *node;
        Host *host;
        int r;

        host = enter();
        r = get_node(host, path, &node);
        if (r >= 0) {
                *st = (struct stat) { .st_mode = node->mode, .st_nlink = 1, .st_ino = node->ino };
                st->st_ctim = st->st_mtim = st->st_atim = time_of(node);
                if (S_ISDIR(node->mode))
                        st->st_nlink = 2 + node->n_folders;
                if (node->target)
                        st->st_size = (off_t) strlen(node->target);
                else if (S_ISREG(node->mode) && in_sysfs(path) && node->id != NODE_DATA)
                        st->st_size = 4096;
        }
        leave(host);
        return r;
}

static int sim_readlink(const char *path, char *buffer, size_t size) {
        const Node *node;
        Host *host;
        int r;

        host = enter();
        r = get_node(host, path, &node);
        if (r >= 0 && !node->target)
                r = -EINVAL;
        if (r >= 0)
                g_strlcpy(buffer, node->target, size);
        leave(host);
        return r;
}

static int sim_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
                       struct fuse_file_info *fi, enum fuse_readdir_flags flags) {
        const Node *node;
        Host *host;
        int r;

        host = enter();
        r = get_node(host, path, &node);
        if (r >= 0 && !node->children)
                r = -ENOTDIR;
        if (r >= 0) {
                fill(buffer, ".", NULL, 0, 0);
                fill(buffer, "..", NULL, 0, 0);
                for (unsigned i = 0; i < node->children->len; i++) {
                        const Node *child = node->children->pdata[i];
                        struct stat st = { .st_mode = child->mode, .st_ino = child->ino };

                        if (child->hidden)
                                continue;
                        fill(buffer, strrchr(child->path, '/') + 1, &st, 0, 0);
                }
        }
        leave(host);
        return r;
}

/* sysfs asks for the mode's bits of root too (KERNFS_ROOT_EXTRA_OPEN_PERM_CHECK). */
static int check_open(Host *host, const char *path, int flags) {
        const Node *node;
        int r, accmode = flags & O_ACCMODE;

        r = get_node(host, path, &node);
        if (r < 0)
                return r;

        r = -fault_lookup(model_knobs(host->model)->open_error, path + 1);
        if (r < 0)
                return r;

        if (in_sysfs(path) &&
            ((accmode != O_WRONLY && !(node->mode & 0444)) || (accmode != O_RDONLY && !(node->mode & 0222))))
                return -EACCES;
        return 0;
}

static int sim_open(const char *path, struct fuse_file_info *fi) {
        OpenFile *file;
        Host *host;
        int r;

        host = enter();
        r = check_open(host, path, fi->flags);
        if (r >= 0) {
                file = open_file_new();
                g_hash_table_add(host->open_files, file);
                fi->fh = (uint64_t) (uintptr_t) file;
                fi->direct_io = 1;
        }
        leave(host);
        return r;
}

static int sim_release(const char *path, struct fuse_file_info *fi) {
        Host *host = enter();

        g_hash_table_remove(host->open_files, (OpenFile *) (uintptr_t) fi->fh);
        leave(host);
        return 0;
}

/* The P-SEAMLDR is slow and takes one call at a time; nothing else waits for it. */
static void wait_for_seamldr(Host *host, const char *path) {
        const Node *node;
        uint32_t delay = 0;

        host = enter();
        if (get_node(host, path, &node) >= 0 &&
            (node->id == NODE_SEAMLDR_VERSION || node->id == NODE_REMAINING_UPDATES))
                delay = model_knobs(host->model)->read_delay_ms;
        leave(host);
        if (delay == 0)
                return;

        pthread_mutex_lock(&host->seamldr);
        g_usleep((gulong) delay * USEC_PER_MSEC);
        pthread_mutex_unlock(&host->seamldr);
}

/* The text at the time of the call. A file whose device has gone since it was opened: ENODEV. */
static int show(Host *host, const char *path, GString **ret) {
        g_autofree char *unused = NULL;
        const Node *node;
        GString *text;
        int r;

        if (get_node(host, path, &node) < 0)
                return -ENODEV;
        r = -fault_lookup(model_knobs(host->model)->read_error, path + 1);
        if (r < 0)
                return r;

        text = g_string_new(NULL);
        r = content_show(host->model, node, text);
        if (r < 0) {
                unused = g_string_free(text, false);
                return r;
        }
        *ret = text;
        return 0;
}

static int read_text(const char *path, OpenFile *file, char *buffer, size_t size, off_t offset) {
        Host *host = fuse_get_context()->private_data;
        int r;

        if (offset == 0 || !file->text) {
                if (file->text)
                        g_string_free(file->text, true);
                file->text = NULL;
                wait_for_seamldr(host, path);
                host = enter();
                r = show(host, path, &file->text);
                leave(host);
                if (r < 0)
                        return r;
        }

        if ((size_t) offset >= file->text->len)
                return 0;
        size = MIN(size, file->text->len - (size_t) offset);
        memcpy(buffer, file->text->str + offset, size);
        return (int) size;
}

static bool is_data(const char *path) {
        return g_str_has_suffix(path, "/firmware/tdx_module/data");
}

static int sim_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *fi) {
        OpenFile *file = (OpenFile *) (uintptr_t) fi->fh;
        const Node *node;
        Host *host;
        int r;

        if (!is_data(path)) {
                pthread_mutex_lock(&file->lock);
                r = read_text(path, file, buffer, size, offset);
                pthread_mutex_unlock(&file->lock);
                return r;
        }

        host = enter();
        r = get_node(host, path, &node) < 0 ? -ENODEV : -fault_lookup(model_knobs(host->model)->read_error, path + 1);
        if (r >= 0)
                r = (int) model_data_read(host->model, host_now(), (uint8_t *) buffer, size, (uint64_t) offset);
        leave(host);
        return r;
}

static int sim_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *fi) {
        const Node *node;
        Host *host;
        int r;

        if (is_data(path) && !caller_has_rawio(fuse_get_context()->pid))
                return -EPERM;

        host = enter();
        if (get_node(host, path, &node) < 0)
                r = -ENODEV;
        else if (node->id == NODE_DATA)
                r = (int) model_data_write(host->model, host_now(), (const uint8_t *) buffer, size, (uint64_t) offset);
        else {
                size = MIN(size, 4096);
                r = content_store(host->model, host_now(), node, buffer, size);
                if (r >= 0)
                        r = (int) size;
        }
        leave(host);
        return r;
}

/* O_TRUNC on an attribute is harmless, and shells use it. */
static int sim_truncate(const char *path, off_t size, struct fuse_file_info *fi) {
        return 0;
}

static int sim_mknod(const char *path, mode_t mode, dev_t dev) {
        return -EACCES;
}

static void *sim_init(struct fuse_conn_info *conn, struct fuse_config *config) {
        config->entry_timeout = 0;
        config->attr_timeout = 0;
        config->negative_timeout = 0;
        config->direct_io = 1;
        config->hard_remove = 1;
        config->use_ino = 1;
        return fuse_get_context()->private_data;
}

static const struct fuse_operations operations = {
        .init = sim_init,
        .getattr = sim_getattr,
        .readlink = sim_readlink,
        .readdir = sim_readdir,
        .open = sim_open,
        .release = sim_release,
        .read = sim_read,
        .write = sim_write,
        .truncate = sim_truncate,
        .mknod = sim_mknod,
};

static int loop(struct fuse *fuse, const char *mount_point) {
        struct fuse_session *session = fuse_get_session(fuse);
        struct fuse_loop_config *config;
        int r;

        if (fuse_mount(fuse, mount_point) < 0)
                return -EIO;

        if (fuse_set_signal_handlers(session) < 0) {
                fuse_unmount(fuse);
                return -EIO;
        }

        /* Room for many who wait for a slow read. */
        config = fuse_loop_cfg_create();
        fuse_loop_cfg_set_max_threads(config, 64);
        r = fuse_loop_mt(fuse, config);
        fuse_loop_cfg_destroy(config);
        fuse_remove_signal_handlers(session);
        fuse_unmount(fuse);

        /* Positive: the signal that ended it. */
        return r < 0 ? r : 0;
}

int host_serve(Host *host, const char *mount_point) {
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        struct fuse *fuse;
        int r;

        fuse_opt_add_arg(&args, "tdx-sim");
        fuse_opt_add_arg(&args, "-oallow_other,default_permissions,fsname=tdx-sim,subtype=tdx-sim");
        fuse = fuse_new(&args, &operations, sizeof(operations), host);
        fuse_opt_free_args(&args);
        if (!fuse)
                return -EIO;

        realtime_ahead = (uint64_t) g_get_real_time() - host_now();
        host->open_files = g_hash_table_new_full(NULL, NULL, (GDestroyNotify) open_file_free, NULL);
        r = loop(fuse, mount_point);
        fuse_destroy(fuse);
        g_clear_pointer(&host->open_files, g_hash_table_unref);
        return r;
}
