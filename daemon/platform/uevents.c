/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/util.h"
#include "platform/uevents.h"

#define KERNEL_GROUP 1U
#define MESSAGE_MAX 8192U

/* Below which the driver and its firmware device are (drivers/base/faux.c). */
#define INTERFACE_PATH "/devices/faux/tdx_host"

struct Uevents {
        const Roots *roots;
        int fd;
        sd_event_source *source;
        void (*on_interface)(void *userdata);
        void *userdata;
};

/* Four characters, as a classic BPF load sees them. */
#define WORD(a, b, c, d) ((uint32_t) (a) << 24 | (uint32_t) (b) << 16 | (uint32_t) (c) << 8 | (uint32_t) (d))

/*
 * Only what is looked for wakes the daemon: else every network interface that comes and goes on the host would.
 * The kernel's messages begin with ACTION@DEVPATH, without a header (lib/kobject_uevent.c).
 */
static int attach_filter(int fd) {
        enum { ADD = 1, REMOVE = 4, DROP = 7, TAKE = 8 };
        static const struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                /* add@/devices/faux/... */
                [ADD] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('a', 'd', 'd', '@'), 0, REMOVE - ADD - 1),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('/', 'f', 'a', 'u'), TAKE - ADD - 3, DROP - ADD - 3),
                /* remove@/devices/faux/... */
                [REMOVE] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('r', 'e', 'm', 'o'), 0, DROP - REMOVE - 1),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 15),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('/', 'f', 'a', 'u'), TAKE - REMOVE - 3, 0),
                [DROP] = BPF_STMT(BPF_RET | BPF_K, 0),
                [TAKE] = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        };
        struct sock_fprog program = { G_N_ELEMENTS(code), (struct sock_filter *) code };

        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int open_netlink(void) {
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP };
        _cleanup_close_ int fd = -1;
        int r;

        fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
        if (fd < 0)
                return -errno;
        r = attach_filter(fd);
        if (r < 0)
                return r;
        if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;

        return steal_fd(&fd);
}

/* The simulator's: the same messages, and the same filter. */
static int open_socket(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;
        int r;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        r = attach_filter(fd);
        if (r < 0)
                return r;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        if (bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;

        return steal_fd(&fd);
}

/* Anybody may send to the members of a netlink group; only the kernel has port 0. */
static bool is_from_kernel(const Uevents *u, const struct sockaddr_nl *from, socklen_t size) {
        return u->roots->uevents || (size == sizeof(*from) && from->nl_family == AF_NETLINK && from->nl_pid == 0);
}

static bool is_interface(const char *message) {
        const char *devpath = strchr(message, '@');

        return devpath && g_str_has_prefix(devpath + 1, INTERFACE_PATH);
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Uevents *u = userdata;
        bool look = false;

        for (;;) {
                struct sockaddr_nl from = {};
                socklen_t size = sizeof(from);
                char message[MESSAGE_MAX];
                ssize_t n;

                n = recvfrom(fd, message, sizeof(message) - 1, MSG_DONTWAIT,
                             u->roots->uevents ? NULL : (struct sockaddr *) &from, u->roots->uevents ? NULL : &size);
                if (n < 0 && errno == EINTR)
                        continue;
                /* Some were lost: what they said can only be seen by looking. */
                if (n < 0 && errno == ENOBUFS) {
                        look = true;
                        continue;
                }
                if (n < 0)
                        break;

                message[n] = '\0';
                look = look || (is_from_kernel(u, &from, size) && is_interface(message));
        }

        if (look)
                u->on_interface(u->userdata);
        return 0;
}

int uevents_new(sd_event *event, const Roots *roots, void (*on_interface)(void *userdata), void *userdata, Uevents **ret) {
        g_autoptr(Uevents) u = g_new0(Uevents, 1);
        int r;

        *u = (Uevents) { .roots = roots, .on_interface = on_interface, .userdata = userdata };
        u->fd = roots->uevents ? open_socket(roots->uevents) : open_netlink();
        if (u->fd < 0)
                return u->fd;

        r = sd_event_add_io(event, &u->source, u->fd, EPOLLIN, on_readable, u);
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&u);
        return 0;
}

Uevents *uevents_free(Uevents *u) {
        if (!u)
                return NULL;

        sd_event_source_disable_unref(u->source);
        closep(&u->fd);
        g_free(u);
        return NULL;
}
