/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * In the place of builds.c where the build has no BPF. */
#include "platform/builds.h"

struct Builds {
        char unused;
};

int builds_new(sd_event *event, const char *pins, void (*changed)(void *userdata), void *userdata, Builds **ret) {
        *ret = g_new0(Builds, 1);
        return 0;
}

Builds *builds_free(Builds *b) {
        g_free(b);
        return NULL;
}

void builds_read(Builds *b, ProbeFacts *ret) {
        *ret = (ProbeFacts) { .unavailable = "tdx-updated was built without BPF" };
}
