/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/names.h"
#include "base/util.h"
#include "manager-internal.h"

/* Two reads of the P-SEAMLDR's values are never closer than this: each stops a CPU for long. */
#define HARDWARE_READ_USEC (10 * USEC_PER_SEC)

/* One look serves all properties that somebody reads together. */
#define LOOK_USEC (200 * USEC_PER_MSEC)

static void job_destroy(void *data) {
        job_free(data);
}

static int save(Manager *m, Job *job, int (*how)(Store *store, JobRecord *record)) {
        bool again;
        int r;

        r = how(m->store, job->record);
        again = job->unsaved;
        job->unsaved = r < 0;
        if (r < 0 && !again)
                log_full(LOG_ERR, r, FIELDS("MESSAGE_ID", MESSAGE_STORE_FAILED),
                         "Failed to save job %u (%s)", job->record->id, store_error(m->store));
        return r;
}

int manager_save(Manager *m, Job *job) {
        return save(m, job, store_save_job);
}

int manager_note(Manager *m, Job *job) {
        return save(m, job, store_note_job);
}

static int on_tell(sd_event_source *source, void *userdata) {
        Manager *m = userdata;
        unsigned changes = m->untold;

        m->untold = 0;
        if (m->started && changes != 0)
                m->events.changed(changes, m->events.userdata);
        watch_tell(m);
        return 0;
}

void manager_tell_now(Manager *m) {
        (void) on_tell(NULL, m);
}

/* Together, in the next turn of the loop: what is noticed while a property is read must not be told in the middle of that. */
void manager_tell(Manager *m, unsigned changes) {
        int r = 0;

        m->untold |= changes;
        if (!m->started || (m->untold == 0 && m->window_open == m->window_told))
                return;

        if (!m->tell)
                r = sd_event_add_defer(m->event, &m->tell, on_tell, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->tell, SD_EVENT_ONESHOT);
        if (r < 0)
                log_error(r, "Failed to tell what has changed");
}

void manager_tell_job(Manager *m, Job *job, unsigned changes) {
        if (!m->started || job->record->id == 0)
                return;

        m->events.job_changed(job, changes, m->events.userdata);
        if (changes & (JOB_CHANGED_STATE | JOB_CHANGED_REASON) && job == dispatch_head(m))
                manager_tell(m, MANAGER_CHANGED_STATE);
}

void manager_read_hardware(Manager *m) {
        const HostFacts *host = inventory_facts(m->inventory);
        bool had = host->have_remaining;
        uint32_t remaining = host->remaining;

        inventory_read_hardware(m->inventory);
        if (host->have_remaining != had || host->remaining != remaining)
                m->cut_short = true;
        m->hardware_read = clock_boottime(&system_clock);
}

/* As one fact, so that a crash cannot join one boot's version with another boot. */
void manager_remember_version(Manager *m) {
        g_autofree char *fact = g_strdup_printf("%s %s", m->last_version, inventory_boot_id(m->inventory));
        bool again = m->version_unsaved;
        int r;

        r = store_set(m->store, STORE_KEY_LAST_VERSION, fact);
        m->version_unsaved = r < 0;
        if (r < 0 && !again) {
                log_warning(r, "Failed to remember the running version, trying again later");
                dispatch_kick(m);
        }
}

static void remember_version(Manager *m) {
        const HostFacts *host = inventory_facts(m->inventory);

        if (!host->have_running)
                return;

        version_format(host->running, m->last_version);
        manager_remember_version(m);
}

/* Somebody else has replaced the module: it belongs into the history, too. */
static void record_external(Manager *m, const char *from, const char *to) {
        g_autoptr(JobRecord) record = job_record_new();
        int r;

        record->external = true;
        record->state = JOB_FINISHED;
        record->result = RESULT_SUCCESS;
        record->created = record->finished = clock_realtime(&system_clock);
        record_set(&record->from, from);
        record_set(&record->to, to);
        record_set(&record->why, "not by tdx-updated");

        r = store_save_job(m->store, record);
        if (r < 0)
                log_error(r, "Failed to keep somebody else's update in the history");
        log_full(LOG_WARNING, 0, FIELDS("MESSAGE_ID", MESSAGE_FOREIGN_UPDATE, FIELD_FROM, from, FIELD_TO, to),
                 "The TDX module was changed from %s to %s by somebody else", from, to);
}

void manager_note_module(Manager *m, uint32_t job) {
        char from[VERSION_STRING_MAX];

        /* Remembered last, right before it is told: after a crash in the slow read it is noticed again. */
        manager_read_hardware(m);
        manager_update_svn(m);
        g_strlcpy(from, m->last_version, sizeof(from));
        remember_version(m);

        if (*from && strcmp(from, m->last_version) != 0) {
                if (job == 0)
                        record_external(m, from, m->last_version);
                else {
                        g_autofree char *id = g_strdup_printf("%u", job);

                        log_full(LOG_NOTICE, 0,
                                 FIELDS("MESSAGE_ID", MESSAGE_MODULE_UPDATED, FIELD_JOB, id, FIELD_FROM, from, FIELD_TO, m->last_version),
                                 "The TDX module was updated from %s to %s", from, m->last_version);
                }
                if (m->started)
                        m->events.module_updated(from, m->last_version, job, m->events.userdata);
        }
        manager_tell(m, MANAGER_CHANGED_MODULE | MANAGER_CHANGED_SUPPORT);
}

