/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/limit.h"
#include "base/log.h"
#include "base/names.h"
#include "core/plan.h"
#include "manager-internal.h"

void request_clear(Request *request) {
        g_clear_pointer(&request->options.ignored, g_array_unref);
}

void plan_clear(Plan *plan) {
        g_free(plan->from);
        g_free(plan->to);
        g_free(plan->token);
        g_strfreev(plan->steps);
        blocker_list_clear(&plan->blockers);
        *plan = (Plan) {};
}

/* The catalogue's images that can be chosen, their facts, and which is the newest eligible. */
typedef struct Choice {
        GPtrArray *images;      /* of Image, borrowed */
        ImageFacts *facts;
} Choice;

static void choice_clear(Choice *choice) {
        g_clear_pointer(&choice->images, g_ptr_array_unref);
        g_clear_pointer(&choice->facts, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Choice, choice_clear)

static int choose_newest(Manager *m, Choice *choice, Failure *failure) {
        const Catalogue *catalogue = manager_catalogue(m);
        g_autofree const ImageFacts **pointers = NULL;
        g_autofree char *text = NULL;
        Policy policy = manager_policy(m);
        ErrorId error;
        int i;

        choice->images = g_ptr_array_new();
        for (size_t k = 0; k < catalogue_n_images(catalogue); k++) {
                Image *image = catalogue_image(catalogue, k);

                if (image_have_version(image) && !image_shadowed(image))
                        g_ptr_array_add(choice->images, image);
        }

        choice->facts = g_new0(ImageFacts, choice->images->len + 1);
        pointers = g_new0(const ImageFacts *, choice->images->len + 1);
        for (unsigned k = 0; k < choice->images->len; k++) {
                manager_image_facts(m, choice->images->pdata[k], &choice->facts[k]);
                pointers[k] = &choice->facts[k];
        }

        i = select_newest(manager_host(m), pointers, choice->images->len, &policy, &error, &text);
        return i >= 0 ? i : failure_set(failure, error, "%s", text);
}

static int find_version(Manager *m, const char *version, Image **ret, Failure *failure) {
        const Catalogue *catalogue = manager_catalogue(m);
        Version v;

        if (strlen(version) > LIMIT_VERSION_LENGTH || version_parse(version, &v) < 0)
                return failure_set(failure, ERROR_INVALID_ARGS, "\"%.*s\" is no version; write it as 1.5.06, or leave it out for the newest",
                                   (int) LIMIT_VERSION_LENGTH, version);

        *ret = catalogue_find(catalogue, v);
        if (*ret)
                return 0;

        /* Asking for what runs is no error for want of its image. */
        if (manager_host(m)->have_running && version_compare(v, manager_host(m)->running) == 0)
                return failure_set(failure, ERROR_ALREADY_CURRENT, "%s runs already", VERSION_STRING(v));
        return failure_set(failure, ERROR_NO_SUCH_VERSION,
                           "The catalogue has no image of %s; tdxctl list shows what there is, tdxctl import adds one", VERSION_STRING(v));
}

/* The image that the request means. */
static int resolve(Manager *m, const Request *request, Image **ret, Failure *failure) {
        g_auto(Choice) choice = {};
        int i;

        if (*request->version)
                return find_version(m, request->version, ret, failure);

        i = choose_newest(m, &choice, failure);
        if (i < 0)
                return i;
        *ret = choice.images->pdata[i];
        return 0;
}

static char *make_token(Manager *m, const Image *image) {
        return plan_token(image_seam_hash(image), manager_host(m)->running, m->config->fingerprint);
}

static char **make_steps(const Plan *plan, const Image *image) {
        g_autoptr(GPtrArray) steps = g_ptr_array_new();

        if (plan->allowed) {
                g_ptr_array_add(steps, g_strdup_printf("wait for a moment in which no TD is being built"));
                g_ptr_array_add(steps, g_strdup_printf("stage the verified image of %s in the kernel%s", plan->to,
                                                       image_format(image) == IMAGE_FORMAT_100 ? ", converted to format 0x200" : ""));
                g_ptr_array_add(steps, g_strdup("look once more, then hand it over: all CPUs stop while the module is replaced"));
                g_ptr_array_add(steps, g_strdup_printf("verify that %s runs and that one update was spent", plan->to));
        }
        g_ptr_array_add(steps, NULL);

        return (char **) g_ptr_array_free(g_steal_pointer(&steps), false);
}

static void plan_for_image(Manager *m, const Image *image, const JobOptions *options, Plan *ret) {
        const HostFacts *host = manager_host(m);
        g_auto(Moment) moment = {};
        Policy policy = manager_policy(m);
        ImageFacts facts;

        manager_image_facts(m, image, &facts);
        dispatch_moment(m, options, 0, &moment);
        gate_evaluate(host, &facts, &policy, &moment.facts, &ret->blockers);

        ret->allowed = !blocker_list_refusal(&ret->blockers);
        ret->to = g_strdup(VERSION_STRING(facts.version));
        ret->token = make_token(m, image);
        ret->steps = make_steps(ret, image);
        ret->cost = ret->allowed ? 1 : 0;
        ret->have_remaining = host->have_remaining;
        ret->remaining_after = host->have_remaining && host->remaining >= ret->cost ? host->remaining - ret->cost : 0;
        ret->have_svn_before = host->have_svn;
        ret->svn_before = host->svn;
        ret->have_svn_after = facts.verdict == IMAGE_OK;
        ret->svn_after = facts.svn;
}

/* Nothing can be chosen: the host's own blockers, and what was said instead of a choice. */
static void plan_for_none(Manager *m, const Failure *failure, Plan *ret) {
        const HostFacts *host = manager_host(m);
        Policy policy = manager_policy(m);

        eligibility_evaluate(host, NULL, &policy, &ret->blockers);
        if (failure->id == ERROR_ALREADY_CURRENT) {
                blocker_list_add(&ret->blockers, BLOCKER_ALREADY_CURRENT, NULL, "%s", failure->text);
                ret->to = g_strdup(ret->from);
        } else
                ret->to = g_strdup("");

        ret->token = g_strdup("");
        ret->steps = g_new0(char *, 1);
        ret->have_remaining = host->have_remaining;
        ret->remaining_after = host->remaining;
        ret->have_svn_before = host->have_svn;
        ret->svn_before = host->svn;
}

/* Not eligible, but there is one that would be newer: its plan shows everything that is in the way. */
static Image *newest_of_line(Manager *m) {
        const Catalogue *catalogue = m->catalogue;
        const HostFacts *host = manager_host(m);
        Image *best = NULL;

        for (size_t i = 0; i < catalogue_n_images(catalogue); i++) {
                Image *image = catalogue_image(catalogue, i);
                Version v = image_facts(image)->version;

                if (image_have_version(image) && !image_shadowed(image) && host->have_running &&
                    version_same_line(v, host->running) && version_compare(v, host->running) > 0 &&
                    (!best || version_compare(v, image_facts(best)->version) > 0))
                        best = image;
        }

        return best;
}

int manager_plan(Manager *m, const Request *request, Plan *ret, Failure *failure) {
        const HostFacts *host = manager_host(m);
        Image *image = NULL;
        int r;

        if (!m->attempt)
                manager_observe(m);
        ret->from = g_strdup(host->have_running && !host->lost ? VERSION_STRING(host->running) : "");

        r = resolve(m, request, &image, failure);
        if (r < 0 && !*request->version)
                image = newest_of_line(m);
        if (image)
                plan_for_image(m, image, &request->options, ret);
        else if (failure->id == ERROR_INVALID_ARGS || failure->id == ERROR_NO_SUCH_VERSION)
                return r;
        else
                plan_for_none(m, failure, ret);

        failure_clear(failure);
        return 0;
}

static int check_limits(Manager *m, uid_t uid, Failure *failure) {
        unsigned all = 0, own = 0;

        for (unsigned i = 0; i < m->jobs->len; i++) {
                Job *job = m->jobs->pdata[i];

                if (job_finished(job))
                        continue;
                all++;
                if (job->record->requester == uid)
                        own++;
        }

        if (all >= m->config->max_jobs)
                return failure_set(failure, ERROR_LIMIT_EXCEEDED, "There are %u unfinished jobs already (MaxJobs=); cancel one, or wait", all);
        if (own >= m->config->max_jobs_per_user)
                return failure_set(failure, ERROR_LIMIT_EXCEEDED, "User %u has %u unfinished jobs already (MaxJobsPerUser=); cancel one, or wait",
                                   (unsigned) uid, own);
        return 0;
}

static Job *make_job(Manager *m, const Request *request, const Image *image) {
        g_autoptr(JobRecord) record = job_record_new();
        const HostFacts *host = manager_host(m);

        record->state = JOB_QUEUED;
        record->requester = request->uid;
        record->options = request->options;
        record->options.ignored = request->options.ignored ? g_array_ref(request->options.ignored) : NULL;
        record->created = clock_realtime(&system_clock);
        record->expires = request->options.deadline;
        if (record->expires == UINT64_MAX)
                record->expires = 0; /* never, whatever the configuration says */
        else if (record->expires == 0 && __builtin_add_overflow(record->created, m->config->default_deadline, &record->expires))
                record->expires = 0; /* infinity, or as good as that */
        record_set(&record->from, VERSION_STRING(host->running));
        record_set(&record->to, VERSION_STRING(image_facts(image)->version));
        record_set(&record->unit, request->unit);
        record_set(&record->why, request->why);
        g_free(record->seam_hash);
        record->seam_hash = hex_format(image_seam_hash(image), SEAM_HASH_SIZE);
        g_free(record->signer);
        record->signer = hex_format(image_signer(image), SIGNER_SIZE);
        record->have_svn_before = host->have_svn;
        record->svn_before = host->svn;
        record->svn_after = image_facts(image)->svn;

        return job_new(g_steal_pointer(&record));
}

/* Hard and policy blockers refuse at once; what only waits does not. */
static int check_allowed(Manager *m, const Image *image, Failure *failure) {
        g_auto(BlockerList) blockers = {};
        Policy policy = manager_policy(m);
        const Blocker *refusal;
        ImageFacts facts;

        manager_image_facts(m, image, &facts);
        eligibility_evaluate(manager_host(m), &facts, &policy, &blockers);
        refusal = blocker_list_refusal(&blockers);
        return refusal ? failure_set(failure, blocker_error(refusal->id), "%s", refusal->text) : 0;
}

int manager_apply(Manager *m, const Request *request, Job **ret, bool *ret_new, Failure *failure) {
        g_autoptr(Job) job = NULL;
        g_autofree char *token = NULL, *hash = NULL;
        Image *image;
        int r;

        *ret_new = false;
        if (!m->attempt)
                manager_observe(m);
        r = resolve(m, request, &image, failure);
        if (r >= 0)
                r = check_allowed(m, image, failure);
        if (r < 0)
                return r;

        token = make_token(m, image);
        if (*request->plan && strcmp(request->plan, token) != 0)
                return failure_set(failure, ERROR_PLAN_STALE,
                                   "The image, the running version or the configuration has changed since that plan; make a new one");

        hash = manager_image_hash(image);
        for (unsigned i = 0; i < m->jobs->len; i++) {
                Job *other = m->jobs->pdata[i];

                if (!job_finished(other) && job_is_same_request(other, hash, request->uid, &request->options)) {
                        *ret = other;
                        return 0;
                }
        }

        r = check_limits(m, request->uid, failure);
        if (r < 0)
                return r;

        job = make_job(m, request, image);
        job_set_reason(job, "Waiting for its turn");
        if (manager_save(m, job) < 0) {
                dispatch_kick(m);
                return failure_set(failure, ERROR_IO, "The job could not be saved (%s), so it was not begun; see the journal",
                                   store_error(m->store));
        }

        *ret = job;
        *ret_new = true;
        g_ptr_array_add(m->jobs, g_steal_pointer(&job));
        return 0;
}

void manager_announce(Manager *m, Job *job) {
        g_autofree char *id = g_strdup_printf("%u", job->record->id), *uid = g_strdup_printf("%u", (unsigned) job->record->requester);

        log_full(LOG_INFO, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_JOB_QUEUED, FIELD_JOB, id, FIELD_FROM, job->record->from, FIELD_TO, job->record->to, FIELD_UID, uid),
                 "Job %s: update from %s to %s queued by user %s", id, job->record->from, job->record->to, uid);
        if (job->record->options.ignore_activity || job->record->options.ignored)
                log_full(LOG_WARNING, 0, FIELDS(FIELD_JOB, id, FIELD_UID, uid),
                         "Job %s: user %s has asked to ignore %s; the measurement of a TD in its build could be spoiled", id, uid,
                         job->record->options.ignored ? "VMs that may be building a TD" : "that it is not known whether a TD is being built");
        m->events.job_new(job, m->events.userdata);
        manager_tell(m, MANAGER_CHANGED_JOBS | MANAGER_CHANGED_STATE);
        dispatch_kick(m);
}

int manager_cancel(Manager *m, Job *job, Failure *failure) {
        if (job_finished(job))
                return failure_set(failure, ERROR_NOT_CANCELABLE, "Job %u has finished already (%s)", job->record->id,
                                   job_result_to_string(job->record->result));
        if (!job_cancelable(job))
                return failure_set(failure, ERROR_NOT_CANCELABLE,
                                   "The kernel has the image of job %u already, and an update cannot be stopped", job->record->id);

        if (m->attempt && m->attempt->job == job) {
                attempt_cancel(m);
                job_move(job, JOB_EVENT_LOOK_FAILED);
        }
        if (dispatch_cancel(m, job) < 0)
                return failure_set(failure, ERROR_IO, "The end of job %u cannot be written to the database (%s), so it is not cancelled; "
                                   "make room on its disk", job->record->id, store_error(m->store));
        return 0;
}

void manager_announce_end(Manager *m, Job *job) {
        dispatch_announce_end(m, job);
}
