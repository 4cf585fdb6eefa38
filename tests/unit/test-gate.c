/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/gate.h"
#include "test-gate-world.h"

static void evaluate(const World *w, BlockerList *list) {
        blocker_list_clear(list);
        gate_evaluate(&w->host, &w->image, &w->policy, &w->moment, list);
}

/* Exactly these ids, in this order. */
#define assert_blockers(world, ...) check_blockers(world, (const char *const[]) { __VA_ARGS__, NULL }, __LINE__)

static void check_blockers(const World *w, const char *const ids[], int line) {
        g_auto(BlockerList) list = {};
        size_t n = 0;

        evaluate(w, &list);
        for (; ids[n]; n++)
                if (n >= list.n || strcmp(blocker_id_to_string(list.items[n].id), ids[n]) != 0)
                        fail_msg("line %d: \"%s\" is missing, there is \"%s\"", line, ids[n],
                                 n < list.n ? blocker_id_to_string(list.items[n].id) : "nothing");
        if (list.n != n)
                fail_msg("line %d: \"%s\" is too much", line, blocker_id_to_string(list.items[n].id));
}

static void test_clear(void **state) {
        World w;

        world_init(&w);
        assert_blockers(&w, NULL);
}

/* KeepRemaining=: updates that must be left after this one. */
static void test_budget(void **state) {
        static const struct {
                uint32_t remaining, keep;
                const char *blocker;
        } rows[] = {
                { 0, 0, "no-budget" }, { 0, 1, "no-budget" }, { 0, 2, "no-budget" }, { 0, UINT32_MAX, "no-budget" },
                { 1, 0, NULL },        { 1, 1, "reserve" },   { 1, 2, "reserve" },   { 1, UINT32_MAX, "reserve" },
                { 2, 0, NULL },        { 2, 1, NULL },        { 2, 2, "reserve" },   { 3, 2, NULL },
                { UINT32_MAX, UINT32_MAX, "reserve" },        { UINT32_MAX, UINT32_MAX - 1, NULL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                World w;

                world_init(&w);
                w.host.remaining = rows[i].remaining;
                w.policy.keep_remaining = rows[i].keep;
                assert_blockers(&w, rows[i].blocker);

                /* A number that was not read is none, whatever stands in its place. */
                w.host.have_remaining = false;
                assert_blockers(&w, "no-budget");
        }
}

/* A whole version is compared, not its last number: 1.4.20 is below 1.5.05. */
static void test_minimum(void **state) {
        static const struct {
                Version running, min, to;
                const char *blocker;
        } rows[] = {
                { { 1, 5, 5 }, { 1, 5, 1 }, { 1, 5, 16 }, NULL },
                { { 1, 5, 5 }, { 1, 5, 5 }, { 1, 5, 16 }, NULL },
                { { 1, 5, 5 }, { 1, 5, 6 }, { 1, 5, 16 }, "incompatible-module" },
                { { 1, 5, 5 }, { 1, 4, 20 }, { 1, 5, 16 }, NULL },
                { { 1, 5, 5 }, { 2, 0, 1 }, { 1, 5, 16 }, "incompatible-module" },
                { { 2, 0, 2 }, { 2, 0, 4 }, { 2, 0, 5 }, "incompatible-module" },
                { { 2, 0, 4 }, { 2, 0, 4 }, { 2, 0, 5 }, NULL },
                { { 2, 0, 8 }, { 1, 5, 1 }, { 2, 1, 9 }, "incompatible-module" },
                { { 1, 5, 16 }, { 1, 5, 1 }, { 2, 0, 17 }, "incompatible-module" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                World w;

                world_init(&w);
                w.host.running = rows[i].running;
                w.mapping.version = w.image.version = rows[i].to;
                w.mapping.min_module = rows[i].min;
                assert_blockers(&w, rows[i].blocker);
        }
}

/* An entry counts for its own line only, and for what is not older. */
static void test_seamldr(void **state) {
        static const Version two[] = { { 1, 5, 1 }, { 2, 0, 0 } };
        static const struct {
                Version seamldr;
                size_t n;
                bool fits;
        } rows[] = {
                { { 1, 5, 0 }, 2, false }, { { 1, 5, 1 }, 2, true }, { { 1, 5, 2 }, 2, true }, { { 1, 4, 9 }, 2, false },
                { { 1, 6, 1 }, 2, false }, { { 2, 0, 0 }, 2, true }, { { 2, 0, 7 }, 2, true }, { { 2, 1, 0 }, 2, false },
                { { 3, 0, 0 }, 2, false }, { { 2, 0, 0 }, 1, false }, { { 1, 5, 1 }, 0, false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                World w;

                world_init(&w);
                w.mapping.min_seamldr = two;
                w.mapping.n_min_seamldr = rows[i].n;
                w.host.seamldr = rows[i].seamldr;
                assert_blockers(&w, rows[i].fits ? NULL : "incompatible-seamldr");
                w.host.have_seamldr = false;
                assert_blockers(&w, "incompatible-seamldr");
        }
}

/* The image's table is { 0x806f8, 0xc06f0, 0xa06f0 }. Every CPU of the host counts, in any order. */
static void test_cpus(void **state) {
        static const struct {
                uint32_t cpus[3];
                size_t n;
                bool exact;
                const char *blocker;
        } rows[] = {
                { { 0x806f8 }, 1, true, NULL },
                { { 0x806f6 }, 1, false, "stepping-unlisted" },
                { { 0x806f6 }, 1, true, "stepping-unlisted" },
                { { 0x906f8 }, 1, false, "incompatible-cpu" },
                { { 0x807f8 }, 1, false, "incompatible-cpu" },
                { { 0x806e8 }, 1, false, "incompatible-cpu" },
                { { 0x100806f8 }, 1, false, "incompatible-cpu" },
                { { 0 }, 0, false, "incompatible-cpu" },
                { { 0x806f8, 0xc06f0 }, 2, true, NULL },
                { { 0x806f8, 0xc06f2 }, 2, true, "stepping-unlisted" },
                { { 0x806f8, 0xa06d1 }, 2, false, "incompatible-cpu" },
                { { 0xa06d1, 0x806f8 }, 2, false, "incompatible-cpu" },
                /* A stepping that is only noted hides no CPU behind it. */
                { { 0x806f6, 0xa06d1 }, 2, false, "stepping-unlisted+incompatible-cpu" },
                { { 0xa06d1, 0x806f6 }, 2, false, "stepping-unlisted+incompatible-cpu" },
                { { 0x806f6, 0xa06d1 }, 2, true, "stepping-unlisted+incompatible-cpu" },
                { { 0x806f6, 0x806f8, 0xa06d1 }, 3, false, "stepping-unlisted+incompatible-cpu" },
                { { 0x806f6, 0xc06f2 }, 2, false, "stepping-unlisted" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_auto(BlockerList) list = {};
                const Blocker *stepping;
                World w;

                world_init(&w);
                w.host.cpus = rows[i].cpus;
                w.host.n_cpus = rows[i].n;
                w.policy.require_exact_stepping = rows[i].exact;
                if (rows[i].blocker && strchr(rows[i].blocker, '+'))
                        assert_blockers(&w, "incompatible-cpu", "stepping-unlisted");
                else
                        assert_blockers(&w, rows[i].blocker);

                evaluate(&w, &list);
                stepping = blocker_list_find(&list, BLOCKER_STEPPING_UNLISTED);
                if (stepping)
                        assert_int_equal(stepping->severity, rows[i].exact ? SEVERITY_POLICY : SEVERITY_NOTE);
        }
}

/* A note is shown and blocks nothing. */
static void test_note(void **state) {
        g_auto(BlockerList) list = {};
        static const uint32_t stepping[] = { 0x806f6 };
        World w;

        world_init(&w);
        w.host.cpus = stepping;
        evaluate(&w, &list);
        assert_int_equal(list.n, 1);
        assert_string_equal(severity_to_string(list.items[0].severity), "note");
        assert_null(blocker_list_refusal(&list));
        assert_null(blocker_list_wait(&list));
        assert_ptr_equal(blocker_list_find(&list, BLOCKER_STEPPING_UNLISTED), &list.items[0]);

        w.policy.require_exact_stepping = true;
        evaluate(&w, &list);
        assert_ptr_equal(blocker_list_refusal(&list), &list.items[0]);
        assert_non_null(strstr(list.items[0].text, "RequireExactStepping="));
}

static void test_cpu_matches(void **state) {
        static const uint32_t table[] = { 0x806f8, 0xc06f0 };

        assert_true(cpu_matches(0x806f8, table, 2, true));
        assert_true(cpu_matches(0xc06f0, table, 2, true));
        assert_false(cpu_matches(0x806f7, table, 2, true));
        for (uint32_t stepping = 0; stepping < 16; stepping++) {
                assert_true(cpu_matches(0x806f0 | stepping, table, 2, false));
                assert_int_equal(cpu_matches(0xc06f0 | stepping, table, 2, true), stepping == 0);
        }
        for (unsigned bit = 4; bit < 32; bit++)
                assert_false(cpu_matches(0x806f8 ^ UINT32_C(1) << bit, table, 2, false) &&
                             (0x806f8 ^ UINT32_C(1) << bit) != 0xc06f8);
        assert_false(cpu_matches(0x806f8, table, 0, false));
}

static void test_offline(void **state) {
        static const struct {
                unsigned present, online;
                bool blocked;
        } rows[] = { { 4, 4, false }, { 4, 3, true }, { 4, 0, true }, { 0, 4, true }, { 0, 0, true }, { 1, 1, false }, { 8192, 8191, true } };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_auto(BlockerList) list = {};
                World w;

                world_init(&w);
                w.host.cpus_present = rows[i].present;
                w.host.cpus_online = rows[i].online;
                assert_blockers(&w, rows[i].blocked ? "cpus-offline" : NULL);

                w.host.cpus_offline_text = "write 1 to cpu3/online";
                evaluate(&w, &list);
                if (rows[i].blocked && rows[i].present > 0 && rows[i].online > 0)
                        assert_non_null(strstr(list.items[0].text, "write 1 to cpu3/online"));
        }
}

static void test_svn(void **state) {
        static const struct {
                uint16_t running, image;
                const char *blocker;
        } rows[] = { { 0x105, 0x10b, NULL }, { 0x10b, 0x10b, NULL }, { 0x10c, 0x10b, "svn-lower" }, { 0x200, 0x1ff, "svn-lower" } };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                World w;

                world_init(&w);
                w.host.svn = rows[i].running;
                w.image.svn = rows[i].image;
                assert_blockers(&w, rows[i].blocker);
        }
}

static void test_debug(void **state) {
        World w;

        world_init(&w);
        w.image.debug = true;
        assert_blockers(&w, "debug-image");
        w.policy.allow_debug = true;
        assert_blockers(&w, NULL);
}

static void test_backoff(void **state) {
        g_auto(BlockerList) list = {};
        World w;

        world_init(&w);
        w.moment.next_attempt = w.moment.now;
        assert_blockers(&w, NULL);
        w.moment.next_attempt = w.moment.now - 1;
        assert_blockers(&w, NULL);
        w.moment.next_attempt = w.moment.now + 1;
        assert_blockers(&w, "backoff");
        w.moment.next_attempt = w.moment.now + 1500000;
        evaluate(&w, &list);
        assert_int_equal(list.items[0].until, w.moment.next_attempt);
        assert_non_null(strstr(list.items[0].text, "1.5 s"));
}

/* Without a target the host's own blockers remain, and nothing is made up. */
static void test_no_target(void **state) {
        g_auto(BlockerList) list = {};
        World w;

        world_init(&w);
        eligibility_evaluate(&w.host, NULL, &w.policy, &list);
        assert_int_equal(list.n, 0);

        w.host.remaining = 1;
        w.host.cpus_online = 3;
        w.moment.store_failed = true;
        gate_evaluate(&w.host, NULL, &w.policy, &w.moment, &list);
        assert_int_equal(list.n, 3);
        assert_int_equal(list.items[0].id, BLOCKER_RESERVE);
        assert_int_equal(list.items[1].id, BLOCKER_STORE_FAILED);
        assert_int_equal(list.items[2].id, BLOCKER_CPUS_OFFLINE);
}

/* Ids and severities that callers rely on; the error decides tdxctl's exit status. */
static const struct {
        BlockerId id;
        const char *name, *severity;
        ErrorId error;
} promised[] = {
        { BLOCKER_UNSUPPORTED, "unsupported", "hard", ERROR_NOT_SUPPORTED },
        { BLOCKER_MODULE_LOST, "module-lost", "hard", ERROR_MODULE_LOST },
        { BLOCKER_NO_BUDGET, "no-budget", "hard", ERROR_NO_BUDGET },
        { BLOCKER_RESERVE, "reserve", "policy", ERROR_NO_BUDGET },
        { BLOCKER_IMAGE_INVALID, "image-invalid", "hard", ERROR_IMAGE_INVALID },
        { BLOCKER_IMAGE_UNTRUSTED, "image-untrusted", "hard", ERROR_IMAGE_UNTRUSTED },
        { BLOCKER_DEBUG_IMAGE, "debug-image", "policy", ERROR_DEBUG_IMAGE },
        { BLOCKER_INCOMPATIBLE_CPU, "incompatible-cpu", "hard", ERROR_INCOMPATIBLE_CPU },
        { BLOCKER_INCOMPATIBLE_SEAMLDR, "incompatible-seamldr", "hard", ERROR_INCOMPATIBLE_SEAMLDR },
        { BLOCKER_INCOMPATIBLE_MODULE, "incompatible-module", "hard", ERROR_INCOMPATIBLE_MODULE },
        { BLOCKER_SVN_LOWER, "svn-lower", "hard", ERROR_DOWNGRADE },
        { BLOCKER_STEPPING_UNLISTED, "stepping-unlisted", "policy", ERROR_INCOMPATIBLE_CPU },
        { BLOCKER_ALREADY_CURRENT, "already-current", "hard", ERROR_ALREADY_CURRENT },
        { BLOCKER_DOWNGRADE, "downgrade", "hard", ERROR_DOWNGRADE },
        { BLOCKER_CPUS_OFFLINE, "cpus-offline", "wait", ERROR_NOT_SAFE },
        { BLOCKER_TD_BUILDING, "td-building", "wait", ERROR_NOT_SAFE },
        { BLOCKER_TD_MIGRATING, "td-migrating", "wait", ERROR_NOT_SAFE },
        { BLOCKER_ACTIVITY_UNKNOWN, "activity-unknown", "wait", ERROR_NOT_SAFE },
        { BLOCKER_HELD, "held", "wait", ERROR_HELD },
        { BLOCKER_DRAINING, "draining", "wait", ERROR_NOT_SAFE },
        { BLOCKER_OUTSIDE_WINDOW, "outside-window", "wait", ERROR_NOT_SAFE },
        { BLOCKER_BACKOFF, "backoff", "wait", ERROR_BUSY },
        { BLOCKER_STORE_FAILED, "store-failed", "wait", ERROR_NOT_SAFE },
        { BLOCKER_FLEET_SLOT, "fleet-slot", "wait", ERROR_NOT_SAFE },
        /* Apply's NoSuchVersion, for BlockedBy. */
        { BLOCKER_NO_IMAGE, "no-image", "hard", ERROR_NO_SUCH_VERSION },
        /* The upload interface is busy with somebody else's upload. */
        { BLOCKER_FOREIGN_UPLOAD, "foreign-upload", "wait", ERROR_BUSY },
};

static void test_ids(void **state) {
        assert_int_equal(G_N_ELEMENTS(promised), _BLOCKER_MAX);
        for (size_t i = 0; i < G_N_ELEMENTS(promised); i++) {
                assert_string_equal(blocker_id_to_string(promised[i].id), promised[i].name);
                assert_string_equal(severity_to_string(blocker_severity(promised[i].id)), promised[i].severity);
                assert_int_equal(blocker_error(promised[i].id), promised[i].error);
        }
}

/* Refusals come before what waits, so that a request that cannot be carried out is refused at once. */
static void test_list(void **state) {
        g_auto(BlockerList) list = {};

        for (int i = _BLOCKER_MAX - 1; i >= 0; i--) {
                const Blocker *b = blocker_list_add(&list, (BlockerId) i, i % 2 ? "guest" : NULL, "number %d", i);

                assert_int_equal(b->id, i);
                assert_string_equal(b->subject, i % 2 ? "guest" : "");
        }
        assert_int_equal(list.n, _BLOCKER_MAX);
        for (size_t i = 0; i < list.n; i++) {
                assert_int_equal(list.items[i].id, i);
                assert_ptr_equal(blocker_list_find(&list, (BlockerId) i), &list.items[i]);
        }
        assert_int_equal(blocker_list_refusal(&list)->id, 0);
        assert_int_equal(blocker_list_wait(&list)->severity, SEVERITY_WAIT);

        blocker_list_clear(&list);
        assert_int_equal(list.n, 0);
        assert_null(blocker_list_refusal(&list));
        assert_null(blocker_list_wait(&list));
        assert_null(blocker_list_find(&list, BLOCKER_HELD));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_clear),      cmocka_unit_test(test_budget),      cmocka_unit_test(test_minimum),
                cmocka_unit_test(test_seamldr),    cmocka_unit_test(test_cpus),        cmocka_unit_test(test_note),
                cmocka_unit_test(test_cpu_matches), cmocka_unit_test(test_offline),    cmocka_unit_test(test_svn),
                cmocka_unit_test(test_debug),      cmocka_unit_test(test_backoff),     cmocka_unit_test(test_no_target),
                cmocka_unit_test(test_ids),        cmocka_unit_test(test_list),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
