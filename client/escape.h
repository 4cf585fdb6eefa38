/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/*
 * Text from elsewhere, made harmless for a terminal: control characters (C0, DEL, C1),
 * characters that turn the direction of writing, and broken UTF-8 become \xNN or \uNNNN.
 * NULL gives "". The caller frees it.
 */
char *escape_terminal(const char *text);
