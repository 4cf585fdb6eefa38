/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdio.h>

#include <systemd/sd-event.h>

#include "base/errors.h"
#include "base/names.h"
#include "base/util.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/follow-view.h"
#include "client/follow.h"
#include "client/message-json.h"
#include "client/result.h"

/* As long as systemd gives a unit to start. */
#define ABSENCE_USEC (90 * USEC_PER_SEC)
#define TICK_USEC (200 * USEC_PER_MSEC)

typedef enum End {
        END_NOT_YET,
        END_FINISHED,
        END_INTERRUPTED,
        END_ABSENT,
        END_DISCONNECTED,
        END_GONE,
        END_REFUSED,
} End;

struct Follow {
        Tdxctl *t;
        sd_event *event;
        sd_event_source *absence, *tick;
        sd_bus_slot *job_match, *owner_match, *disconnect_match;
        sd_bus_slot *snapshot;  /* the job's properties have been asked for and are not here yet */
        End end;                /* not sd_event_exit(), which would close the bus too */
        char *owner;            /* the daemon's unique name; signals of others are forged */
        char *path;
        JsonObject *properties; /* by their D-Bus names */
        JsonObject *details;    /* once it has finished */
        FollowView *view;
        sd_bus_error error;     /* what the daemon answered when it was back */
};

/* What the history would say, from the job's own properties: for when the history has nothing (yet). */
static JsonObject *details_of_properties(JsonObject *p) {
        static const struct {
                const char *key, *property;
        } map[] = {
                { "job", "Id" }, { "from", "FromVersion" }, { "to", "ToVersion" }, { "result", "Result" },
                { "error", "Error" }, { "requester", "Requester" }, { "attempts", "AttemptLog" },
        };
        JsonObject *details = json_object_new();

        for (size_t i = 0; i < G_N_ELEMENTS(map); i++)
                if (dict_has(p, map[i].property))
                        json_object_set_member(details, map[i].key, json_node_copy(json_object_get_member(p, map[i].property)));

        return details;
}

/* sd-bus names a missing object, other libraries the method that was to be called on it. */
static bool is_gone(const sd_bus_error *error) {
        return sd_bus_error_has_names(error, SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_INTERFACE,
                                      SD_BUS_ERROR_UNKNOWN_METHOD);
}

static bool is_away(const sd_bus_error *error) {
        return exit_status_of_error(error->name ?: "") == EXIT_UNAVAILABLE;
}

static void end(Follow *f, End why) {
        if (f->end == END_NOT_YET)
                f->end = why;
}

static int on_absent(sd_event_source *s, uint64_t usec, void *userdata) {
        end(userdata, END_ABSENT);
        return 0;
}

static void wait_for_daemon(Follow *f) {
        if (!f->absence &&
            sd_event_add_time_relative(f->event, &f->absence, CLOCK_MONOTONIC, ABSENCE_USEC, 0, on_absent, f) < 0)
                end(f, END_ABSENT);
}

/* The history knows how it ended; if it does not (yet), the job itself does. */
static void finish(Follow *f) {
        if (!f->details)
                (void) bus_find_history(f->t, job_id_of_path(f->path), NULL, &f->details);
        if (!f->details && *dict_string(f->properties, "Result"))
                f->details = details_of_properties(f->properties);

        end(f, f->details ? END_FINISHED : END_GONE);
}

static void snapshot_failed(Follow *f, const sd_bus_error *error) {
        if (f->details || is_gone(error)) {
                finish(f);
        } else if (is_away(error)) {
                wait_for_daemon(f);
        } else {
                sd_bus_error_free(&f->error);
                (void) sd_bus_error_copy(&f->error, error);
                end(f, END_REFUSED);
        }
}

static int on_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        g_autoptr(JsonNode) node = NULL;
        Follow *f = userdata;

        f->snapshot = sd_bus_slot_unref(f->snapshot);
        if (sd_bus_message_is_method_error(m, NULL)) {
                snapshot_failed(f, sd_bus_message_get_error(m));
                return 0;
        }
        if (message_to_json(m, &node) < 0 || !JSON_NODE_HOLDS_OBJECT(node))
                return 0;

        g_clear_pointer(&f->properties, json_object_unref);
        f->properties = json_node_dup_object(node);
        follow_view_update(f->view, f->properties);
        if (f->details || *dict_string(f->properties, "Result"))
                finish(f);
        return 0;
}

