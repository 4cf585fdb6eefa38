/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "client/tdxctl.h"

/*
 * Starts pkttyagent, which asks for a password when polkit wants one: on a terminal
 * only, for the local bus only, not for root and not against --no-ask-password.
 * Returns true if an agent runs now.
 */
bool agent_open(Tdxctl *t);
void agent_close(Tdxctl *t);
