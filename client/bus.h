/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <json-glib/json-glib.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "client/tdxctl.h"

typedef enum CallFlags {
        CALL_PLAIN = 0,
        CALL_SLOW = 1 << 0,     /* reads a whole image or asks the P-SEAMLDR: 60 s instead of sd-bus's default */
        CALL_AUTH = 1 << 1,     /* polkit may ask for a password: starts the agent, allows the question */
} CallFlags;

/* All return 0 or a negative errno; @error is the daemon's answer then, or empty. */
int bus_connect(Tdxctl *t);
int bus_message(Tdxctl *t, const char *path, const char *interface, const char *member, sd_bus_message **ret);
int bus_call(Tdxctl *t, sd_bus_message *m, CallFlags flags, sd_bus_error *error, sd_bus_message **ret_reply);

/* As bus_call(), and converts the first value of the reply. */
int bus_call_json(Tdxctl *t, sd_bus_message *m, CallFlags flags, sd_bus_error *error, JsonNode **ret);
/* As bus_call(), for a reply that is an object path; the caller frees it. */
int bus_call_path(Tdxctl *t, sd_bus_message *m, CallFlags flags, sd_bus_error *error, char **ret);
/* A method of the manager that takes nothing. */
int bus_query(Tdxctl *t, const char *member, CallFlags flags, sd_bus_error *error, JsonNode **ret);
/* Every property of an object, by its D-Bus names. */
int bus_properties(Tdxctl *t, const char *path, const char *interface, sd_bus_error *error, JsonObject **ret);

/* Brings the bus into the loop, and SIGINT and SIGTERM; without a handler those end it with 0. */
int bus_attach(Tdxctl *t, sd_event *event, sd_event_signal_handler_t on_signal, void *userdata);

/* The job of that number; the newest unfinished one for 0. */
int bus_find_job(Tdxctl *t, uint32_t id, sd_bus_error *error, char **ret_path);
/* The number at the end of a job's path, 0 if it has none. */
uint32_t job_id_of_path(const char *path);
/* A job's entry of the history, NULL if it has none. */
int bus_find_history(Tdxctl *t, uint32_t id, sd_bus_error *error, JsonObject **ret);
