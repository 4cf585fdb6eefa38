/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include <systemd/sd-event.h>

#include "base/errors.h"
#include "base/names.h"
#include "base/util.h"
#include "client/agent.h"
#include "client/bus.h"
#include "client/command.h"
#include "client/failure.h"
#include "client/verbs.h"

/* What is passed on to the command when somebody sends it to tdxctl alone. */
static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };

typedef struct Run {
        sd_event *event;
        pid_t pid;
        int exit_status;
} Run;

static int take(Tdxctl *t, const char *who, sd_bus_error *error, int *ret_fd) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r, fd;

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "Hold", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "ssss", t->options.what, who, t->options.why, t->options.mode ?: "block");
        if (r >= 0)
                r = bus_call(t, m, CALL_AUTH, error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "h", &fd);
        if (r < 0)
                return r;

        /* The message keeps its own. Close-on-exec: what the command leaves behind must not hold on. */
        *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return *ret_fd < 0 ? -errno : 0;
}

static int on_lost(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        fprintf(stderr, "tdxctl: The daemon was stopped and the hold is gone: nothing is kept off any more. The command goes on.\n");
        return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Run *run = userdata;

        /* What the terminal sends (SI_KERNEL), it sends to the command too. */
        if (si->ssi_code != SI_KERNEL)
                (void) kill(run->pid, (int) si->ssi_signo); /* it may have just ended */
        return 0;
}

static int on_ended(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Run *run = userdata;

        run->exit_status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
        return sd_event_exit(run->event, 0);
}

/* From here on signals wait for the loop; @ret_old is the command's mask. */
static int block_signals(sigset_t *ret_old) {
        sigset_t mask;

        /* Whoever started us may ignore it, and then no child could be waited for. */
        signal(SIGCHLD, SIG_DFL);
        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        for (size_t i = 0; i < G_N_ELEMENTS(passed_on); i++)
                sigaddset(&mask, passed_on[i]);

        return sigprocmask(SIG_BLOCK, &mask, ret_old) < 0 ? -errno : 0;
}

static int follow(Run *run, int hold) {
        int r;

        r = sd_event_new(&run->event);
        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(passed_on); i++)
                r = sd_event_add_signal(run->event, NULL, passed_on[i], on_signal, run);
        /* No event is asked for: an error of the pipe, its other end closed, always comes (epoll_ctl(2)). */
        if (r >= 0)
                r = sd_event_add_io(run->event, NULL, hold, 0, on_lost, run);
        if (r >= 0)
                r = sd_event_add_child(run->event, NULL, run->pid, WEXITED, on_ended, run);
        if (r >= 0)
                r = sd_event_loop(run->event);
        run->event = sd_event_unref(run->event);

        return r;
}

static int run_command(Tdxctl *t, char *command[], int hold) {
        Run run = {};
        sigset_t old;
        int r;

        r = block_signals(&old);
        if (r < 0)
                return failure_errno(t, r);

        r = command_start(command, &old, &run.pid);
        if (r == -ENOENT)
                return failure_printf(t, "CommandNotFound", 127, "There is no command %s", command[0]);
        if (r < 0)
                return failure_printf(t, "CommandNotStarted", 126, "%s cannot be started: %s", command[0], g_strerror(-r));

        r = follow(&run, hold);
        return r < 0 ? failure_errno(t, r) : run.exit_status;
}

static int check(const Tdxctl *t, int argc) {
        const Options *o = &t->options;

        if (o->command == 0 || argc < 2)
                return failure(t, ERROR_INVALID_ARGS, "hold wants a command behind \"--\": "
                               "tdxctl hold --what=update --why=\"...\" -- COMMAND [ARG...]");
        if (o->command > 1)
                return failure(t, ERROR_INVALID_ARGS, "hold takes no argument before \"--\"");
        if (!o->what || !o->why)
                return failure(t, ERROR_INVALID_ARGS, "hold wants --%s", o->what ? "why=TEXT" : "what=update, build or migration");
        if (o->transport == TRANSPORT_REMOTE)
                return failure(t, ERROR_INVALID_ARGS, "A hold is a file descriptor, which cannot be handed over ssh; run tdxctl on %s",
                               o->host);

        return EXIT_DONE;
}

int verb_hold(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *program = NULL;
        g_autoptr(GPtrArray) command = g_ptr_array_new();
        _cleanup_close_ int hold = -1;
        int r;

        r = check(t, argc);
        if (r != EXIT_DONE)
                return r;

        program = g_path_get_basename(argv[1]);
        r = take(t, t->options.who ?: program, &error, &hold);
        if (r < 0)
                return failure_bus(t, r, &error);

        /* The terminal is the command's from here on, and the hold needs no bus. */
        agent_close(t);
        t->bus = sd_bus_flush_close_unref(t->bus);

        for (int i = 1; i < argc; i++)
                g_ptr_array_add(command, argv[i]);
        g_ptr_array_add(command, NULL);
        return run_command(t, (char **) command->pdata, hold);
}
