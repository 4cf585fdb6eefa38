/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The kernel's events: what they say, whose are believed, and what a lost one leads to. In a network namespace of its own the
 * kernel passes on, as its own, what root sends to it (lib/kobject_uevent.c, uevent_net_rcv_skb()). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "platform/uevents.h"

#define KVM_HEADER "change@/devices/virtual/misc/kvm\0ACTION=change\0DEVPATH=/devices/virtual/misc/kvm\0SUBSYSTEM=misc\0"
#define KVM_TAIL "MAJOR=10\0MINOR=232\0DEVNAME=kvm\0SEQNUM=4711\0"
#define KVM(fields) KVM_HEADER fields KVM_TAIL
#define GOOD KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=11097\0STATS_PATH=/kvm/11097-4\0")
#define INTERFACE "add@/devices/faux/tdx_host/firmware/tdx_module\0ACTION=add\0SUBSYSTEM=firmware\0"

typedef struct Seen {
        unsigned interfaces, events, losses, dones;
        unsigned events_before_loss;
        KvmEvent last;
        char key[64];
} Seen;

typedef struct Bed {
        char *dir, *path;
        Roots roots;
        sd_event *event;
        Uevents *uevents;
        Seen seen;
} Bed;

static void on_interface(void *userdata) {
        ((Seen *) userdata)->interfaces++;
}

static void on_kvm(const KvmEvent *event, void *userdata) {
        Seen *seen = userdata;

        seen->events++;
        seen->last = *event;
        g_strlcpy(seen->key, event->key ?: "", sizeof(seen->key));
}

static void on_loss(void *userdata) {
        Seen *seen = userdata;

        seen->losses++;
        seen->events_before_loss = seen->events;
}

static void on_kvm_done(void *userdata) {
        ((Seen *) userdata)->dones++;
}

static void bed_init(Bed *b, bool simulated) {
        UeventHandler handler = { on_interface, on_kvm, on_loss, on_kvm_done, &b->seen };

        *b = (Bed) {};
        b->dir = g_dir_make_tmp("tdx-updated-test-XXXXXX", NULL);
        assert_non_null(b->dir);
        b->path = g_build_filename(b->dir, "uevents", NULL);
        b->roots.uevents = simulated ? b->path : NULL;
        assert_true(sd_event_new(&b->event) >= 0);
        assert_int_equal(uevents_new(b->event, &b->roots, &handler, &b->uevents), 0);
}

static void bed_clear(Bed *b) {
        uevents_free(b->uevents);
        sd_event_unref(b->event);
        unlink(b->path);
        rmdir(b->dir);
        g_free(b->path);
        g_free(b->dir);
}

#define _cleanup_bed_ __attribute__((cleanup(bed_clear)))

/* Everything that is pending, by the loop. Nothing here waits: what was sent is there. */
static void run_loop(Bed *b) {
        int r;

        while ((r = sd_event_run(b->event, 0)) > 0)
                ;
        assert_int_equal(r, 0);
}

static void send_local(const Bed *b, const char *message, size_t size) {
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        g_strlcpy(to.sun_path, b->path, sizeof(to.sun_path));
        assert_int_equal(sendto(fd, message, size, 0, (const struct sockaddr *) &to, sizeof(to)), size);
}

#define SEND(b, text) send_local(b, text, sizeof(text) - 1)

/* To the kernel, which passes it on as its own; or past it, to the group. */
static void send_netlink(bool to_kernel, const char *message, size_t size) {
        struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_groups = to_kernel ? 0 : 1 };
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
        struct nlmsghdr header = { .nlmsg_len = (uint32_t) NLMSG_LENGTH(size), .nlmsg_type = NLMSG_MIN_TYPE, .nlmsg_flags = NLM_F_REQUEST };
        struct iovec iov[] = { { &header, NLMSG_HDRLEN }, { (void *) message, size } };
        struct msghdr m = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = to_kernel ? iov : iov + 1, .msg_iovlen = to_kernel ? 2 : 1 };

        assert_true(fd >= 0);
        if (sendmsg(fd, &m, 0) < 0)
                fail_msg("sendmsg: %s", strerror(errno));
}

