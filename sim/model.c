/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sim/cgroup.h"
#include "sim/model-internal.h"

#define WRITE_MAX 4096U                 /* kernfs takes a page at a time */
#define DATA_MAX (256U * 1024U * 1024U) /* where this "machine" runs out of memory */

void model_note(Model *m, uint64_t when, const char *format, ...) {
        va_list ap;

        g_string_append_printf(m->log, "%" PRIu64 ".%06" PRIu64 " ", when / USEC_PER_SEC, when % USEC_PER_SEC);
        va_start(ap, format);
        g_string_append_vprintf(m->log, format, ap);
        va_end(ap);
        g_string_append_c(m->log, '\n');
}

void model_emit(Model *m, const char *action, const char *devpath, const char *subsystem, const char *const *fields) {
        if (!m->ops.uevent || m->ops.uevent(m->ops.userdata, action, devpath, subsystem, fields) >= 0)
                return;
        m->uevents_dropped++;
        model_note(m, m->now, "uevent dropped %s@%s", action, devpath);
}

int model_refuse(char **ret_text, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        *ret_text = g_strdup_vprintf(format, ap);
        va_end(ap);
        return -error;
}

Model *model_new(const ModelOps *ops, uint64_t now) {
        Model *m = g_new0(Model, 1);

        m->ops = *ops;
        knobs_init(&m->knobs);
        m->data = g_byte_array_new();
        m->tds = g_ptr_array_new_with_free_func((GDestroyNotify) td_free);
        m->vms = g_ptr_array_new_with_free_func(g_free);
        m->cgroups = g_ptr_array_new_with_free_func((GDestroyNotify) cgroup_free);
        m->log = g_string_new(NULL);
        m->generation = 1;
        cgroups_reset(m);
        return m;
}

Model *model_free(Model *m) {
        if (!m)
                return NULL;

        g_byte_array_unref(m->data);
        g_ptr_array_unref(m->tds);
        g_ptr_array_unref(m->vms);
        g_ptr_array_unref(m->cgroups);
        g_string_free(m->log, true);
        g_free(m->error);
        g_free(m);
        return NULL;
}

void model_advance(Model *m, uint64_t now) {
        m->now = now;
        run_advance(m, now);
}

const Knobs *model_knobs(const Model *m) {
        return &m->knobs;
}

unsigned model_generation(const Model *m) {
        return m->generation;
}

const char *model_log(const Model *m) {
        return m->log->str;
}

bool model_has_tdx_host(const Model *m) {
        return m->knobs.tdx_host && m->knobs.cpu_tdx;
}

/* seamldr_version and num_remaining_updates come and go with the upload device. */
bool model_has_upload(const Model *m) {
        return model_has_tdx_host(m) && m->knobs.supported && !m->knobs.bug;
}

/* As kstrtoint(): a sign, digits, at most one newline after them. */
static int parse_int(const char *text, size_t size, int *ret) {
        bool negative = false;
        int64_t value = 0;
        size_t i = 0;

        if (size > 0 && (text[0] == '-' || text[0] == '+'))
                negative = text[i++] == '-';
        if (i >= size || !g_ascii_isdigit(text[i]))
                return -EINVAL;

        for (; i < size && g_ascii_isdigit(text[i]); i++) {
                value = value * 10 + (text[i] - '0');
                if (value > (int64_t) INT32_MAX + negative)
                        return -ERANGE;
        }
        if (i < size && text[i] == '\n')
                i++;
        if (i != size && text[i] != '\0')
                return -EINVAL;

        *ret = (int) (negative ? -value : value);
        return 0;
}

static void drop_data(Model *m) {
        g_byte_array_set_size(m->data, 0);
        m->loader = LOADER_INIT;
}

static int hand_over(Model *m, uint64_t now) {
        if (m->knobs.zero_error != 0) {
                int e = m->knobs.zero_error;

                /* A refusal by an LSM, or no mapping: the node stays aborted and ignores every write. */
                m->knobs.zero_error = 0;
                m->knobs.sticky = true;
                drop_data(m);
                model_note(m, now, "handover refused: %s", strerrorname_np(e));
                return -e;
        }

        if (m->knobs.ebusy_zero > 0) {
                m->knobs.ebusy_zero--;
                drop_data(m);
                model_note(m, now, "handover refused: EBUSY");
                return -EBUSY;
        }

        /* No data: no run, and the old error text stays. */
        if (m->data->len == 0) {
                drop_data(m);
                model_note(m, now, "handover without data, nothing runs");
                return 0;
        }

        if (m->knobs.nothing > 0) {
                m->knobs.nothing--;
                drop_data(m);
                model_note(m, now, "handover taken, nothing runs");
                return 0;
        }

        m->loader = LOADER_DONE;
        run_start(m, now);
        return 0;
}

