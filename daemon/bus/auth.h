/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

/*
 * Authorisation by polkit, asked without blocking the loop: the message is put back at the
 * head of the queue when the answer comes, and its handler runs again.
 */
typedef struct Auth Auth;

Auth *auth_new(sd_bus *bus);
Auth *auth_free(Auth *auth);

/* 1: the sender is root, 0: it is not, negative: it has gone. */
int auth_is_root(sd_bus_message *message);

/* What polkit has answered about a message that comes back from it; dies on every way out of the door. */
typedef struct AuthAnswer AuthAnswer;

AuthAnswer *auth_take_answer(Auth *auth, sd_bus_message *message);      /* NULL: polkit was not asked yet */
AuthAnswer *auth_answer_free(AuthAnswer *answer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AuthAnswer, auth_answer_free)

/*
 * May the sender of @message do @action? @answer: of auth_take_answer(). @version goes along as
 * a detail for rules and dialogs ("" for none).
 * 1: yes. 0: polkit was asked; return 1 from the handler, it will run again.
 * Negative: no, and @error says so. Nothing may have been changed before this call.
 */
int auth_check(Auth *auth, sd_bus_message *message, const AuthAnswer *answer, const char *action, const char *version,
               sd_bus_error *error);