static void test_parse_kvm(void **state) {
        static const struct {
                const char *text;
                size_t size;
                UeventKind kind;
        } rows[] = {
#define ROW(text, kind) { text, sizeof(text) - 1, kind }
                ROW(GOOD, UEVENT_KVM),
                ROW(KVM("CREATED=3\0COUNT=0\0EVENT=destroy\0PID=11097\0STATS_PATH=/kvm/11097-4\0"), UEVENT_KVM),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=11097\0"), UEVENT_KVM),
                ROW(KVM("CREATED=18446744073709551615\0COUNT=1\0EVENT=create\0PID=1\0"), UEVENT_KVM),
                /* every field is needed, once, and as the kernel writes it */
                ROW(KVM("COUNT=1\0EVENT=create\0PID=11097\0STATS_PATH=/kvm/11097-4\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0EVENT=create\0PID=11097\0STATS_PATH=/kvm/11097-4\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0STATS_PATH=/kvm/11097-4\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=grow\0PID=11097\0STATS_PATH=/kvm/11097-4\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=\0PID=11097\0STATS_PATH=/kvm/11097-4\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=-3\0COUNT=1\0EVENT=create\0PID=11097\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=0x3\0COUNT=1\0EVENT=create\0PID=11097\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=\0COUNT=1\0EVENT=create\0PID=11097\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=18446744073709551616\0COUNT=1\0EVENT=create\0PID=1\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1 \0EVENT=create\0PID=11097\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=0\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=2147483648\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0CREATED=4\0COUNT=1\0EVENT=create\0PID=11097\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0EVENT=destroy\0PID=11097\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0STATS_PATH=/kvm/../x\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0STATS_PATH=/kvm/1-4/vcpu0\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0STATS_PATH=kvm/1-4\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0STATS_PATH=/kvm/\0"), UEVENT_BROKEN),
                ROW(KVM("CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0STATS_PATH=\0"), UEVENT_BROKEN),
                ROW("change@/devices/virtual/misc/kvm\0SUBSYSTEM=block\0CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0", UEVENT_BROKEN),
                ROW("change@/devices/virtual/misc/kvm\0CREATED=3\0COUNT=1\0EVENT=create\0PID=1\0", UEVENT_BROKEN),
                /* cut off */
                ROW("change@/devices/virtual/misc/kvm\0ACTION=change\0EVENT=create", UEVENT_BROKEN),
                ROW("change@/devices/virtual/misc/kvm", UEVENT_BROKEN),
                /* what "udevadm trigger" makes: there is nothing of KVM's in it */
                ROW(KVM_HEADER "SYNTH_UUID=0\0" KVM_TAIL, UEVENT_OTHER),
                ROW("change@/devices/virtual/misc/kvm\0", UEVENT_OTHER),
                ROW("add@/devices/virtual/misc/kvm\0SUBSYSTEM=misc\0EVENT=create\0", UEVENT_OTHER),
                ROW("change@/devices/virtual/misc/kvmx\0EVENT=create\0", UEVENT_OTHER),
                ROW("change@/devices/virtual/misc/tun\0EVENT=create\0", UEVENT_OTHER),
                ROW(INTERFACE, UEVENT_INTERFACE),
                ROW("remove@/devices/faux/tdx_host\0ACTION=remove\0", UEVENT_INTERFACE),
                ROW("add@/devices/faux/other\0", UEVENT_OTHER),
                ROW("libudev\0", UEVENT_OTHER),
                ROW("\0", UEVENT_OTHER),
                ROW("", UEVENT_OTHER),
#undef ROW
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *copy = g_memdup2(rows[i].text, rows[i].size); /* its end is guarded under ASan */
                char key[UEVENT_KEY_SIZE];
                KvmEvent event;

                if (uevent_parse(copy ?: "", rows[i].size, key, &event) != rows[i].kind)
                        fail_msg("row %zu", i);
        }
}

