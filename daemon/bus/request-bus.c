/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/limit.h"
#include "bus/bus-internal.h"

typedef struct OptionReader {
        Request *request;
        bool guests;                    /* ignore-guests was given */
} OptionReader;

static int check_type(sd_bus_message *message, const char *key, const char *signature, sd_bus_error *error) {
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(message, &type, &contents);
        if (r < 0)
                return r;
        if (type != 'v' || strcmp(contents, signature) != 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "The option \"%s\" has the type %s, it takes %s", key,
                                     type == 'v' ? contents : "(none)", signature);
        return 0;
}

static int read_basic(sd_bus_message *message, const char *key, const char *signature, void *ret, sd_bus_error *error) {
        int r;

        r = check_type(message, key, signature, error);
        return r < 0 ? r : sd_bus_message_read(message, "v", signature, ret);
}

static int add_guest(GArray *guests, IgnoredGuest guest, sd_bus_error *error) {
        if (guest.pid == 0 || guest.start_time == 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "In ignore-guests a pid or a start time is 0; both are in ListGuests (tdxctl guests)");

        for (unsigned i = 0; i < guests->len; i++)
                if (g_array_index(guests, IgnoredGuest, i).pid == guest.pid &&
                    g_array_index(guests, IgnoredGuest, i).start_time == guest.start_time)
                        return 0;
        if (guests->len >= LIMIT_IGNORED_GUESTS)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "There are more than %u VMs in ignore-guests", LIMIT_IGNORED_GUESTS);

        g_array_append_val(guests, guest);
        return 0;
}

static int read_guests(sd_bus_message *message, const char *key, GArray **ret, sd_bus_error *error) {
        g_autoptr(GArray) guests = g_array_new(false, false, sizeof(IgnoredGuest));
        IgnoredGuest guest = {};
        int r;

        r = check_type(message, key, "a(ut)", error);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'v', "a(ut)");
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "(ut)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(message, "(ut)", &guest.pid, &guest.start_time)) > 0) {
                r = add_guest(guests, guest, error);
                if (r < 0)
                        return r;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;

        g_clear_pointer(ret, g_array_unref);
        *ret = guests->len > 0 ? g_steal_pointer(&guests) : NULL;
        return 0;
}

static int read_text(sd_bus_message *message, const char *key, const char **ret, sd_bus_error *error) {
        int r;

        r = read_basic(message, key, "s", ret, error);
        if (r < 0)
                return r;
        if (strlen(*ret) > LIMIT_REASON_LENGTH)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "The option \"%s\" is longer than %u bytes", key, LIMIT_REASON_LENGTH);
        return 0;
}

static int read_flag(sd_bus_message *message, const char *key, bool *ret, sd_bus_error *error) {
        int value, r;

        r = read_basic(message, key, "b", &value, error);
        if (r >= 0)
                *ret = value;
        return r;
}

static int read_deadline(sd_bus_message *message, uint64_t *ret, sd_bus_error *error) {
        int r;

        r = read_basic(message, "deadline", "t", ret, error);
        if (r < 0)
                return r;
        if (*ret <= clock_realtime(&system_clock))
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "The deadline has passed already; it is in microseconds since 1970");
        return 0;
}

static int read_option(sd_bus_message *message, OptionReader *reader, sd_bus_error *error) {
        JobOptions *options = &reader->request->options;
        const char *key;
        int r;

        r = sd_bus_message_read(message, "s", &key);
        if (r < 0)
                return r;

        if (strcmp(key, "deadline") == 0)
                return read_deadline(message, &options->deadline, error);
        if (strcmp(key, "reason") == 0)
                return read_text(message, key, &reader->request->why, error);
        if (strcmp(key, "plan") == 0)
                return read_text(message, key, &reader->request->plan, error);
        if (strcmp(key, "now") == 0)
                return read_flag(message, key, &options->now, error);
        if (strcmp(key, "drain") == 0)
                return read_flag(message, key, &options->drain, error);
        if (strcmp(key, "ignore-activity") == 0)
                return read_flag(message, key, &options->ignore_activity, error);
        if (strcmp(key, "ignore-guests") == 0) {
                reader->guests = true;
                return read_guests(message, key, &options->ignored, error);
        }

        return bus_refuse_id(error, ERROR_INVALID_ARGS, "There is no option \"%.64s\"; there are deadline, reason, plan, now, drain, "
                             "ignore-activity and ignore-guests", key);
}

static int read_options(sd_bus_message *message, OptionReader *reader, sd_bus_error *error) {
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = read_option(message, reader, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }

        return r < 0 ? r : sd_bus_message_exit_container(message);
}

int request_read(sd_bus_message *message, Request *ret, bool *ret_unsafe, sd_bus_error *error) {
        OptionReader reader = { .request = ret };
        int r;

        *ret = (Request) { .version = "", .why = "", .unit = "", .plan = "" };
        r = sd_bus_message_read(message, "s", &ret->version);
        if (r >= 0)
                r = read_options(message, &reader, error);
        if (r < 0)
                return r;

        *ret_unsafe = ret->options.ignore_activity || reader.guests;
        return 0;
}
