/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/span.h"
#include "base/util.h"
#include "bus/bus-internal.h"

/* What no timer has to be armed for beyond, where the configuration sets no limit. */
#define LONGEST_USEC (365 * 24 * 3600 * USEC_PER_SEC)

static int refuse_gone(sd_bus_error *error) {
        return bus_refuse_id(error, ERROR_ACCESS_DENIED, "The sender of the request has gone");
}

int on_hold(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Failure) failure = {};
        g_auto(Sender) sender = {};
        _cleanup_close_ int fd = -1;
        const char *what, *who, *why, *mode;
        int r, w, o;

        r = sd_bus_message_read(message, "ssss", &what, &who, &why, &mode);
        if (r < 0)
                return r;
        w = hold_what_from_string(what);
        if (w < 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "\"%.32s\" cannot be held; what is update, build or migration", what);
        o = hold_mode_from_string(mode);
        if (o < 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "There is no mode \"%.32s\"; it is block or delay", mode);
        if (sender_read(message, &sender) < 0)
                return refuse_gone(error);

        if (manager_hold(bus->manager,
                         &(HoldRequest) {
                                 .what = (HoldWhat) w,
                                 .mode = (HoldMode) o,
                                 .who = who,
                                 .why = why,
                                 .unit = sender.unit,
                                 .uid = sender.uid,
                                 .pid = sender.pid,
                         }, &fd, &failure) < 0)
                return bus_refuse(error, &failure);

        /* Ours is closed after that, however it went: if nobody gets it, nobody holds. */
        return sd_bus_reply_method_return(message, "h", fd);
}

/* A call of BeginBuild, answered or not yet. */
typedef struct Build {
        Bus *bus;
        sd_bus_message *message;        /* what the strings below point into */
        Sender sender;
        const char *who;
        uint64_t wait_usec, hold_usec;
        BuildMatch match;
        sd_event_source *timer;
        sd_bus_track *track;            /* who has gone needs no answer, and builds nothing */
} Build;

static Build *build_free(Build *build) {
        if (!build)
                return NULL;

        sd_event_source_disable_unref(build->timer);
        sd_bus_track_unref(build->track);
        sd_bus_message_unref(build->message);
        sender_clear(&build->sender);
        g_free(build);
        return NULL;
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Build, build_free)

static int read_name(sd_bus_message *message, const char *key, const char **name, sd_bus_error *error) {
        int r;

        if (**name)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "%s stands in match twice", key);
        r = sd_bus_message_read(message, "v", "s", name);
        if (r >= 0 && !**name)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "%s is empty in match; leave it out if it does not matter", key);
        return r;
}

static int read_pid(sd_bus_message *message, uint32_t *pid, sd_bus_error *error) {
        int r;

        if (*pid != 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "pid stands in match twice");
        r = sd_bus_message_read(message, "v", "u", pid);
        if (r >= 0 && *pid == 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "pid is 0 in match, which is no process");
        return r;
}

static int read_match_entry(sd_bus_message *message, BuildMatch *match, sd_bus_error *error) {
        const char *key, *contents;
        int r;

        r = sd_bus_message_read(message, "s", &key);
        if (r >= 0)
                r = sd_bus_message_peek_type(message, NULL, &contents);
        if (r < 0)
                return r;

        if (strcmp(key, "pid") == 0 && strcmp(contents, "u") == 0)
                return read_pid(message, &match->pid, error);
        if (strcmp(key, "machine") == 0 && strcmp(contents, "s") == 0)
                return read_name(message, key, &match->machine, error);
        if (strcmp(key, "unit") == 0 && strcmp(contents, "s") == 0)
                return read_name(message, key, &match->unit, error);

        return bus_refuse_id(error, ERROR_INVALID_ARGS, "A VM has no \"%.64s\" of type %s in match; there are pid (u), machine (s) and unit (s)",
                             key, contents);
}

static int read_build(Build *build, sd_bus_error *error) {
        sd_bus_message *message = build->message;
        int r;

        build->match = (BuildMatch) { .machine = "", .unit = "" };
        r = sd_bus_message_read(message, "stt", &build->who, &build->wait_usec, &build->hold_usec);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = read_match_entry(message, &build->match, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        build->wait_usec = MIN(build->wait_usec, MIN(manager_config(build->bus->manager)->build_wait_max, LONGEST_USEC));
        return sd_bus_message_exit_container(message);
}

/* As a handler returns it; -EAGAIN: not now, and @failure says why. */
static int announce(Build *build, Failure *failure, sd_bus_error *error) {
        HoldRequest request = {
                .who = build->who,
                .why = "",
                .unit = build->sender.unit,
                .uid = build->sender.uid,
                .pid = build->sender.pid,
        };
        uint32_t id;
        int r;

        if (manager_announce_build(build->bus->manager, &request, &build->match, build->hold_usec, &id, failure) < 0)
                return failure->id == ERROR_BUSY ? -EAGAIN : bus_refuse(error, failure);

        r = sd_bus_reply_method_return(build->message, "u", id);
        if (r < 0)
                (void) manager_end_build(build->bus->manager, id, build->sender.uid, failure);
        return r;
}

/* The last word to somebody who has waited. Frees it. */
static void answer(Build *taken) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(Build) build = taken;
        g_auto(Failure) failure = {};
        int r;

        g_ptr_array_remove(build->bus->builds, build);
        /* That it has gone may be on the way to us only: nothing must be announced for nobody. */
        if (auth_is_root(build->message) < 0)
                return;

        r = announce(build, &failure, &error);
        if (r == -EAGAIN) {
                g_autofree char *span = span_format(build->wait_usec);

                r = bus_refuse_id(&error, ERROR_BUSY, "%s; it was not over within %s", failure.text, span);
        }
        if (r < 0)
                r = sd_bus_reply_method_errno(build->message, r, &error);
        if (r < 0)
                log_warning(r, "Failed to answer a call of BeginBuild, ignoring");
        sd_bus_error_free(&error);
}

