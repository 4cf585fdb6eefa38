/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The gate gives the complete list: whatever comes together, each blocker that applies is
 * there, in order, and nothing else. Every combination of the spoilers below is tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/gate.h"
#include "test-gate-world.h"

#define BIT(id) (UINT32_C(1) << (id))

/* When holds end by themselves, and when those who delay have had their time. */
#define HOLD_UNTIL   UINT64_C(1700000300000000)
#define DELAYS_END   UINT64_C(1700000030000000)
#define WINDOW_OPENS UINT64_C(1700003600000000)

/* One way to spoil the world; @ids is what stands for it alone. */
typedef struct Spoiler {
        void (*apply)(World *w);
        uint32_t ids;
        const char *text;       /* a word that must be in a blocker's text, NULL: any */
        uint32_t twice;         /* of @ids: those that stand there two times */
        uint32_t notes;         /* of @ids: those that are only noted */
} Spoiler;

/* The host as a whole. */
static void lost(World *w) { w->host.lost = true; w->host.have_running = false; }
static void unsupported(World *w) { w->host.unsupported = "This host has no TDX"; }
static void no_version(World *w) { w->host.have_running = false; }
/* Its budget. */
static void no_updates(World *w) { w->host.remaining = 0; }
static void unknown_updates(World *w) { w->host.have_remaining = false; }
static void last_update(World *w) { w->host.remaining = 1; }
/* Its CPUs. */
static void cpu_offline(World *w) { w->host.cpus_online = 3; }
static void unknown_cpus(World *w) { w->host.cpus_present = 0; }
/* The image. */
static void invalid(World *w) { w->image.verdict = IMAGE_INVALID; w->image.verdict_text = "The checksum is wrong"; }
static void untrusted(World *w) { w->image.verdict = IMAGE_UNTRUSTED; w->image.verdict_text = "The signer is not known"; }
static void debug(World *w) { w->image.debug = true; }
/* Versions. */
static void same(World *w) { w->image.version = (Version) { 1, 5, 5 }; }
static void older(World *w) { w->image.version = (Version) { 1, 5, 4 }; }
static void other_line(World *w) { w->image.version = (Version) { 2, 0, 5 }; }
static void older_line(World *w) { w->image.version = (Version) { 1, 4, 9 }; }
static void below_minimum(World *w) { w->mapping.min_module = (Version) { 1, 5, 6 }; }
static void unmapped(World *w) { w->image.mapping = NULL; }
/* The P-SEAMLDR. */
static void other_seamldr(World *w) { w->host.seamldr = (Version) { 1, 4, 2 }; }
static void unknown_seamldr(World *w) { w->host.have_seamldr = false; }
/* CPU signatures. */
static const uint32_t granite[] = { 0x806f8, 0xa06d1 }, stepping[] = { 0x806f6 };
static void other_cpu(World *w) { w->host.cpus = granite; w->host.n_cpus = 2; }
static void unknown_cpu(World *w) { w->host.n_cpus = 0; }
static void stepping_noted(World *w) { w->host.cpus = stepping; }
static void stepping_refused(World *w) { w->host.cpus = stepping; w->policy.require_exact_stepping = true; }
static void svn(World *w) { w->host.svn = 0x10c; }
/* The moment. */
static void store(World *w) { w->moment.store_failed = true; }
static void foreign(World *w) { w->moment.foreign_upload = "status is transferring"; }
static void backoff(World *w) { w->moment.next_attempt = w->moment.now + 1; }
/* What is known of builds. */
static char guest4[] = "guest4[44]", guest5[] = "guest5[55]", none[] = "";
static char may_be[] = "guest4[44] may be in the build of a TD: no exit yet", not_seen[] = "It cannot be seen whether guest5[55] is in the build of a TD";
static char too_many[] = "2 TDs exist, but only 1 VM is known that could be one";
static void building(World *w) { world_add_reason(w, true, guest4, may_be); }
static void unknown(World *w) { world_add_reason(w, false, guest5, not_seen); }
static void all_reasons(World *w) { building(w); unknown(w); world_add_reason(w, false, none, too_many); }
static void no_reason(World *w) { w->activity.activity = ACTIVITY_UNKNOWN; }
static void wrong_enum(World *w) { w->activity.activity = (Activity) 77; }
static void stepped_over(World *w) { all_reasons(w); w->moment.ignore_activity = true; }
static void named(World *w) {
        building(w);
        unknown(w);
        w->reasons[0].ignored = w->reasons[1].ignored = true;
        w->activity.activity = ACTIVITY_IDLE;
}
/* Holds. */
static void block(World *w) { world_add_hold(w, HOLD_UPDATE, HOLD_BLOCK, HOLD_UNTIL); }
static void delay(World *w) { world_add_hold(w, HOLD_UPDATE, HOLD_DELAY, 0); w->moment.delays_end = DELAYS_END; }
static void delay_over(World *w) { delay(w); w->moment.delays_are_over = true; }
static void build(World *w) { world_add_hold(w, HOLD_BUILD, HOLD_BLOCK, HOLD_UNTIL); }
static void migration(World *w) { world_add_hold(w, HOLD_MIGRATION, HOLD_BLOCK, HOLD_UNTIL); }
static void two_blocks(World *w) { block(w); block(w); w->holds[1].why = "another snapshot runs"; }
static void all_holds(World *w) { migration(w); delay(w); block(w); build(w); }
/* Maintenance windows. */
static void outside(World *w) { w->moment.outside_window = true; w->moment.window_opens = WINDOW_OPENS; }
static void never_opens(World *w) { w->moment.outside_window = true; }
static void opens_unknown(World *w) { w->moment.outside_window = true; w->moment.window_opens = UINT64_MAX; }
static void now(World *w) { outside(w); w->moment.step_over_window = true; }
static void now_inside(World *w) { w->moment.step_over_window = true; w->moment.window_opens = WINDOW_OPENS; }

