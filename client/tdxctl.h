/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

typedef enum JsonMode {
        JSON_OFF,
        JSON_PRETTY,
        JSON_SHORT,
} JsonMode;

typedef enum Transport {
        TRANSPORT_LOCAL,
        TRANSPORT_REMOTE,       /* -H, over ssh */
        TRANSPORT_MACHINE,      /* -M, a local container */
} Transport;

/* What the command line said; the strings are argv's own. */
typedef struct Options {
        JsonMode json;
        bool pager, ask_password, legend;
        Transport transport;
        const char *host;

        bool no_wait, drain, now;
        const char *deadline, *reason, *plan;
        const char *since;
        uint32_t max;
        const char *version, *mapping;
} Options;

typedef struct Tdxctl {
        Options options;
        sd_bus *bus;
        pid_t agent;
        bool colour;
} Tdxctl;
