/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/names.h"
#include "base/util.h"
#include "core/backoff.h"
#include "manager-internal.h"

/* Busy retries closer together than this do not send PrepareForUpdate(false) in between. */
#define PREPARE_GAP_USEC (5 * USEC_PER_SEC)

/* Somebody has to do something before it can get better: as after that many busy answers. */
#define ABORTED_RETRY 7U

Attempt *attempt_free(Attempt *attempt) {
        if (!attempt)
                return NULL;

        /* The kernel goes on with what it has: so does what keeps builds off it, until the next daemon sees the end. */
        if (attempt->upload && upload_handed_over(attempt->upload))
                attempt->gate = build_gate_leave(attempt->gate);
        upload_free(attempt->upload);
        sd_event_source_disable_unref(attempt->verify);
        closep(&attempt->image_fd);
        build_gate_free(attempt->gate);
        g_free(attempt->gate_problem);
        g_free(attempt);
        return NULL;
}

static Attempt *take_attempt(Manager *m) {
        Attempt *attempt = m->attempt;

        m->attempt = NULL;
        return attempt;
}

static AttemptRecord *record_of(const Attempt *attempt) {
        return job_record_last_attempt(attempt->job->record);
}

/* What blocks now, NULL: nothing. */
static const Blocker *look(Manager *m, Job *job, BlockerList *blockers, Moment *moment) {
        dispatch_gate(m, job, blockers, moment);
        return blocker_list_refusal(blockers) ?: blocker_list_wait(blockers);
}

static int refuse_look(const Job *job, const char *which, const Blocker *blocker) {
        log_info("Job %u: the %s look saw %s, not handing the image over: %s", job->record->id, which,
                 blocker_id_to_string(blocker->id), blocker->text);
        return -EAGAIN;
}

/*
 * From here on the kernel may have the image: after a crash this tells an attempt that did nothing from one that did. The mark
 * waits for the disk, so it is not made for a moment that has passed already.
 */
static int on_before_look(void *userdata) {
        Manager *m = userdata;
        Job *job = m->attempt->job;
        g_auto(BlockerList) blockers = {};
        g_auto(Moment) moment = {};
        const Blocker *blocker;
        int r;

        blocker = look(m, job, &blockers, &moment);
        if (blocker)
                return refuse_look(job, "first", blocker);

        /* From here on no TD can begin in the cgroups that are named, so that the last look is true until the end. */
        r = moment.activity.impossible ? 0 : misc_gate_close(m, m->attempt);
        if (r < 0)
                return r;

        record_of(m->attempt)->handing_over = true;
        record_of(m->attempt)->looked = clock_realtime(&system_clock);
        return manager_save(m, job);
}

/*
 * All CPUs, the version and the evidence once more, with the image staged. Whatever blocks now
 * drops the image: nothing has happened.
 */
static int on_last_look(void *userdata) {
        Manager *m = userdata;
        Job *job = m->attempt->job;
        g_auto(BlockerList) blockers = {};
        g_auto(Moment) moment = {};
        const Blocker *blocker;

        manager_observe(m);
        /* What is staged is what was asked for; the catalogue may have been read again meanwhile. */
        if (!dispatch_target_is_there(m, job))
                return -EAGAIN;
        if (job->record->expires != 0 && clock_realtime(&system_clock) >= job->record->expires)
                return -ETIME;

        /* Whatever VM appears from here on was not looked at. */
        evidence_mark(m->evidence);
        m->marked = true;
        m->attempt->looked = clock_boottime(&system_clock);
        record_of(m->attempt)->looked = clock_realtime(&system_clock);
        blocker = look(m, job, &blockers, &moment);
        if (blocker)
                return refuse_look(job, "last", blocker);

        moment_record(&moment, job);
        job->handed_over = true;
        return 0;
}

static void on_progress(const char *status, double progress, void *userdata) {
        Manager *m = userdata;
        Job *job = m->attempt->job;
        unsigned changes = JOB_CHANGED_PROGRESS;

        if (record_of(m->attempt)->outcome == OUTCOME_STUCK)
                return;

        job->progress = progress;
        if (job_set_reason(job, "%s (%s)", job->handed_over ? "The kernel replaces the module" : "The image is being staged", status))
                changes |= job->handed_over ? JOB_CHANGED_STATE : JOB_CHANGED_REASON;
        manager_tell_job(m, job, changes);
}