/* What excludes each other is one group; one of each group is applied at a time. */
static const Spoiler groups[][8] = {
        { {}, { lost, BIT(BLOCKER_MODULE_LOST), "reboot" }, { unsupported, BIT(BLOCKER_UNSUPPORTED), "no TDX" },
          { no_version, BIT(BLOCKER_UNSUPPORTED), "version" } },
        { {}, { no_updates, BIT(BLOCKER_NO_BUDGET), "reboot" }, { unknown_updates, BIT(BLOCKER_NO_BUDGET), "could not be read" },
          { last_update, BIT(BLOCKER_RESERVE), "KeepRemaining=" } },
        { {}, { cpu_offline, BIT(BLOCKER_CPUS_OFFLINE), "/online" }, { unknown_cpus, BIT(BLOCKER_CPUS_OFFLINE), "online" } },
        { {}, { invalid, BIT(BLOCKER_IMAGE_INVALID), "checksum" }, { untrusted, BIT(BLOCKER_IMAGE_UNTRUSTED), "signer" } },
        { {}, { debug, BIT(BLOCKER_DEBUG_IMAGE), "AllowDebugImages=" } },
        { {}, { same, BIT(BLOCKER_ALREADY_CURRENT), "1.5.05" }, { older, BIT(BLOCKER_DOWNGRADE), "1.5.04" },
          { other_line, BIT(BLOCKER_INCOMPATIBLE_MODULE), "2.0.05" },
          { older_line, BIT(BLOCKER_DOWNGRADE) | BIT(BLOCKER_INCOMPATIBLE_MODULE), "1.4.09" },
          { below_minimum, BIT(BLOCKER_INCOMPATIBLE_MODULE), "1.5.06" } },
        { {}, { unmapped, BIT(BLOCKER_INCOMPATIBLE_MODULE), "mapping" } },
        { {}, { other_seamldr, BIT(BLOCKER_INCOMPATIBLE_SEAMLDR), "1.4.02" },
          { unknown_seamldr, BIT(BLOCKER_INCOMPATIBLE_SEAMLDR), "could not be read" } },
        { {}, { other_cpu, BIT(BLOCKER_INCOMPATIBLE_CPU), "0xa06d1" }, { unknown_cpu, BIT(BLOCKER_INCOMPATIBLE_CPU), "could not be read" },
          { stepping_noted, BIT(BLOCKER_STEPPING_UNLISTED), "0x806f6" },
          { stepping_refused, BIT(BLOCKER_STEPPING_UNLISTED), "RequireExactStepping=" } },
        { {}, { svn, BIT(BLOCKER_SVN_LOWER), "0x10c" } },
        { {}, { store, BIT(BLOCKER_STORE_FAILED), "journal" } },
        { {}, { foreign, BIT(BLOCKER_FOREIGN_UPLOAD), "status is transferring" } },
        { {}, { backoff, BIT(BLOCKER_BACKOFF), "next attempt" } },
        { {}, { building, BIT(BLOCKER_TD_BUILDING), "guest4[44]" }, { unknown, BIT(BLOCKER_ACTIVITY_UNKNOWN), "guest5[55]" },
          { all_reasons, BIT(BLOCKER_TD_BUILDING) | BIT(BLOCKER_ACTIVITY_UNKNOWN), "2 TDs exist", BIT(BLOCKER_ACTIVITY_UNKNOWN), 0 },
          { no_reason, BIT(BLOCKER_ACTIVITY_UNKNOWN), "not known" }, { wrong_enum, BIT(BLOCKER_ACTIVITY_UNKNOWN), "not known" },
          { stepped_over, BIT(BLOCKER_TD_BUILDING) | BIT(BLOCKER_ACTIVITY_UNKNOWN), "ignored on request", BIT(BLOCKER_ACTIVITY_UNKNOWN),
            BIT(BLOCKER_ACTIVITY_UNKNOWN) },
          { named, BIT(BLOCKER_TD_BUILDING) | BIT(BLOCKER_ACTIVITY_UNKNOWN), "ignored on request", 0,
            BIT(BLOCKER_TD_BUILDING) | BIT(BLOCKER_ACTIVITY_UNKNOWN) } },
        { {}, { block, BIT(BLOCKER_HELD), "a snapshot runs" }, { delay, BIT(BLOCKER_DRAINING), "HoldMaxSec=" }, { delay_over, 0, NULL },
          { build, BIT(BLOCKER_TD_BUILDING), "backup[7]" }, { migration, BIT(BLOCKER_TD_MIGRATING), "backup[7]" },
          { two_blocks, BIT(BLOCKER_HELD), "another snapshot", BIT(BLOCKER_HELD), 0 },
          { all_holds, BIT(BLOCKER_HELD) | BIT(BLOCKER_DRAINING) | BIT(BLOCKER_TD_BUILDING) | BIT(BLOCKER_TD_MIGRATING), "backup[7]" } },
        { {}, { outside, BIT(BLOCKER_OUTSIDE_WINDOW), "MaintenanceWindow=" }, { never_opens, BIT(BLOCKER_OUTSIDE_WINDOW), "ever" },
          { opens_unknown, BIT(BLOCKER_OUTSIDE_WINDOW), "cannot be found out" },
          { now, BIT(BLOCKER_OUTSIDE_WINDOW), "on request", 0, BIT(BLOCKER_OUTSIDE_WINDOW) }, { now_inside, 0, NULL } },
};