void hold_bus_admit(Bus *bus) {
        while (bus->builds->len > 0 && manager_admits_builds(bus->manager))
                answer(bus->builds->pdata[0]);
}

void hold_bus_stop(Bus *bus) {
        while (bus->builds->len > 0) {
                g_autoptr(Build) build = g_ptr_array_steal_index(bus->builds, 0);

                (void) sd_bus_reply_method_errorf(build->message, error_entry(ERROR_BUSY)->dbus_name,
                                                  "The service ends while an update is under way; announce the build again");
        }
}

static int on_wait_over(sd_event_source *source, uint64_t usec, void *userdata) {
        answer(userdata);
        return 0;
}

static int on_caller_gone(sd_bus_track *track, void *userdata) {
        Build *build = userdata;

        log_debug("Process %d has gone while it waited for its build", (int) build->sender.pid);
        g_ptr_array_remove(build->bus->builds, build);
        build_free(build);
        return 0;
}

/* Who waits will hold, so the limits are the same. */
static int check_limits(const Build *build, sd_bus_error *error) {
        Bus *bus = build->bus;
        const Config *config = manager_config(bus->manager);
        const HoldFacts *holds;
        size_t n, all, own = 0;

        holds = manager_holds(bus->manager, &n);
        for (size_t i = 0; i < n; i++)
                if (holds[i].uid == build->sender.uid)
                        own++;
        for (unsigned i = 0; i < bus->builds->len; i++)
                if (((Build *) bus->builds->pdata[i])->sender.uid == build->sender.uid)
                        own++;
        all = n + bus->builds->len;

        if (own >= config->max_holds_per_user)
                return bus_refuse_id(error, ERROR_LIMIT_EXCEEDED,
                                     "This user has %zu holds and builds that wait for an update, and may have %u (MaxHoldsPerUser=); end one first",
                                     own, config->max_holds_per_user);
        if (all >= config->max_holds)
                return bus_refuse_id(error, ERROR_LIMIT_EXCEEDED,
                                     "There are %zu holds and builds that wait for an update, and may be %u (MaxHolds=); see tdxctl holds for who has them",
                                     all, config->max_holds);
        return 0;
}

/* Answers later. */
static int wait_for_admission(Build *build) {
        sd_event *event = sd_bus_get_event(build->bus->bus);
        int r;

        r = sd_bus_track_new(build->bus->bus, &build->track, on_caller_gone, build);
        if (r >= 0)
                r = sd_bus_track_add_sender(build->track, build->message);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &build->timer, CLOCK_BOOTTIME, build->wait_usec, USEC_PER_MSEC, on_wait_over, build);
        return r;
}

int on_begin_build(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_autoptr(Build) build = g_new0(Build, 1);
        g_auto(Failure) failure = {};
        int r;

        build->bus = bus;
        build->message = sd_bus_message_ref(message);
        r = read_build(build, error);
        if (r < 0)
                return r;
        if (sender_read(message, &build->sender) < 0)
                return refuse_gone(error);

        /* It may be over already, and nobody been told yet: those who came before go first. */
        hold_bus_admit(bus);
        r = announce(build, &failure, error);
        if (r != -EAGAIN)
                return r;
        if (build->wait_usec == 0)
                return bus_refuse(error, &failure);

        /* Too many wait already: what counts for this one is that it may not begin, and that is Busy. */
        if (check_limits(build, error) < 0) {
                sd_bus_error_free(error);
                return bus_refuse(error, &failure);
        }
        r = wait_for_admission(build);
        if (r < 0)
                return r;

        log_debug("Process %d waits for its build: %s", (int) build->sender.pid, failure.text);
        g_ptr_array_add(bus->builds, g_steal_pointer(&build));
        return 1;
}

int on_end_build(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Failure) failure = {};
        g_auto(Sender) sender = {};
        uint32_t id;
        int r;

        r = sd_bus_message_read(message, "u", &id);
        if (r < 0)
                return r;
        if (sender_read(message, &sender) < 0)
                return refuse_gone(error);
        if (manager_end_build(bus->manager, id, sender.uid, &failure) < 0)
                return bus_refuse(error, &failure);

        return sd_bus_reply_method_return(message, NULL);
}

int on_list_holds(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        sd_bus_message *reply = NULL;
        const HoldFacts *holds;
        size_t n;
        int r;

        holds = manager_holds(bus->manager, &n);
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssssuut)");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                const HoldFacts *h = &holds[i];

                r = sd_bus_message_append(reply, "(sssssuut)", hold_what_to_string(h->what), h->who, h->why, hold_mode_to_string(h->mode),
                                          h->unit, h->uid, h->pid, h->since);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return reply_with(reply, r);
}
