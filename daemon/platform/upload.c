/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/upload.h"

/* The kernel takes at most a page per write(2) (kernfs). */
#define PAGE 4096U
#define PAGES_PER_TURN 32U

/* Nothing wakes a poller (no sysfs_notify in sysfs_upload.c): fast at first, then slower. */
#define POLL_FIRST_USEC (5 * USEC_PER_MSEC)
#define POLL_LAST_USEC  (250 * USEC_PER_MSEC)

struct Upload {
        UploadRequest request;
        sd_event_source *source;        /* staging, then the poll timer */
        int data_fd;
        uint64_t offset;
        uint64_t poll;                  /* usec */
        uint64_t handover;              /* boottime usec */
        bool stuck;
        bool staged;                    /* all of it, and not handed over */
        char *told_status;              /* the last that progress was called with */
        double told_progress;
        UploadReport report;
};

void upload_state_clear(UploadState *state) {
        g_free(state->status);
        g_free(state->error);
        *state = (UploadState) {};
}

void upload_read_state(const Roots *roots, UploadState *ret) {
        uint64_t loading = 0;

        *ret = (UploadState) { .gone = faccessat(roots->sysfs_fd, ABI_UPLOAD, F_OK, 0) < 0 && errno == ENOENT };
        if (read_u64_at(roots->sysfs_fd, ABI_LOADING, &loading) >= 0)
                ret->loading = loading == 1;
        (void) read_line_at(roots->sysfs_fd, ABI_STATUS, &ret->status);
        (void) read_line_at(roots->sysfs_fd, ABI_ERROR, &ret->error);
        ret->have_remaining = read_u64_at(roots->sysfs_fd, ABI_REMAINING_SIZE, &ret->remaining) >= 0;
}

int upload_abort_staged(const Roots *roots) {
        return write_string_at(roots->sysfs_fd, ABI_LOADING, ABI_LOADING_ABORT);
}

bool upload_handed_over(const Upload *upload) {
        return upload->report.handed_over;
}

static bool status_is_idle(const char *status) {
        return status && strcmp(status, ABI_STATUS_IDLE) == 0;
}

/* Takes @end, the state in which the end was seen: a second look could see somebody else's. */
static int finish(Upload *u, UploadState *end) {
        UploadHandler handler = u->request.handler;

        u->source = sd_event_source_disable_unref(u->source);
        closep(&u->data_fd);
        u->report.end = *end;
        *end = (UploadState) {};
        handler.done(&u->report, handler.userdata);
        return 0;
}

/*
 * Before the handover: nothing has happened. What was staged is dropped, if it is ours: @drop.
 * A failure while somebody else's run is going on is that run's doing, and not the interface's.
 */
static int finish_staging(Upload *u, int error, const char *what, bool drop) {
        g_auto(UploadState) state = {};
        int r;

        upload_read_state(u->request.roots, &state);
        if (error != 0 && state.status && !status_is_idle(state.status)) {
                u->report.foreign = true;
                error = EBUSY;
                drop = false;
        }

        u->report.write_error = error;
        u->report.write_what = what;
        if (drop && !state.gone) {
                r = upload_abort_staged(u->request.roots);
                if (r < 0)
                        log_warning(r, "Failed to drop the staged image, ignoring");
        }
        return finish(u, &state);
}

/* Only what changed: the poll looks far more often than the kernel moves. */
static void tell_progress(Upload *u, const char *status, double progress) {
        if (u->told_status && strcmp(u->told_status, status) == 0 && u->told_progress >= progress)
                return;

        g_free(u->told_status);
        u->told_status = g_strdup(status);
        u->told_progress = progress;
        if (u->request.handler.progress)
                u->request.handler.progress(status, progress, u->request.handler.userdata);
}

