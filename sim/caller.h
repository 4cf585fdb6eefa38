/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Whether a task holds CAP_SYS_RAWIO; true when it cannot be told (another PID namespace). */
bool caller_has_rawio(pid_t tid);
