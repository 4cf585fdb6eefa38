/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/facts.h"
#include "platform/roots.h"

/*
 * What the platform is and runs. Reading is split by cost: inventory_read() is a few
 * cheap files, inventory_read_hardware() makes two slow, serialised P-SEAMLDR calls.
 */
typedef struct Inventory Inventory;

Inventory *inventory_new(const Roots *roots);   /* @roots must outlive it */
Inventory *inventory_free(Inventory *inventory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Inventory, inventory_free)

/*
 * Version, CPUs, upload interface. Never fails: what could not be read is marked so in the
 * facts. Returns the positive errno of reading the version, 0 when it was read.
 */
int inventory_read(Inventory *inventory);

/* P-SEAMLDR version and remaining updates; only where the files exist. */
void inventory_read_hardware(Inventory *inventory);

/* The kernel forgets nothing until a reboot, and neither does this. */
void inventory_set_lost(Inventory *inventory);

/* The security version of the running module, if somebody knows it. */
void inventory_set_svn(Inventory *inventory, bool have, uint16_t svn);

const HostFacts *inventory_facts(const Inventory *inventory);   /* valid until the next read */

/* This boot's id, 36 characters. "" when it cannot be read. */
const char *inventory_boot_id(const Inventory *inventory);
