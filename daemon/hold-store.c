/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <systemd/sd-daemon.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/memfd.h"
#include "base/util.h"
#include "hold-internal.h"

/*
 * Each hold is two descriptors of one name in the fd store: the pipe's read end, and sealed memory with the facts; an
 * announced build is the memory alone. systemd drops the pipe by itself as soon as nobody has its other end any more,
 * so memory without its pipe is a hold that was released while no daemon was there.
 */
#define NAME_PREFIX "hold-"
#define NAME_SIZE (sizeof(NAME_PREFIX) + 10)

/* Two or three texts of LIMIT_REASON_LENGTH, three bytes for each of theirs, and the rest: far below. */
#define TEXT_MAX (64U * 1024U)

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static void format_name(uint32_t id, char name[static NAME_SIZE]) {
        snprintf(name, NAME_SIZE, NAME_PREFIX "%" PRIu32, id);
}

static bool parse_name(const char *name, uint32_t *ret) {
        char again[NAME_SIZE];
        uint64_t id;

        if (!g_str_has_prefix(name, NAME_PREFIX) || parse_u64(name + strlen(NAME_PREFIX), &id) < 0 || id > UINT32_MAX)
                return false;

        format_name((uint32_t) id, again);
        *ret = (uint32_t) id;
        return strcmp(name, again) == 0;
}

unsigned hold_store_room(void) {
        const char *text = g_getenv("FDSTORE");
        uint64_t room;

        /* systemd 254 and later say how much there is: a drop-in may have changed it. */
        return text && parse_u64(text, &room) >= 0 && room < HOLD_STORE_MAX ? (unsigned) room : HOLD_STORE_MAX;
}

unsigned hold_store_need(const Hold *hold) {
        return hold->announced ? 1 : 2;
}

int hold_store_put(const Hold *hold) {
        g_autofree char *text = hold_to_text(hold), *state = NULL;
        _cleanup_close_ int fd = -1;
        char name[NAME_SIZE];
        int fds[2], r;

        fd = memfd_new("tdx-updated-hold");
        if (fd < 0)
                return fd;
        r = write_all(fd, text, strlen(text));
        if (r >= 0)
                r = memfd_seal(fd);
        if (r < 0)
                return r;

        /* In one message, so that there is never one without the other. */
        format_name(hold->facts.id, name);
        state = g_strdup_printf("FDSTORE=1\nFDNAME=%s", name);
        fds[0] = fd;
        fds[1] = hold->fd;
        return sd_pid_notify_with_fds(0, false, state, fds, hold_store_need(hold));
}

static void remove_name(const char *name) {
        int r;

        r = sd_notifyf(false, "FDSTOREREMOVE=1\nFDNAME=%s", name);
        if (r < 0)
                log_warning(r, "Failed to take %s out of the fd store, ignoring", name);
}

void hold_store_remove(uint32_t id) {
        char name[NAME_SIZE];

        format_name(id, name);
        remove_name(name);
}

/* What came back under one name. */
typedef struct Kept {
        int pipe_fd, text_fd;
        bool odd;                       /* there is something else, too */
} Kept;

static void kept_free(void *data) {
        Kept *kept = data;

        closep(&kept->pipe_fd);
        closep(&kept->text_fd);
        g_free(kept);
}

/* Takes the descriptor. */
static void sort_in(Kept *kept, int fd) {
        int *place = NULL;
        struct stat st;

        if (fstat(fd, &st) >= 0) {
                if (S_ISFIFO(st.st_mode))
                        place = &kept->pipe_fd;
                else if (S_ISREG(st.st_mode))
                        place = &kept->text_fd;
        }

        if (!place || *place >= 0) {
                kept->odd = true;
                closep(&fd);
        } else
                *place = fd;
}

static int read_text(int fd, Hold **ret) {
        g_autofree char *text = g_malloc(TEXT_MAX + 1);
        size_t size;
        int r, seals;

        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return -errno;
        if ((seals & SEALS) != SEALS)
                return -EBADMSG;

        r = read_from_start(fd, text, TEXT_MAX, &size);
        if (r < 0)
                return r;
        text[size] = '\0';
        return strlen(text) == size ? hold_from_text(text, ret) : -EBADMSG;
}

/* NULL: it is none any more, or not whole. */
static Hold *make_hold(uint32_t id, Kept *kept) {
        g_autoptr(Hold) hold = NULL;
        int r = -EBADMSG;

        if (!kept->odd && kept->text_fd >= 0)
                r = read_text(kept->text_fd, &hold);
        if (r >= 0 && (hold->facts.id != id || (hold->announced && kept->pipe_fd >= 0)))
                r = -EBADMSG;
        if (r < 0) {
                log_warning(r, "What the fd store has as " NAME_PREFIX "%" PRIu32 " is no hold that this version can read, dropping it", id);
                return NULL;
        }
        if (!hold->announced && kept->pipe_fd < 0) {
                log_debug("The hold %" PRIu32 " was released while no daemon was there", id);
                return NULL;
        }

        hold->fd = steal_fd(&kept->pipe_fd);
        return g_steal_pointer(&hold);
}

int hold_store_take_over(GPtrArray **ret) {
        g_autoptr(GHashTable) all = g_hash_table_new_full(NULL, NULL, NULL, kept_free);
        g_autoptr(GPtrArray) holds = g_ptr_array_new();
        g_auto(GStrv) names = NULL;
        GHashTableIter iter;
        void *key, *value;
        int n;

        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return n;

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;
                Kept *kept;
                uint32_t id;

                if (!parse_name(names[i], &id)) {
                        log_warning(0, "The fd store has %s, which this version does not know, dropping it", names[i]);
                        remove_name(names[i]);
                        closep(&fd);
                        continue;
                }

                kept = g_hash_table_lookup(all, GUINT_TO_POINTER(id));
                if (!kept) {
                        kept = g_new0(Kept, 1);
                        kept->pipe_fd = kept->text_fd = -1;
                        g_hash_table_insert(all, GUINT_TO_POINTER(id), kept);
                }
                sort_in(kept, fd);
        }

        g_hash_table_iter_init(&iter, all);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
                Hold *hold = make_hold(GPOINTER_TO_UINT(key), value);

                if (hold)
                        g_ptr_array_add(holds, hold);
                else
                        hold_store_remove(GPOINTER_TO_UINT(key));
        }

        *ret = g_steal_pointer(&holds);
        return 0;
}
