/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>

#include "core/blocker.h"

static const struct {
        const char *name;
        Severity severity;
        ErrorId error;
} table[_BLOCKER_MAX] = {
        [BLOCKER_MODULE_LOST] = { "module-lost", SEVERITY_HARD, ERROR_MODULE_LOST },
        [BLOCKER_UNSUPPORTED] = { "unsupported", SEVERITY_HARD, ERROR_NOT_SUPPORTED },
        [BLOCKER_ALREADY_CURRENT] = { "already-current", SEVERITY_HARD, ERROR_ALREADY_CURRENT },
        [BLOCKER_NO_IMAGE] = { "no-image", SEVERITY_HARD, ERROR_NO_SUCH_VERSION },
        [BLOCKER_IMAGE_INVALID] = { "image-invalid", SEVERITY_HARD, ERROR_IMAGE_INVALID },
        [BLOCKER_IMAGE_UNTRUSTED] = { "image-untrusted", SEVERITY_HARD, ERROR_IMAGE_UNTRUSTED },
        [BLOCKER_DOWNGRADE] = { "downgrade", SEVERITY_HARD, ERROR_DOWNGRADE },
        [BLOCKER_INCOMPATIBLE_MODULE] = { "incompatible-module", SEVERITY_HARD, ERROR_INCOMPATIBLE_MODULE },
        [BLOCKER_INCOMPATIBLE_SEAMLDR] = { "incompatible-seamldr", SEVERITY_HARD, ERROR_INCOMPATIBLE_SEAMLDR },
        [BLOCKER_INCOMPATIBLE_CPU] = { "incompatible-cpu", SEVERITY_HARD, ERROR_INCOMPATIBLE_CPU },
        [BLOCKER_SVN_LOWER] = { "svn-lower", SEVERITY_HARD, ERROR_DOWNGRADE },
        [BLOCKER_NO_BUDGET] = { "no-budget", SEVERITY_HARD, ERROR_NO_BUDGET },
        [BLOCKER_DEBUG_IMAGE] = { "debug-image", SEVERITY_POLICY, ERROR_DEBUG_IMAGE },
        [BLOCKER_STEPPING_UNLISTED] = { "stepping-unlisted", SEVERITY_POLICY, ERROR_INCOMPATIBLE_CPU },
        [BLOCKER_RESERVE] = { "reserve", SEVERITY_POLICY, ERROR_NO_BUDGET },
        [BLOCKER_STORE_FAILED] = { "store-failed", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_FOREIGN_UPLOAD] = { "foreign-upload", SEVERITY_WAIT, ERROR_BUSY },
        [BLOCKER_CPUS_OFFLINE] = { "cpus-offline", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_HELD] = { "held", SEVERITY_WAIT, ERROR_HELD },
        [BLOCKER_OUTSIDE_WINDOW] = { "outside-window", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_TD_BUILDING] = { "td-building", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_TD_MIGRATING] = { "td-migrating", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_ACTIVITY_UNKNOWN] = { "activity-unknown", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_DRAINING] = { "draining", SEVERITY_WAIT, ERROR_NOT_SAFE },
        [BLOCKER_BACKOFF] = { "backoff", SEVERITY_WAIT, ERROR_BUSY },
        [BLOCKER_FLEET_SLOT] = { "fleet-slot", SEVERITY_WAIT, ERROR_NOT_SAFE },
};

static const char *const severities[_SEVERITY_MAX] = {
        [SEVERITY_HARD] = "hard",
        [SEVERITY_POLICY] = "policy",
        [SEVERITY_WAIT] = "wait",
        [SEVERITY_NOTE] = "note",
};

void blocker_list_clear(BlockerList *list) {
        for (size_t i = 0; i < list->n; i++) {
                g_free(list->items[i].text);
                g_free(list->items[i].subject);
        }
        g_free(list->items);
        *list = (BlockerList) {};
}

Blocker *blocker_list_add(BlockerList *list, BlockerId id, const char *subject, const char *format, ...) {
        Blocker blocker = { .id = id, .severity = table[id].severity, .subject = g_strdup(subject ?: "") };
        size_t at = list->n;
        va_list ap;

        va_start(ap, format);
        blocker.text = g_strdup_vprintf(format, ap);
        va_end(ap);

        while (at > 0 && list->items[at - 1].id > id)
                at--;

        list->items = g_renew(Blocker, list->items, list->n + 1);
        for (size_t i = list->n; i > at; i--)
                list->items[i] = list->items[i - 1];
        list->items[at] = blocker;
        list->n++;

        return &list->items[at];
}

const Blocker *blocker_list_refusal(const BlockerList *list) {
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].severity == SEVERITY_HARD || list->items[i].severity == SEVERITY_POLICY)
                        return &list->items[i];

        return NULL;
}

const Blocker *blocker_list_wait(const BlockerList *list) {
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].severity == SEVERITY_WAIT)
                        return &list->items[i];

        return NULL;
}

const Blocker *blocker_list_find(const BlockerList *list, BlockerId id) {
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].id == id)
                        return &list->items[i];

        return NULL;
}

const char *blocker_id_to_string(BlockerId id) {
        return table[id].name;
}

const char *severity_to_string(Severity severity) {
        return severities[severity];
}

Severity blocker_severity(BlockerId id) {
        return table[id].severity;
}

ErrorId blocker_error(BlockerId id) {
        return table[id].error;
}
