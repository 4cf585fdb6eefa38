/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/util.h"
#include "sim/control.h"
#include "sim/thread.h"

#define REQUEST_MAX (64U * 1024U)
#define PATIENCE_SEC 5

struct Control {
        Host *host;
        char *path;
        int fd;
        int stop_fd;
        pthread_t thread;
};

/* Until the empty line; false: the client is gone, too slow or talks too much. */
static bool read_request(int fd, GString *request) {
        while (!g_str_has_suffix(request->str, "\n\n")) {
                char buffer[4096];
                ssize_t n;

                n = recv(fd, buffer, sizeof(buffer), 0);
                if (n <= 0 || request->len + (size_t) n > REQUEST_MAX || memchr(buffer, 0, (size_t) n))
                        return false;
                g_string_append_len(request, buffer, n);
        }
        return true;
}

static void send_all(int fd, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n;

                n = send(fd, text, size, MSG_NOSIGNAL);
                if (n <= 0)
                        return;
                text += n;
                size -= (size_t) n;
        }
}

static void serve(Control *c, int fd) {
        g_autoptr(GString) request = g_string_new(NULL);
        g_autoptr(GString) out = g_string_new(NULL);
        g_autofree char *head = NULL;
        g_auto(GStrv) words = NULL;
        struct timeval patience = { .tv_sec = PATIENCE_SEC };
        int status;

        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (!read_request(fd, request))
                return;

        g_string_truncate(request, request->len - 2);
        words = g_strsplit(request->str, "\n", 0);
        status = command_run(c->host, (const char *const *) words, out);

        head = status == 0 ? g_strdup("ok\n") : g_strdup_printf("error %d ", status);
        send_all(fd, head, strlen(head));
        send_all(fd, out->str, out->len);
}

static void *run(void *userdata) {
        Control *c = userdata;

        for (;;) {
                struct pollfd fds[] = {
                        { .fd = c->fd, .events = POLLIN },
                        { .fd = c->stop_fd, .events = POLLIN },
                };
                _cleanup_close_ int fd = -1;

                if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[1].revents)
                        return NULL;

                fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0)
                        serve(c, fd);
        }
}

/* A socket that a dead process left behind is taken over, a living one's is not. */
static int bind_path(int fd, const struct sockaddr_un *address) {
        _cleanup_close_ int probe = -1;

        if (bind(fd, (const struct sockaddr *) address, sizeof(*address)) >= 0)
                return 0;
        if (errno != EADDRINUSE)
                return -errno;

        probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (probe < 0)
                return -errno;
        if (connect(probe, (const struct sockaddr *) address, sizeof(*address)) >= 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;

        if (unlink(address->sun_path) < 0)
                return -errno;
        return bind(fd, (const struct sockaddr *) address, sizeof(*address)) < 0 ? -errno : 0;
}

int control_new(Host *host, const char *path, Control **ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1, stop_fd = -1;
        Control *c;
        int r;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        stop_fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0 || stop_fd < 0)
                return -errno;
        r = bind_path(fd, &address);
        if (r < 0)
                return r;
        if (listen(fd, 16) < 0)
                return -errno;

        c = g_new0(Control, 1);
        c->host = host;
        c->path = g_strdup(path);
        c->fd = steal_fd(&fd);
        c->stop_fd = steal_fd(&stop_fd);
        r = thread_start(&c->thread, run, c);
        if (r < 0) {
                close(c->fd);
                close(c->stop_fd);
                g_free(c->path);
                g_free(c);
                return r;
        }

        *ret = c;
        return 0;
}

Control *control_free(Control *c) {
        uint64_t one = 1;

        if (!c)
                return NULL;

        if (write(c->stop_fd, &one, sizeof(one)) == sizeof(one))
                pthread_join(c->thread, NULL);
        unlink(c->path);
        close(c->fd);
        close(c->stop_fd);
        g_free(c->path);
        g_free(c);
        return NULL;
}
