/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "test-hold-bed.h"

const HoldLimits plenty = { .all = 1000, .per_user = 1000 };
const BuildMatch no_match = { .machine = "", .unit = "" };

void reserve_passed(void) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC), high = fcntl(null, F_DUPFD_CLOEXEC, 3 + PASSED_FDS);

        assert_true(high >= 0);
        close(null);
        for (int fd = 3; fd < 3 + PASSED_FDS; fd++)
                if (fcntl(fd, F_GETFD) < 0)
                        assert_true(dup2(high, fd) >= 0);
        close(high);
}

void bed_on_change(void *userdata) {
        Bed *bed = userdata;

        assert_false(bed->inside);
        bed->changes++;
}

/* Of the message's lines. */
static const char *message_value(char **lines, const char *key) {
        for (; *lines; lines++)
                if (g_str_has_prefix(*lines, key) && (*lines)[strlen(key)] == '=')
                        return *lines + strlen(key) + 1;

        return "";
}

static void store_handle(Bed *bed, const char *text, const int *fds, size_t n_fds) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        const char *name = message_value(lines, "FDNAME");

        if (strcmp(message_value(lines, "FDSTOREREMOVE"), "1") == 0)
                for (unsigned i = bed->store->len; i > 0; i--) {
                        Stored *s = &g_array_index(bed->store, Stored, i - 1);

                        if (strcmp(s->name, name) != 0)
                                continue;
                        close(s->fd);
                        g_free(s->name);
                        g_array_remove_index(bed->store, i - 1);
                }
        for (size_t i = 0; i < n_fds; i++) {
                Stored s = { g_strdup(name), fds[i] };

                assert_string_equal(message_value(lines, "FDSTORE"), "1");
                g_array_append_val(bed->store, s);
        }
}

void store_run(Bed *bed) {
        for (;;) {
                char text[4096], control[CMSG_SPACE(4 * sizeof(int))];
                struct iovec iov = { text, sizeof(text) - 1 };
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
                size_t n_fds = 0;
                int fds[4];
                ssize_t n;

                n = recvmsg(bed->socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                if (n < 0)
                        break;
                text[n] = '\0';
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
                        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                                n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                                assert_true(n_fds <= 4);
                                memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
                        }
                store_handle(bed, text, fds, n_fds);
        }

        for (unsigned i = bed->store->len; i > 0; i--) {
                Stored *s = &g_array_index(bed->store, Stored, i - 1);
                struct pollfd p = { .fd = s->fd };

                if (poll(&p, 1, 0) == 0 || !(p.revents & (POLLHUP | POLLERR)))
                        continue;
                close(s->fd);
                g_free(s->name);
                g_array_remove_index(bed->store, i - 1);
        }
}

unsigned n_stored(Bed *bed) {
        store_run(bed);
        return bed->store->len;
}

void bed_run(Bed *bed) {
        while (sd_event_run(bed->event, 0) > 0)
                ;
        store_run(bed);
}

void bed_wait(Bed *bed) {
        unsigned before = bed->changes;

        while (bed->changes == before)
                if (sd_event_run(bed->event, 10 * USEC_PER_SEC) == 0)
                        fail_msg("nothing has changed within 10 s");
        store_run(bed);
}

void bed_start(Bed *bed) {
        g_autoptr(GString) names = g_string_new(NULL);
        g_autofree char *n = NULL, *pid = g_strdup_printf("%d", (int) getpid());

        reserve_passed();
        store_run(bed);
        assert_true(bed->store->len <= PASSED_FDS);
        for (unsigned i = 0; i < bed->store->len; i++) {
                assert_true(dup2(g_array_index(bed->store, Stored, i).fd, 3 + (int) i) >= 0);
                g_string_append_printf(names, "%s%s", i > 0 ? ":" : "", g_array_index(bed->store, Stored, i).name);
        }
        if (bed->store->len > 0) {
                n = g_strdup_printf("%u", bed->store->len);
                g_setenv("LISTEN_PID", pid, true);
                g_setenv("LISTEN_FDS", n, true);
                g_setenv("LISTEN_FDNAMES", names->str, true);
        }
        assert_true(sd_event_new(&bed->event) >= 0);
        assert_int_equal(holds_new(bed->event, bed_on_change, bed, &bed->holds), 0);
        store_run(bed);
}

void bed_stop(Bed *bed) {
        bed->holds = holds_free(bed->holds);
        bed->event = sd_event_unref(bed->event);
        store_run(bed);
}

void bed_restart(Bed *bed) {
        bed_stop(bed);
        bed_start(bed);
}

Bed *bed_new(void) {
        Bed *bed = g_new0(Bed, 1);
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        reserve_passed();
        bed->tree = tree_new();
        bed->path = g_build_filename(bed->tree.path, "notify", NULL);
        g_strlcpy(address.sun_path, bed->path, sizeof(address.sun_path));
        bed->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(bed->socket, (struct sockaddr *) &address, sizeof(address)), 0);
        g_setenv("NOTIFY_SOCKET", bed->path, true);
        bed->store = g_array_new(false, false, sizeof(Stored));
        bed_start(bed);
        return bed;
}

void bed_free(Bed **b) {
        Bed *bed = *b;

        bed_stop(bed);
        for (unsigned i = 0; i < bed->store->len; i++) {
                close(g_array_index(bed->store, Stored, i).fd);
                g_free(g_array_index(bed->store, Stored, i).name);
        }
        g_array_unref(bed->store);
        close(bed->socket);
        g_free(bed->path);
        tree_free(&bed->tree);
        g_unsetenv("NOTIFY_SOCKET");
        g_unsetenv("FDSTORE");
        g_free(bed);
}

HoldRequest request_of(HoldWhat what, uid_t uid) {
        return (HoldRequest) { .what = what, .who = "who", .why = "why", .unit = "a.service", .uid = uid, .pid = 4711 };
}

int take(Bed *bed, const HoldRequest *request) {
        g_auto(Failure) failure = {};
        int fd = -1;

        bed->inside = true;
        if (holds_take(bed->holds, request, &plenty, &fd, &failure) < 0)
                fail_msg("%s", failure.text);
        bed->inside = false;
        assert_true(fd >= 0);
        return fd;
}

uint32_t announce(Bed *bed, uid_t uid, const BuildMatch *match, uint64_t usec) {
        HoldRequest request = request_of(HOLD_BUILD, uid);
        g_auto(Failure) failure = {};
        uint32_t id = 0;

        bed->inside = true;
        if (holds_announce(bed->holds, &request, match, usec, &plenty, &id, &failure) < 0)
                fail_msg("%s", failure.text);
        bed->inside = false;
        assert_true(id != 0);
        return id;
}

size_t n_holds(Bed *bed) {
        size_t n;

        (void) holds_get(bed->holds, &n);
        return n;
}

const HoldFacts *hold_at(Bed *bed, size_t i) {
        const HoldFacts *facts;
        size_t n;

        facts = holds_get(bed->holds, &n);
        assert_true(i < n);
        return &facts[i];
}
