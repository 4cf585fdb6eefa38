/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "client/command.h"

/* Does not return. The pipe closes by itself when the program runs. */
static void command_exec(char *const argv[], const sigset_t *mask, pid_t parent, int report) {
        int error = 0;

        /* Nothing that was to be protected goes on unprotected: a hold dies with its holder. */
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || sigprocmask(SIG_SETMASK, mask, NULL) < 0)
                error = errno;
        else if (getppid() != parent)
                _exit(128 + SIGTERM);
        if (error == 0) {
                execvp(argv[0], argv);
                error = errno;
        }

        if (write(report, &error, sizeof(error)) != sizeof(error))
                _exit(126);
        _exit(127);
}

static int read_report(int fd) {
        ssize_t n;
        int error;

        do
                n = read(fd, &error, sizeof(error));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        return n == sizeof(error) ? -error : 0;
}

int command_start(char *const argv[], const sigset_t *mask, pid_t *ret) {
        pid_t parent = getpid(), pid;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;

        pid = fork();
        if (pid == 0)
                command_exec(argv, mask, parent, fds[1]);
        r = pid < 0 ? -errno : 0;
        close(fds[1]);
        if (r == 0)
                r = read_report(fds[0]);
        close(fds[0]);
        if (r == 0) {
                *ret = pid;
                return 0;
        }

        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return r;
}