/* Staging is the first third of the bar, the kernel's work the rest. */
static double kernel_progress(const Upload *u, const UploadState *state) {
        double whole = (double) u->request.size;

        if (!state->status || strcmp(state->status, "programming") == 0)
                return 0.95;
        if (strcmp(state->status, "transferring") != 0)
                return 0.35;
        if (!state->have_remaining || whole <= 0 || (double) state->remaining > whole)
                return 0.4;
        return 0.4 + 0.5 * (1 - (double) state->remaining / whole);
}

static int arm(Upload *u, sd_event_time_handler_t callback, uint64_t delay);

static int on_poll(sd_event_source *source, uint64_t usec, void *userdata) {
        Upload *u = userdata;
        g_auto(UploadState) state = {};
        uint64_t waited = clock_boottime(&system_clock) - u->handover;

        upload_read_state(u->request.roots, &state);
        /* The driver goes away only after its worker has ended. */
        if (status_is_idle(state.status) || state.gone) {
                u->report.kernel = waited;
                return finish(u, &state);
        }

        if (state.status) {
                u->report.ran = true;
                g_free(u->report.last_status);
                u->report.last_status = g_strdup(state.status);
        }
        tell_progress(u, state.status ?: "unreadable", kernel_progress(u, &state));

        if (!u->stuck && u->request.timeout != USEC_INFINITY && waited >= u->request.timeout) {
                u->stuck = true;
                u->request.handler.stuck(state.status ?: "unreadable", u->request.handler.userdata);
        }

        u->poll = MIN(u->poll * 3 / 2, POLL_LAST_USEC);
        return arm(u, on_poll, u->poll);
}

static int arm(Upload *u, sd_event_time_handler_t callback, uint64_t delay) {
        int r;

        u->source = sd_event_source_disable_unref(u->source);
        r = sd_event_add_time_relative(u->request.event, &u->source, CLOCK_BOOTTIME, delay, delay / 8 + 1, callback, u);
        if (r < 0) {
                /* Without its timer the kernel's work would go on unseen: a new daemon finds and follows it. */
                log_error(r, "Failed to arm the upload's timer");
                (void) sd_event_exit(u->request.event, EXIT_FAILURE);
        }
        return r;
}

/*
 * Is what is staged what was staged by us? The kernel does not keep two writers apart: the last "1" throws the
 * other's data away, and loading reads the same for both. data can be read back until it is handed over. After
 * somebody's run it takes bytes without a "1" as well; a "0" then "succeeds" and does nothing.
 */
static bool staged_is_ours(Upload *u) {
        uint8_t ours[PAGE], theirs[PAGE];
        uint64_t loading = 0;

        if (read_u64_at(u->request.roots->sysfs_fd, ABI_LOADING, &loading) < 0 || loading != 1)
                return false;

        for (uint64_t at = 0; at < u->request.size;) {
                ssize_t n = pread(u->request.image_fd, ours, sizeof(ours), (off_t) at), k = 0;

                if (n <= 0)
                        return false;
                while (k < n) {
                        ssize_t got = pread(u->data_fd, theirs + k, (size_t) (n - k), (off_t) at + k);

                        if (got <= 0)
                                return false;
                        k += got;
                }
                if (memcmp(ours, theirs, (size_t) n) != 0)
                        return false;
                at += (uint64_t) n;
        }

        return pread(u->data_fd, theirs, 1, (off_t) u->request.size) == 0;
}

static int hand_over(Upload *u) {
        UploadHandler *handler = &u->request.handler;
        int r;

        /* Everything that takes time comes before the look, so that as little as possible can happen after it. */
        if (!staged_is_ours(u)) {
                u->report.foreign = true;
                return finish_staging(u, EBUSY, "keep its image (somebody else stages one)", false);
        }
        closep(&u->data_fd);
        u->staged = true;
        r = handler->before_look(handler->userdata);
        if (r >= 0)
                r = handler->last_look(handler->userdata);
        u->staged = false;
        if (r < 0) {
                u->report.aborted = true;
                return finish_staging(u, 0, NULL, true);
        }

        /*
         * The decision: from here on the update cannot be stopped. The write returns at once;
         * status is not idle any more when it does (fw_upload_start() sets it before it queues the work).
         */
        r = write_string_at(u->request.roots->sysfs_fd, ABI_LOADING, ABI_LOADING_HANDOVER);
        u->handover = clock_boottime(&system_clock);
        u->report.handover = u->handover;
        if (r < 0)
                return finish_staging(u, -r, "hand the image over", true);

        u->report.handed_over = true;
        u->poll = POLL_FIRST_USEC;
        return on_poll(NULL, 0, u);
}