/*
 * Asks for all properties. The answer comes in its place among the signals: those before
 * it are older than what it says, those after it are newer.
 */
static int request_snapshot(Follow *f) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        f->snapshot = sd_bus_slot_unref(f->snapshot);
        r = bus_message(f->t, f->path, "org.freedesktop.DBus.Properties", "GetAll", &m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "s", BUS_JOB_INTERFACE);
        if (r < 0)
                return r;

        return sd_bus_call_async(f->t->bus, &f->snapshot, m, on_snapshot, f, 0);
}

static void learn_owner(Follow *f) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        const char *name;

        if (sd_bus_get_name_creds(f->t->bus, BUS_NAME, SD_BUS_CREDS_UNIQUE_NAME, &creds) < 0 ||
            sd_bus_creds_get_unique_name(creds, &name) < 0)
                return;

        g_free(f->owner);
        f->owner = g_strdup(name);
}

static void merge(JsonObject *into, JsonObject *changed) {
        g_autoptr(GList) names = changed ? json_object_get_members(changed) : NULL;

        for (GList *l = names; l; l = l->next)
                json_object_set_member(into, l->data, json_node_copy(json_object_get_member(changed, l->data)));
}

static int on_properties_changed(Follow *f, sd_bus_message *m) {
        g_autoptr(JsonNode) changed = NULL, invalidated = NULL;
        const char *interface;

        if (f->snapshot || sd_bus_message_read(m, "s", &interface) < 0 || !g_str_equal(interface, BUS_JOB_INTERFACE) ||
            message_to_json(m, &changed) < 0 || message_to_json(m, &invalidated) < 0)
                return 0;

        if (array_length(json_node_get_array(invalidated)) > 0)
                return request_snapshot(f);

        merge(f->properties, json_node_get_object(changed));
        follow_view_update(f->view, f->properties);
        return 0;
}

static int on_finished(Follow *f, sd_bus_message *m) {
        g_autoptr(JsonNode) details = NULL;
        const char *result;

        if (sd_bus_message_read(m, "s", &result) < 0 || message_to_json(m, &details) < 0 ||
            !JSON_NODE_HOLDS_OBJECT(details))
                return 0;

        f->details = json_node_dup_object(details);
        if (!dict_has(f->details, "result"))
                json_object_set_string_member(f->details, "result", result);

        /* The way there is shown first. */
        if (!f->snapshot)
                finish(f);
        return 0;
}

static int on_job_removed(Follow *f, sd_bus_message *m) {
        const char *path;
        uint32_t id;

        if (sd_bus_message_read(m, "uo", &id, &path) < 0 || g_strcmp0(path, f->path) != 0)
                return 0;

        /* Finished came before it, unless it was lost with a restart of the daemon. */
        return request_snapshot(f);
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Follow *f = userdata;

        if (!f->path || f->details || g_strcmp0(sd_bus_message_get_sender(m), f->owner) != 0)
                return 0;

        /* Who speaks is there: only its answer was late. */
        if (f->absence) {
                f->absence = sd_event_source_disable_unref(f->absence);
                if (!f->snapshot)
                        (void) request_snapshot(f);
        }

        if (sd_bus_message_is_signal(m, BUS_INTERFACE, "JobRemoved"))
                return on_job_removed(f, m);
        if (g_strcmp0(sd_bus_message_get_path(m), f->path) != 0)
                return 0;
        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties", "PropertiesChanged"))
                return on_properties_changed(f, m);
        if (sd_bus_message_is_signal(m, BUS_JOB_INTERFACE, "Finished"))
                return on_finished(f, m);

        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *name, *old, *new;
        Follow *f = userdata;

        if (!f->path || f->details || sd_bus_message_read(m, "sss", &name, &old, &new) < 0 ||
            !g_str_equal(name, BUS_NAME) || g_strcmp0(new, f->owner) == 0)
                return 0;

        g_free(f->owner);
        f->owner = *new ? g_strdup(new) : NULL;
        f->absence = sd_event_source_disable_unref(f->absence);
        if (*new) {
                follow_view_note(f->view, "The daemon is back.");
                return request_snapshot(f);
        }

        f->snapshot = sd_bus_slot_unref(f->snapshot);
        follow_view_note(f->view, "The daemon went away; the job is kept and goes on when it is back.");
        wait_for_daemon(f);
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        end(userdata, END_DISCONNECTED);
        return 0;
}

