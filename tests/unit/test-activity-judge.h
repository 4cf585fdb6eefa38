/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include "test-activity-world.h"

/* What holds for every verdict. Needs cmocka.h before it. */
static inline void check_verdict(const Host *h, const ActivityVerdict *v) {
        unsigned building = 0, ignored = 0;
        Tier strongest = TIER_NONE;

        assert_true(v->text && *v->text && !strstr(v->text, "(null)"));
        assert_int_equal(v->n_guests, h->facts.n_guests);
        assert_int_equal(v->impossible, h->facts.impossible != NULL);
        assert_int_equal(v->no_tds, h->facts.have_tds && h->facts.tds == 0);

        /* A reason is the contrary of idle, and the answer's text is one of them. */
        for (size_t i = 0; i < v->n_reasons; i++) {
                const ActivityReason *reason = &v->reasons[i];

                assert_true(*reason->text && !strstr(reason->text, "(null)"));
                assert_non_null(strstr(reason->text, reason->subject));
                assert_int_equal(reason->building, reason->tier != TIER_NONE);
                ignored += reason->ignored;
                if (reason->ignored)
                        continue;
                building += reason->building;
                strongest = MIN(strongest, reason->tier);
        }
        assert_int_equal(v->n_ignored, ignored);
        assert_int_equal(v->activity, v->n_reasons == ignored ? ACTIVITY_IDLE : building > 0 ? ACTIVITY_BUSY : ACTIVITY_UNKNOWN);
        if (v->activity != ACTIVITY_IDLE)
                assert_int_equal(v->tier, strongest);
        else
                /* What is ignored on request rests on nothing. */
                assert_int_equal(v->tier == TIER_NONE, ignored > 0);

        for (size_t i = 0; i < v->n_guests; i++) {
                const GuestVerdict *g = &v->guests[i];

                assert_true(*g->evidence && !strstr(g->evidence, "(null)"));
                assert_true(g_str_has_suffix(g->subject, "]") && strchr(g->subject, '['));
                if (g->blocks)
                        assert_int_not_equal(v->activity, ACTIVITY_IDLE);
                if (g->phase == GUEST_RUNNING)
                        assert_true(!g->blocks && !g->exact);
        }
}

static inline void host_judge(Host *h, ActivityVerdict *ret) {
        for (size_t i = 0; i < h->facts.n_guests; i++) {
                h->list[i] = &h->guests[i];
                h->guests[i].siblings = 0;
                for (size_t k = 0; k < h->facts.n_guests; k++)
                        h->guests[i].siblings += h->guests[k].pid == h->guests[i].pid;
        }
        h->facts.guests = h->list;
        h->facts.probes.builds = h->builds;
        h->facts.ignored = h->ignored;

        activity_judge(&h->facts, ret);
        check_verdict(h, ret);
}
