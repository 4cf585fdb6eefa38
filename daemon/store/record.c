/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "store/record.h"

static void attempt_record_free(void *data) {
        AttemptRecord *a = data;

        g_free(a->status);
        g_free(a->kernel_error);
        g_free(a->boot_id);
        g_free(a->stale_error);
        g_free(a);
}

static void suspect_record_free(void *data) {
        SuspectRecord *s = data;

        g_free(s->name);
        g_free(s->machine);
        g_free(s->unit);
        g_free(s->evidence);
        g_free(s);
}

JobRecord *job_record_new(void) {
        JobRecord *r = g_new0(JobRecord, 1);
        char **strings[] = { &r->from, &r->to, &r->unit, &r->why, &r->error_name, &r->error_text,
                             &r->seam_hash, &r->signer, &r->evidence };

        for (size_t i = 0; i < G_N_ELEMENTS(strings); i++)
                *strings[i] = g_strdup("");
        r->suspects = g_ptr_array_new_with_free_func(suspect_record_free);
        r->attempts = g_ptr_array_new_with_free_func(attempt_record_free);

        return r;
}

JobRecord *job_record_free(JobRecord *r) {
        if (!r)
                return NULL;

        g_free(r->from);
        g_free(r->to);
        g_free(r->unit);
        g_free(r->why);
        g_free(r->error_name);
        g_free(r->error_text);
        g_free(r->seam_hash);
        g_free(r->signer);
        g_free(r->evidence);
        g_clear_pointer(&r->options.ignored, g_array_unref);
        g_ptr_array_unref(r->suspects);
        g_ptr_array_unref(r->attempts);
        g_free(r);
        return NULL;
}

AttemptRecord *job_record_add_attempt(JobRecord *record) {
        AttemptRecord *a = g_new0(AttemptRecord, 1);

        a->number = job_record_n_attempts(record) + 1;
        a->status = g_strdup("");
        a->kernel_error = g_strdup("");
        a->boot_id = g_strdup("");
        a->stale_error = g_strdup("");

        if (record->attempts->len >= ATTEMPTS_KEPT)
                g_ptr_array_remove_index(record->attempts, 1);
        g_ptr_array_add(record->attempts, a);
        record->outcomes[OUTCOME_NONE]++;

        return a;
}

AttemptRecord *job_record_last_attempt(const JobRecord *record) {
        return record->attempts->len > 0 ? record->attempts->pdata[record->attempts->len - 1] : NULL;
}

SuspectRecord *job_record_add_suspect(JobRecord *record) {
        SuspectRecord *s = g_new0(SuspectRecord, 1);

        s->name = g_strdup("");
        s->machine = g_strdup("");
        s->unit = g_strdup("");
        s->evidence = g_strdup("");
        g_ptr_array_add(record->suspects, s);

        return s;
}

uint32_t job_record_n_attempts(const JobRecord *record) {
        const AttemptRecord *last = job_record_last_attempt(record);

        return last ? last->number : 0;
}

void job_record_set_outcome(JobRecord *record, AttemptRecord *attempt, Outcome outcome) {
        record->outcomes[attempt->outcome]--;
        attempt->outcome = outcome;
        record->outcomes[outcome]++;
}

void job_record_drop_last_attempt(JobRecord *record) {
        record->outcomes[job_record_last_attempt(record)->outcome]--;
        g_ptr_array_remove_index(record->attempts, record->attempts->len - 1);
}

void record_set(char **field, const char *value) {
        char *copy = g_strdup(value ?: "");

        g_free(*field);
        *field = copy;
}
