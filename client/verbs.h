/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "client/args.h"
#include "client/tdxctl.h"

/* Each returns tdxctl's exit status and has said what went wrong. @argv[0] is the verb. */
int verb_status(Tdxctl *t, int argc, char *argv[]);
int verb_list(Tdxctl *t, int argc, char *argv[]);
int verb_plan(Tdxctl *t, int argc, char *argv[]);
int verb_why(Tdxctl *t, int argc, char *argv[]);
int verb_update(Tdxctl *t, int argc, char *argv[]);
int verb_wait(Tdxctl *t, int argc, char *argv[]);
int verb_jobs(Tdxctl *t, int argc, char *argv[]);
int verb_show(Tdxctl *t, int argc, char *argv[]);
int verb_cancel(Tdxctl *t, int argc, char *argv[]);
int verb_history(Tdxctl *t, int argc, char *argv[]);
int verb_monitor(Tdxctl *t, int argc, char *argv[]);
int verb_guests(Tdxctl *t, int argc, char *argv[]);
int verb_holds(Tdxctl *t, int argc, char *argv[]);
int verb_hold(Tdxctl *t, int argc, char *argv[]);
int verb_begin_build(Tdxctl *t, int argc, char *argv[]);
int verb_end_build(Tdxctl *t, int argc, char *argv[]);
int verb_import(Tdxctl *t, int argc, char *argv[]);
int verb_inspect(Tdxctl *t, int argc, char *argv[]);
int verb_refresh(Tdxctl *t, int argc, char *argv[]);
int verb_config(Tdxctl *t, int argc, char *argv[]);
int verb_help(Tdxctl *t, int argc, char *argv[]);

/* Finds the verb of @args ("status" for none), checks its arguments and options, connects and runs it. */
int verbs_run(Tdxctl *t, Args *args);
