/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>

#include "client/tdxctl.h"

/*
 * What a follower sees of a job: in a pipe one line a change, on a terminal also one
 * live line for the moment, with --json nothing.
 */
typedef struct FollowView FollowView;

FollowView *follow_view_new(const Tdxctl *t);
void follow_view_free(FollowView *v);
bool follow_view_is_live(const FollowView *v);

/* The job's properties, by their D-Bus names; borrowed until the next call. */
void follow_view_update(FollowView *v, JsonObject *properties);
/* Time has passed. */
void follow_view_redraw(FollowView *v);
/* A line about the daemon itself. */
void follow_view_note(FollowView *v, const char *text);
/* Takes the live line away; nothing is drawn after it. */
void follow_view_end(FollowView *v);
