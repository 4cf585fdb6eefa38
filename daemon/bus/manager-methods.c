/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/names.h"
#include "bus/bus-internal.h"
#include "bus/describe.h"
#include "bus/dict.h"

#define HISTORY_REPLY_MAX 1000U

int reply_with(sd_bus_message *reply, int r) {
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int apply(Bus *bus, sd_bus_message *message, Request *request, sd_bus_error *error) {
        g_auto(Failure) failure = {};
        g_auto(Sender) sender = {};
        char path[JOB_PATH_MAX];
        bool is_new;
        Job *job;
        int r;

        r = sender_read(message, &sender);
        if (r < 0)
                return bus_refuse_id(error, ERROR_ACCESS_DENIED, "The sender of the request has gone");
        request->uid = sender.uid;
        request->unit = sender.unit;

        if (manager_apply(bus->manager, request, &job, &is_new, &failure) < 0)
                return bus_refuse(error, &failure);

        /* The reply comes before the signals: who asked knows the job when they arrive. */
        r = sd_bus_reply_method_return(message, "o", job_path(job->record->id, path));
        if (is_new)
                manager_announce(bus->manager, job);
        return r;
}

static int on_apply(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        Request request = { .version = "", .why = "", .plan = "" };

        return apply(bus, message, &request, error);
}

static int on_apply_version(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Request) request = {};
        bool unsafe;
        int r;

        r = request_read(message, &request, &unsafe, error);
        return r < 0 ? r : apply(bus, message, &request, error);
}

static int choose_apply_version(Bus *bus, sd_bus_message *message, const char **ret_action, const char **ret_version,
                                sd_bus_error *error) {
        g_auto(Request) request = {};
        Version version;
        bool unsafe;
        int r;

        r = request_read(message, &request, &unsafe, error);
        if (r < 0)
                return r;
        /* Before a password is asked for, and before it stands in a dialog. */
        if (*request.version && version_parse(request.version, &version) < 0)
                return bus_refuse_id(error, ERROR_INVALID_ARGS, "\"%.32s\" is no version; write it as 1.5.06, or leave it out for the newest",
                                     request.version);

        *ret_action = unsafe ? ACTION_APPLY_UNSAFE : ACTION_APPLY;
        *ret_version = request.version;
        return 0;
}

static int on_plan(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Failure) failure = {};
        g_auto(Plan) plan = {};
        sd_bus_message *reply = NULL;
        g_auto(Request) request = {};
        bool unsafe;
        int r;

        r = request_read(message, &request, &unsafe, error);
        if (r < 0)
                return r;
        if (manager_plan(bus->manager, &request, &plan, &failure) < 0)
                return bus_refuse(error, &failure);

        r = sd_bus_message_new_method_return(message, &reply);
        return reply_with(reply, r < 0 ? r : describe_plan(reply, &plan));
}

static int on_list_images(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        const Catalogue *catalogue = manager_catalogue(bus->manager);
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < catalogue_n_images(catalogue); i++)
                r = describe_image(reply, bus->manager, catalogue_image(catalogue, i));
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return reply_with(reply, r);
}

/*
 * A file on somebody's own file system (FUSE, a network) can make every call on it wait for ever, and
 * with it the loop. Memory cannot: F_GET_SEALS works on nothing else, and asks no file system.
 */
static int check_descriptor(sd_bus_message *message, int fd, sd_bus_error *error) {
        int r;

        if (fcntl(fd, F_GET_SEALS) >= 0)
                return 0;
        r = auth_is_root(message);
        if (r > 0)
                return 0;
        if (r < 0)
                return bus_refuse_id(error, ERROR_ACCESS_DENIED, "The sender of the request has gone");
        return bus_refuse_id(error, ERROR_INVALID_ARGS, "From users other than root a file is taken only as a memfd; "
                             "copy it into one (memfd_create(2)), as tdxctl does");
}

static int on_inspect_image(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Failure) failure = {};
        g_autoptr(Image) image = NULL;
        sd_bus_message *reply = NULL;
        int fd, r;

        r = sd_bus_message_read(message, "h", &fd);
        if (r >= 0)
                r = check_descriptor(message, fd, error);
        if (r < 0)
                return r;
        if (manager_inspect(bus->manager, fd, &image, &failure) < 0)
                return bus_refuse(error, &failure);

        r = sd_bus_message_new_method_return(message, &reply);
        return reply_with(reply, r < 0 ? r : describe_image(reply, bus->manager, image));
}

static int append_job_row(sd_bus_message *reply, const Job *job) {
        char path[JOB_PATH_MAX];

        return sd_bus_message_append(reply, "(uosss)", job->record->id, job_path(job->record->id, path), job->record->to,
                                     job_state_to_string(job->record->state), job->reason);
}

static int on_list_jobs(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(uosss)");
        for (size_t i = 0; r >= 0 && i < manager_n_jobs(bus->manager); i++)
                if (!job_finished(manager_job(bus->manager, i)))
                        r = append_job_row(reply, manager_job(bus->manager, i));
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return reply_with(reply, r);
}

static int on_get_job(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        char path[JOB_PATH_MAX];
        uint32_t id;
        int r;

        r = sd_bus_message_read(message, "u", &id);
        if (r < 0)
                return r;
        if (!manager_find_job(bus->manager, id))
                return bus_refuse_id(error, ERROR_NO_SUCH_JOB, "There is no job %u; older ones are in the history", id);

        return sd_bus_reply_method_return(message, "o", job_path(id, path));
}

