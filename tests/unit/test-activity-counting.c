/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The trap of counting: one TD in its build and one plain VM running must not look like one TD running. A TD and up to
 * four plain VMs are made, run and destroyed in every order; after each event the answer must be exactly what the
 * signs of every single VM say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test-activity-judge.h"

#define N_PLAIN 4

typedef enum Phase {
        NEW,
        BUILDING,               /* a TD only */
        FINALIZED,              /* a TD only */
        RUNNING,
} Phase;

typedef struct Vm {
        bool td;
        Phase phase;
        bool without_tds;       /* the daemon saw it running while it counted no TD */
} Vm;

/* Those alive, in the order in which they appeared. */
typedef struct State {
        Vm vms[N_PLAIN + 1];
        unsigned n;
        unsigned plain_made;
        bool td_made;
} State;

/* What can be looked at on this host. */
typedef struct Walk {
        Sign vcpu_pid, exits;   /* SIGN_SEEN: it can be read, and says what is so */
        Sign guest_time;        /* the same; SIGN_ABSENT: it can be read, but the tick never hit the guest */
        bool tds, probes;
        GHashTable *orders;     /* of each state: in how many orders it can go on */
        unsigned judgements, idle;
} Walk;

static Sign sign_of(Sign readable, const Vm *vm) {
        return readable == SIGN_SEEN && vm->phase != RUNNING ? SIGN_ABSENT : readable;
}

static bool shows_running(const Walk *w, const Vm *vm) {
        return vm->phase == RUNNING && (w->vcpu_pid == SIGN_SEEN || w->exits == SIGN_SEEN || w->guest_time == SIGN_SEEN);
}

static unsigned count_tds(const State *s) {
        for (unsigned i = 0; i < s->n; i++)
                if (s->vms[i].td && s->vms[i].phase != NEW)
                        return 1;

        return 0;
}

static void observe(const Walk *w, const State *s, Host *h) {
        host_init(h);
        if (w->tds)
                host_count_tds(h, count_tds(s));
        if (w->probes)
                host_probe_all(h);

        for (unsigned i = 0; i < s->n; i++) {
                const Vm *vm = &s->vms[i];
                GuestFacts *guest = host_add_guest(h, 100 + i);

                guest->signs = (GuestSigns) { sign_of(w->vcpu_pid, vm), sign_of(w->exits, vm), sign_of(w->guest_time, vm) };
                guest->ran = shows_running(w, vm) ? NOW : 0;
                guest->ran_without_tds = vm->without_tds;
                if (w->probes && vm->td && vm->phase != NEW)
                        host_add_build(h, guest->pid, vm->phase != BUILDING);
        }
}

static void check_state(Walk *w, const State *s) {
        g_auto(ActivityVerdict) v = {};
        bool building = false, all_past = true;
        Host h;

        for (unsigned i = 0; i < s->n; i++) {
                const Vm *vm = &s->vms[i];

                building = building || vm->phase == BUILDING;
                all_past = all_past && (shows_running(w, vm) || (w->probes && vm->td && vm->phase >= FINALIZED));
        }

        observe(w, s, &h);
        host_judge(&h, &v);
        if (building && v.activity == ACTIVITY_IDLE)
                fail_msg("idle by %s while a TD is in its build among %u VMs: %s", tier_to_string(v.tier), s->n, v.text);
        /* As soon as each shows that it is past any build, and not before. */
        if (all_past != (v.activity == ACTIVITY_IDLE))
                fail_msg("%u VMs, all past: %d, but %s", s->n, all_past, v.text);
        if (all_past)
                assert_int_equal(v.tier, (w->tds && count_tds(s) == 0) || s->n == 0 ? TIER_PROVEN : w->probes ? TIER_EXACT : TIER_INFERRED);
        w->judgements++;
        w->idle += all_past;
}

/* What the daemon remembers: it looks after each event. */
static void look(const Walk *w, State *s) {
        for (unsigned i = 0; w->tds && i < s->n && count_tds(s) == 0; i++)
                s->vms[i].without_tds = s->vms[i].without_tds || shows_running(w, &s->vms[i]);
}

