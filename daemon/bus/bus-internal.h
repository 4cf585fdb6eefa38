/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/* For the files in this folder. */

#include "bus/auth.h"
#include "bus/bus.h"

struct Bus {
        sd_bus *bus;
        Manager *manager;
        Auth *auth;
        GPtrArray *builds;              /* those who wait until they may announce a build, in the order in which they came */
        sd_event_source *exit;          /* what is to be said before the bus is closed */
        uint64_t progress_told;         /* boottime usec: progress is told at most four times a second */
};

/* A method's work, after the door. Replies itself. */
typedef int (*MethodHandler)(Bus *bus, sd_bus_message *message, sd_bus_error *error);

/*
 * Who may: an action, NULL for everybody. *@ret_version: a detail for polkit, on the message or static.
 * A negative return is an answer in @error.
 */
typedef int (*MethodAction)(Bus *bus, sd_bus_message *message, const char **ret_action, const char **ret_version,
                            sd_bus_error *error);

typedef struct Method {
        const char *interface, *member;
        MethodHandler handler;
        const char *action;             /* NULL: free, unless choose says otherwise */
        MethodAction choose;
} Method;

extern const sd_bus_vtable manager_vtable[];
extern const Method manager_methods[];
extern const sd_bus_vtable job_vtable[];
extern const Method job_methods[];
extern const sd_bus_vtable log_control_vtable[];

/* The handler of every method in the vtables: looks the method up, asks who may, and only then calls it. */
int door_on_call(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* Sets @error from an answer. Negative, as a handler returns it. */
int bus_refuse(sd_bus_error *error, const Failure *failure);
int bus_refuse_id(sd_bus_error *error, ErrorId id, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The path of a job; @buffer as the return value. */
#define JOB_PATH_MAX 64
const char *job_path(uint32_t id, char buffer[static JOB_PATH_MAX]);

/* job-bus.c */
int job_bus_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *error);
int job_bus_enumerate(sd_bus *bus, const char *path, void *userdata, char ***ret, sd_bus_error *error);
void job_bus_changed(Bus *bus, Job *job, unsigned changes);
void job_bus_finished(Bus *bus, Job *job);

/* Who asks: the user, and the process and the unit it runs in if that can be known. Negative: it has gone. */
typedef struct Sender {
        uid_t uid;
        pid_t pid;                      /* 0: not known */
        char *unit;                     /* "": not known */
} Sender;

int sender_read(sd_bus_message *message, Sender *ret);
void sender_clear(Sender *sender);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Sender, sender_clear)

/* Sends the reply, if @r (how making it went) is good. Takes it. */
int reply_with(sd_bus_message *reply, int r);

/* hold-bus.c */
int on_hold(Bus *bus, sd_bus_message *message, sd_bus_error *error);
int on_begin_build(Bus *bus, sd_bus_message *message, sd_bus_error *error);
int on_end_build(Bus *bus, sd_bus_message *message, sd_bus_error *error);
int on_list_holds(Bus *bus, sd_bus_message *message, sd_bus_error *error);
void hold_bus_admit(Bus *bus);          /* builds may begin: those who wait for that are answered */
void hold_bus_stop(Bus *bus);           /* nobody waits any more */

/* request-bus.c: reads the arguments of ApplyVersion and Plan. */
int request_read(sd_bus_message *message, Request *ret, bool *ret_unsafe, sd_bus_error *error);
