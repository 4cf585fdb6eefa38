/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/*
 * Shows text with $SYSTEMD_PAGER, $PAGER or less, and waits for it to end. 0, or a
 * negative errno when no pager is wanted (set to "" or "cat") or none could be started;
 * the caller prints the text itself then.
 */
int pager_show(const char *text);
