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

/* One way to spoil the world; @ids is what stands for it alone. */
typedef struct Spoiler {
        void (*apply)(World *w);
        uint32_t ids;
        const char *text;       /* a word that must be in a blocker's text, NULL: any */
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
static void building(World *w) { w->moment.activity = (ActivityFacts) { ACTIVITY_BUSY, "guest4 is being built" }; }
static void unknown(World *w) { w->moment.activity = (ActivityFacts) { ACTIVITY_UNKNOWN, "no evidence" }; }
static void wrong_enum(World *w) { w->moment.activity = (ActivityFacts) { (Activity) 77, "no evidence" }; }
static void backoff(World *w) { w->moment.next_attempt = w->moment.now + 1; }

/* What excludes each other is one group; one of each group is applied at a time. */
static const Spoiler groups[][7] = {
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
        { {}, { building, BIT(BLOCKER_TD_BUILDING), "guest4" }, { unknown, BIT(BLOCKER_ACTIVITY_UNKNOWN), "no evidence" },
          { wrong_enum, BIT(BLOCKER_ACTIVITY_UNKNOWN), "no evidence" } },
        { {}, { backoff, BIT(BLOCKER_BACKOFF), "next attempt" } },
};

enum { HOST, BUDGET, ONLINE, VERDICT, DEBUG, VERSIONS, MAPPING, SEAMLDR, SIGNATURES, SVN, STORE, FOREIGN, ACTIVITY, BACKOFF, N_GROUPS };

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

static Severity expected_severity(const World *w, BlockerId id) {
        if (id == BLOCKER_STEPPING_UNLISTED)
                return w->policy.require_exact_stepping ? SEVERITY_POLICY : SEVERITY_NOTE;
        if (id == BLOCKER_DEBUG_IMAGE || id == BLOCKER_RESERVE)
                return SEVERITY_POLICY;

        return id >= BLOCKER_STORE_FAILED ? SEVERITY_WAIT : SEVERITY_HARD;
}

static void check_list(const World *w, const BlockerList *list, uint32_t expected) {
        uint32_t ids = 0;

        for (size_t i = 0; i < list->n; i++) {
                const Blocker *b = &list->items[i];

                if (i > 0 && b->id == list->items[i - 1].id)
                        assert_string_not_equal(b->text, list->items[i - 1].text);
                assert_true(i == 0 || b->id >= list->items[i - 1].id);
                assert_int_equal(b->severity, expected_severity(w, b->id));
                assert_true(strlen(b->text) > 15 && !strstr(b->text, "(null)") && !strchr(b->text, '\n'));
                assert_string_equal(b->subject, "");
                assert_int_equal(b->until, b->id == BLOCKER_BACKOFF ? w->moment.next_attempt : 0);
                ids |= BIT(b->id);
        }
        if (ids != expected)
                fail_msg("ids 0x%x, not 0x%x", ids, expected);
}

static void check_combination(const unsigned chosen[static N_GROUPS], unsigned n_groups) {
        g_auto(BlockerList) list = {};
        uint32_t expected = 0;
        World w;

        world_init(&w);
        for (unsigned g = 0; g < n_groups; g++) {
                if (chosen[g] == 0)
                        continue;
                groups[g][chosen[g]].apply(&w);
                if (counts(chosen, g))
                        expected |= groups[g][chosen[g]].ids;
        }

        if (n_groups == N_GROUPS)
                gate_evaluate(&w.host, &w.image, &w.policy, &w.moment, &list);
        else
                eligibility_evaluate(&w.host, &w.image, &w.policy, &list);
        check_list(&w, &list, expected);
        for (unsigned g = 0; g < n_groups; g++)
                if (chosen[g] != 0 && counts(chosen, g))
                        check_text(&list, groups[g][chosen[g]].ids, groups[g][chosen[g]].text);
}

/* The next combination like the next number of a counter; false after the last. */
static bool next_combination(unsigned chosen[static N_GROUPS], unsigned n_groups) {
        for (unsigned g = 0; g < n_groups; g++) {
                if (++chosen[g] < G_N_ELEMENTS(groups[g]) && groups[g][chosen[g]].apply)
                        return true;
                chosen[g] = 0;
        }

        return false;
}

static void test_eligibility(void **state) {
        unsigned chosen[N_GROUPS] = {}, n = 0;

        do {
                check_combination(chosen, STORE);
                n++;
        } while (next_combination(chosen, STORE));

        print_message("%u combinations of what host and image decide\n", n);
}

/* The moment's with every single and every pair of the others. */
static void test_gate(void **state) {
        unsigned n = 0;

        for (unsigned a = 0; a < STORE; a++)
                for (unsigned b = a + 1; b < STORE; b++)
                        for (unsigned i = 0; i < 7 && (i == 0 || groups[a][i].apply); i++)
                                for (unsigned j = 0; j < 7 && (j == 0 || groups[b][j].apply); j++) {
                                        unsigned chosen[N_GROUPS] = { [0] = 0 }, *moment = chosen + STORE;

                                        chosen[a] = i;
                                        chosen[b] = j;
                                        for (unsigned m = 0; m < 32; m++, n++) {
                                                moment[0] = m & 1;
                                                moment[1] = m >> 1 & 1;
                                                moment[2] = m >> 2 & 3;
                                                moment[3] = m >> 4 & 1;
                                                check_combination(chosen, N_GROUPS);
                                        }
                                }

        print_message("%u combinations with the moment\n", n);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_eligibility),
                cmocka_unit_test(test_gate),
        };

        G_STATIC_ASSERT(N_GROUPS == G_N_ELEMENTS(groups));
        return cmocka_run_group_tests(tests, NULL, NULL);
}
