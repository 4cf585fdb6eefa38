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

#include "base/fileio.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/uevents.h"

#define KERNEL_GROUP 1U

/* The kernel's have 2 KiB at most (UEVENT_BUFFER_SIZE in include/linux/kobject.h) and a header. */
#define MESSAGE_MAX 8192U

/* For bursts of VMs while the loop is busy; net.core.rmem_max bounds it. */
#define RECEIVE_BUFFER (8 * 1024 * 1024)

/* In one turn of the loop, so that a storm of events does not stop everything else; and at one look. */
#define TURN_MAX 1024U
#define DRAIN_MAX 65536U

struct Uevents {
        const Roots *roots;
        int fd;
        sd_event_source *source;
        UeventHandler handler;
        bool deaf;              /* the socket is broken */
        bool lost;              /* what was lost is newer than what is pending, so it is told after that */
};

/* Four characters, as a classic BPF load sees them. */
#define WORD(a, b, c, d) ((uint32_t) (a) << 24 | (uint32_t) (b) << 16 | (uint32_t) (c) << 8 | (uint32_t) (d))

/*
 * Only what is looked for wakes the daemon: else every network interface that comes and goes on the host would.
 * The kernel's messages begin with ACTION@DEVPATH and a NUL byte, without a header (lib/kobject_uevent.c).
 */
static int attach_filter(int fd) {
        enum { CHANGE = 1, ADD = 8, REMOVE = 11, DROP = 14, TAKE = 15 };
        static const struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                /* change@/devices/virtual/misc/kvm */
                [CHANGE] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('c', 'h', 'a', 'n'), 0, ADD - CHANGE - 1),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 24),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('m', 'i', 's', 'c'), 0, DROP - CHANGE - 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 28),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WORD('/', 'k', 'v', 'm'), 0, DROP - CHANGE - 5),
                BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 32),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, TAKE - CHANGE - 7, DROP - CHANGE - 7),
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
        int size = RECEIVE_BUFFER, r;

        fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
        if (fd < 0)
                return -errno;
        r = attach_filter(fd);
        if (r < 0)
                return r;
        /* All of it only with CAP_NET_ADMIN, which the unit does not have; without it up to net.core.rmem_max. */
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
                return -errno;
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
static bool is_from_kernel(const Uevents *u, const struct msghdr *header) {
        const struct sockaddr_nl *from = header->msg_name;

        return u->roots->uevents ||
               (header->msg_namelen == sizeof(*from) && from->nl_family == AF_NETLINK && from->nl_pid == 0);
}

/* The value of a field that may be there once. False: it is there twice. */
static bool get_field(const char *message, size_t size, const char *name, const char **ret) {
        size_t n = strlen(name);

        *ret = NULL;
        for (const char *p = message + strlen(message) + 1; p < message + size; p += strlen(p) + 1) {
                if (strncmp(p, name, n) != 0 || p[n] != '=')
                        continue;
                if (*ret)
                        return false;
                *ret = p + n + 1;
        }
        return true;
}

static bool get_number(const char *message, size_t size, const char *name, uint64_t *ret) {
        const char *text;

        return get_field(message, size, name, &text) && text && parse_u64(text, ret) >= 0;
}

static bool take_key(const char *path, char key[static UEVENT_KEY_SIZE]) {
        return g_str_has_prefix(path, "/" ABI_DEBUGFS_KVM "/") && guest_key_parse(path + strlen("/" ABI_DEBUGFS_KVM "/"), NULL, NULL) &&
               g_strlcpy(key, path + strlen("/" ABI_DEBUGFS_KVM "/"), UEVENT_KEY_SIZE) < UEVENT_KEY_SIZE;
}

/* virt/kvm/kvm_main.c, kvm_uevent_notify_change(): all fields are always there, but STATS_PATH. */
static bool parse_kvm(const char *message, size_t size, char key[static UEVENT_KEY_SIZE], KvmEvent *ret) {
        const char *subsystem, *event, *path;
        uint64_t tid;

        if (!get_field(message, size, "SUBSYSTEM", &subsystem) || g_strcmp0(subsystem, "misc") != 0 ||
            !get_field(message, size, "EVENT", &event) || !get_field(message, size, "STATS_PATH", &path) ||
            !get_number(message, size, "CREATED", &ret->created) || !get_number(message, size, "COUNT", &ret->count) ||
            !get_number(message, size, "PID", &tid) || tid == 0 || tid > INT32_MAX)
                return false;
        if (strcmp(event, "create") != 0 && strcmp(event, "destroy") != 0)
                return false;
        if (path && !take_key(path, key))
                return false;

        ret->create = strcmp(event, "create") == 0;
        ret->tid = (uint32_t) tid;
        ret->have_counts = true;
        ret->key = path ? key : NULL;
        return true;
}