static int on_stage(sd_event_source *source, void *userdata);

/*
 * A new source each turn: one that stays on is always older, and so before, whatever comes in over the
 * bus, and nobody could cancel.
 */
static int stage_next(Upload *u) {
        int r;

        u->source = sd_event_source_disable_unref(u->source);
        r = sd_event_add_defer(u->request.event, &u->source, on_stage, u);
        return r < 0 ? finish_staging(u, -r, "go on with the upload", true) : 0;
}

static int on_stage(sd_event_source *source, void *userdata) {
        Upload *u = userdata;

        for (unsigned i = 0; i < PAGES_PER_TURN && u->offset < u->request.size; i++) {
                uint8_t page[PAGE];
                size_t want = MIN(PAGE, u->request.size - u->offset);
                ssize_t n = pread(u->request.image_fd, page, want, (off_t) u->offset);

                if (n <= 0)
                        return finish_staging(u, n < 0 ? errno : ENODATA, "read the verified copy of the image", true);
                n = pwrite(u->data_fd, page, (size_t) n, (off_t) u->offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return finish_staging(u, n < 0 ? errno : EIO, "stage the image", true);
                u->offset += (uint64_t) n;
        }

        tell_progress(u, "staging", (double) u->offset / (double) u->request.size / 3);
        if (u->offset < u->request.size)
                return stage_next(u);

        u->source = sd_event_source_disable_unref(u->source);
        return hand_over(u);
}

/* Begins to stage. A failure is reported from the loop, never from within upload_start(). */
static int on_begin(sd_event_source *source, void *userdata) {
        Upload *u = userdata;
        int r, fd = u->request.roots->sysfs_fd;
        uint64_t loading = 0;

        u->source = sd_event_source_disable_unref(u->source);

        r = write_string_at(fd, ABI_LOADING, ABI_LOADING_START);
        if (r < 0)
                return finish_staging(u, -r, "start the upload", false);

        /*
         * The write "succeeds" and is ignored while a run is in progress, or for ever after a
         * refusal by an LSM or a failed allocation (sysfs.c): only reading it back tells.
         */
        if (read_u64_at(fd, ABI_LOADING, &loading) < 0 || loading != 1)
                return finish_staging(u, EPROTO, "start the upload (the interface ignores it; reload the tdx_host driver, or reboot)", false);

        u->data_fd = openat(fd, ABI_DATA, O_RDWR | O_CLOEXEC);
        if (u->data_fd < 0)
                return finish_staging(u, errno, "open the upload's data file", true);

        return stage_next(u);
}

int upload_start(const UploadRequest *request, Upload **ret) {
        g_autoptr(Upload) u = g_new0(Upload, 1);
        int r;

        u->request = *request;
        u->data_fd = -1;
        u->report.last_status = g_strdup("");

        if (request->image_fd >= 0)
                r = sd_event_add_defer(request->event, &u->source, on_begin, u);
        else {
                u->report.handed_over = true;
                u->handover = clock_boottime(&system_clock);
                u->poll = POLL_FIRST_USEC;
                r = arm(u, on_poll, 0);
        }
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&u);
        return 0;
}

Upload *upload_free(Upload *u) {
        if (!u)
                return NULL;

        if (u->data_fd >= 0 || u->staged)
                (void) upload_abort_staged(u->request.roots);

        sd_event_source_disable_unref(u->source);
        closep(&u->data_fd);
        upload_state_clear(&u->report.end);
        g_free(u->report.last_status);
        g_free(u->told_status);
        g_free(u);
        return NULL;
}