static uint64_t encode(const State *s) {
        uint64_t code = (uint64_t) s->plain_made << 1 | s->td_made;

        for (unsigned i = 0; i < s->n; i++)
                code = code << 5 | 0x10 | (uint64_t) s->vms[i].phase << 2 | (uint64_t) s->vms[i].td << 1 | s->vms[i].without_tds;

        return code;
}

static State with_new(const State *s, bool td) {
        State next = *s;

        next.vms[next.n++] = (Vm) { .td = td };
        next.td_made = next.td_made || td;
        next.plain_made += !td;
        return next;
}

static State with_phase(const State *s, unsigned i, Phase phase) {
        State next = *s;

        next.vms[i].phase = phase;
        return next;
}

static State without(const State *s, unsigned i) {
        State next = *s;

        next.n--;
        memmove(&next.vms[i], &next.vms[i + 1], (next.n - i) * sizeof(Vm));
        return next;
}

/* Goes on from here in every order. Returns how many there are, until all have been made and are gone. */
static uint64_t walk(Walk *w, State s) {
        uint64_t *known, code, orders = 0;

        look(w, &s);
        code = encode(&s);
        known = g_hash_table_lookup(w->orders, &code);
        if (known)
                return *known;

        check_state(w, &s);
        if (!s.td_made)
                orders += walk(w, with_new(&s, true));
        /* Plain VMs are all alike: which of them comes first makes no difference. */
        if (s.plain_made < N_PLAIN)
                orders += walk(w, with_new(&s, false));
        for (unsigned i = 0; i < s.n; i++) {
                if (s.vms[i].phase != RUNNING)
                        orders += walk(w, with_phase(&s, i, s.vms[i].td ? s.vms[i].phase + 1 : RUNNING));
                orders += walk(w, without(&s, i));
        }
        if (s.td_made && s.plain_made == N_PLAIN && s.n == 0)
                orders = 1;

        g_hash_table_insert(w->orders, g_memdup2(&code, sizeof(code)), g_memdup2(&orders, sizeof(orders)));
        return orders;
}

static void walk_all(bool probes) {
        static const Sign readable[] = { SIGN_UNREADABLE, SIGN_SEEN };
        unsigned judgements = 0, idle = 0;
        uint64_t orders = 0;

        for (unsigned i = 0; i < 2 * 2 * 3 * 2; i++) {
                g_autoptr(GHashTable) table = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
                Walk w = { .vcpu_pid = readable[i % 2], .exits = readable[i / 2 % 2], .guest_time = (Sign) (i / 4 % 3), .tds = i / 12 > 0,
                           .probes = probes, .orders = table };

                orders = walk(&w, (State) {});
                judgements += w.judgements;
                idle += w.idle;
        }

        print_message("%" G_GUINT64_FORMAT " orders of events, %u situations with 24 kinds of evidence, %u of them idle\n", orders,
                      judgements, idle);
        assert_true(orders > 1000000 && idle > 0 && idle < judgements);
}

static void test_without_probes(void **state) {
        walk_all(false);
}

static void test_with_probes(void **state) {
        walk_all(true);
}

/* The trap itself, in plain words. */
static void test_trap(void **state) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        host_init(&h);
        host_count_tds(&h, 1);
        host_add_running(&h, 100);
        host_add_new(&h, 101);
        host_judge(&h, &v);
        assert_int_equal(v.activity, ACTIVITY_BUSY);
        assert_int_equal(v.n_reasons, 1);
        assert_string_equal(v.reasons[0].subject, "qemu[101]");
        activity_verdict_clear(&v);

        /* Nor may four that run beside it, and a TD among them is no excuse either. */
        for (uint32_t i = 0; i < 4; i++)
                host_add_running(&h, 200 + i);
        for (uint64_t tds = 1; tds <= 6; tds++) {
                host_count_tds(&h, tds);
                host_judge(&h, &v);
                assert_int_equal(v.activity, ACTIVITY_BUSY);
                activity_verdict_clear(&v);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without_probes),
                cmocka_unit_test(test_with_probes),
                cmocka_unit_test(test_trap),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
