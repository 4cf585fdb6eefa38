/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/builds.h"
#include "platform/probe-maps.h"

/* A TD, and the process that began it. */
typedef struct Build {
        ProbeRecord record;
        int pidfd;              /* -1: it could not be opened, so it counts as alive */
        bool gone;
        char *name;
        uint64_t since;         /* realtime usec */
} Build;

struct Builds {
        sd_event *event;
        char *pins;
        bool knows_processes;   /* the numbers of processes that the kernel records are those that are seen here */
        void (*changed)(void *userdata);
        void *userdata;

        ProbeMaps *maps;        /* NULL: there are none now */
        uint64_t from;          /* realtime usec when they were attached */
        struct ring_buffer *ring;
        sd_event_source *source;

        GPtrArray *builds;      /* of Build: those of the last snapshot */
        GArray *pollfds;        /* one for each of them */
        bool have_snapshot;
        uint64_t generation;    /* of that snapshot */

        GArray *facts;          /* of BuildFacts: what was told last */
        char *unavailable, *doubt;
};

static void build_free(gpointer p) {
        Build *build = p;

        closep(&build->pidfd);
        g_free(build->name);
        g_free(build);
}

/*
 * The realtime of a boottime, by what both are now. Asked for once, when it is first seen: then a clock that is set later
 * moves nothing that others have stamped before.
 */
static uint64_t to_realtime(uint64_t boottime_ns) {
        uint64_t boottime = clock_boottime(&system_clock), realtime = clock_realtime(&system_clock), then = boottime_ns / 1000;

        return then < boottime ? realtime - MIN(boottime - then, realtime) : realtime;
}

static void close_maps(Builds *b) {
        b->source = sd_event_source_disable_unref(b->source);
        g_clear_pointer(&b->ring, ring_buffer__free);
        g_clear_pointer(&b->maps, probe_maps_free);
        g_ptr_array_set_size(b->builds, 0);
        b->have_snapshot = false;
}

/* What happened is in the map; the record only wakes. */
static int on_record(void *userdata, void *data, size_t size) {
        return 0;
}

static int on_events(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Builds *b = userdata;
        int r;

        r = ring_buffer__consume(b->ring);
        if (r < 0) {
                log_warning(r, "The probes' events cannot be read any more, so they are opened anew");
                close_maps(b);
        }
        b->changed(b->userdata);
        return 0;
}

/* 0 or -errno; b->maps is NULL then. */
static int open_maps(Builds *b) {
        int r;

        r = probe_maps_open(b->pins, &b->maps);
        if (r < 0)
                return r;

        b->ring = ring_buffer__new(probe_maps_events_fd(b->maps), on_record, b, NULL);
        r = b->ring ? sd_event_add_io(b->event, &b->source, ring_buffer__epoll_fd(b->ring), EPOLLIN, on_events, b) : -errno;
        if (r < 0)
                close_maps(b);
        else
                b->from = to_realtime(probe_maps_counters(b->maps)->attached);
        return r;
}

static char *why_unavailable(int error) {
        switch (-error) {
        case ENOENT:
                return g_strdup("the probes are not loaded (systemctl start tdx-updated-probe)");
        case EPROTO:
                return g_strdup("the probes are of another version of tdx-updated (systemctl restart tdx-updated-probe)");
        case EAGAIN:
                return g_strdup("the probes are being replaced");
        default:
                return g_strdup_printf("the probes cannot be read: %s", g_strerror(-error));
        }
}

/*
 * A pidfd, so that it is this process which is asked about and not a later one with its number. That works for the processes
 * of other users, without any capability.
 */
static void open_process(const Builds *b, Build *build) {
        if (!b->knows_processes)
                return;
        build->pidfd = pidfd_open((pid_t) build->record.value.tgid, 0);
        if (build->pidfd < 0)
                build->gone = errno == ESRCH;
}

/* In another PID namespace a process that is not found may be very much alive, so there nobody counts as gone. */
static bool in_initial_pid_namespace(void) {
        const ino_t initial = 0xEFFFFFFC;       /* PROC_PID_INIT_INO in include/linux/proc_ns.h */
        struct stat st;

        return stat("/proc/self/ns/pid", &st) >= 0 && st.st_ino == initial;
}

/* comm may be any bytes, and is going to be shown to people. */
static char *name_of(const struct probe_td *td) {
        g_autofree char *valid = g_utf8_make_valid(td->comm, (gssize) strnlen(td->comm, sizeof(td->comm)));
        g_autoptr(GString) name = g_string_new(NULL);

        for (const char *p = valid; *p; p = g_utf8_next_char(p))
                g_string_append_unichar(name, g_unichar_isprint(g_utf8_get_char(p)) ? g_utf8_get_char(p) : '?');
        return g_string_free(g_steal_pointer(&name), false);
}

static bool is_same(const ProbeRecord *a, const ProbeRecord *b) {
        return a->td == b->td && a->value.began == b->value.began && a->value.tgid == b->value.tgid;
}

/* With what is known of its process from before, if it was known. */
static Build *build_new(const Builds *b, const ProbeRecord *record) {
        Build *build;

        for (unsigned i = 0; i < b->builds->len; i++) {
                Build *old = b->builds->pdata[i];

                if (is_same(&old->record, record)) {
                        build = g_memdup2(old, sizeof(*old));
                        build->record = *record;
                        build->name = g_strdup(old->name);
                        old->pidfd = -1;
                        return build;
                }
        }

        build = g_new0(Build, 1);
        *build = (Build) { .record = *record, .pidfd = -1, .name = name_of(&record->value), .since = to_realtime(record->value.began) };
        open_process(b, build);
        return build;
}