UeventKind uevent_parse(const char *message, size_t size, char key[static UEVENT_KEY_SIZE], KvmEvent *ret) {
        const char *devpath, *event;

        *ret = (KvmEvent) {};
        if (size == 0 || message[size - 1] != '\0')
                return size > 0 && strncmp(message, ABI_UEVENT_KVM, strnlen(message, size)) == 0 ? UEVENT_BROKEN : UEVENT_OTHER;

        devpath = strchr(message, '@');
        if (devpath && g_str_has_prefix(devpath, "@/" ABI_TDX_HOST))
                return UEVENT_INTERFACE;
        if (strcmp(message, ABI_UEVENT_KVM) != 0)
                return UEVENT_OTHER;

        /* "udevadm trigger" makes the device send a change without any of KVM's fields. */
        if (get_field(message, size, "EVENT", &event) && !event)
                return UEVENT_OTHER;

        return parse_kvm(message, size, key, ret) ? UEVENT_KVM : UEVENT_BROKEN;
}

typedef struct Seen {
        bool interface, kvm;
} Seen;

static void handle(Uevents *u, const char *message, size_t size, Seen *seen) {
        char key[UEVENT_KEY_SIZE];
        KvmEvent event;

        switch (uevent_parse(message, size, key, &event)) {
        case UEVENT_KVM:
                u->handler.on_kvm(&event, u->handler.userdata);
                seen->kvm = true;
                break;
        case UEVENT_INTERFACE:
                seen->interface = true;
                break;
        case UEVENT_BROKEN:
                log_debug("An event of /dev/kvm cannot be understood, so the VMs are looked at anew");
                u->lost = true;
                break;
        case UEVENT_OTHER:
                break;
        }
}

/* One message. 1, 0 when there is none now, or -errno: nothing more can be heard. */
static int take_one(Uevents *u, Seen *seen) {
        struct sockaddr_nl from = {};
        char message[MESSAGE_MAX];
        struct iovec iov = { message, sizeof(message) };
        struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (!u->roots->uevents) {
                header.msg_name = &from;
                header.msg_namelen = sizeof(from);
        }
        n = recvmsg(u->fd, &header, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
                return 1;
        if (n < 0 && errno == ENOBUFS) {
                log_debug("Events of the kernel were lost, so everything is looked at anew");
                u->lost = true;
                return 1;
        }
        if (n < 0)
                return errno == EAGAIN ? 0 : -errno;

        if (!is_from_kernel(u, &header))
                return 1;
        if (header.msg_flags & MSG_TRUNC)
                u->lost = true;
        else
                handle(u, message, (size_t) n, seen);
        return 1;
}

/* True when nothing is pending any more. */
static bool take(Uevents *u, unsigned max) {
        Seen seen = {};
        int r = 1;

        /* That was told already; telling it at each look would make a look of each telling. */
        if (u->deaf)
                return true;

        for (unsigned i = 0; i < max && r > 0; i++)
                r = take_one(u, &seen);

        if (r < 0) {
                log_error(-r, "The kernel's events cannot be heard any more; restart tdx-updated");
                u->deaf = true;
                (void) sd_event_source_set_enabled(u->source, SD_EVENT_OFF);
        }
        if (u->lost || u->deaf) {
                u->handler.on_loss(u->handler.userdata);
                seen.interface = seen.kvm = true;
        }
        if (r <= 0)
                u->lost = false;

        if (seen.interface)
                u->handler.on_interface(u->handler.userdata);
        if (seen.kvm)
                u->handler.on_kvm_done(u->handler.userdata);
        return r <= 0 || u->deaf;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void) take(userdata, TURN_MAX);
        return 0;
}

void uevents_drain(Uevents *u) {
        if (take(u, DRAIN_MAX))
                return;

        /* They come faster than they can be read. */
        u->lost = true;
        (void) take(u, 1);
}

int uevents_buffer_size(const Uevents *u) {
        socklen_t length = sizeof(int);
        int size;

        return getsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &size, &length) < 0 ? -errno : size;
}

int uevents_new(sd_event *event, const Roots *roots, const UeventHandler *handler, Uevents **ret) {
        g_autoptr(Uevents) u = g_new0(Uevents, 1);
        int r;

        *u = (Uevents) { .roots = roots, .handler = *handler };
        u->fd = roots->uevents ? open_socket(roots->uevents) : open_netlink();
        if (u->fd < 0)
                return u->fd;

        r = sd_event_add_io(event, &u->source, u->fd, EPOLLIN, on_readable, u);
        if (r < 0)
                return r;
        log_debug("The kernel's events have a buffer of %d bytes", uevents_buffer_size(u));

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
