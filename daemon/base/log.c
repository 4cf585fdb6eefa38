/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <glib.h>
#include <systemd/sd-journal.h>

#include "base/log.h"

static struct {
        int level;
        bool journal;
} logger = { .level = LOG_INFO };

void log_open(void) {
        logger.journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_set_level(int level) {
        logger.level = level;
}

int log_get_level(void) {
        return logger.level;
}

static const char *const levels[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };

int log_level_from_string(const char *name) {
        for (unsigned i = 0; i < G_N_ELEMENTS(levels); i++)
                if (strcmp(levels[i], name) == 0)
                        return (int) i;

        return -1;
}

const char *log_level_to_string(int level) {
        return level >= 0 && level < (int) G_N_ELEMENTS(levels) ? levels[level] : NULL;
}

static void add_field(GPtrArray *fields, const char *name, const char *value) {
        g_ptr_array_add(fields, g_strdup_printf("%s=%s", name, value));
}

static int send_journal(int level, const char *message, const char *const fields[]) {
        g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
        g_autofree struct iovec *iov = NULL;
        char priority[16];

        snprintf(priority, sizeof(priority), "%d", level);
        add_field(texts, "PRIORITY", priority);
        add_field(texts, "MESSAGE", message);
        add_field(texts, "SYSLOG_IDENTIFIER", "tdx-updated");
        for (const char *const *f = fields; f && f[0]; f += 2)
                if (f[1])
                        add_field(texts, f[0], f[1]);

        iov = g_new0(struct iovec, texts->len);
        for (unsigned i = 0; i < texts->len; i++)
                iov[i] = (struct iovec) { texts->pdata[i], strlen(texts->pdata[i]) };

        return sd_journal_sendv(iov, (int) texts->len);
}

int log_full(int level, int error, const char *const fields[], const char *format, ...) {
        g_autofree char *message = NULL;
        va_list ap;

        error = error < 0 ? -error : error;
        if (level > logger.level)
                return -error;

        va_start(ap, format);
        message = g_strdup_vprintf(format, ap);
        va_end(ap);

        if (error > 0) {
                char *with = g_strdup_printf("%s: %s", message, g_strerror(error));

                g_free(message);
                message = with;
        }

        if (logger.journal && send_journal(level, message, fields) >= 0)
                return -error;

        fprintf(stderr, "<%d>%s\n", level, message);
        return -error;
}
