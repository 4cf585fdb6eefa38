/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

#include "sim/image.h"
#include "sim/knobs.h"

/*
 * The kernel's side as a state machine: the firmware-upload node, the TDX host driver,
 * the module below them and the TDs in it. No I/O, no clock, no lock: every call is
 * given the time (microseconds, monotonic), and what is due by then happens first.
 */
typedef struct Model Model;

typedef struct ModelOps {
        /* Fills in everything, the version too. */
        void (*inspect)(void *userdata, const uint8_t *data, size_t size, SimImage *ret);
        /* @fields: "KEY=value" after ACTION, DEVPATH and SUBSYSTEM; NULL-terminated. 0, or -ENOBUFS: it had to be dropped. */
        int (*uevent)(void *userdata, const char *action, const char *devpath, const char *subsystem,
                      const char *const *fields);
        void *userdata;
} ModelOps;

Model *model_new(const ModelOps *ops, uint64_t now);
Model *model_free(Model *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Model, model_free)

void model_advance(Model *m, uint64_t now);
const Knobs *model_knobs(const Model *m);
unsigned model_generation(const Model *m);      /* changes when files appear or vanish */

/* Which parts of the driver exist. */
bool model_has_tdx_host(const Model *m);
bool model_has_upload(const Model *m);

/* The upload node; 0 or a count, or the negative errno that the file gives. */
int model_loading_store(Model *m, uint64_t now, const char *text, size_t size);
bool model_loading(const Model *m);
ssize_t model_data_write(Model *m, uint64_t now, const uint8_t *data, size_t size, uint64_t offset);
ssize_t model_data_read(Model *m, uint64_t now, uint8_t *data, size_t size, uint64_t offset);
const char *model_status(const Model *m);
int model_error_show(const Model *m, GString *out);
uint32_t model_remaining_size(const Model *m);
int model_cancel_store(Model *m, uint64_t now, const char *text, size_t size);

/* The driver's attributes. */
int model_version(const Model *m, Version *ret);        /* -ENXIO: lost */
void model_count_hardware_read(Model *m);
int model_cpu_online_store(Model *m, uint64_t now, unsigned cpu, const char *text, size_t size);

/* Settings. On failure *@ret_text says why; nothing has changed. */
int model_get(const Model *m, const char *key, GString *out);
void model_get_all(const Model *m, GString *out);
int model_set(Model *m, uint64_t now, const char *const *pairs, char **ret_text);

/*
 * The settings so far are what the BIOS brings. model_reboot() goes back to its module and
 * number of updates; guests, data and texts are gone, all other settings stay.
 */
void model_boot(Model *m);
int model_reboot(Model *m, uint64_t now, const char *boot_id, char **ret_text);

typedef enum TdPhase {
        TD_BUILDING,
        TD_FINALIZED,
        TD_DEAD,        /* the module went away under it */
} TdPhase;

typedef struct Vm {
        unsigned pid;           /* of the VMM's process */
        unsigned tid;           /* of its thread that makes it; 0: the first one */
        unsigned fd;
        unsigned n_vcpus;
        char name[64];          /* what its cgroup calls it, or "" */
        uint64_t since;
        uint64_t process_since;
        uint64_t serial;        /* no two have the same */
        unsigned runs;          /* times it was seen to run */
        unsigned past_runs;     /* of VMs that its process had before */
        uint64_t exits;
} Vm;

typedef struct TdBegin {
        const char *name;
        unsigned pid;
        const char *cgroup;     /* of its VMM, "" the root, NULL: machine.slice, or the root if that is gone */
} TdBegin;

/* Guests. As model_set(). */
int model_td_begin(Model *m, uint64_t now, const char *name, unsigned pid, char **ret_text);
int model_td_begin_in(Model *m, uint64_t now, const TdBegin *td, char **ret_text);
int model_td_add(Model *m, uint64_t now, const char *name, const char *data, char **ret_text);
int model_td_finalize(Model *m, uint64_t now, const char *name, char **ret_text);
int model_td_destroy(Model *m, uint64_t now, const char *name, char **ret_text);
void model_td_list(const Model *m, GString *out);
unsigned model_n_tds(const Model *m);

int model_vm_create(Model *m, uint64_t now, const Vm *vm, char **ret_text);
int model_vm_run(Model *m, uint64_t now, unsigned pid, unsigned fd, char **ret_text);
int model_vm_destroy(Model *m, uint64_t now, unsigned pid, unsigned fd, char **ret_text);
int model_vm_burst(Model *m, uint64_t now, unsigned n, char **ret_text);  /* made and destroyed */
uint64_t model_process_runs(const Model *m, unsigned pid);
const GPtrArray *model_vms(const Model *m);
const Vm *model_vm_find(const Model *m, unsigned pid, unsigned fd);

/* What happened, one line each, oldest first. */
const char *model_log(const Model *m);
