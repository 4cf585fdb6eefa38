/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "sim/tree.h"

/* The text of a file (not of NODE_DATA). 0 or the negative errno that reading it gives. */
int content_show(Model *m, const Node *node, GString *out);

/* A write to a file (not to NODE_DATA). 0 or the negative errno that it gives. */
int content_store(Model *m, uint64_t now, const Node *node, const char *text, size_t size);