static void on_stuck(const char *status, void *userdata) {
        Manager *m = userdata;
        Job *job = m->attempt->job;
        AttemptRecord *record = record_of(m->attempt);
        g_autofree char *id = g_strdup_printf("%u", job->record->id), *number = g_strdup_printf("%u", record->number);

        job_record_set_outcome(job->record, record, OUTCOME_STUCK);
        log_full(LOG_CRIT, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_STUCK, FIELD_JOB, id, FIELD_ATTEMPT, number, FIELD_FROM, job->record->from, FIELD_TO, job->record->to),
                 "Job %s: the kernel has not ended the update (status \"%s\"); nothing is written to it any more, and the queue stands still",
                 id, status);
        job_set_reason(job, "stuck: the kernel has not ended the update within AttemptTimeoutSec= (status \"%s\"); "
                            "see the kernel's log, a reboot ends it", status);
        (void) manager_save(m, job);
        manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_ATTEMPTS);
}

static void fill_version(Manager *m, AttemptFacts *facts) {
        const HostFacts *host = inventory_facts(m->inventory);

        facts->version_error = inventory_read(m->inventory);
        if (host->have_running)
                facts->version = host->running;
}

static void on_done(const UploadReport *report, void *userdata) {
        Manager *m = userdata;
        Attempt *attempt = take_attempt(m);
        AttemptRecord *record = record_of(attempt);
        Job *job = attempt->job;
        g_autofree char *text = NULL;
        AttemptFacts facts = {
                .handed_over = report->handed_over,
                .write_error = report->write_error,
                .idle = report->end.gone || g_strcmp0(report->end.status, "idle") == 0,
                .ran = report->ran,
                .error = report->end.error,
                .stale_error = record->stale_error,
                .have_remaining = report->end.have_remaining,
                .remaining = report->end.remaining,
                .size = record->size,
                .before = record->before,
        };

        /* The time in which what was looked at could change: from when the evidence began to be read to the end of the write. */
        record->look_to_handover = report->handed_over && report->handover > attempt->looked ? report->handover - attempt->looked : 0;
        record->kernel = report->kernel;
        record->total = clock_boottime(&system_clock) - attempt->began;
        record_set(&record->status, report->last_status);
        if (report->write_error != 0)
                text = g_strdup_printf("%s when asked to %s", g_strerror(report->write_error), report->write_what);
        record_set(&record->kernel_error, report->handed_over ? report->end.error : text);

        (void) version_parse(job->record->to, &facts.target);
        fill_version(m, &facts);
        job->handed_over = report->handed_over;
        if (report->aborted)
                job_record_set_outcome(job->record, record, OUTCOME_ABORTED);
        else if (report->foreign)
                job_record_set_outcome(job->record, record, OUTCOME_FOREIGN);

        misc_gate_open(m, attempt);
        if (attempt->gate_problem) {
                record_set(&record->kernel_error, attempt->gate_problem);
                text = g_steal_pointer(&attempt->gate_problem);
        }
        attempt_conclude(m, job, &facts, text);
        attempt_free(attempt);
}

static int open_upload(Manager *m, Attempt *attempt, uint64_t size) {
        UploadRequest request = {
                .event = m->event,
                .roots = m->roots,
                .image_fd = attempt->image_fd,
                .size = size,
                .timeout = m->config->attempt_timeout,
                .handler = { on_before_look, on_last_look, on_progress, on_stuck, on_done, m },
        };

        return upload_start(&request, &attempt->upload);
}

static void fill_record(Manager *m, AttemptRecord *record, uint64_t size) {
        const HostFacts *host = inventory_facts(m->inventory);
        g_auto(UploadState) state = {};

        upload_read_state(m->roots, &state);
        record->started = clock_realtime(&system_clock);
        record->before = host->running;
        record->have_remaining = host->have_remaining;
        record->remaining = host->remaining;
        record->size = size;
        record_set(&record->boot_id, inventory_boot_id(m->inventory));
        record_set(&record->stale_error, state.error);
}