void manager_note_lost(Manager *m, const char *detail) {
        int r;

        inventory_set_lost(m->inventory);
        if (m->lost_noted)
                return;
        m->lost_noted = true;

        r = store_set(m->store, STORE_KEY_LOST_BOOT, inventory_boot_id(m->inventory));
        if (r < 0)
                log_warning(r, "Failed to remember that the module is lost, ignoring");

        log_full(LOG_CRIT, 0, FIELDS("MESSAGE_ID", MESSAGE_MODULE_LOST, FIELD_FROM, m->last_version),
                 "The TDX module is gone (%s); only a reboot brings it back", detail);
        if (m->started)
                m->events.module_lost(m->last_version, detail, m->events.userdata);
        manager_tell(m, MANAGER_CHANGED_STATE | MANAGER_CHANGED_MODULE | MANAGER_CHANGED_SUPPORT);
}

void manager_observe(Manager *m) {
        const HostFacts *host = inventory_facts(m->inventory);
        bool had_support = !host->unsupported, had_running = host->have_running;
        int error;

        m->looked = clock_boottime(&system_clock);
        error = inventory_read(m->inventory);
        if (error == ENXIO)
                manager_note_lost(m, "its version gives ENXIO");
        else if (host->have_running && strcmp(VERSION_STRING(host->running), m->last_version) != 0)
                manager_note_module(m, 0);

        if (!host->unsupported && !had_support)
                manager_read_hardware(m);
        if (host->have_running != had_running)
                manager_update_svn(m);
        if (had_support != !host->unsupported)
                manager_tell(m, MANAGER_CHANGED_SUPPORT | MANAGER_CHANGED_MODULE | MANAGER_CHANGED_STATE);
}

void manager_look(Manager *m) {
        if (m->started && !m->attempt && clock_boottime(&system_clock) >= m->looked + LOOK_USEC)
                manager_observe(m);
}

/* What was known before this start: the running version, and whether the module is lost. */
static int load_facts(Manager *m) {
        g_autofree char *lost = NULL, *fact = NULL;
        const char *now = inventory_boot_id(m->inventory);
        int r;

        r = store_get(m->store, STORE_KEY_LOST_BOOT, &lost);
        if (r >= 0)
                r = store_get(m->store, STORE_KEY_LAST_VERSION, &fact);
        if (r < 0)
                return log_error(r, "Failed to read the database (%s)", store_error(m->store));

        if (*now && g_strcmp0(lost, now) == 0) {
                inventory_set_lost(m->inventory);
                m->lost_noted = true;
        }
        /* After a reboot the BIOS copy runs: a change then is nobody's update. */
        if (fact && strchr(fact, ' ') && strcmp(strchr(fact, ' ') + 1, now) == 0)
                g_strlcpy(m->last_version, fact, MIN(sizeof(m->last_version), (size_t) (strchr(fact, ' ') - fact) + 1));

        return 0;
}

int manager_new(const ManagerOptions *options, Manager **ret) {
        g_autoptr(Manager) m = g_new0(Manager, 1);
        int r;

        m->event = sd_event_ref(options->event);
        m->roots = options->roots;
        m->config = options->config;
        m->store = options->store;
        m->config_file = g_strdup(options->config_file);
        m->directories = g_strdupv(options->directories);
        m->import_directory = g_strdup(options->import_directory);
        m->probes = g_strdup(options->probes);
        m->admitted = true;
        m->log_level = options->log_level;
        m->inventory = inventory_new(m->roots);
        m->jobs = g_ptr_array_new_with_free_func(job_destroy);
        m->aside = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

        r = manager_load_catalogue(m);
        if (r >= 0)
                r = load_facts(m);
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&m);
        return 0;
}

static void on_holds(void *userdata) {
        Manager *m = userdata;

        manager_tell(m, MANAGER_CHANGED_HOLDS);
        watch_hint(m);
}

int manager_start(Manager *m, const ManagerEvents *events) {
        const HostFacts *host = inventory_facts(m->inventory);
        int error, r;

        m->events = *events;

        /* The picture first; a difference that our own interrupted attempt made is not somebody else's. */
        error = inventory_read(m->inventory);
        manager_read_hardware(m);
        manager_update_svn(m);
        if (!*m->last_version && host->have_running)
                remember_version(m);

        r = holds_new(m->event, on_holds, m, &m->holds);
        if (r < 0)
                return log_error(r, "Failed to take over the holds");
        r = watch_start(m);
        if (r < 0)
                return log_error(r, "Failed to watch for VMs");

        m->started = true;
        r = recover_jobs(m);
        if (r < 0)
                return r;
        if (error == ENXIO)
                manager_note_lost(m, "its version gives ENXIO");
        /* As long as the kernel works on it what was closed stays closed. */
        if (!m->attempt || !m->attempt->upload)
                misc_gate_recover(m);
        if (!m->attempt)
                manager_observe(m);
        dispatch_forget(m);
        dispatch_kick(m);
        return 0;
}

