/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sim/model-internal.h"

/* VMs as KVM reports them. That one of them is a TD, a test says. */

const GPtrArray *model_vms(const Model *m) {
        return m->vms;
}

static Vm *find_vm(const Model *m, unsigned pid, unsigned fd) {
        for (unsigned i = 0; i < m->vms->len; i++) {
                Vm *vm = m->vms->pdata[i];

                if (vm->pid == pid && vm->fd == fd)
                        return vm;
        }
        return NULL;
}

const Vm *model_vm_find(const Model *m, unsigned pid, unsigned fd) {
        return find_vm(m, pid, fd);
}

/* Another VM of the same process. */
static Vm *find_sibling(const Model *m, const Vm *vm) {
        for (unsigned i = 0; i < m->vms->len; i++) {
                Vm *other = m->vms->pdata[i];

                if (other != vm && other->pid == vm->pid)
                        return other;
        }
        return NULL;
}

/* KVM names the folder by the thread that makes the VM; whose names are alike, the second gets none (not modelled). */
static bool is_named(const Model *m, const Vm *vm) {
        for (unsigned i = 0; i < m->vms->len; i++) {
                const Vm *other = m->vms->pdata[i];

                if (other->tid == vm->tid && other->fd == vm->fd)
                        return true;
        }
        return false;
}

/* kvm_uevent_notify_change(). */
static void emit_vm(Model *m, const Vm *vm, const char *event, unsigned count) {
        g_autofree char *created_field = g_strdup_printf("CREATED=%" PRIu64, m->vms_created);
        g_autofree char *count_field = g_strdup_printf("COUNT=%u", count);
        g_autofree char *event_field = g_strdup_printf("EVENT=%s", event);
        g_autofree char *pid_field = g_strdup_printf("PID=%u", vm->tid);
        g_autofree char *path_field = g_strdup_printf("STATS_PATH=/kvm/%u-%u", vm->tid, vm->fd);

        model_emit(m, "change", "/devices/virtual/misc/kvm", "misc",
                   (const char *const[]) { created_field, count_field, event_field, pid_field, path_field,
                                           "MAJOR=10", "MINOR=232", "DEVNAME=kvm", NULL });
}

static Vm *create(Model *m, uint64_t now, const Vm *vm) {
        Vm *copy = g_memdup2(vm, sizeof(*vm));
        const Vm *sibling;

        if (copy->tid == 0)
                copy->tid = copy->pid;
        sibling = find_sibling(m, copy);
        copy->since = now;
        copy->process_since = sibling ? sibling->process_since : now;
        copy->serial = ++m->vms_created;
        g_ptr_array_add(m->vms, copy);
        m->generation++;
        emit_vm(m, copy, "create", m->vms->len);
        return copy;
}

int model_vm_create(Model *m, uint64_t now, const Vm *vm, char **ret_text) {
        Vm named = *vm;

        model_advance(m, now);
        if (named.tid == 0)
                named.tid = named.pid;
        if (!m->knobs.kvm)
                return model_refuse(ret_text, ENODEV, "KVM is not loaded");
        if (find_vm(m, vm->pid, vm->fd) || is_named(m, &named))
                return model_refuse(ret_text, EEXIST, "there is a VM %u-%u already", named.tid, vm->fd);

        model_note(m, now, "vm create %u-%u", named.tid, vm->fd);
        (void) create(m, now, &named);
        return 0;
}

int model_vm_run(Model *m, uint64_t now, unsigned pid, unsigned fd, char **ret_text) {
        Vm *vm;

        model_advance(m, now);
        vm = find_vm(m, pid, fd);
        if (!vm)
                return model_refuse(ret_text, ENOENT, "there is no VM %u-%u", pid, fd);
        if (vm->n_vcpus == 0)
                return model_refuse(ret_text, EINVAL, "VM %u-%u has no vCPU", pid, fd);

        if (vm->runs == 0)
                model_note(m, now, "vm run %u-%u", vm->tid, fd);
        vm->runs++;
        vm->exits += 100;
        return 0;
}

/* What its guests used stays with a process. */
static void destroy(Model *m, Vm *vm) {
        Vm *sibling = find_sibling(m, vm);

        if (sibling)
                sibling->past_runs += vm->runs + vm->past_runs;
        emit_vm(m, vm, "destroy", m->vms->len - 1);
        m->generation++;
        g_ptr_array_remove(m->vms, vm);
}

int model_vm_destroy(Model *m, uint64_t now, unsigned pid, unsigned fd, char **ret_text) {
        Vm *vm;

        model_advance(m, now);
        vm = find_vm(m, pid, fd);
        if (!vm)
                return model_refuse(ret_text, ENOENT, "there is no VM %u-%u", pid, fd);

        model_note(m, now, "vm destroy %u-%u", vm->tid, fd);
        destroy(m, vm);
        return 0;
}

#define BURST_FIRST_PID 1000000U
#define BURST_FD 9U

int model_vm_burst(Model *m, uint64_t now, unsigned n, char **ret_text) {
        model_advance(m, now);
        if (!m->knobs.kvm)
                return model_refuse(ret_text, ENODEV, "KVM is not loaded");

        model_note(m, now, "vm burst %u", n);
        for (unsigned i = 0; i < n; i++)
                destroy(m, create(m, now, &(Vm) { .pid = BURST_FIRST_PID + i, .fd = BURST_FD, .n_vcpus = 1 }));
        return 0;
}

uint64_t model_process_runs(const Model *m, unsigned pid) {
        uint64_t runs = 0;

        for (unsigned i = 0; i < m->vms->len; i++) {
                const Vm *vm = m->vms->pdata[i];

                if (vm->pid == pid)
                        runs += vm->runs + vm->past_runs;
        }
        return runs;
}