static int on_get_history(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_autoptr(GPtrArray) records = NULL;
        g_auto(Failure) failure = {};
        sd_bus_message *reply = NULL;
        uint64_t since;
        uint32_t max;
        int r;

        r = sd_bus_message_read(message, "tu", &since, &max);
        if (r < 0)
                return r;
        max = max == 0 ? HISTORY_REPLY_MAX : MIN(max, HISTORY_REPLY_MAX);
        if (manager_history(bus->manager, since, max, &records, &failure) < 0)
                return bus_refuse(error, &failure);

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (unsigned i = 0; r >= 0 && i < records->len; i++)
                r = describe_history(reply, records->pdata[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return reply_with(reply, r);
}

typedef struct ImportOptions {
        const char *version;
        int mapping_fd;
} ImportOptions;

static int read_import_option(sd_bus_message *message, ImportOptions *options, sd_bus_error *error) {
        const char *key, *contents;
        int r;

        r = sd_bus_message_read(message, "s", &key);
        if (r >= 0)
                r = sd_bus_message_peek_type(message, NULL, &contents);
        if (r < 0)
                return r;

        if (strcmp(key, "version") == 0 && strcmp(contents, "s") == 0)
                return sd_bus_message_read(message, "v", "s", &options->version);
        if (strcmp(key, "mapping") == 0 && strcmp(contents, "h") == 0)
                return sd_bus_message_read(message, "v", "h", &options->mapping_fd);

        return bus_refuse_id(error, ERROR_INVALID_ARGS, "There is no option \"%.64s\" of type %s; there are version (s) and mapping (h)",
                             key, contents);
}

static int on_import_image(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Failure) failure = {};
        g_autofree char *version = NULL;
        ImportOptions options = { .mapping_fd = -1 };
        int fd, r;

        r = sd_bus_message_read(message, "h", &fd);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = read_import_option(message, &options, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        if (r >= 0)
                r = check_descriptor(message, fd, error);
        if (r >= 0 && options.mapping_fd >= 0)
                r = check_descriptor(message, options.mapping_fd, error);
        if (r < 0)
                return r;

        if (manager_import(bus->manager, fd, options.mapping_fd, options.version, &version, &failure) < 0)
                return bus_refuse(error, &failure);
        return sd_bus_reply_method_return(message, "s", version);
}

static int on_list_guests(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(ActivityVerdict) verdict = {};
        sd_bus_message *reply = NULL;
        const GuestFacts *const *guests;
        size_t n;
        int r;

        manager_activity(bus->manager, &verdict);
        guests = manager_guests(bus->manager, &n);

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < n && i < verdict.n_guests; i++)
                r = describe_guest(reply, guests[i], &verdict.guests[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return reply_with(reply, r);
}

static int on_describe_config(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        const Config *config = manager_config(bus->manager);
        sd_bus_message *reply = NULL;
        const ConfigKey *keys;
        size_t n;
        int r;

        keys = config_keys(&n);
        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                g_autofree char *value = config_value(config, &keys[i]);
                Dict d = dict_open(reply);

                dict_string(&d, "key", keys[i].name);
                dict_string(&d, "value", value);
                dict_string(&d, "default", keys[i].fallback);
                dict_string(&d, "source", config_source(config, &keys[i]));
                dict_string(&d, "text", keys[i].text);
                r = dict_close(&d);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return reply_with(reply, r);
}

static int on_refresh(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        g_auto(Failure) failure = {};

        if (manager_refresh(bus->manager, &failure) < 0)
                return bus_refuse(error, &failure);
        return sd_bus_reply_method_return(message, NULL);
}

static int on_not_supported(Bus *bus, sd_bus_message *message, sd_bus_error *error) {
        return bus_refuse_id(error, ERROR_NOT_SUPPORTED, "%s is part of the API, but this version of tdx-updated cannot do it yet",
                             sd_bus_message_get_member(message));
}

const Method manager_methods[] = {
        { BUS_INTERFACE, "Apply", on_apply, ACTION_APPLY, NULL },
        { BUS_INTERFACE, "ApplyVersion", on_apply_version, ACTION_APPLY, choose_apply_version },
        { BUS_INTERFACE, "Plan", on_plan, NULL, NULL },
        { BUS_INTERFACE, "ListImages", on_list_images, NULL, NULL },
        { BUS_INTERFACE, "InspectImage", on_inspect_image, NULL, NULL },
        { BUS_INTERFACE, "ListJobs", on_list_jobs, NULL, NULL },
        { BUS_INTERFACE, "GetJob", on_get_job, NULL, NULL },
        { BUS_INTERFACE, "GetHistory", on_get_history, NULL, NULL },
        { BUS_INTERFACE, "Hold", on_hold, ACTION_HOLD, NULL },
        { BUS_INTERFACE, "BeginBuild", on_begin_build, ACTION_HOLD, NULL },
        { BUS_INTERFACE, "EndBuild", on_end_build, ACTION_HOLD, NULL },
        { BUS_INTERFACE, "ListHolds", on_list_holds, ACTION_INSPECT_GUESTS, NULL },
        { BUS_INTERFACE, "ListGuests", on_list_guests, ACTION_INSPECT_GUESTS, NULL },
        { BUS_INTERFACE, "ImportImage", on_import_image, ACTION_MANAGE_IMAGES, NULL },
        { BUS_INTERFACE, "SetDesiredVersion", on_not_supported, ACTION_SET_DESIRED, NULL },
        { BUS_INTERFACE, "Diagnose", on_not_supported, NULL, NULL },
        { BUS_INTERFACE, "GetMetrics", on_not_supported, NULL, NULL },
        { BUS_INTERFACE, "DescribeConfig", on_describe_config, NULL, NULL },
        { BUS_INTERFACE, "Refresh", on_refresh, ACTION_REFRESH, NULL },
        {},
};
