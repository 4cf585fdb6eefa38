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

/* A VM to be ignored; both must agree, since pids are used again. */
typedef struct GuestId {
        uint32_t pid;
        uint64_t start;         /* 0: not given */
} GuestId;

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

        bool ignore_activity;
        GuestId ignored[32];
        size_t n_ignored;

        const char *what, *who, *why, *mode;
        const char *machine, *unit;
        uint32_t pid;
        const char *wait, *hold;
        unsigned command;       /* which word is the first behind "--", 0: there is none */
} Options;

typedef struct Tdxctl {
        Options options;
        sd_bus *bus;
        pid_t agent;
        bool colour;
} Tdxctl;
