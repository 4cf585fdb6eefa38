/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Every small world: up to three VMs in every state, and everything that may be known of them or not. What is true is made
 * first, then what a host would show of it; whatever that is, a TD in its build must never look idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "test-activity-judge.h"

#define N_VMS 3

typedef enum Phase {
        NEW,
        BUILDING,               /* a TD only */
        FINALIZED,              /* a TD only */
        RUNNING,
} Phase;

/* What the probes have of a TD that has begun. */
typedef enum Record {
        RECORD_TRUE,
        RECORD_MISSING,         /* it began before the probes, or its record was lost */
        RECORD_OPEN,            /* that its build is over was lost */
        _RECORD_MAX,
} Record;

typedef struct Vm {
        bool td;
        Phase phase;
        bool stale;             /* known for longer than StaleGuestSec= */
        bool late;              /* its create event was read when its TD had begun */
        Record record;
} Vm;

typedef enum Probes { NO_PROBES, PROBES_IN_DOUBT, SOME_PROBES, ALL_PROBES, _PROBES_MAX } Probes;

/* Which VMs share a process. */
typedef enum Sharing {
        NONE_SHARED,
        FIRST_TWO_SHARED,
        FIRST_TWO_UNRESOLVED,   /* the same, but of the second only the thread that made it is known */
        ALL_SHARED,
        _SHARING_MAX,
} Sharing;

typedef enum List {
        LIST_COMPLETE,
        LIST_IN_DOUBT,          /* all are in it, but that is not known */
        LIST_SHORT,             /* the first is missing, and it is known that some may */
        _LIST_MAX,
} List;

/* A TD of the first VM's process that has been destroyed, and that the kernel has not yet forgotten. */
typedef enum Remains {
        NO_REMAINS,
        OLD_REMAINS,            /* it was made before that VM */
        YOUNG_REMAINS,          /* it was made after it */
        _REMAINS_MAX,
} Remains;

typedef enum Count {
        COUNT_UNREADABLE,
        COUNT_READ,
        COUNT_READ_ALWAYS,      /* and it was 0 when the plain VMs ran first */
        _COUNT_MAX,
} Count;

/* Which signs can be read. That there is no guest time yet is no sign: it is sampled. The first FEW_SIGNS stand for all. */
static const struct {
        bool vcpu_pid, exits, guest_time, sampled;
} readable[] = {
        {}, { .vcpu_pid = true }, { .guest_time = true },
        { .exits = true }, { .guest_time = true, .sampled = true }, { true, true, true, true },
};

#define FEW_SIGNS 3

typedef struct World {
        Vm vms[N_VMS];
        unsigned n;
        Probes probes;
        Sharing sharing;
        List list;
        Remains remains;
        Count count;
        unsigned signs;
        bool quiet;             /* T3 is on, and nobody has made a VM for long */
} World;

typedef struct Tally {
        unsigned worlds, idle, building, guessed;
} Tally;

static bool has_begun(const Vm *vm) {
        return vm->td && vm->phase != NEW;
}

static bool shows_running(const World *w, const Vm *vm) {
        return vm->phase == RUNNING &&
               (readable[w->signs].vcpu_pid || readable[w->signs].exits || (readable[w->signs].guest_time && readable[w->signs].sampled));
}

static Sign sign_of(bool can_be_read, bool seen) {
        return !can_be_read ? SIGN_UNREADABLE : seen ? SIGN_SEEN : SIGN_ABSENT;
}

/* Its process, which the probes know. */
static uint32_t pid_of(const World *w, unsigned i) {
        return w->sharing == ALL_SHARED || (w->sharing != NONE_SHARED && i < 2) ? 100 : 100 + i;
}

/* Also the one that is being torn down is counted. */
static unsigned count_tds(const World *w) {
        unsigned n = w->remains != NO_REMAINS;

        for (unsigned i = 0; i < w->n; i++)
                n += has_begun(&w->vms[i]);

        return n;
}

static void show_vm(const World *w, unsigned i, Host *h) {
        const Vm *vm = &w->vms[i];
        bool running = vm->phase == RUNNING;
        GuestFacts *guest = host_add_guest(h, pid_of(w, i));

        if (w->sharing == FIRST_TWO_UNRESOLVED && i == 1) {
                guest->pid = 999;
                guest->start_time = 0;
        }
        guest->known = NOW - (vm->stale ? STALE : 30 * USEC_PER_SEC);
        /* The one that is being torn down was there after it, and has gone. */
        guest->alone = w->remains == YOUNG_REMAINS && pid_of(w, i) == pid_of(w, 0) ? NOW : guest->known;
        guest->signs = (GuestSigns) {
                sign_of(readable[w->signs].vcpu_pid, running),
                sign_of(readable[w->signs].exits, running),
                sign_of(readable[w->signs].guest_time, running && readable[w->signs].sampled),
        };
        guest->ran = shows_running(w, vm) ? NOW - 1 : 0;
        guest->ran_without_tds = guest->ran != 0 && ((w->count != COUNT_UNREADABLE && count_tds(w) == 0) ||
                                                     (w->count == COUNT_READ_ALWAYS && !vm->td));
}

