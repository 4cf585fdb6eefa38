/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/fileio.h"
#include "base/names.h"
#include "base/util.h"
#include "client/agent.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/message-json.h"

#define SLOW_TIMEOUT_USEC (60 * USEC_PER_SEC)
/* Somebody types a password meanwhile. */
#define AGENT_TIMEOUT_USEC (300 * USEC_PER_SEC)

/* The newest entries of the history; a job that just ended is among them. */
#define RECENT_HISTORY 64

int bus_connect(Tdxctl *t) {
        switch (t->options.transport) {
        case TRANSPORT_REMOTE:
                return sd_bus_open_system_remote(&t->bus, t->options.host);
        case TRANSPORT_MACHINE:
                return sd_bus_open_system_machine(&t->bus, t->options.host);
        default:
                return sd_bus_open_system(&t->bus);
        }
}

int bus_message(Tdxctl *t, const char *path, const char *interface, const char *member, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(t->bus, ret, BUS_NAME, path, interface, member);
}

int bus_call(Tdxctl *t, sd_bus_message *m, CallFlags flags, sd_bus_error *error, sd_bus_message **ret_reply) {
        uint64_t timeout = flags & CALL_SLOW ? SLOW_TIMEOUT_USEC : 0, usual = 0;
        int r;

        if (flags & CALL_AUTH) {
                r = sd_bus_message_set_allow_interactive_authorization(m, t->options.ask_password);
                if (r < 0)
                        return r;
                if (agent_open(t)) {
                        r = sd_bus_get_method_call_timeout(t->bus, &usual);
                        if (r < 0)
                                return r;
                        timeout = MAX(usual, AGENT_TIMEOUT_USEC);
                }
        }

        r = sd_bus_call(t->bus, m, timeout, error, ret_reply);
        return r < 0 ? r : 0;
}

int bus_call_json(Tdxctl *t, sd_bus_message *m, CallFlags flags, sd_bus_error *error, JsonNode **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = bus_call(t, m, flags, error, &reply);
        if (r < 0)
                return r;

        return message_to_json(reply, ret);
}

int bus_call_path(Tdxctl *t, sd_bus_message *m, CallFlags flags, sd_bus_error *error, char **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = bus_call(t, m, flags, error, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;

        *ret = g_strdup(path);
        return 0;
}

int bus_query(Tdxctl *t, const char *member, CallFlags flags, sd_bus_error *error, JsonNode **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, member, &m);
        if (r < 0)
                return r;

        return bus_call_json(t, m, flags, error, ret);
}

int bus_properties(Tdxctl *t, const char *path, const char *interface, sd_bus_error *error, JsonObject **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        g_autoptr(JsonNode) node = NULL;
        int r;

        r = bus_message(t, path, "org.freedesktop.DBus.Properties", "GetAll", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", interface);
        if (r < 0)
                return r;
        r = bus_call_json(t, m, CALL_PLAIN, error, &node);
        if (r < 0)
                return r;
        if (!JSON_NODE_HOLDS_OBJECT(node))
                return -EBADMSG;

        *ret = json_node_dup_object(node);
        return 0;
}

static int newest_unfinished(Tdxctl *t, sd_bus_error *error, char **ret_path) {
        g_autoptr(JsonNode) jobs = NULL;
        const char *newest = NULL;
        JsonArray *array;
        int r;

        r = bus_query(t, "ListJobs", CALL_PLAIN, error, &jobs);
        if (r < 0)
                return r;
        if (!JSON_NODE_HOLDS_ARRAY(jobs))
                return -EBADMSG;

        array = json_node_get_array(jobs);
        for (unsigned i = 0; i < array_length(array); i++) {
                JsonNode *job = json_array_get_element(array, i);
                const char *path = JSON_NODE_HOLDS_ARRAY(job) ? array_string(json_node_get_array(job), 1) : "";

                if (!newest || job_id_of_path(path) > job_id_of_path(newest))
                        newest = path;
        }
        if (!newest)
                return sd_bus_error_set(error, BUS_ERROR_PREFIX "NoSuchJob", "There is no unfinished job.");

        *ret_path = g_strdup(newest);
        return 0;
}

int bus_attach(Tdxctl *t, sd_event *event, sd_event_signal_handler_t on_signal, void *userdata) {
        static const int signals[] = { SIGINT, SIGTERM };
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
                sigaddset(&mask, signals[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
                r = sd_event_add_signal(event, NULL, signals[i], on_signal, userdata);
                if (r < 0)
                        return r;
        }

        return sd_bus_attach_event(t->bus, event, SD_EVENT_PRIORITY_NORMAL);
}

int bus_find_job(Tdxctl *t, uint32_t id, sd_bus_error *error, char **ret_path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (id == 0)
                return newest_unfinished(t, error, ret_path);

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "GetJob", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "u", id);
        if (r < 0)
                return r;
        return bus_call_path(t, m, CALL_PLAIN, error, ret_path);
}

uint32_t job_id_of_path(const char *path) {
        const char *slash = strrchr(path, '/');
        uint64_t id;

        if (!slash || parse_u64(slash + 1, &id) < 0 || id > UINT32_MAX)
                return 0;

        return (uint32_t) id;
}

int bus_find_history(Tdxctl *t, uint32_t id, sd_bus_error *error, JsonObject **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        g_autoptr(JsonNode) node = NULL;
        JsonArray *entries;
        int r;

        *ret = NULL;
        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "GetHistory", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "tu", UINT64_C(0), (uint32_t) RECENT_HISTORY);
        if (r < 0)
                return r;
        r = bus_call_json(t, m, CALL_PLAIN, error, &node);
        if (r < 0)
                return r;
        if (!JSON_NODE_HOLDS_ARRAY(node))
                return -EBADMSG;

        entries = json_node_get_array(node);
        for (unsigned i = 0; i < array_length(entries); i++)
                if (dict_number(array_object(entries, i), "job") == id) {
                        *ret = json_object_ref(array_object(entries, i));
                        break;
                }

        return 0;
}
