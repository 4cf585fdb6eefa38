/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "core/outcome.h"

static const char *const names[_OUTCOME_MAX] = {
        [OUTCOME_NONE] = "",
        [OUTCOME_SUCCESS] = "success",
        [OUTCOME_MISMATCH] = "mismatch",
        [OUTCOME_NOTHING] = "nothing",
        [OUTCOME_BUSY] = "busy",
        [OUTCOME_REFUSED] = "refused",
        [OUTCOME_LOST] = "lost",
        [OUTCOME_FAILED] = "failed",
        [OUTCOME_STUCK] = "stuck",
        [OUTCOME_FOREIGN] = "foreign",
        [OUTCOME_ABORTED] = "aborted",
        [OUTCOME_INTERRUPTED] = "interrupted",
};

const char *outcome_error_word(const char *error) {
        const char *colon = strchr(error, ':');

        return colon ? colon + 1 : error;
}

/*
 * Did a run of the worker take place at all since the handover? The kernel clears the
 * error text only when it queues a new run, and leaves remaining_size at the whole size
 * after a failure of this driver. An old text with another remaining_size is a stale one.
 */
static bool run_took_place(const AttemptFacts *f) {
        if (f->ran)
                return true;
        if (f->error[0] == '\0')
                return f->have_remaining && f->remaining == 0;
        if (f->stale_error && strcmp(f->error, f->stale_error) != 0)
                return true;

        return f->have_remaining && f->remaining == f->size;
}

static Outcome classify_words(const AttemptFacts *f) {
        const char *word = outcome_error_word(f->error);

        if (strcmp(word, "device-busy") == 0)
                return OUTCOME_BUSY;
        if (strcmp(word, "firmware-invalid") == 0)
                return OUTCOME_REFUSED;

        return OUTCOME_FAILED;
}

Outcome outcome_classify(const AttemptFacts *f) {
        bool changed;

        /* tdx-host.c: version gives ENXIO when no module is initialised. Nothing else matters then. */
        if (f->version_error == ENXIO)
                return OUTCOME_LOST;

        if (!f->handed_over) {
                if (f->write_error == EBUSY)
                        return OUTCOME_BUSY;
                return f->write_error != 0 ? OUTCOME_FAILED : OUTCOME_INTERRUPTED;
        }

        if (!f->idle)
                return OUTCOME_STUCK;
        if (f->version_error != 0)
                return OUTCOME_FAILED;

        changed = version_compare(f->version, f->before) != 0;
        if (changed && (!f->error || f->error[0] == '\0')) {
                if (version_compare(f->version, f->target) == 0)
                        return OUTCOME_SUCCESS;
                return f->error ? OUTCOME_MISMATCH : OUTCOME_FOREIGN;
        }
        /* Our run failed, and yet the version moved. */
        if (changed)
                return OUTCOME_FOREIGN;
        if (!f->error)
                return OUTCOME_FAILED;
        if (f->error[0] == '\0' || !run_took_place(f))
                return OUTCOME_NOTHING;

        return classify_words(f);
}

const char *outcome_to_string(Outcome outcome) {
        return names[outcome];
}

int outcome_from_string(const char *name) {
        for (int i = 0; i < _OUTCOME_MAX; i++)
                if (strcmp(names[i], name) == 0)
                        return i;

        return -1;
}
