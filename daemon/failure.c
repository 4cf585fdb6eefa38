/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdarg.h>

#include "failure.h"

void failure_clear(Failure *failure) {
        g_free(failure->text);
        *failure = (Failure) {};
}

int failure_set(Failure *failure, ErrorId id, const char *format, ...) {
        va_list ap;

        failure_clear(failure);
        failure->id = id;
        va_start(ap, format);
        failure->text = g_strdup_vprintf(format, ap);
        va_end(ap);

        return -error_entry(id)->error;
}
