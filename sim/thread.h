/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <pthread.h>
#include <signal.h>

/* A thread that takes no signals: they must interrupt the main one, which waits for FUSE's. 0 or -errno. */
static inline int thread_start(pthread_t *ret, void *(*run)(void *), void *userdata) {
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(ret, NULL, run, userdata);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}
