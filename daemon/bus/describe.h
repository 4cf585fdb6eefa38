/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-bus.h>

#include "manager.h"

/* The API's dictionaries (dbus/org.tdx.Update1.xml names their keys). All return 0 or -errno. */

int describe_blockers(sd_bus_message *message, const BlockerList *blockers);    /* aa{sv} */
int describe_plan(sd_bus_message *message, const Plan *plan);                   /* a{sv} */
int describe_image(sd_bus_message *message, Manager *manager, const Image *image); /* a{sv} */
int describe_attempts(sd_bus_message *message, const JobRecord *record);        /* aa{sv} */
int describe_timings(sd_bus_message *message, const AttemptRecord *attempt);    /* a{st}; NULL: empty */
int describe_guest(sd_bus_message *message, const GuestFacts *guest, const GuestVerdict *verdict);
int describe_history(sd_bus_message *message, const JobRecord *record);         /* a{sv} */