static void log_attempt(Job *job, const AttemptRecord *record) {
        g_autofree char *id = g_strdup_printf("%u", job->record->id), *number = g_strdup_printf("%u", record->number);

        log_full(LOG_INFO, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_ATTEMPT_STARTED, FIELD_JOB, id, FIELD_ATTEMPT, number, FIELD_FROM, job->record->from,
                        FIELD_TO, job->record->to),
                 "Job %s: attempt %s to update from %s to %s begins (%s)", id, number, job->record->from, job->record->to,
                 job->record->evidence);
}

int attempt_start(Manager *m, Job *job, Image *image) {
        Attempt *attempt = g_new0(Attempt, 1);
        const HostFacts *host = inventory_facts(m->inventory);
        AttemptRecord *record;
        size_t size;
        int r;

        *attempt = (Attempt) { .job = job, .image_fd = -1, .began = clock_boottime(&system_clock) };
        r = image_open_upload(image, &attempt->image_fd, &size);
        if (r < 0) {
                attempt_free(attempt);
                if (job_set_reason(job, "The image cannot be prepared (%s); trying again", g_strerror(-r))) {
                        log_error(r, "Job %u: failed to prepare the image", job->record->id);
                        manager_tell_job(m, job, JOB_CHANGED_REASON);
                }
                return r;
        }

        /* Somebody else may have changed it since the job was made. */
        record_set(&job->record->from, VERSION_STRING(host->running));
        job->record->have_svn_before = host->have_svn;
        job->record->svn_before = host->svn;

        /*
         * Write-ahead: the attempt is in the database before the kernel sees the first byte. Nothing is handed over yet, and a
         * power cut takes what is staged away too, so this does not wait for the disk.
         */
        job_move(job, JOB_EVENT_GATE_OPEN);
        record = job_record_add_attempt(job->record);
        fill_record(m, record, size);
        r = manager_note(m, job);
        if (r >= 0)
                r = open_upload(m, attempt, size);
        if (r < 0) {
                job_record_drop_last_attempt(job->record);
                drain_stop(m);
                job_move(job, JOB_EVENT_LOOK_FAILED);
                (void) manager_save(m, job);
                attempt_free(attempt);
                return r;
        }

        m->attempt = attempt;
        drain_stop(m);
        job->progress = 0;
        job_set_reason(job, "Attempt %u begins", record->number);
        drain_prepare(m, true);
        log_attempt(job, record);
        manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_ATTEMPTS | JOB_CHANGED_PROGRESS);
        return 0;
}

int attempt_resume(Manager *m, Job *job) {
        Attempt *attempt = g_new0(Attempt, 1);
        int r;

        *attempt = (Attempt) { .job = job, .image_fd = -1, .began = clock_boottime(&system_clock) };
        r = open_upload(m, attempt, job_record_last_attempt(job->record)->size);
        if (r < 0) {
                attempt_free(attempt);
                return log_error(r, "Job %u: failed to follow the running update", job->record->id);
        }

        m->attempt = attempt;
        job->handed_over = true;
        job_set_reason(job, "The kernel replaces the module (seen after a restart)");
        return 0;
}

void attempt_cancel(Manager *m) {
        Attempt *attempt = take_attempt(m);
        AttemptRecord *record = record_of(attempt);

        job_record_set_outcome(attempt->job->record, record, OUTCOME_ABORTED);
        record->total = clock_boottime(&system_clock) - attempt->began;
        attempt_free(attempt);
}

static void log_outcome(Job *job, const AttemptRecord *record) {
        g_autofree char *id = g_strdup_printf("%u", job->record->id), *number = g_strdup_printf("%u", record->number);
        const char *outcome = outcome_to_string(record->outcome);

        log_full(LOG_INFO, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_ATTEMPT_ENDED, FIELD_JOB, id, FIELD_ATTEMPT, number, FIELD_OUTCOME, outcome,
                        FIELD_FROM, job->record->from, FIELD_TO, job->record->to),
                 "Job %s: attempt %s: %s%s%s", id, number, outcome, *record->kernel_error ? ", " : "", record->kernel_error);
}

/* Nothing was handed over, or nothing came of it: back to the gate. */
static void back_to_gate(Manager *m, Job *job) {
        job_move(job, JOB_EVENT_LOOK_FAILED);
        job_set_reason(job, "The moment had passed when the image was staged; waiting for the next one");
        (void) manager_note(m, job);
        drain_prepare(m, false);
        manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_ATTEMPTS);
        dispatch_kick(m);
}