void manager_stop(Manager *m) {
        /* As long as the kernel has an image, the next daemon says when it is over. */
        if (!m->attempt || (m->attempt->upload && !upload_handed_over(m->attempt->upload)))
                drain_prepare(m, false);
        m->started = false;

        /* Nothing was handed over: that is known now, and would have to be found out later. */
        if (m->attempt && m->attempt->upload && !upload_handed_over(m->attempt->upload)) {
                Job *job = m->attempt->job;

                attempt_cancel(m);
                job_move(job, JOB_EVENT_LOOK_FAILED);
                (void) manager_save(m, job);
        }
        m->store_tried = 0;
        (void) dispatch_store_is_good(m);
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;

        attempt_free(m->attempt);
        sd_event_source_disable_unref(m->kick);
        sd_event_source_disable_unref(m->tell);
        sd_event_source_disable_unref(m->timer);
        sd_event_source_disable_unref(m->poll);
        sd_event_source_disable_unref(m->forget);
        g_clear_pointer(&m->jobs, g_ptr_array_unref);
        g_clear_pointer(&m->aside, g_hash_table_unref);
        catalogue_unref(m->catalogue);
        g_free(m->catalogue_stamp);
        holds_free(m->holds);
        evidence_free(m->evidence);
        g_free(m->window_reason);
        g_free(m->probes);
        inventory_free(m->inventory);
        store_close(m->store);
        config_free(m->config);
        roots_free(m->roots);
        g_free(m->config_file);
        g_strfreev(m->directories);
        g_free(m->import_directory);
        sd_event_unref(m->event);
        g_free(m);
        return NULL;
}

int manager_reload(Manager *m) {
        g_autoptr(GPtrArray) problems = NULL;
        Config *config, *old;
        int r;

        r = config_load(m->config_file, m->directories, &config, &problems);
        if (r < 0) {
                for (unsigned i = 0; problems && i < problems->len; i++)
                        log_full(LOG_ERR, 0, FIELDS("MESSAGE_ID", MESSAGE_CONFIG_INVALID), "%s", (char *) problems->pdata[i]);
                return log_error(problems ? 0 : r, "The configuration is bad; the settings in force are kept") ?: r;
        }

        /* Both or neither: images that the new settings do not trust must not stay in the catalogue. */
        old = m->config;
        m->config = config;
        if (manager_load_catalogue(m) < 0) {
                m->config = old;
                config_free(config);
                return log_error(0, "The catalogue cannot be read with the new configuration; the settings in force are kept") ?: -EIO;
        }

        config_free(old);
        log_set_level(m->log_level >= 0 ? m->log_level : m->config->log_level);
        manager_update_svn(m);
        manager_tell(m, MANAGER_CHANGED_MODULE);
        log_info("The configuration was read again");
        dispatch_kick(m);
        return 0;
}

int manager_refresh(Manager *m, Failure *failure) {
        int r;

        r = manager_load_catalogue(m);
        if (r < 0)
                return failure_set(failure, ERROR_IO, "The catalogue could not be read; see the journal");

        if (!m->attempt) {
                if (clock_boottime(&system_clock) - m->hardware_read >= HARDWARE_READ_USEC)
                        manager_read_hardware(m);
                manager_observe(m);
        }
        manager_update_svn(m);
        manager_tell(m, MANAGER_CHANGED_MODULE | MANAGER_CHANGED_SUPPORT | MANAGER_CHANGED_STATE);
        dispatch_kick(m);
        return 0;
}

int manager_history(Manager *m, uint64_t since, uint32_t max, GPtrArray **ret, Failure *failure) {
        if (store_load_history(m->store, since, max == 0 ? STORE_HISTORY_MAX : max, ret) < 0)
                return failure_set(failure, ERROR_IO, "The history cannot be read: %s", store_error(m->store));
        return 0;
}

size_t manager_n_jobs(const Manager *m) {
        return m->jobs->len;
}

Job *manager_job(const Manager *m, size_t index) {
        return m->jobs->pdata[index];
}

Job *manager_find_job(const Manager *m, uint32_t id) {
        for (unsigned i = 0; i < m->jobs->len; i++)
                if (((Job *) m->jobs->pdata[i])->record->id == id)
                        return m->jobs->pdata[i];

        return NULL;
}

const HostFacts *manager_host(const Manager *m) {
        return inventory_facts(m->inventory);
}

const Config *manager_config(const Manager *m) {
        return m->config;
}