enum { HOST, BUDGET, ONLINE, VERDICT, DEBUG, VERSIONS, MAPPING, SEAMLDR, SIGNATURES, SVN, STORE, FOREIGN, BACKOFF, ACTIVITY, HOLDS, WINDOW, N_GROUPS };

/*
 * What one spoiler leaves without meaning: a host that is lost or has no interface has no
 * budget and no CPUs to speak of; nothing that a bad image says counts; what does not run
 * cannot be compared; without a mapping line there is no minimum and no P-SEAMLDR to compare.
 */
static bool counts(const unsigned chosen[static N_GROUPS], unsigned group) {
        bool whole = chosen[HOST] == 0 || chosen[HOST] == 3;

        switch (group) {
        case BUDGET:
        case ONLINE:
                return whole;
        case DEBUG:
        case MAPPING:
        case SIGNATURES:
        case SVN:
                return chosen[VERDICT] == 0;
        case VERSIONS:
                return chosen[VERDICT] == 0 && chosen[HOST] != 1 && chosen[HOST] != 3 &&
                       !(chosen[VERSIONS] == 5 && chosen[MAPPING] != 0);
        case SEAMLDR:
                return chosen[VERDICT] == 0 && chosen[MAPPING] == 0;
        default:
                return true;
        }
}

