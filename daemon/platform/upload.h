/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <systemd/sd-event.h>

#include "core/outcome.h"
#include "platform/roots.h"

/*
 * One upload through the kernel's firmware-upload interface, as a source in the loop:
 * stage the image ("1", data), ask for the last look, hand it over (a single write of
 * "0"), follow status until it is idle, report. Nothing here decides what it means.
 */
typedef struct Upload Upload;

/* What the interface says right now. */
typedef struct UploadState {
        bool gone;              /* the interface is not there */
        bool loading;           /* somebody has begun to stage an image */
        char *status;           /* "idle", ...; NULL when unreadable */
        char *error;            /* "" when empty, NULL when unreadable (EBUSY while not idle) */
        bool have_remaining;
        uint64_t remaining;     /* bytes */
} UploadState;

void upload_read_state(const Roots *roots, UploadState *ret);
void upload_state_clear(UploadState *state);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(UploadState, upload_state_clear)

/* Drops a partial image that was staged but not handed over. 0 or -errno. */
int upload_abort_staged(const Roots *roots);

typedef struct UploadReport {
        bool handed_over;
        bool aborted;           /* the last look said no; the staged image was dropped */
        bool ran;
        bool foreign;           /* somebody else used the interface meanwhile; what is staged is not ours */
        int write_error;        /* positive errno */
        const char *write_what; /* which write failed, for people */
        char *last_status;      /* the last word that was not idle, "" for none */
        UploadState end;
        uint64_t handover;      /* boottime usec when the write of 0 had returned, 0: not reached */
        uint64_t kernel;        /* usec from then until it was idle, 0: not reached */
} UploadReport;

typedef struct UploadHandler {
        /* The image is staged, and is not looked at any more: what has to be kept before the look. < 0: drop it. */
        int (*before_look)(void *userdata);
        /* >= 0 to hand the image over, < 0 to drop it. */
        int (*last_look)(void *userdata);
        /* @progress 0..1; at most one call a change. */
        void (*progress)(const char *status, double progress, void *userdata);
        /* Not idle for the given time. Called once; following goes on. */
        void (*stuck)(const char *status, void *userdata);
        /* The last call; the upload may be freed in it. */
        void (*done)(const UploadReport *report, void *userdata);
        void *userdata;
} UploadHandler;

typedef struct UploadRequest {
        sd_event *event;
        const Roots *roots;
        int image_fd;           /* format 0x200; stays the caller's until the upload is freed; -1: only follow */
        uint64_t size;          /* bytes */
        uint64_t timeout;       /* usec until stuck, UINT64_MAX: never */
        UploadHandler handler;
} UploadRequest;

/*
 * Starts an upload, or, with image_fd = -1, follows one that is running already.
 * Failures of the interface come in the report, not here. 0 or -errno.
 */
int upload_start(const UploadRequest *request, Upload **ret);

bool upload_handed_over(const Upload *upload);

/* Before the handover this drops what is staged; after it the kernel goes on by itself. */
Upload *upload_free(Upload *upload);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Upload, upload_free)