static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        end(userdata, END_INTERRUPTED);
        return 0;
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata) {
        Follow *f = userdata;

        follow_view_redraw(f->view);
        (void) sd_event_source_set_time_relative(s, TICK_USEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int subscribe(Follow *f) {
        static const char signals[] = "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_PATH "'";
        sd_bus *bus = f->t->bus;
        int r;

        r = sd_bus_add_match(bus, &f->job_match, signals, on_signal, f);
        if (r < 0)
                return r;
        r = sd_bus_add_match(bus, &f->owner_match,
                             "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                             "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'",
                             on_owner_changed, f);
        if (r < 0)
                return r;

        return sd_bus_match_signal_async(bus, &f->disconnect_match, "org.freedesktop.DBus.Local", NULL,
                                         "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, f);
}

int follow_new(Tdxctl *t, Follow **ret) {
        _cleanup_(follow_freep) Follow *f = g_new0(Follow, 1);
        int r;

        f->t = t;
        f->view = follow_view_new(t);
        f->properties = json_object_new();
        r = sd_event_new(&f->event);
        if (r < 0)
                return r;
        r = subscribe(f);
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&f);
        return 0;
}

Follow *follow_free(Follow *f) {
        sd_bus_slot_unref(f->snapshot);
        sd_bus_slot_unref(f->job_match);
        sd_bus_slot_unref(f->owner_match);
        sd_bus_slot_unref(f->disconnect_match);
        sd_event_source_disable_unref(f->absence);
        sd_event_source_disable_unref(f->tick);
        if (f->event)
                (void) sd_bus_detach_event(f->t->bus);
        sd_event_unref(f->event);
        g_clear_pointer(&f->properties, json_object_unref);
        g_clear_pointer(&f->details, json_object_unref);
        g_clear_pointer(&f->view, follow_view_free);
        sd_bus_error_free(&f->error);
        g_free(f->owner);
        g_free(f->path);
        g_free(f);
        return NULL;
}

static int attach(Follow *f) {
        int r;

        if (follow_view_is_live(f->view)) {
                r = sd_event_add_time_relative(f->event, &f->tick, CLOCK_MONOTONIC, TICK_USEC, 0, on_tick, f);
                if (r < 0)
                        return r;
        }

        return bus_attach(f->t, f->event, on_interrupt, f);
}

static int conclude(Follow *f, int r) {
        uint32_t id = job_id_of_path(f->path);
        g_autofree char *text = NULL;

        follow_view_end(f->view);
        if (r < 0 && f->end == END_NOT_YET)
                return failure_errno(f->t, r);

        switch (f->end) {
        case END_FINISHED:
                return result_show(f->t, f->details);
        case END_INTERRUPTED:
                text = g_strdup_printf("Job %u goes on without you; \"tdxctl cancel %u\" cancels it, \"tdxctl wait %u\" follows it again",
                                       id, id, id);
                return failure_named(f->t, "Interrupted", EXIT_OTHER, text);
        case END_ABSENT:
                text = g_strdup_printf("The daemon has not come back; job %u is kept and goes on when it does (tdxctl wait %u)", id, id);
                return failure_named(f->t, "ServiceUnknown", EXIT_UNAVAILABLE, text);
        case END_GONE:
                return failure(f->t, ERROR_NO_SUCH_JOB, "The daemon has come back without job %u", id);
        case END_REFUSED:
                return failure_bus(f->t, -EIO, &f->error);
        case END_DISCONNECTED:
                text = g_strdup_printf("The connection to the bus broke; job %u goes on (tdxctl wait %u)", id, id);
                return failure_named(f->t, "Disconnected", EXIT_UNAVAILABLE, text);
        default:
                return failure_errno(f->t, -EIO);
        }
}

int follow_run(Follow *f, const char *path) {
        int r;

        f->path = g_strdup(path);
        learn_owner(f);

        r = attach(f);
        if (r >= 0)
                r = request_snapshot(f);
        while (r >= 0 && f->end == END_NOT_YET)
                r = sd_event_run(f->event, UINT64_MAX);

        return conclude(f, r);
}