static void test_simulated(void **state) {
        _cleanup_bed_ Bed b;

        bed_init(&b, true);
        SEND(&b, GOOD);
        run_loop(&b);
        assert_int_equal(b.seen.events, 1);
        assert_true(b.seen.last.create && b.seen.last.have_counts);
        assert_int_equal(b.seen.last.tid, 11097);
        assert_int_equal(b.seen.last.created, 3);
        assert_int_equal(b.seen.last.count, 1);
        assert_string_equal(b.seen.key, "11097-4");
        assert_int_equal(b.seen.dones, 1);
        assert_int_equal(b.seen.interfaces, 0);

        SEND(&b, KVM("CREATED=3\0COUNT=0\0EVENT=destroy\0PID=11097\0"));
        run_loop(&b);
        assert_int_equal(b.seen.events, 2);
        assert_false(b.seen.last.create);
        assert_string_equal(b.seen.key, "");

        SEND(&b, INTERFACE);
        run_loop(&b);
        assert_int_equal(b.seen.interfaces, 1);
        assert_int_equal(b.seen.dones, 2);
        assert_int_equal(b.seen.losses, 0);
}

/* Several at once: each is told, and that it was all once. */
static void test_drain(void **state) {
        _cleanup_bed_ Bed b;

        bed_init(&b, true);
        for (unsigned i = 0; i < 5; i++)
                SEND(&b, GOOD);
        uevents_drain(b.uevents);
        assert_int_equal(b.seen.events, 5);
        assert_int_equal(b.seen.dones, 1);
        uevents_drain(b.uevents);
        assert_int_equal(b.seen.events, 5);
        assert_int_equal(b.seen.dones, 1);
        assert_int_equal(sd_event_run(b.event, 0), 0);
}

static void test_broken(void **state) {
        g_autofree char *huge = g_malloc0(10000);
        _cleanup_bed_ Bed b;

        bed_init(&b, true);
        SEND(&b, KVM("CREATED=x\0COUNT=1\0EVENT=create\0PID=1\0"));
        run_loop(&b);
        assert_int_equal(b.seen.losses, 1);
        assert_int_equal(b.seen.events, 0);
        assert_int_equal(b.seen.interfaces, 1);
        assert_int_equal(b.seen.dones, 1);

        /* Longer than any of the kernel's; what of it fits looks whole. */
        memset(huge, 'x', 9999);
        memcpy(huge, GOOD, sizeof(GOOD) - 1);
        huge[8191] = '\0';
        send_local(&b, huge, 10000);
        run_loop(&b);
        assert_int_equal(b.seen.losses, 2);
        assert_int_equal(b.seen.events, 0);
}

/* Nothing else wakes the daemon: the socket's filter drops it. */
static void test_filter(void **state) {
        static const char *const others[] = {
                "add@/devices/virtual/net/tap0", "change@/devices/virtual/misc/tun", "change@/devices/virtual/misc/kvmx",
                "change@/devices/virtual/mosc/kvm", "change@/devices/pci0000:00/0000:00:1f.2", "remove@/devices/virtual/net/tap0",
                "bind@/devices/faux/tdx_host", "online@/devices/system/cpu/cpu1", "add@/de", "x",
        };
        struct pollfd pfd = { .events = POLLIN };
        _cleanup_bed_ Bed b;

        bed_init(&b, true);
        pfd.fd = sd_event_get_fd(b.event);
        for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
                send_local(&b, others[i], strlen(others[i]) + 1);
        assert_int_equal(poll(&pfd, 1, 0), 0);
        SEND(&b, GOOD);
        assert_int_equal(poll(&pfd, 1, 0), 1);
        uevents_drain(b.uevents);
        assert_int_equal(b.seen.events, 1);
}

