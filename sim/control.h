/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "sim/host.h"

/*
 * The control socket: a stream; a request is one word a line and an empty line, the
 * answer "ok" and the text, or "error STATUS TEXT", until the end of the stream.
 */
typedef struct Control Control;

int control_new(Host *host, const char *path, Control **ret);
Control *control_free(Control *control);

#define EXIT_USAGE 64   /* sysexits.h: EX_USAGE */

/* In command.c: one command; the process's exit status and a text. */
int command_run(Host *host, const char *const *words, GString *out);

/* In ctl.c: the client; returns the exit status. */
int ctl_main(const char *socket_path, const char *const *words);
