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

static int skip_guests(sd_bus_message *message, const char *key, sd_bus_error *error) {
        int r;

        r = check_type(message, key, "a(ut)", error);
        return r < 0 ? r : sd_bus_message_skip(message, "v");
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
                return skip_guests(message, key, error);
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

int request_check(const Request *request, bool unsafe, sd_bus_error *error) {
        if (request->options.drain)
                return bus_refuse_id(error, ERROR_NOT_SUPPORTED, "drain is not there yet: builds are not told apart, so none can be kept off");
        if (request->options.ignore_activity)
                return bus_refuse_id(error, ERROR_NOT_SUPPORTED, "ignore-activity is not there yet; the update waits until no TD is left");
        if (unsafe)
                return bus_refuse_id(error, ERROR_NOT_SUPPORTED, "ignore-guests is not there yet: guests are not told apart, only their absence counts");

        return 0;
}
