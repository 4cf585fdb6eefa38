/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/log.h"
#include "base/names.h"
#include "base/util.h"
#include "manager-internal.h"

/*
 * The promise: no TD that was in its build when the module was replaced is hurt silently. Between the last look and the
 * stop of all CPUs a VM that nobody announced can still begin a build, and an update that was asked to ignore a VM can meet
 * its build. Who that may be is named, rather once too often than once too seldom.
 */

/* debugfs stamps its folders with the kernel's coarse clock, which is behind by a tick (10 ms at 100 Hz). */
#define COARSE_USEC (20 * USEC_PER_MSEC)

typedef struct Search {
        Manager *m;
        Job *job;
        uint64_t looked;        /* realtime usec */
        const ProbeFacts *probes;
        ActivityVerdict verdict;
} Search;

static bool is_named(const Search *s, uint32_t pid, uint64_t start_time) {
        const GPtrArray *suspects = s->job->record->suspects;

        for (unsigned i = 0; i < suspects->len; i++) {
                const SuspectRecord *record = suspects->pdata[i];

                if (record->pid == pid && (record->start_time == start_time || record->start_time == 0 || start_time == 0))
                        return true;
        }

        return false;
}

static void log_suspect(const Search *s, const SuspectRecord *record) {
        g_autofree char *id = g_strdup_printf("%u", s->job->record->id), *pid = g_strdup_printf("%u", record->pid);

        log_full(LOG_CRIT, 0,
                 FIELDS("MESSAGE_ID", MESSAGE_SUSPECT, FIELD_JOB, id, FIELD_GUEST, pid, FIELD_FROM, s->job->record->from,
                        FIELD_TO, s->job->record->to),
                 "The measurement of the TD of %s[%s]%s%s may be wrong (%s); rebuild it", *record->name ? record->name : "vm", pid,
                 *record->unit ? " in " : "", record->unit, record->evidence);
}

static void name_guest(Search *s, const GuestFacts *guest, const char *evidence) {
        SuspectRecord *record;

        if (is_named(s, guest->pid, guest->start_time))
                return;

        record = job_record_add_suspect(s->job->record);
        record->pid = guest->pid;
        record->start_time = guest->start_time;
        record_set(&record->name, guest->name);
        record_set(&record->machine, guest->machine);
        record_set(&record->unit, guest->unit);
        record->since = guest->since;
        record_set(&record->evidence, evidence);
        log_suspect(s, record);
}

static void name_build(Search *s, const BuildFacts *build) {
        SuspectRecord *record;

        if (is_named(s, build->pid, 0))
                return;

        record = job_record_add_suspect(s->job->record);
        record->pid = build->pid;
        record_set(&record->name, build->name);
        record->since = build->since;
        record_set(&record->evidence, "the probes saw its build begin before the update was over");
        log_suspect(s, record);
}

/*
 * Was it not looked at, or did the look let it through without a sign that it had run: ignored on request, guessed to be quiet,
 * or stale? After a restart when it ran is not known, only that the gate was open.
 */
static bool is_candidate(const Search *s, const GuestFacts *guest) {
        const JobOptions *options = &s->job->record->options;
        bool let_through = s->m->marked || options->ignore_activity || options->ignored || s->m->config->quiet != UINT64_MAX;

        if (guest->since == 0 || guest->since + COARSE_USEC >= s->looked)
                return true;
        return let_through && (guest->ran == 0 || guest->ran >= s->looked);
}

#define APPEARED "it appeared before the update was over, and after the last look"
#define LET_THROUGH "at the last look nothing showed that its build was over, but that was ignored, guessed, or too long ago"

static void judge_candidate(Search *s, const GuestFacts *guest, GuestTd td) {
        if (td != GUEST_TD_NO && is_candidate(s, guest))
                name_guest(s, guest, guest->since + COARSE_USEC >= s->looked ? APPEARED : LET_THROUGH);
}

/* Probes that see every TD leave nobody to be guessed at. */
static bool probes_decide(const Search *s) {
        const ProbeFacts *p = s->probes;

        return !p->unavailable && !p->doubt && p->complete;
}

/* Of one that may be gone again: then nothing is known but what holds for all. */
static GuestTd td_of(const Search *s, const GuestFacts *guest) {
        const GuestFacts *const *guests;
        size_t n;

        guests = evidence_guests(s->m->evidence, &n);
        for (size_t i = 0; i < n && i < s->verdict.n_guests; i++)
                if (guests[i]->pid == guest->pid && g_str_equal(guests[i]->key, guest->key))
                        return s->verdict.no_tds ? GUEST_TD_NO : s->verdict.guests[i].td;

        return s->verdict.impossible ? GUEST_TD_NO : GUEST_TD_UNKNOWN;
}

static void search(Search *s) {
        const GuestFacts *const *guests, *const *appeared;
        bool by_probes = probes_decide(s);
        size_t n;

        for (size_t i = 0; !s->probes->unavailable && i < s->probes->n_builds; i++) {
                const BuildFacts *build = &s->probes->builds[i];

                if (!build->finalized || build->since >= s->looked)
                        name_build(s, build);
        }

        guests = evidence_guests(s->m->evidence, &n);
        for (size_t i = 0; !by_probes && !s->verdict.no_tds && i < n && i < s->verdict.n_guests; i++)
                judge_candidate(s, guests[i], s->verdict.guests[i].td);

        /* Those that are gone again, too: somebody may have taken a quote of it. */
        appeared = evidence_guests_since_mark(s->m->evidence, &n);
        for (size_t i = 0; !by_probes && i < n; i++)
                if (s->m->marked && td_of(s, appeared[i]) != GUEST_TD_NO)
                        name_guest(s, appeared[i], APPEARED);
}

void suspects_find(Manager *m, Job *job, const AttemptRecord *record) {
        Search s = { .m = m, .job = job, .looked = record->looked };

        watch_judge(m, NULL, &s.verdict);
        s.probes = evidence_probes(m->evidence);

        search(&s);
        m->marked = false;
        activity_verdict_clear(&s.verdict);
}