static void abort_load(Model *m, uint64_t now) {
        m->aborts++;
        model_note(m, now, "load aborted%s", m->loader == LOADER_LOADING ? "" : ", none was going");
        /* The pages stay until the next 1. */
        m->loader = LOADER_INIT;
}

int model_loading_store(Model *m, uint64_t now, const char *text, size_t size) {
        int value, r;

        model_advance(m, now);
        r = parse_int(text, size, &value);
        if (r < 0)
                return r;

        /* Aborted for good, or a worker runs: ignored without a word. */
        if (m->knobs.sticky || m->loader == LOADER_DONE)
                return 0;

        if (value == 1) {
                drop_data(m);
                m->loader = LOADER_LOADING;
                return 0;
        }
        if (value == 0 && m->loader == LOADER_LOADING)
                return hand_over(m, now);

        abort_load(m, now);
        return 0;
}

bool model_loading(const Model *m) {
        return m->loader == LOADER_LOADING && !m->knobs.sticky;
}

ssize_t model_data_write(Model *m, uint64_t now, const uint8_t *data, size_t size, uint64_t offset) {
        model_advance(m, now);

        if (m->loader == LOADER_DONE)
                return -ENODEV;

        if (m->knobs.data_error == 0 && (offset > DATA_MAX || offset + size > DATA_MAX))
                m->knobs.data_error = ENOMEM;

        if (m->knobs.data_error != 0) {
                int e = m->knobs.data_error;

                m->knobs.data_error = 0;
                if (e == ENOMEM) {
                        /* Growing failed: the load is aborted, for good. */
                        m->loader = LOADER_INIT;
                        m->knobs.sticky = true;
                }
                model_note(m, now, "data write failed: %s", strerrorname_np(e));
                return -e;
        }

        size = MIN(size, WRITE_MAX);
        if (offset + size > m->data->len) {
                unsigned old = m->data->len;

                g_byte_array_set_size(m->data, (unsigned) (offset + size));
                memset(m->data->data + old, 0, (size_t) (offset + size) - old);
        }
        if (size > 0)
                memcpy(m->data->data + offset, data, size);
        return (ssize_t) size;
}

ssize_t model_data_read(Model *m, uint64_t now, uint8_t *data, size_t size, uint64_t offset) {
        model_advance(m, now);

        if (m->loader == LOADER_DONE)
                return -ENODEV;
        if (offset >= m->data->len)
                return 0;

        size = MIN(size, m->data->len - (size_t) offset);
        memcpy(data, m->data->data + offset, size);
        return (ssize_t) size;
}

const char *model_status(const Model *m) {
        return progress_name(m->progress);
}

int model_error_show(const Model *m, GString *out) {
        if (m->progress != PROGRESS_IDLE)
                return -EBUSY;
        if (m->error)
                g_string_append_printf(out, "%s\n", m->error);
        return 0;
}

uint32_t model_remaining_size(const Model *m) {
        return m->remaining_size;
}

/* As kstrtobool(). */
static int parse_boolean(const char *text, size_t size) {
        if (size == 0 || text[0] == '\0')
                return -EINVAL;
        if (strchr("yYtT1", text[0]))
                return true;
        if (strchr("nNfF0", text[0]))
                return false;
        if (size > 1 && (text[0] == 'o' || text[0] == 'O')) {
                if (text[1] == 'n' || text[1] == 'N')
                        return true;
                if (text[1] == 'f' || text[1] == 'F')
                        return false;
        }
        return -EINVAL;
}

int model_cancel_store(Model *m, uint64_t now, const char *text, size_t size) {
        model_advance(m, now);

        if (parse_boolean(text, size) <= 0)
                return -EINVAL;
        if (m->progress == PROGRESS_IDLE)
                return -ENODEV;

        /* The driver cannot cancel. */
        model_note(m, now, "cancel, without effect");
        return 0;
}

int model_version(const Model *m, Version *ret) {
        if (m->knobs.lost)
                return -ENXIO;
        *ret = m->knobs.module;
        return 0;
}

void model_count_hardware_read(Model *m) {
        m->hardware_reads++;
}

static void emit_cpu(Model *m, unsigned cpu, bool online) {
        g_autofree char *devpath = g_strdup_printf("/devices/system/cpu/cpu%u", cpu);

        model_emit(m, online ? "online" : "offline", devpath, "cpu", (const char *const[]) { NULL });
}

int model_cpu_online_store(Model *m, uint64_t now, unsigned cpu, const char *text, size_t size) {
        int value;

        model_advance(m, now);
        value = parse_boolean(text, size);
        if (value < 0)
                return value;
        if (cpu_set_has(&m->knobs.online, cpu) == (value > 0))
                return 0;

        cpu_set_put(&m->knobs.online, cpu, value > 0);
        m->generation++;
        model_note(m, now, "CPU %u %s", cpu, value > 0 ? "online" : "offline");
        emit_cpu(m, cpu, value > 0);
        return 0;
}
