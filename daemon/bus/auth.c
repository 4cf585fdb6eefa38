/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdbool.h>

#include <glib.h>

#include "base/clock.h"
#include "base/errors.h"
#include "base/limit.h"
#include "base/log.h"
#include "base/util.h"
#include "bus/auth.h"

/* An answered query whose message never came back to the door (its object went away) is dropped after this. */
#define ANSWER_LIFETIME_USEC (5 * USEC_PER_SEC)

struct Auth {
        sd_bus *bus;
        GHashTable *queries;            /* sd_bus_message -> AuthAnswer */
};

/* A question to polkit, and later its answer. */
typedef struct AuthAnswer {
        Auth *auth;
        sd_bus_message *message, *reply;
        sd_bus_slot *slot;
        sd_bus_track *sender;           /* who has gone needs no answer */
        uid_t uid;
        uint64_t answered;              /* boottime usec, 0: not yet */
        char *action, *version;
} Query;

static void query_free(void *data) {
        Query *q = data;

        sd_bus_slot_unref(q->slot);
        sd_bus_track_unref(q->sender);
        sd_bus_message_unref(q->reply);
        sd_bus_message_unref(q->message);
        g_free(q->action);
        g_free(q->version);
        g_free(q);
}

Auth *auth_new(sd_bus *bus) {
        Auth *auth = g_new0(Auth, 1);

        auth->bus = sd_bus_ref(bus);
        auth->queries = g_hash_table_new_full(NULL, NULL, NULL, query_free);
        return auth;
}

Auth *auth_free(Auth *auth) {
        if (!auth)
                return NULL;

        g_hash_table_unref(auth->queries);
        sd_bus_unref(auth->bus);
        g_free(auth);
        return NULL;
}

AuthAnswer *auth_take_answer(Auth *auth, sd_bus_message *message) {
        Query *q = g_hash_table_lookup(auth->queries, message);

        if (!q || !q->reply)
                return NULL;

        g_hash_table_steal(auth->queries, message);
        return q;
}

AuthAnswer *auth_answer_free(AuthAnswer *answer) {
        if (answer)
                query_free(answer);
        return NULL;
}

static int refuse(sd_bus_error *error, ErrorId id, const char *text) {
        return sd_bus_error_set(error, error_entry(id)->dbus_name, text);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *ignored) {
        Query *q = userdata;
        int r;

        q->reply = sd_bus_message_ref(reply);
        q->slot = sd_bus_slot_unref(q->slot);
        q->answered = clock_boottime(&system_clock);

        r = sd_bus_message_rewind(q->message, true);
        if (r >= 0)
                r = sd_bus_enqueue_for_read(q->auth->bus, q->message);
        if (r < 0) {
                log_error(r, "Failed to go on with a request after its authorisation");
                (void) sd_bus_reply_method_errno(q->message, r, NULL);
                g_hash_table_remove(q->auth->queries, q->message);
        }

        return 1;
}

