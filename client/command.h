/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <signal.h>
#include <sys/types.h>

/*
 * Starts a program as a child, with the signal mask @mask and with SIGTERM for it when this process dies. Returns when it
 * runs: 0 and *@ret, or the negative errno of why it could not be started.
 */
int command_start(char *const argv[], const sigset_t *mask, pid_t *ret);
