/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>

#include "core/hold.h"

static const char *const whats[_HOLD_WHAT_MAX] = {
        [HOLD_UPDATE] = "update",
        [HOLD_BUILD] = "build",
        [HOLD_MIGRATION] = "migration",
};

static const char *const modes[_HOLD_MODE_MAX] = {
        [HOLD_BLOCK] = "block",
        [HOLD_DELAY] = "delay",
};

static int lookup(const char *const *names, int max, const char *name) {
        for (int i = 0; i < max; i++)
                if (strcmp(names[i], name) == 0)
                        return i;

        return -1;
}

const char *hold_what_to_string(HoldWhat what) {
        return whats[what];
}

int hold_what_from_string(const char *name) {
        return lookup(whats, _HOLD_WHAT_MAX, name);
}

const char *hold_mode_to_string(HoldMode mode) {
        return modes[mode];
}

int hold_mode_from_string(const char *name) {
        return lookup(modes, _HOLD_MODE_MAX, name);
}