static void test_bad_socket(void **state) {
        g_autofree char *long_path = g_strnfill(200, 'x');
        UeventHandler handler = {};
        sd_event *event;
        Roots roots = {};
        Uevents *u = NULL;

        assert_true(sd_event_new(&event) >= 0);
        roots.uevents = long_path;
        assert_int_equal(uevents_new(event, &roots, &handler, &u), -ENAMETOOLONG);
        roots.uevents = (char *) "/nonexistent/socket";
        assert_int_equal(uevents_new(event, &roots, &handler, &u), -ENOENT);
        sd_event_unref(event);
}

static bool private_network;

#define NEEDS_NETWORK()                                                                          \
        if (!private_network) {                                                                  \
                print_message("skipped: only root can make a network namespace\n");              \
                skip();                                                                          \
        }

static void test_netlink(void **state) {
        _cleanup_bed_ Bed b;

        NEEDS_NETWORK();
        bed_init(&b, false);
        assert_true(uevents_buffer_size(b.uevents) >= 64 * 1024);
        send_netlink(true, GOOD, sizeof(GOOD) - 1);
        send_netlink(true, INTERFACE, sizeof(INTERFACE) - 1);
        send_netlink(true, "add@/devices/virtual/net/tap0", 30);
        run_loop(&b);
        assert_int_equal(b.seen.events, 1);
        assert_int_equal(b.seen.interfaces, 1);
        assert_int_equal(b.seen.losses, 0);
        assert_string_equal(b.seen.key, "11097-4");
}

/* Anybody with the right to may send to the group, but not as the kernel. */
static void test_not_from_the_kernel(void **state) {
        _cleanup_bed_ Bed b;

        NEEDS_NETWORK();
        bed_init(&b, false);
        send_netlink(false, GOOD, sizeof(GOOD) - 1);
        send_netlink(false, INTERFACE, sizeof(INTERFACE) - 1);
        run_loop(&b);
        assert_int_equal(b.seen.events + b.seen.interfaces + b.seen.losses + b.seen.dones, 0);

        /* The socket is well: the kernel's own come through. */
        send_netlink(true, GOOD, sizeof(GOOD) - 1);
        run_loop(&b);
        assert_int_equal(b.seen.events, 1);
}

/* More than the buffer holds: ENOBUFS, then what fitted. */
static void test_overflow(void **state) {
        unsigned n;
        _cleanup_bed_ Bed b;

        NEEDS_NETWORK();
        bed_init(&b, false);
        /* Each takes more memory in the kernel than its size. */
        n = (unsigned) uevents_buffer_size(b.uevents) / (unsigned) sizeof(GOOD) + 1;
        for (unsigned i = 0; i < n; i++)
                send_netlink(true, GOOD, sizeof(GOOD) - 1);
        uevents_drain(b.uevents);
        assert_true(b.seen.losses > 0);
        assert_true(b.seen.events > 0 && b.seen.events < n);
        /* What is lost is newer than what is there. */
        assert_int_equal(b.seen.events_before_loss, b.seen.events);
        assert_int_equal(b.seen.interfaces, 1);
        assert_int_equal(b.seen.dones, 1);

        /* After that it is as before. */
        b.seen = (Seen) {};
        send_netlink(true, GOOD, sizeof(GOOD) - 1);
        run_loop(&b);
        assert_int_equal(b.seen.events, 1);
        assert_int_equal(b.seen.losses, 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse_kvm),
                cmocka_unit_test(test_simulated),
                cmocka_unit_test(test_drain),
                cmocka_unit_test(test_broken),
                cmocka_unit_test(test_filter),
                cmocka_unit_test(test_bad_socket),
                cmocka_unit_test(test_netlink),
                cmocka_unit_test(test_not_from_the_kernel),
                cmocka_unit_test(test_overflow),
        };

        private_network = unshare(CLONE_NEWNET) == 0;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