static void check_text(const BlockerList *list, uint32_t ids, const char *text) {
        for (size_t i = 0; i < list->n; i++)
                if (ids & BIT(list->items[i].id) && strstr(list->items[i].text, text))
                        return;

        fail_msg("no text says \"%s\"", text);
}

/* How many of each id there must be, and how many of those are notes. */
typedef struct Expected {
        unsigned n[_BLOCKER_MAX], notes[_BLOCKER_MAX];
} Expected;

static void expect(Expected *e, const World *w, const Spoiler *spoiler) {
        for (BlockerId id = 0; id < _BLOCKER_MAX; id++) {
                unsigned n = !(spoiler->ids & BIT(id)) ? 0 : spoiler->twice & BIT(id) ? 2 : 1;
                bool note = spoiler->notes & BIT(id) || (id == BLOCKER_STEPPING_UNLISTED && !w->policy.require_exact_stepping);

                e->n[id] += n;
                e->notes[id] += note ? n : 0;
        }
}

static Severity own_severity(BlockerId id) {
        if (id == BLOCKER_DEBUG_IMAGE || id == BLOCKER_RESERVE || id == BLOCKER_STEPPING_UNLISTED)
                return SEVERITY_POLICY;

        return id >= BLOCKER_STORE_FAILED ? SEVERITY_WAIT : SEVERITY_HARD;
}

/* When it ends by itself: only what has an end of its own says so. */
static uint64_t expected_until(const World *w, const Blocker *b) {
        switch (b->id) {
        case BLOCKER_BACKOFF:
                return w->moment.next_attempt;
        case BLOCKER_OUTSIDE_WINDOW:
                return w->moment.window_opens == WINDOW_OPENS ? WINDOW_OPENS : 0;
        case BLOCKER_DRAINING:
                return DELAYS_END;
        case BLOCKER_HELD:
        case BLOCKER_TD_MIGRATING:
                return HOLD_UNTIL;
        default:
                return strcmp(b->subject, "backup[7]") == 0 ? HOLD_UNTIL : 0;
        }
}

static void check_blocker(const World *w, const Blocker *b) {
        bool of_hold = b->id == BLOCKER_HELD || b->id == BLOCKER_DRAINING || b->id == BLOCKER_TD_MIGRATING;

        if (b->severity != SEVERITY_NOTE)
                assert_int_equal(b->severity, own_severity(b->id));
        assert_true(strlen(b->text) > 15 && !strstr(b->text, "(null)") && !strchr(b->text, '\n'));
        assert_int_equal(b->until, expected_until(w, b));

        /* Who it is: in the text for people, in the subject for programs. */
        if (of_hold)
                assert_string_equal(b->subject, "backup[7]");
        else if (b->id == BLOCKER_TD_BUILDING)
                assert_true(strcmp(b->subject, "backup[7]") == 0 || strcmp(b->subject, guest4) == 0);
        else if (b->id == BLOCKER_ACTIVITY_UNKNOWN)
                assert_true(*b->subject == '\0' || strcmp(b->subject, guest5) == 0);
        else
                assert_string_equal(b->subject, "");
        assert_non_null(strstr(b->text, b->subject));
}

