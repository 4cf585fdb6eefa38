/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>

#include "base/fileio.h"
#include "client/request.h"

int request_append(sd_bus_message *m, const Options *options, const char *version, uint64_t deadline) {
        int r;

        r = sd_bus_message_append(m, "s", version ?: "");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        if (deadline > 0)
                r = sd_bus_message_append(m, "{sv}", "deadline", "t", deadline);
        if (r >= 0 && options->reason)
                r = sd_bus_message_append(m, "{sv}", "reason", "s", options->reason);
        if (r >= 0 && options->plan)
                r = sd_bus_message_append(m, "{sv}", "plan", "s", options->plan);
        if (r >= 0 && options->drain)
                r = sd_bus_message_append(m, "{sv}", "drain", "b", true);
        if (r >= 0 && options->now)
                r = sd_bus_message_append(m, "{sv}", "now", "b", true);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(m);
}

int request_job(const char *text, uint32_t *ret) {
        uint64_t id;

        if (parse_u64(text, &id) < 0 || id == 0 || id > UINT32_MAX)
                return -EINVAL;

        *ret = (uint32_t) id;
        return 0;
}
