/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/clock.h"
#include "base/log.h"
#include "platform/builds.h"
#include "platform/evidence.h"
#include "platform/guests.h"
#include "platform/proof.h"
#include "platform/uevents.h"

struct Evidence {
        const Roots *roots;
        EvidenceHandler handler;
        sd_event *event;
        sd_event_source *interface;     /* deferred: what a call has found out about the interface is told by the loop */
        Guests *guests;
        Uevents *uevents;       /* NULL: they cannot be heard */
        Builds *builds;
        ProbeFacts probes;      /* of the last judgement */
        bool quiet;             /* the handler is not called: what is reported is being taken in by a call */
        bool unread;            /* the picture has changed since evidence_update() was asked last */
};

static void tell(Evidence *e) {
        e->unread = true;
        if (!e->quiet)
                e->handler.changed(e->handler.userdata);
}

static void on_kvm(const KvmEvent *event, void *userdata) {
        Evidence *e = userdata;

        guests_on_event(e->guests, event);
        e->unread = true;
}

static void on_loss(void *userdata) {
        Evidence *e = userdata;

        guests_on_loss(e->guests, NULL);
        e->unread = true;
}

static int on_deferred(sd_event_source *source, void *userdata) {
        Evidence *e = userdata;

        e->handler.interface(e->handler.userdata);
        return 0;
}

static void on_interface(void *userdata) {
        Evidence *e = userdata;
        int r = 0;

        if (!e->quiet) {
                e->handler.interface(e->handler.userdata);
                return;
        }

        if (!e->interface)
                r = sd_event_add_defer(e->event, &e->interface, on_deferred, e);
        if (r >= 0)
                r = sd_event_source_set_enabled(e->interface, SD_EVENT_ONESHOT);
        if (r < 0)
                log_error(r, "Failed to schedule a look at the upload interface; it is seen at the next request");
}

static void on_kvm_done(void *userdata) {
        tell(userdata);
}

static void on_builds(void *userdata) {
        tell(userdata);
}

int evidence_new(sd_event *event, const Roots *roots, const char *probes, const EvidenceHandler *handler, Evidence **ret) {
        g_autoptr(Evidence) e = g_new0(Evidence, 1);
        UeventHandler uevents = { on_interface, on_kvm, on_loss, on_kvm_done, e };
        int r;

        e->roots = roots;
        e->event = sd_event_ref(event);
        e->handler = *handler;
        r = guests_new(roots, &e->guests);
        if (r >= 0)
                r = builds_new(event, probes, on_builds, e, &e->builds);
        if (r < 0)
                return r;

        /* First the events, then the first scan: what comes in between is in both, and nothing in neither. */
        r = uevents_new(event, roots, &uevents, &e->uevents);
        if (r < 0) {
                log_warning(r, "The kernel's events cannot be heard, so VMs are seen only by scanning, and the upload interface only at the next request");
                guests_on_loss(e->guests, "the kernel's events cannot be heard");
        }

        *ret = g_steal_pointer(&e);
        return 0;
}

Evidence *evidence_free(Evidence *e) {
        if (!e)
                return NULL;

        sd_event_source_disable_unref(e->interface);
        uevents_free(e->uevents);
        builds_free(e->builds);
        guests_free(e->guests);
        sd_event_unref(e->event);
        g_free(e);
        return NULL;
}

bool evidence_update(Evidence *e) {
        bool changed;

        e->quiet = true;
        if (e->uevents)
                uevents_drain(e->uevents);
        e->quiet = false;

        changed = guests_update(e->guests, proof_counts_none(e->roots)) || e->unread;
        e->unread = false;
        return changed;
}

void evidence_judge(Evidence *e, const EvidenceRules *rules, ActivityVerdict *ret) {
        g_auto(Proof) proof = {};
        HostActivity host;

        /* The count after the signs, too: a TD that began meanwhile must be in it. */
        (void) evidence_update(e);
        builds_read(e->builds, &e->probes);
        proof_read(e->roots, &proof);

        host = (HostActivity) {
                .impossible = proof.impossible,
                .have_tds = proof.have_tds,
                .tds = proof.tds,
                .tds_error = proof.tds_error,
                .incomplete = guests_incomplete(e->guests),
                .probes = e->probes,
                .now = clock_boottime(&system_clock),
                .last_create = guests_last_create(e->guests),
                .stale = rules->stale,
                .quiet = rules->quiet,
                .ignored = rules->ignored,
                .n_ignored = rules->n_ignored,
        };
        host.guests = guests_get(e->guests, &host.n_guests);
        activity_judge(&host, ret);
}

const GuestFacts *const *evidence_guests(const Evidence *e, size_t *ret_n) {
        return guests_get(e->guests, ret_n);
}

void evidence_mark(Evidence *e) {
        guests_mark(e->guests);
}

const GuestFacts *const *evidence_guests_since_mark(const Evidence *e, size_t *ret_n) {
        return guests_since_mark(e->guests, ret_n);
}

const ProbeFacts *evidence_probes(const Evidence *e) {
        return &e->probes;
}