static int ask(Auth *auth, Query *q) {
        sd_bus_message *call = NULL;
        int r, interactive;

        interactive = sd_bus_message_get_allow_interactive_authorization(q->message);
        r = sd_bus_message_new_method_call(auth->bus, &call, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(call, "(sa{sv})s", "system-bus-name", 1, "name", "s", sd_bus_message_get_sender(q->message),
                                          q->action);
        if (r >= 0)
                r = *q->version ? sd_bus_message_append(call, "a{ss}", 1, "version", q->version) : sd_bus_message_append(call, "a{ss}", 0);
        if (r >= 0)
                r = sd_bus_message_append(call, "us", interactive > 0 ? 1U : 0U, "");
        /* A person may take their time at the dialog; polkit ends it when they or the agent go away. */
        if (r >= 0)
                r = sd_bus_call_async(auth->bus, &q->slot, call, on_answer, q, UINT64_MAX);

        sd_bus_message_unref(call);
        return r;
}

static int judge(const Query *q, const char *action, const char *version, sd_bus_error *error) {
        int r, authorised, challenge;

        /* The same message can only ask for the same thing; if not, that is for somebody else. */
        if (!g_str_equal(q->action, action) || !g_str_equal(q->version, version))
                return refuse(error, ERROR_ACCESS_DENIED, "The request changed while it was being authorised; ask again");

        if (sd_bus_message_is_method_error(q->reply, NULL)) {
                const sd_bus_error *e = sd_bus_message_get_error(q->reply);

                if (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) || sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                        return refuse(error, ERROR_ACCESS_DENIED, "Only root may do this: polkit is not there to allow it to others");
                log_warning(0, "polkit could not answer for %s (%s), treating it as no", q->action, e->message);
                return refuse(error, ERROR_ACCESS_DENIED, "polkit could not answer, so the answer is no; see the journal");
        }

        r = sd_bus_message_enter_container(q->reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(q->reply, "bb", &authorised, &challenge);
        if (r < 0)
                return refuse(error, ERROR_ACCESS_DENIED, "polkit's answer was not understood, so it is no");

        if (authorised)
                return 1;
        if (challenge)
                return refuse(error, ERROR_INTERACTIVE_AUTHORIZATION,
                              "This needs an administrator's password, and there is no agent to ask for it; run it as root, or in a session with one");
        return refuse(error, ERROR_ACCESS_DENIED, "polkit does not allow this; run it as root, or have a rule made for it");
}

static int sender_uid(sd_bus_message *message, uid_t *ret) {
        sd_bus_creds *creds = NULL;
        int r;

        r = sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &creds);
        if (r >= 0)
                r = sd_bus_creds_get_euid(creds, ret);
        sd_bus_creds_unref(creds);

        return r;
}

int auth_is_root(sd_bus_message *message) {
        uid_t uid = UINT32_MAX;
        int r;

        r = sender_uid(message, &uid);
        return r < 0 ? r : uid == 0;
}

static int on_sender_gone(sd_bus_track *track, void *userdata) {
        Query *q = userdata;

        g_hash_table_remove(q->auth->queries, q->message);
        return 0;
}

static gboolean is_forgotten(void *key, void *value, void *userdata) {
        const Query *q = value;
        const uint64_t *now = userdata;

        return q->answered != 0 && *now > q->answered + ANSWER_LIFETIME_USEC;
}

/* Nobody can take the places of all others: a person has one dialog open, a program few. */
static bool may_ask(Auth *auth, uid_t uid) {
        uint64_t now = clock_boottime(&system_clock);
        GHashTableIter iter;
        unsigned own = 0;
        void *value;

        g_hash_table_foreach_remove(auth->queries, is_forgotten, &now);
        g_hash_table_iter_init(&iter, auth->queries);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                if (((Query *) value)->uid == uid)
                        own++;

        return own < LIMIT_PENDING_AUTH_USER && g_hash_table_size(auth->queries) < LIMIT_PENDING_AUTH;
}

static int query_new(Auth *auth, sd_bus_message *message, uid_t uid, const char *action, const char *version) {
        Query *q = g_new0(Query, 1);
        int r;

        q->auth = auth;
        q->uid = uid;
        q->message = sd_bus_message_ref(message);
        q->action = g_strdup(action);
        q->version = g_strdup(version);
        g_hash_table_insert(auth->queries, message, q);

        r = sd_bus_track_new(auth->bus, &q->sender, on_sender_gone, q);
        if (r >= 0)
                r = sd_bus_track_add_sender(q->sender, message);
        if (r >= 0)
                r = ask(auth, q);
        if (r < 0)
                g_hash_table_remove(auth->queries, message);
        return r;
}

int auth_check(Auth *auth, sd_bus_message *message, const AuthAnswer *answer, const char *action, const char *version,
               sd_bus_error *error) {
        uid_t uid = UINT32_MAX;
        int r;

        if (answer)
                return judge(answer, action, version, error);
        if (g_hash_table_contains(auth->queries, message))
                return 0;

        r = sender_uid(message, &uid);
        if (r < 0)
                return refuse(error, ERROR_ACCESS_DENIED, "The sender of the request has gone");
        /* polkit would say yes to root without a look at any rule. */
        if (uid == 0)
                return 1;

        if (!may_ask(auth, uid))
                return refuse(error, ERROR_LIMIT_EXCEEDED, "Too many requests wait for their authorisation; answer or end the dialogs that are open");

        r = query_new(auth, message, uid, action, version);
        if (r < 0) {
                log_error(r, "Failed to ask polkit");
                return refuse(error, ERROR_ACCESS_DENIED, "polkit could not be asked, so the answer is no");
        }
        return 0;
}
