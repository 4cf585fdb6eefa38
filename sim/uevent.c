/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/util.h"
#include "sim/thread.h"
#include "sim/uevent.h"

struct UeventSender {
        int fd;
        struct sockaddr_un address;
        uint64_t seqnum;

        /* A full receive queue (net.unix.max_dgram_qlen) must neither block the model nor lose an event. */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        GQueue waiting;         /* of GBytes */
        unsigned max;           /* of them */
        bool stop;
};

static int try_send(UeventSender *s, GBytes *message) {
        size_t size;
        const void *data = g_bytes_get_data(message, &size);

        if (sendto(s->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT,
                   (const struct sockaddr *) &s->address, sizeof(s->address)) >= 0)
                return 0;
        return -errno;
}

/* Called and returns with the lock held. */
static void drain(UeventSender *s) {
        while (!s->stop && !g_queue_is_empty(&s->waiting)) {
                struct timespec until;
                int r;

                r = try_send(s, g_queue_peek_head(&s->waiting));
                if (r != -EAGAIN) {
                        g_bytes_unref(g_queue_pop_head(&s->waiting));
                        continue;
                }

                /* An unconnected datagram socket cannot be polled for its receiver's room. */
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_nsec += 5 * 1000 * 1000;
                if (until.tv_nsec >= 1000 * 1000 * 1000) {
                        until.tv_sec++;
                        until.tv_nsec -= 1000 * 1000 * 1000;
                }
                pthread_cond_timedwait(&s->wake, &s->lock, &until);
        }
}

static void *run(void *userdata) {
        UeventSender *s = userdata;

        pthread_mutex_lock(&s->lock);
        while (!s->stop) {
                drain(s);
                if (!s->stop && g_queue_is_empty(&s->waiting))
                        pthread_cond_wait(&s->wake, &s->lock);
        }
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

int uevent_sender_new(const char *path, UeventSender **ret) {
        UeventSender *s;
        int r;

        s = g_new0(UeventSender, 1);
        s->address.sun_family = AF_UNIX;
        if (strlen(path) >= sizeof(s->address.sun_path)) {
                g_free(s);
                return -ENAMETOOLONG;
        }
        memcpy(s->address.sun_path, path, strlen(path));

        s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (s->fd < 0) {
                r = -errno;
                g_free(s);
                return r;
        }

        g_queue_init(&s->waiting);
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->wake, NULL);
        r = thread_start(&s->thread, run, s);
        if (r < 0) {
                close(s->fd);
                g_free(s);
                return r;
        }

        *ret = s;
        return 0;
}

UeventSender *uevent_sender_free(UeventSender *s) {
        if (!s)
                return NULL;

        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);

        g_queue_clear_full(&s->waiting, (GDestroyNotify) g_bytes_unref);
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        close(s->fd);
        g_free(s);
        return NULL;
}

static void append(GByteArray *message, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(GByteArray *message, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_byte_array_append(message, (const uint8_t *) text, (unsigned) strlen(text) + 1);
}

/* kobject_uevent_env(): the header, the three keys, the event's own, the number. */
void uevent_sender_set_max(UeventSender *s, unsigned max) {
        pthread_mutex_lock(&s->lock);
        s->max = max;
        pthread_mutex_unlock(&s->lock);
}

int uevent_send(UeventSender *s, const char *action, const char *devpath, const char *subsystem,
                const char *const *fields) {
        g_autoptr(GByteArray) array = g_byte_array_new();
        g_autoptr(GBytes) message = NULL;
        int r = -EAGAIN;

        append(array, "%s@%s", action, devpath);
        append(array, "ACTION=%s", action);
        append(array, "DEVPATH=%s", devpath);
        append(array, "SUBSYSTEM=%s", subsystem);
        for (const char *const *f = fields; *f; f++)
                append(array, "%s", *f);

        pthread_mutex_lock(&s->lock);
        append(array, "SEQNUM=%" PRIu64, ++s->seqnum);
        message = g_byte_array_free_to_bytes(g_steal_pointer(&array));

        if (g_queue_is_empty(&s->waiting))
                r = try_send(s, message);
        if (r == -EAGAIN && g_queue_get_length(&s->waiting) >= s->max)
                r = -ENOBUFS;
        else if (r == -EAGAIN) {
                g_queue_push_tail(&s->waiting, g_bytes_ref(message));
                pthread_cond_signal(&s->wake);
        } else if (r < 0 && r != -ENOENT && r != -ECONNREFUSED)
                log_warning(r, "Cannot send an uevent to %s, ignoring: %s", s->address.sun_path, strerror(-r));
        pthread_mutex_unlock(&s->lock);
        return r == -ENOBUFS ? -ENOBUFS : 0;
}
