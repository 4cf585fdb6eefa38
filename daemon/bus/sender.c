/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "bus/bus-internal.h"

int sender_read(sd_bus_message *message, Sender *ret) {
        sd_bus_creds *creds = NULL;
        const char *unit = NULL;
        uid_t uid;
        int r;

        r = sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &creds);
        if (r >= 0)
                r = sd_bus_creds_get_euid(creds, &uid);
        creds = sd_bus_creds_unref(creds);
        if (r < 0)
                return r;

        *ret = (Sender) { .uid = uid };
        /* Where there is no cgroup file system to tell the unit, that is no reason to refuse. */
        if (sd_bus_query_sender_creds(message, SD_BUS_CREDS_PID | SD_BUS_CREDS_UNIT | SD_BUS_CREDS_AUGMENT, &creds) >= 0) {
                (void) sd_bus_creds_get_pid(creds, &ret->pid);
                (void) sd_bus_creds_get_unit(creds, &unit);
        }
        ret->unit = g_strdup(unit ?: "");
        sd_bus_creds_unref(creds);
        return 0;
}

void sender_clear(Sender *sender) {
        g_free(sender->unit);
        *sender = (Sender) {};
}