static void back_off(Manager *m, Job *job, Outcome outcome) {
        const unsigned *outcomes = job->record->outcomes;
        unsigned retry = outcome == OUTCOME_ABORTED ? ABORTED_RETRY :
                                                      outcomes[OUTCOME_BUSY] + outcomes[OUTCOME_REFUSED] + outcomes[OUTCOME_FOREIGN];
        uint64_t random = 0, delay;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t) sizeof(random))
                random = clock_boottime(&system_clock);
        delay = backoff_delay(retry, random);

        job_move(job, JOB_EVENT_RETRY);
        job->closed = false;
        m->cut_short = false;
        job->record->next_attempt = clock_realtime(&system_clock) + delay;
        job_set_reason(job, "%s%s; attempt %u is in %.1f s", outcome == OUTCOME_ABORTED ? "" : "The kernel ",
                       outcome == OUTCOME_ABORTED ? job_record_last_attempt(job->record)->kernel_error :
                       outcome == OUTCOME_REFUSED ? "has refused the image, the old module runs on" :
                       outcome == OUTCOME_FOREIGN ? "works for somebody else" : "is busy",
                       job_record_n_attempts(job->record) + 1, (double) delay / USEC_PER_SEC);
        (void) manager_save(m, job);
        if (delay >= PREPARE_GAP_USEC)
                drain_prepare(m, false);
        manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_ATTEMPTS);
        dispatch_kick(m);
}

/* In a turn of the loop of its own, since it makes the slow P-SEAMLDR calls: who listens sees "verifying" first. */
static int on_verify(sd_event_source *source, void *userdata) {
        Manager *m = userdata;
        Attempt *attempt = take_attempt(m);
        Job *job = attempt->job;
        AttemptRecord *record = record_of(attempt);
        const HostFacts *host = inventory_facts(m->inventory);

        manager_note_module(m, job->record->id);
        record->verify = clock_boottime(&system_clock) - attempt->began;
        record->total += record->verify;
        attempt_free(attempt);

        if (!host->have_remaining)
                log_warning(0, "Job %u: the number of remaining updates cannot be read after the update", job->record->id);
        else if (record->have_remaining && host->remaining + 1 != record->remaining)
                log_warning(0, "Job %u: %u updates were left before and %u are after it, expected one less",
                            job->record->id, record->remaining, host->remaining);

        dispatch_finish(m, job, RESULT_SUCCESS, ERROR_NONE, "The new module runs");
        return 0;
}

/* Takes the place of the attempt until it is done, so that the queue does not go on. */
void attempt_verify(Manager *m, Job *job) {
        int r;

        if (job->record->state != JOB_VERIFYING) {
                job_move(job, JOB_EVENT_UPLOADED);
                job->progress = 0.97;
                job_set_reason(job, "The kernel reports success; the version and the budget are being checked");
                (void) manager_save(m, job);
                manager_tell_job(m, job, JOB_CHANGED_STATE | JOB_CHANGED_ATTEMPTS | JOB_CHANGED_PROGRESS);
        }

        job->handed_over = true;
        m->attempt = g_new0(Attempt, 1);
        *m->attempt = (Attempt) { .job = job, .image_fd = -1, .began = clock_boottime(&system_clock) };
        r = sd_event_add_defer(m->event, &m->attempt->verify, on_verify, m);
        if (r < 0) {
                log_error(r, "Job %u: failed to schedule the verification, verifying at once", job->record->id);
                (void) on_verify(NULL, m);
        }
}

/* The kernel ran something else than what was verified: never touch that image again. */
static void set_aside(Manager *m, Job *job, const char *text) {
        g_autofree char *key = g_strconcat(STORE_KEY_ASIDE, job->record->seam_hash, NULL);
        int r;

        g_hash_table_replace(m->aside, g_strdup(job->record->seam_hash), g_strdup(text));
        r = store_set(m->store, key, text);
        if (r < 0)
                log_warning(r, "Failed to remember that an image was set aside, ignoring");
}

static void finish_failed(Manager *m, Job *job, ErrorId error, const char *format, ...) __attribute__((format(printf, 4, 5)));

static void finish_failed(Manager *m, Job *job, ErrorId error, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        dispatch_finish(m, job, RESULT_FAILED, error, text);
}

