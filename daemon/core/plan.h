/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "core/gate.h"

/*
 * Which of @n images (facts, borrowed) is the newest eligible one? Returns its index, or
 * -1 and why not in *@ret_error and *@ret_text (the caller frees it):
 * that the host is lost or has no upload interface; else what the newest one of the running line that is newer
 * refuses (the budget too); else AlreadyCurrent, or NoSuchVersion when there is no image at all.
 */
int select_newest(const HostFacts *host, const ImageFacts *const images[], size_t n, const Policy *policy,
                  ErrorId *ret_error, char **ret_text);

/*
 * What a plan was made of: as long as the token is the same, Apply does what Plan said.
 * @configuration: any text that changes when the configuration does. The caller frees it.
 */
char *plan_token(const uint8_t hash[static SEAM_HASH_SIZE], Version running, const char *configuration);
