/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "client/tdxctl.h"

/* Which verbs an option belongs to; an option of no verb belongs to all. */
typedef enum VerbMask {
        VERB_UPDATE = 1 << 0,
        VERB_HISTORY = 1 << 1,
        VERB_IMPORT = 1 << 2,
        VERB_PLAN = 1 << 3,             /* plan and why */
        VERB_HOLD = 1 << 4,
        VERB_BEGIN_BUILD = 1 << 5,
} VerbMask;

/* What the command line asks for besides a verb. */
typedef enum ArgsAction {
        ARGS_RUN,
        ARGS_HELP,
        ARGS_VERSION,
        ARGS_BAD,
} ArgsAction;

typedef struct Args {
        ArgsAction action;
        uint64_t given;         /* which options, by their place in the table */
        bool version_given;     /* import's --version */
        GPtrArray *words;       /* verb and arguments; borrowed strings */
        char *problem;          /* with ARGS_BAD, for people */
} Args;

void args_clear(Args *args);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Args, args_clear)

/* Reads the whole line even when a part of it is wrong, so that --json holds for the error too. */
void args_parse(int argc, char *argv[], Options *options, Args *ret);

/* An option that was given and that no verb of @mask has, or NULL. */
const char *args_foreign(const Args *args, unsigned mask);

/* The options' part of the help: those of exactly these verbs. */
void args_help(GString *out, unsigned mask);