static void finish_lost(Manager *m, Job *job, const AttemptRecord *record) {
        g_autofree char *detail = g_strdup_printf("the kernel says \"%s\", and version gives ENXIO", record->kernel_error);

        manager_note_lost(m, detail);
        dispatch_finish(m, job, RESULT_LOST, ERROR_MODULE_LOST,
                        "The old module was shut down and the new one did not start: it is gone and every TD with it; only a reboot helps");
}

static void finish_mismatch(Manager *m, Job *job, const AttemptFacts *facts) {
        g_autofree char *text = g_strdup_printf("Its installation as %s brought %s; the image is set aside", job->record->to,
                                                VERSION_STRING(facts->version));

        manager_note_module(m, job->record->id);
        set_aside(m, job, text);
        finish_failed(m, job, ERROR_VERIFY_FAILED, "%s runs now, not %s; the image is set aside", VERSION_STRING(facts->version),
                      job->record->to);
}

/* What follows from each outcome; core/outcome.c has decided which it is. */
void attempt_conclude(Manager *m, Job *job, const AttemptFacts *facts, const char *text) {
        AttemptRecord *record = job_record_last_attempt(job->record);

        /* Whoever's doing it was, a lost module is lost. */
        if ((record->outcome != OUTCOME_ABORTED && record->outcome != OUTCOME_FOREIGN) || facts->version_error == ENXIO)
                job_record_set_outcome(job->record, record, outcome_classify(facts));
        log_outcome(job, record);

        /* What the kernel has done to the budget is read, not assumed. */
        if (facts->handed_over && (record->outcome == OUTCOME_REFUSED || record->outcome == OUTCOME_NOTHING ||
                                   record->outcome == OUTCOME_FAILED)) {
                manager_read_hardware(m);
                manager_tell(m, MANAGER_CHANGED_MODULE);
        }

        /* Whenever the module was, or may have been, replaced. (Where it is lost there is no TD left to be wrong.) */
        if (facts->handed_over && record->outcome != OUTCOME_LOST &&
            (facts->version_error != 0 || version_compare(facts->version, facts->before) != 0))
                suspects_find(m, job, record);

        switch (record->outcome) {
        case OUTCOME_SUCCESS:
                attempt_verify(m, job);
                return;
        case OUTCOME_LOST:
                finish_lost(m, job, record);
                return;
        case OUTCOME_MISMATCH:
                finish_mismatch(m, job, facts);
                return;
        case OUTCOME_BUSY:
                job->handed_over = false;
                /* EBUSY from a write is the interface's word, not the module's. */
                if (strcmp(outcome_error_word(record->kernel_error), "device-busy") == 0 && !m->seen_busy) {
                        m->seen_busy = true;
                        manager_tell(m, MANAGER_CHANGED_MODULE);
                }
                back_off(m, job, record->outcome);
                return;
        case OUTCOME_REFUSED:
                job->handed_over = false;
                if (job->record->outcomes[OUTCOME_REFUSED] > m->config->refused_retries)
                        finish_failed(m, job, ERROR_UPLOAD_FAILED, "The kernel refuses the image (%s), and the old module runs; see the kernel's log",
                                      record->kernel_error);
                else
                        back_off(m, job, record->outcome);
                return;
        case OUTCOME_FOREIGN:
                job->handed_over = false;
                manager_observe(m);
                back_off(m, job, record->outcome);
                return;
        case OUTCOME_ABORTED:
        case OUTCOME_INTERRUPTED:
                job->handed_over = false;
                /* A moment that has passed comes again; a gate that cannot be closed has to be looked after first. */
                if (record->outcome == OUTCOME_ABORTED && *record->kernel_error)
                        back_off(m, job, record->outcome);
                else
                        back_to_gate(m, job);
                return;
        case OUTCOME_NOTHING:
                finish_failed(m, job, ERROR_UPLOAD_FAILED, "The kernel took the image but nothing ran, and the old module runs; "
                              "it is not tried again, since the kernel does not say why");
                return;
        default:
                finish_failed(m, job, ERROR_UPLOAD_FAILED, "The kernel said \"%s\"; %s, and it is not tried again: see the kernel's log",
                              text ?: record->kernel_error,
                              facts->version_error == 0 && version_compare(facts->version, facts->before) == 0 ?
                                      "the old module runs" : "which module runs is not known");
        }
}