static void check_list(const World *w, const BlockerList *list, const Expected *expected) {
        Expected found = {};

        for (size_t i = 0; i < list->n; i++) {
                const Blocker *b = &list->items[i];

                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(b->text, list->items[k].text);
                assert_true(i == 0 || b->id >= list->items[i - 1].id);
                check_blocker(w, b);
                found.n[b->id]++;
                found.notes[b->id] += b->severity == SEVERITY_NOTE;
        }
        for (BlockerId id = 0; id < _BLOCKER_MAX; id++)
                if (found.n[id] != expected->n[id] || found.notes[id] != expected->notes[id])
                        fail_msg("%u \"%s\" (%u of them notes), not %u (%u)", found.n[id], blocker_id_to_string(id), found.notes[id],
                                 expected->n[id], expected->notes[id]);
}

static void check_combination(const unsigned chosen[static N_GROUPS], unsigned n_groups) {
        g_auto(BlockerList) list = {};
        Expected expected = {};
        World w;

        world_init(&w);
        for (unsigned g = 0; g < n_groups; g++) {
                if (chosen[g] == 0)
                        continue;
                groups[g][chosen[g]].apply(&w);
                if (counts(chosen, g))
                        expect(&expected, &w, &groups[g][chosen[g]]);
        }

        if (n_groups == N_GROUPS)
                gate_evaluate(&w.host, &w.image, &w.policy, &w.moment, &list);
        else
                eligibility_evaluate(&w.host, &w.image, &w.policy, &list);
        check_list(&w, &list, &expected);
        for (unsigned g = 0; g < n_groups; g++)
                if (chosen[g] != 0 && counts(chosen, g) && groups[g][chosen[g]].text)
                        check_text(&list, groups[g][chosen[g]].ids, groups[g][chosen[g]].text);
}

/* The next combination of these @n groups, like the next number of a counter; false after the last. */
static bool next_combination(unsigned chosen[static N_GROUPS], const unsigned which[], unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                unsigned g = which[i];

                if (++chosen[g] < G_N_ELEMENTS(groups[g]) && groups[g][chosen[g]].apply)
                        return true;
                chosen[g] = 0;
        }

        return false;
}

/* All of these groups, with nothing of the others. */
static unsigned check_all(const unsigned which[], unsigned n, unsigned n_groups) {
        unsigned chosen[N_GROUPS] = { [0] = 0 }, done = 0;

        do {
                check_combination(chosen, n_groups);
                done++;
        } while (next_combination(chosen, which, n));

        return done;
}

static void test_eligibility(void **state) {
        static const unsigned which[] = { HOST, BUDGET, ONLINE, VERDICT, DEBUG, VERSIONS, MAPPING, SEAMLDR, SIGNATURES, SVN };

        G_STATIC_ASSERT(G_N_ELEMENTS(which) == STORE);
        print_message("%u combinations of what host and image decide\n", check_all(which, STORE, STORE));
}

/* Every combination of the moment's, alone and with each of the others. */
static void test_gate(void **state) {
        unsigned n = 0;

        for (unsigned g = 0; g < STORE; g++) {
                const unsigned which[] = { g, STORE, FOREIGN, BACKOFF, ACTIVITY, HOLDS, WINDOW };

                n += check_all(which, G_N_ELEMENTS(which), N_GROUPS);
        }

        print_message("%u combinations of the moment with one of the others\n", n);
}

/* Each of the moment's with every pair of the others. */
static void test_pairs(void **state) {
        unsigned n = 0;

        for (unsigned a = 0; a < STORE; a++)
                for (unsigned b = a + 1; b < STORE; b++)
                        for (unsigned m = STORE; m < N_GROUPS; m++) {
                                const unsigned which[] = { a, b, m };

                                n += check_all(which, 3, N_GROUPS);
                        }

        print_message("%u combinations of pairs with one of the moment's\n", n);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_eligibility),
                cmocka_unit_test(test_gate),
                cmocka_unit_test(test_pairs),
        };

        G_STATIC_ASSERT(N_GROUPS == G_N_ELEMENTS(groups));
        return cmocka_run_group_tests(tests, NULL, NULL);
}
