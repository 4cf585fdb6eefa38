/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <syslog.h>

/*
 * One line a failure, with structured fields. Under systemd (JOURNAL_STREAM)
 * lines go to the journal with their fields; elsewhere to standard error as text.
 */
void log_open(void);
void log_set_level(int level);
int log_get_level(void);

/* syslog's words ("err", "warning", "info", ...). -1 and NULL for what is none. */
int log_level_from_string(const char *name);
const char *log_level_to_string(int level);

/*
 * @fields: pairs of field name and value, ended by NULL; a pair whose value is
 * NULL is left out. "MESSAGE_ID" is a field like any other. Returns -@error, so
 * that "return log_error_fields(...)" logs and reports at once.
 */
int log_full(int level, int error, const char *const fields[], const char *format, ...)
        __attribute__((format(printf, 4, 5)));

#define log_error(error, ...)   log_full(LOG_ERR, error, NULL, __VA_ARGS__)
#define log_warning(error, ...) log_full(LOG_WARNING, error, NULL, __VA_ARGS__)
#define log_notice(...)         log_full(LOG_NOTICE, 0, NULL, __VA_ARGS__)
#define log_info(...)           log_full(LOG_INFO, 0, NULL, __VA_ARGS__)
#define log_debug(...)          log_full(LOG_DEBUG, 0, NULL, __VA_ARGS__)

#define FIELDS(...) ((const char *const[]) { __VA_ARGS__, NULL })
