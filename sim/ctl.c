/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fileio.h"
#include "base/util.h"
#include "sim/control.h"

static int fail(const char *text, const char *argument) {
        fprintf(stderr, "tdx-sim: %s: %s\n", argument, text);
        return EXIT_FAILURE;
}

static int connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return steal_fd(&fd);
}

/* One word a line. A file's name is made absolute: the simulator has a working directory of its own. */
static int make_request(const char *const *words, GString *request) {
        for (size_t i = 0; words[i]; i++) {
                if (!*words[i] || strchr(words[i], '\n')) {
                        fprintf(stderr, "tdx-sim: a word is empty or has a newline in it\n");
                        return EXIT_USAGE;
                }
                if (i == 1 && strcmp(words[0], "upload") == 0) {
                        g_autofree char *path = g_canonicalize_filename(words[i], NULL);

                        g_string_append_printf(request, "%s\n", path);
                } else
                        g_string_append_printf(request, "%s\n", words[i]);
        }
        g_string_append_c(request, '\n');
        return 0;
}

static int exchange(int fd, const GString *request, GString *ret_answer) {
        size_t done = 0;

        while (done < request->len) {
                ssize_t n = send(fd, request->str + done, request->len - done, MSG_NOSIGNAL);

                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }

        for (;;) {
                char buffer[4096];
                ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                g_string_append_len(ret_answer, buffer, n);
        }
}

static int show(const char *answer) {
        int status, end = 0;

        if (g_str_has_prefix(answer, "ok\n")) {
                fputs(answer + strlen("ok\n"), stdout);
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        if (sscanf(answer, "error %d %n", &status, &end) != 1 || end == 0) {
                fprintf(stderr, "tdx-sim: the simulator gave no answer\n");
                return EXIT_FAILURE;
        }
        fprintf(stderr, "tdx-sim: %s", answer + end);
        return status;
}

int ctl_main(const char *socket_path, const char *const *words) {
        g_autoptr(GString) request = g_string_new(NULL);
        g_autoptr(GString) answer = g_string_new(NULL);
        _cleanup_close_ int fd = -1;
        int r;

        r = make_request(words, request);
        if (r != 0)
                return r;

        fd = connect_to(socket_path);
        if (fd < 0)
                return fail(strerror(-fd), socket_path);
        r = exchange(fd, request, answer);
        if (r < 0)
                return fail(strerror(-r), socket_path);

        return show(answer->str);
}
