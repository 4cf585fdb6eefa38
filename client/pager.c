/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/util.h"
#include "client/pager.h"

static const char *pager_command(void) {
        const char *pager = secure_getenv("SYSTEMD_PAGER");

        if (!pager)
                pager = secure_getenv("PAGER");
        if (!pager)
                return "less";

        return *pager && strcmp(pager, "cat") != 0 ? pager : NULL;
}

static void set_default(const char *name, const char *systemd_name, const char *value) {
        const char *wanted = getenv(systemd_name);

        setenv(name, wanted ?: value, true);
}

/* Does not return. */
static void pager_exec(int in, const char *command) {
        const char *secure = getenv("SYSTEMD_PAGERSECURE");

        if (dup2(in, STDIN_FILENO) < 0)
                _exit(127);
        /* As systemd has it, but for S: sentences are wrapped, not cut. */
        set_default("LESS", "SYSTEMD_LESS", "FRXMK");
        set_default("LESSCHARSET", "SYSTEMD_LESSCHARSET", "utf-8");
        /* A pager that root looks at another's text with must start no shell and write no file. */
        if (!secure || (strcmp(secure, "0") != 0 && strcmp(secure, "no") != 0 && strcmp(secure, "false") != 0))
                setenv("LESSSECURE", "1", true);
        execl("/bin/sh", "sh", "-c", command, (char *) NULL);
        _exit(127);
}

static void write_all(int fd, const char *text) {
        size_t left = strlen(text);

        while (left > 0) {
                ssize_t n = write(fd, text, left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) /* The pager was left early. */
                        return;
                text += n;
                left -= (size_t) n;
        }
}

static int pager_run(pid_t pid, int fd, const char *text) {
        struct sigaction ignore = { .sa_handler = SIG_IGN }, old_pipe, old_int;
        int status = 0;

        /* Ctrl-C is the pager's own key while it runs. */
        sigaction(SIGPIPE, &ignore, &old_pipe);
        sigaction(SIGINT, &ignore, &old_int);
        write_all(fd, text);
        close(fd);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        sigaction(SIGPIPE, &old_pipe, NULL);
        sigaction(SIGINT, &old_int, NULL);

        return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : 0;
}

int pager_show(const char *text) {
        const char *command = pager_command();
        int fds[2];
        pid_t pid;

        if (!command)
                return -ENOENT;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;

        pid = fork();
        if (pid < 0) {
                int r = -errno;

                close(fds[0]);
                close(fds[1]);
                return r;
        }
        if (pid == 0)
                pager_exec(fds[0], command);

        close(fds[0]);
        return pager_run(pid, fds[1], text);
}
