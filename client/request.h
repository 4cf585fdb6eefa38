/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "client/tdxctl.h"

/*
 * The options of Plan and ApplyVersion, as a{sv}. @deadline: 0 for none.
 * 0 or the negative errno of sd-bus.
 */
int request_append(sd_bus_message *m, const Options *options, const char *version, uint64_t deadline);

/* A job's number on the command line: 0 and *@ret, or -EINVAL. */
int request_job(const char *text, uint32_t *ret);
