/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "sim/cgroup.h"
#include "sim/model-internal.h"

/* The keys of "tdx-sim ctl get" and "set": the knobs, and counters that can only be read. */

typedef struct Counter {
        const char *key;
        size_t offset;
} Counter;

static const Counter counters[] = {
        { "uploads", offsetof(Model, uploads) },
        { "installs", offsetof(Model, installs) },
        { "aborts", offsetof(Model, aborts) },
        { "corrupted", offsetof(Model, corrupted) },
        { "hw-reads", offsetof(Model, hardware_reads) },
        { "uevents-dropped", offsetof(Model, uevents_dropped) },
        { "refused-tds", offsetof(Model, refused_tds) },
};

static unsigned counter_value(const Model *m, const Counter *c) {
        return *(const unsigned *) ((const char *) m + c->offset);
}

static bool read_only_get(const Model *m, const char *key, GString *out) {
        if (strcmp(key, "status") == 0) {
                g_string_append(out, model_status(m));
                return true;
        }
        if (strcmp(key, "last-error") == 0) {
                g_string_append(out, m->error ?: "");
                return true;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(counters); i++)
                if (strcmp(counters[i].key, key) == 0) {
                        g_string_append_printf(out, "%u", counter_value(m, &counters[i]));
                        return true;
                }
        return false;
}

int model_get(const Model *m, const char *key, GString *out) {
        if (read_only_get(m, key, out))
                return 0;
        return knobs_get(&m->knobs, key, out);
}

void model_get_all(const Model *m, GString *out) {
        knobs_get_all(&m->knobs, out);
        g_string_append_printf(out, "status=%s\n", model_status(m));
        g_string_append_printf(out, "last-error=%s\n", m->error ?: "");
        for (size_t i = 0; i < G_N_ELEMENTS(counters); i++)
                g_string_append_printf(out, "%s=%u\n", counters[i].key, counter_value(m, &counters[i]));
}

static int set_one(const Model *m, Knobs *knobs, const char *pair, char **ret_text) {
        g_autofree char *key = NULL;
        g_autoptr(GString) ignored = g_string_new(NULL);
        const char *equals = strchr(pair, '=');

        if (!equals || equals == pair) {
                *ret_text = g_strdup_printf("'%s' is not KEY=VALUE", pair);
                return -EINVAL;
        }

        key = g_strndup(pair, (size_t) (equals - pair));
        if (read_only_get(m, key, ignored)) {
                *ret_text = g_strdup_printf("%s can only be read", key);
                return -EINVAL;
        }
        return knobs_set(knobs, key, equals + 1, ret_text);
}

#define HOST_DEVPATH "/devices/faux/tdx_host"
#define UPLOAD_DEVPATH HOST_DEVPATH "/firmware/tdx_module"

static void emit_devices(Model *m, bool had_host, bool had_upload) {
        bool host = model_has_tdx_host(m), upload = model_has_upload(m);
        const char *const none[] = { NULL };

        if (had_upload && !upload)
                model_emit(m, "remove", UPLOAD_DEVPATH, "firmware", none);
        if (had_host && !host)
                model_emit(m, "remove", HOST_DEVPATH, "faux", none);
        if (!had_host && host)
                model_emit(m, "add", HOST_DEVPATH, "faux", none);
        if (!had_upload && upload)
                model_emit(m, "add", UPLOAD_DEVPATH, "firmware", none);
}

static void emit_cpus(Model *m, const CpuSet *before) {
        for (unsigned i = 0; i < SIM_CPUS_MAX; i++) {
                bool online = cpu_set_has(&m->knobs.online, i);
                g_autofree char *devpath = NULL;

                if (online == cpu_set_has(before, i))
                        continue;
                devpath = g_strdup_printf("/devices/system/cpu/cpu%u", i);
                model_emit(m, online ? "online" : "offline", devpath, "cpu", (const char *const[]) { NULL });
        }
}

/* A new upload device knows nothing of the old one's. */
static void reset_upload(Model *m) {
        g_byte_array_set_size(m->data, 0);
        m->loader = LOADER_INIT;
        m->remaining_size = 0;
        g_clear_pointer(&m->error, g_free);
}

void model_boot(Model *m) {
        m->bios_module = m->knobs.module;
        m->bios_remaining = m->knobs.remaining;
}

int model_reboot(Model *m, uint64_t now, const char *boot_id, char **ret_text) {
        g_autofree char *id = g_strdup_printf("boot-id=%s", boot_id);
        int r;

        r = model_set(m, now, (const char *const[]) { id, NULL }, ret_text);
        if (r < 0)
                return r;

        g_ptr_array_set_size(m->tds, 0);
        g_ptr_array_set_size(m->vms, 0);
        cgroups_reset(m);
        m->vms_created = 0;
        m->progress = PROGRESS_IDLE;
        m->run = (Run) {};
        reset_upload(m);
        m->knobs.sticky = false;
        m->knobs.lost = false;
        m->knobs.module = m->bios_module;
        m->knobs.remaining = m->bios_remaining;
        model_note(m, now, "reboot, module %s", VERSION_STRING(m->bios_module));
        return 0;
}

int model_set(Model *m, uint64_t now, const char *const *pairs, char **ret_text) {
        bool had_host, had_upload, was_lost;
        CpuSet online;
        Knobs knobs;
        int r;

        model_advance(m, now);
        had_host = model_has_tdx_host(m);
        had_upload = model_has_upload(m);
        was_lost = m->knobs.lost;
        online = m->knobs.online;
        knobs = m->knobs;

        for (const char *const *p = pairs; *p; p++) {
                r = set_one(m, &knobs, *p, ret_text);
                if (r < 0)
                        return r;
        }
        r = knobs_check(&knobs, ret_text);
        if (r < 0)
                return r;

        /* Unloading a driver waits for its worker. */
        if (m->progress != PROGRESS_IDLE && had_upload &&
            !(knobs.supported && !knobs.bug && knobs.tdx_host && knobs.cpu_tdx)) {
                *ret_text = g_strdup("an upload is running, its device cannot go away");
                return -EBUSY;
        }

        /* A run that hung goes on from here. */
        if (m->knobs.stuck && !knobs.stuck && m->progress == PROGRESS_TRANSFERRING && !m->run.begun)
                m->run.entered = now;
        m->knobs = knobs;
        m->generation++;
        if (had_upload && !model_has_upload(m))
                reset_upload(m);
        if (m->knobs.sticky && m->loader == LOADER_LOADING)
                m->loader = LOADER_INIT;

        if (m->knobs.lost && !was_lost)
                model_kill_tds(m, now);

        emit_devices(m, had_host, had_upload);
        emit_cpus(m, &online);
        model_advance(m, now);
        return 0;
}