/* The record is there, whether the VM is in the list or not. */
static void show_record(const World *w, unsigned i, Host *h) {
        const Vm *vm = &w->vms[i];
        uint64_t known = NOW - (vm->stale ? STALE : 30 * USEC_PER_SEC);

        if (has_begun(vm) && vm->record != RECORD_MISSING)
                host_add_build(h, pid_of(w, i), vm->phase != BUILDING && vm->record == RECORD_TRUE)->began = vm->late ? known - 1 : known;
}

static void show(const World *w, Host *h) {
        host_init(h);
        if (w->probes != NO_PROBES)
                host_probe_some(h);
        if (w->probes == PROBES_IN_DOUBT)
                h->facts.probes.doubt = "records were lost";
        h->facts.probes.complete = w->probes == ALL_PROBES || w->probes == PROBES_IN_DOUBT;
        if (w->count != COUNT_UNREADABLE)
                host_count_tds(h, count_tds(w));
        if (w->quiet) {
                h->facts.quiet = STALE;
                h->facts.last_create = NOW - STALE;
        }

        for (unsigned i = 0; i < w->n; i++) {
                if (i > 0 || w->list != LIST_SHORT)
                        show_vm(w, i, h);
                if (w->probes != NO_PROBES)
                        show_record(w, i, h);
        }
        if (w->remains != NO_REMAINS && w->probes != NO_PROBES)
                host_add_build(h, pid_of(w, 0), true)->began = w->remains == OLD_REMAINS ? 1 : NOW - 2;
        if (w->list != LIST_COMPLETE)
                h->facts.incomplete = "events were lost";
}

static void fail_world(const World *w, const ActivityVerdict *v, const char *what) {
        for (unsigned i = 0; i < w->n; i++)
                print_message("  %s of process %u, phase %d%s%s, record %d\n", w->vms[i].td ? "TD" : "plain VM", pid_of(w, i), w->vms[i].phase,
                              w->vms[i].stale ? ", stale" : "", w->vms[i].late ? ", late" : "", w->vms[i].record);
        fail_msg("%s: probes %d, list %d, remains %d, count %d, signs %u: by %s: %s", what, w->probes, w->list, w->remains, w->count,
                 w->signs, tier_to_string(v->tier), v->text);
}

static void check_idle(const World *w, const ActivityVerdict *v) {
        bool no_tds = w->count != COUNT_UNREADABLE && count_tds(w) == 0;

        for (unsigned i = 0; i < w->n; i++) {
                const Vm *vm = &w->vms[i];

                if (vm->phase == BUILDING)
                        fail_world(w, v, "idle while a TD is in its build");
                /* It may begin a TD in a moment. Of one that is not in the list nobody can know. */
                if (vm->phase == NEW && (i > 0 || w->list != LIST_SHORT) && !(vm->stale && (no_tds || w->probes == ALL_PROBES)))
                        fail_world(w, v, "idle while a VM can begin a TD");
        }
}

/* Does the evidence show that this one is past any build? */
static bool is_shown_past(const World *w, const Vm *vm) {
        if (shows_running(w, vm))
                return vm->record != RECORD_OPEN;
        return w->probes >= SOME_PROBES && w->sharing == NONE_SHARED && has_begun(vm) && vm->phase != BUILDING &&
               vm->record == RECORD_TRUE && !vm->late;
}

static bool must_be_idle(const World *w) {
        if (w->list != LIST_COMPLETE || w->remains != NO_REMAINS)
                return false;
        for (unsigned i = 0; i < w->n; i++)
                if (!is_shown_past(w, &w->vms[i]))
                        return false;

        return true;
}

static void check_world(const World *w, Tally *tally) {
        g_auto(ActivityVerdict) v = {};
        Host h;

        show(w, &h);
        host_judge(&h, &v);
        tally->worlds++;
        for (unsigned i = 0; i < w->n; i++)
                if (w->vms[i].phase == BUILDING) {
                        tally->building++;
                        break;
                }

        if (must_be_idle(w) && v.activity != ACTIVITY_IDLE)
                fail_world(w, &v, "not idle with full evidence");
        if (v.activity != ACTIVITY_IDLE)
                return;

        tally->idle++;
        if (v.tier == TIER_GUESSED && w->quiet)
                tally->guessed++;
        else
                check_idle(w, &v);
}

