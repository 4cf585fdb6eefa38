/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "manager.h"

/*
 * The API on the bus: objects, properties, signals, and the one door that every method
 * call goes through.
 */
typedef struct Bus Bus;

/* Connects to the system bus and puts the objects there. @manager must outlive the result. */
int bus_new(sd_event *event, Manager *manager, Bus **ret);

/* Takes the name: from here on calls arrive. */
int bus_request_name(Bus *bus);

/* For manager_start(). */
ManagerEvents bus_events(Bus *bus);

/* The state in a sentence, for systemctl status. */
void bus_notify_status(Bus *bus);

Bus *bus_free(Bus *bus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bus, bus_free)
