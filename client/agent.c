/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/util.h"
#include "client/agent.h"

#define READY_TIMEOUT_MSEC 10000

/* Does not return. */
static void agent_exec(int notify_fd, pid_t parent) {
        char fd_text[16], pid_text[16];
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
                _exit(1);

        /* Everything but the notification pipe is close-on-exec. */
        if (fcntl(notify_fd, F_SETFD, 0) < 0)
                _exit(1);
        snprintf(fd_text, sizeof(fd_text), "%d", notify_fd);
        snprintf(pid_text, sizeof(pid_text), "%d", (int) parent);
        execlp("pkttyagent", "pkttyagent", "--process", pid_text, "--notify-fd", fd_text, "--fallback", (char *) NULL);
        _exit(127);
}

bool agent_open(Tdxctl *t) {
        struct pollfd ready = { .events = POLLIN };
        pid_t parent = getpid(), pid;
        int fds[2];

        if (t->agent > 0)
                return true;
        if (!t->options.ask_password || t->options.transport != TRANSPORT_LOCAL || geteuid() == 0 ||
            !isatty(STDIN_FILENO))
                return false;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return false;

        pid = fork();
        if (pid == 0)
                agent_exec(fds[1], parent);
        close(fds[1]);
        if (pid < 0) {
                close(fds[0]);
                return false;
        }

        /* It closes the pipe once it is registered; when it fails or is not there the pipe closes too. */
        ready.fd = fds[0];
        while (poll(&ready, 1, READY_TIMEOUT_MSEC) < 0 && errno == EINTR)
                ;
        close(fds[0]);

        if (waitpid(pid, NULL, WNOHANG) != 0)
                return false;
        t->agent = pid;
        return true;
}

void agent_close(Tdxctl *t) {
        if (t->agent <= 0)
                return;

        /* SIGCONT, in case the terminal has stopped it. */
        kill(t->agent, SIGTERM);
        kill(t->agent, SIGCONT);
        while (waitpid(t->agent, NULL, 0) < 0 && errno == EINTR)
                ;
        t->agent = 0;
}