/*
 * Everything that may be known of these VMs. With three of them there is nothing new in what is a matter of each or of the
 * host alone, so that is not multiplied out once more.
 */
static void check_evidence(World *w, Tally *tally) {
        unsigned counts = w->n < N_VMS ? _COUNT_MAX : COUNT_READ_ALWAYS, signs = w->n < N_VMS ? G_N_ELEMENTS(readable) : FEW_SIGNS;

        for (w->list = 0; w->list < _LIST_MAX; w->list++)
                for (w->sharing = 0; w->sharing < (w->n > 1 && w->list == LIST_COMPLETE ? _SHARING_MAX : 1); w->sharing++)
                        for (w->remains = 0; w->remains < (w->n > 0 && w->list == LIST_COMPLETE ? _REMAINS_MAX : 1); w->remains++)
                                for (w->count = 0; w->count < counts; w->count++)
                                        for (w->signs = 0; w->signs < signs; w->signs++)
                                                check_world(w, tally);
}

/* The states that a VM can be in with these probes, as far as they make a difference. Returns how many. */
static unsigned list_states(Probes probes, Vm ret[static 64]) {
        unsigned n = 0;

        for (unsigned i = 0; i < 2 * 4 * 2 * 2 * _RECORD_MAX; i++) {
                Vm vm = { i % 2 > 0, (Phase) (i / 2 % 4), i / 8 % 2 > 0, i / 16 % 2 > 0, (Record) (i / 32) };
                bool begun = has_begun(&vm);

                if (!vm.td && (vm.phase == BUILDING || vm.phase == FINALIZED))
                        continue;
                if (vm.late && (!begun || vm.record != RECORD_TRUE || probes < SOME_PROBES))
                        continue;
                if (vm.record == RECORD_MISSING && (!begun || (probes != SOME_PROBES && probes != PROBES_IN_DOUBT)))
                        continue;
                if (vm.record == RECORD_OPEN && (!begun || vm.phase == BUILDING || probes != PROBES_IN_DOUBT))
                        continue;
                assert_true(n < 64);
                ret[n++] = vm;
        }

        return n;
}

/* Up to three VMs; which of them has which place in the list makes no difference but for the first. */
static void check_probes(Probes probes, bool quiet, Tally *tally) {
        Vm states[64];
        unsigned n = list_states(probes, states);
        World w = { .probes = probes, .quiet = quiet };

        check_evidence(&w, tally);
        for (unsigned a = 0; a < n; a++) {
                w.vms[0] = states[a];
                w.n = 1;
                check_evidence(&w, tally);
                for (unsigned b = 0; b < n; b++) {
                        w.vms[1] = states[b];
                        w.n = 2;
                        check_evidence(&w, tally);
                        for (unsigned c = b; c < n; c++) {
                                w.vms[2] = states[c];
                                w.n = 3;
                                check_evidence(&w, tally);
                        }
                }
        }
}

static void tell(const char *what, const Tally *tally) {
        print_message("%u worlds %s, %u with a TD in its build, %u idle (%u by a guess)\n", tally->worlds, what, tally->building, tally->idle,
                      tally->guessed);
        assert_true(tally->worlds > 10000 && tally->building > 0 && tally->idle > 0 && tally->idle < tally->worlds);
}

static void test_no_probes(void **state) {
        Tally tally = {};

        check_probes(NO_PROBES, false, &tally);
        tell("without probes", &tally);
        assert_int_equal(tally.guessed, 0);
}

static void test_probes_in_doubt(void **state) {
        Tally tally = {};

        check_probes(PROBES_IN_DOUBT, false, &tally);
        tell("with probes that lost records", &tally);
}

static void test_some_probes(void **state) {
        Tally tally = {};

        check_probes(SOME_PROBES, false, &tally);
        tell("with probes that came late", &tally);
}

static void test_all_probes(void **state) {
        Tally tally = {};

        check_probes(ALL_PROBES, false, &tally);
        tell("with complete probes", &tally);
}

/* A guess may be wrong, and says that it is one; with complete probes nobody guesses. */
static void test_guesses(void **state) {
        Tally tally = {}, exact = {};

        check_probes(NO_PROBES, true, &tally);
        tell("with guesses", &tally);
        assert_true(tally.guessed > 0);
        check_probes(ALL_PROBES, true, &exact);
        assert_int_equal(exact.guessed, 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_no_probes),  cmocka_unit_test(test_probes_in_doubt), cmocka_unit_test(test_some_probes),
                cmocka_unit_test(test_all_probes), cmocka_unit_test(test_guesses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