/* Nothing of this when nothing has happened since the last time. 0 or -errno. */
static int take_snapshot(Builds *b) {
        g_autoptr(GPtrArray) builds = g_ptr_array_new_with_free_func(build_free);
        g_autoptr(GArray) records = NULL;
        int r;

        if (b->have_snapshot && probe_maps_generation(b->maps) == b->generation)
                return 0;

        b->have_snapshot = false;
        r = probe_maps_snapshot(b->maps, &records, &b->generation);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < records->len; i++)
                g_ptr_array_add(builds, build_new(b, &g_array_index(records, ProbeRecord, i)));

        g_ptr_array_unref(b->builds);
        b->builds = g_steal_pointer(&builds);
        b->have_snapshot = true;
        return 0;
}

/*
 * A VMM that dies in mid-build leaves its TD behind if KVM could not take it down (a failed TDH.MNG.VPFLUSHDONE never gets
 * to tdh_mng_key_freeid()). Nobody can go on with that build: KVM takes ioctls only from the process that made the VM
 * (kvm_vm_ioctl() compares the memory). A pidfd becomes readable when the last thread has ended, also that of a zombie.
 */
static void find_gone(Builds *b) {
        g_array_set_size(b->pollfds, 0);
        for (unsigned i = 0; i < b->builds->len; i++) {
                const Build *build = b->builds->pdata[i];
                struct pollfd p = { .fd = build->pidfd, .events = POLLIN };

                g_array_append_val(b->pollfds, p);
        }
        /* If it cannot be asked they count as alive. */
        if (poll((struct pollfd *) b->pollfds->data, b->pollfds->len, 0) <= 0)
                return;

        for (unsigned i = 0; i < b->builds->len; i++) {
                Build *build = b->builds->pdata[i];

                if (g_array_index(b->pollfds, struct pollfd, i).revents & POLLIN) {
                        build->gone = true;
                        closep(&build->pidfd);
                }
        }
}

static void tell_builds(Builds *b, ProbeFacts *ret) {
        for (unsigned i = 0; i < b->builds->len; i++) {
                const Build *build = b->builds->pdata[i];
                BuildFacts facts = {
                        .td = build->record.td,
                        .pid = build->record.value.tgid,
                        .name = build->name,
                        .since = build->since,
                        .began = build->record.value.began / 1000,
                        .finalized = build->record.value.state == PROBE_FINALIZED,
                };

                if (!build->gone)
                        g_array_append_val(b->facts, facts);
        }
        ret->builds = (const BuildFacts *) b->facts->data;
        ret->n_builds = b->facts->len;
}

static void set_doubt(Builds *b, int r, uint64_t lost) {
        if (r == -EAGAIN)
                b->doubt = g_strdup("TDs begin and end faster than they can be counted");
        else if (r == -EBADMSG)
                b->doubt = g_strdup("what the probes recorded contradicts itself (systemctl restart tdx-updated-probe when no TD exists)");
        else if (lost > 0)
                b->doubt = g_strdup_printf("the probes lost %" PRIu64 " event%s (systemctl restart tdx-updated-probe when no TD exists)", lost,
                                           lost == 1 ? "" : "s");
}

void builds_read(Builds *b, ProbeFacts *ret) {
        uint64_t lost = 0;
        int r = 0, snapshot = 0;

        *ret = (ProbeFacts) {};
        g_array_set_size(b->facts, 0);
        g_clear_pointer(&b->unavailable, g_free);
        g_clear_pointer(&b->doubt, g_free);

        if (b->maps && !probe_maps_are_current(b->maps))
                close_maps(b);
        if (!b->maps)
                r = open_maps(b);
        if (r >= 0) {
                snapshot = take_snapshot(b);
                r = snapshot == -EAGAIN || snapshot == -EBADMSG ? 0 : snapshot;
        }
        if (r >= 0)
                r = probe_maps_lost(b->maps, &lost);
        if (r < 0) {
                close_maps(b);
                ret->unavailable = b->unavailable = why_unavailable(r);
                return;
        }

        find_gone(b);
        set_doubt(b, snapshot, lost);
        ret->doubt = b->doubt;
        ret->complete = probe_maps_counters(b->maps)->flags & PROBE_COMPLETE;
        ret->from = b->from;
        tell_builds(b, ret);
}

int builds_new(sd_event *event, const char *pins, void (*changed)(void *userdata), void *userdata, Builds **ret) {
        Builds *b = g_new0(Builds, 1);

        *b = (Builds) {
                .event = sd_event_ref(event),
                .pins = g_strdup(pins),
                .knows_processes = in_initial_pid_namespace(),
                .changed = changed,
                .userdata = userdata,
                .builds = g_ptr_array_new_with_free_func(build_free),
                .pollfds = g_array_new(false, false, sizeof(struct pollfd)),
                .facts = g_array_new(false, false, sizeof(BuildFacts)),
        };
        /* Without them it waits for its reader to look again: they may come later. */
        (void) open_maps(b);

        *ret = b;
        return 0;
}

Builds *builds_free(Builds *b) {
        if (!b)
                return NULL;

        close_maps(b);
        g_ptr_array_unref(b->builds);
        g_array_unref(b->pollfds);
        g_array_unref(b->facts);
        sd_event_unref(b->event);
        g_free(b->pins);
        g_free(b->unavailable);
        g_free(b->doubt);
        g_free(b);
        return NULL;
}
