/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * What belongs to the moment: reasons of activity, holds, windows, and the two options that step over some of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/gate.h"
#include "test-gate-world.h"

#define UNTIL UINT64_C(1700000300000000)

static char guest[] = "qemu[44]", other[] = "cloud-hypervis[55]", nobody[] = "";
static char may_be[] = "qemu[44] may be in the build of a TD: no exit yet", not_seen[] = "It cannot be seen whether cloud-hypervis[55] is";
static char too_many[] = "3 TDs exist, but only 2 VMs are known that could be one";

typedef struct Expected {
        const char *id, *severity, *subject;
        uint64_t until;
        const char *word;       /* in its text */
} Expected;

/* Exactly these, in this order. */
#define assert_blockers(world, ...) check_blockers(world, (const Expected[]) { __VA_ARGS__, {} }, __LINE__)

static void check_blockers(const World *w, const Expected expected[], int line) {
        g_auto(BlockerList) list = {};
        size_t n = 0;

        gate_evaluate(&w->host, &w->image, &w->policy, &w->moment, &list);
        for (; expected[n].id; n++) {
                const Blocker *b = n < list.n ? &list.items[n] : NULL;

                if (!b || strcmp(blocker_id_to_string(b->id), expected[n].id) != 0)
                        fail_msg("line %d: \"%s\" is missing, there is \"%s\"", line, expected[n].id,
                                 b ? blocker_id_to_string(b->id) : "nothing");
                if (strcmp(severity_to_string(b->severity), expected[n].severity) != 0 || strcmp(b->subject, expected[n].subject) != 0 ||
                    b->until != expected[n].until || !strstr(b->text, expected[n].word))
                        fail_msg("line %d: %s \"%s\", until %" G_GUINT64_FORMAT ": %s", line, severity_to_string(b->severity), b->subject,
                                 b->until, b->text);
        }
        if (list.n != n)
                fail_msg("line %d: \"%s\" is too much: %s", line, blocker_id_to_string(list.items[n].id), list.items[n].text);
}

static void assert_clear(const World *w) {
        g_auto(BlockerList) list = {};

        gate_evaluate(&w->host, &w->image, &w->policy, &w->moment, &list);
        if (list.n > 0)
                fail_msg("%s", list.items[0].text);
}

/* One blocker a reason, each with its guest; all of them wait. */
static void test_reasons(void **state) {
        World w;

        world_init(&w);
        assert_clear(&w);
        world_add_reason(&w, true, guest, may_be);
        assert_blockers(&w, { "td-building", "wait", "qemu[44]", 0, may_be });

        world_init(&w);
        world_add_reason(&w, false, other, not_seen);
        assert_blockers(&w, { "activity-unknown", "wait", "cloud-hypervis[55]", 0, not_seen });

        world_add_reason(&w, true, guest, may_be);
        world_add_reason(&w, false, nobody, too_many);
        world_add_reason(&w, true, other, not_seen);
        assert_blockers(&w, { "td-building", "wait", "qemu[44]", 0, may_be }, { "td-building", "wait", "cloud-hypervis[55]", 0, not_seen },
                        { "activity-unknown", "wait", "cloud-hypervis[55]", 0, not_seen },
                        { "activity-unknown", "wait", "", 0, too_many });
}

/* What is not idle blocks, with reasons or without; and a reason blocks, whatever the verdict is called. */
static void test_no_reason(void **state) {
        World w;

        for (int activity = -1; activity <= _ACTIVITY_MAX; activity++) {
                world_init(&w);
                w.activity.activity = (Activity) activity;
                if (activity == ACTIVITY_IDLE) {
                        assert_clear(&w);
                        continue;
                }
                assert_blockers(&w, { "activity-unknown", "wait", "", 0, "not known" });

                /* No option steps over what nobody can name. */
                w.moment.ignore_activity = true;
                assert_blockers(&w, { "activity-unknown", "wait", "", 0, "not known" });
        }

        world_init(&w);
        world_add_reason(&w, true, guest, may_be);
        w.activity.activity = ACTIVITY_IDLE;
        assert_blockers(&w, { "td-building", "wait", "qemu[44]", 0, may_be });
}

/* ignore-activity: what is not known counts as idle, a build does not. */
static void test_ignore_activity(void **state) {
        World w;

        world_init(&w);
        w.moment.ignore_activity = true;
        assert_clear(&w);
        world_add_reason(&w, false, other, not_seen);
        world_add_reason(&w, false, nobody, too_many);
        assert_blockers(&w, { "activity-unknown", "note", "cloud-hypervis[55]", 0, "(ignored on request)" },
                        { "activity-unknown", "note", "", 0, "(ignored on request)" });

        world_add_reason(&w, true, guest, may_be);
        assert_blockers(&w, { "td-building", "wait", "qemu[44]", 0, may_be },
                        { "activity-unknown", "note", "cloud-hypervis[55]", 0, "(ignored on request)" },
                        { "activity-unknown", "note", "", 0, "(ignored on request)" });

        /* It is about builds that cannot be seen, not about those that somebody announces, and not about holds. */
        world_init(&w);
        w.moment.ignore_activity = true;
        world_add_hold(&w, HOLD_BUILD, HOLD_BLOCK, UNTIL);
        world_add_hold(&w, HOLD_MIGRATION, HOLD_BLOCK, UNTIL);
        world_add_hold(&w, HOLD_UPDATE, HOLD_BLOCK, UNTIL);
        assert_blockers(&w, { "held", "wait", "backup[7]", UNTIL, "keeps updates off" },
                        { "td-building", "wait", "backup[7]", UNTIL, "is being built" },
                        { "td-migrating", "wait", "backup[7]", UNTIL, "is being migrated" });
}

/* ignore-guests: the reasons of those guests, both kinds; the others stay. */
static void test_ignored_guests(void **state) {
        World w;

        world_init(&w);
        world_add_reason(&w, true, guest, may_be)->ignored = true;
        world_add_reason(&w, false, other, not_seen)->ignored = true;
        w.activity.activity = ACTIVITY_IDLE;
        assert_blockers(&w, { "td-building", "note", "qemu[44]", 0, "(ignored on request)" },
                        { "activity-unknown", "note", "cloud-hypervis[55]", 0, "(ignored on request)" });

        w.reasons[1].ignored = false;
        w.activity.activity = ACTIVITY_UNKNOWN;
        assert_blockers(&w, { "td-building", "note", "qemu[44]", 0, "(ignored on request)" },
                        { "activity-unknown", "wait", "cloud-hypervis[55]", 0, not_seen });

        w.reasons[0].ignored = false;
        w.reasons[1].ignored = true;
        w.activity.activity = ACTIVITY_BUSY;
        assert_blockers(&w, { "td-building", "wait", "qemu[44]", 0, may_be },
                        { "activity-unknown", "note", "cloud-hypervis[55]", 0, "(ignored on request)" });
}

/* An update hold that blocks does so before, in and after the time of those that delay. */
static void test_block(void **state) {
        World w;

        for (unsigned over = 0; over < 2; over++)
                for (unsigned i = 0; i < 2; i++) {
                        world_init(&w);
                        w.moment.delays_are_over = over > 0;
                        w.moment.delays_end = w.moment.now + 5;
                        world_add_hold(&w, HOLD_UPDATE, HOLD_BLOCK, i == 0 ? 0 : UNTIL);
                        assert_blockers(&w, { "held", "wait", "backup[7]", i == 0 ? 0 : UNTIL, "backup[7] keeps updates off: a snapshot runs" });
                }
}

/* Those that delay: until they release it, or have had their time. */
static void test_delay(void **state) {
        World w;

        world_init(&w);
        world_add_hold(&w, HOLD_UPDATE, HOLD_DELAY, 0);
        assert_blockers(&w, { "draining", "wait", "backup[7]", 0, "backup[7] prepares" });

        /* They have been told; the end is HoldMaxSec=, not the hold's own. */
        w.holds[0].until = UNTIL;
        w.moment.delays_end = w.moment.now + 60000000;
        assert_blockers(&w, { "draining", "wait", "backup[7]", w.moment.delays_end, "a snapshot runs" });

        w.moment.delays_are_over = true;
        assert_clear(&w);

        /* That is their end only, not the others'. */
        world_add_hold(&w, HOLD_UPDATE, HOLD_BLOCK, UNTIL);
        world_add_hold(&w, HOLD_BUILD, HOLD_BLOCK, UNTIL);
        world_add_hold(&w, HOLD_MIGRATION, HOLD_BLOCK, UNTIL);
        assert_blockers(&w, { "held", "wait", "backup[7]", UNTIL, "a snapshot" }, { "td-building", "wait", "backup[7]", UNTIL, "a snapshot" },
                        { "td-migrating", "wait", "backup[7]", UNTIL, "a snapshot" });

        /* They never become others either, whatever mode somebody gave them. */
        w.holds[2].mode = w.holds[3].mode = HOLD_DELAY;
        assert_blockers(&w, { "held", "wait", "backup[7]", UNTIL, "a snapshot" }, { "td-building", "wait", "backup[7]", UNTIL, "a snapshot" },
                        { "td-migrating", "wait", "backup[7]", UNTIL, "a snapshot" });
}

/* Each of several is named, also beside what KVM says. */
static void test_several_holds(void **state) {
        World w;

        world_init(&w);
        world_add_reason(&w, true, guest, may_be);
        for (unsigned i = 0; i < 3; i++)
                world_add_hold(&w, HOLD_BUILD, HOLD_BLOCK, UNTIL + i)->pid = 8 + i;
        assert_blockers(&w, { "td-building", "wait", "qemu[44]", 0, may_be }, { "td-building", "wait", "backup[8]", UNTIL, "backup[8]" },
                        { "td-building", "wait", "backup[9]", UNTIL + 1, "backup[9]" },
                        { "td-building", "wait", "backup[10]", UNTIL + 2, "backup[10]" });
}

static void test_window(void **state) {
        static const struct {
                uint64_t opens, until;
                const char *word;
        } rows[] = {
                { UNTIL, UNTIL, "outside of the maintenance windows" },
                { 1, 1, "outside of the maintenance windows" },
                { 0, 0, "ever opens again" },
                { UINT64_MAX, 0, "cannot be found out" },
        };
        World w;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                world_init(&w);
                w.moment.window_opens = rows[i].opens;
                assert_clear(&w);
                w.moment.step_over_window = true;
                assert_clear(&w);

                w.moment.outside_window = true;
                assert_blockers(&w, { "outside-window", "note", "", rows[i].until, "(stepped over on request)" });
                w.moment.step_over_window = false;
                assert_blockers(&w, { "outside-window", "wait", "", rows[i].until, rows[i].word });
                assert_blockers(&w, { "outside-window", "wait", "", rows[i].until, "MaintenanceWindow=" });

                /* The other option is for something else. */
                w.moment.ignore_activity = true;
                assert_blockers(&w, { "outside-window", "wait", "", rows[i].until, rows[i].word });
        }

        /* And now steps over windows alone. */
        world_init(&w);
        w.moment.step_over_window = true;
        world_add_reason(&w, false, other, not_seen);
        world_add_hold(&w, HOLD_UPDATE, HOLD_BLOCK, 0);
        world_add_hold(&w, HOLD_UPDATE, HOLD_DELAY, 0);
        assert_blockers(&w, { "held", "wait", "backup[7]", 0, "keeps updates off" },
                        { "activity-unknown", "wait", "cloud-hypervis[55]", 0, not_seen },
                        { "draining", "wait", "backup[7]", 0, "prepares" });
}

/* The names of the API, and nothing else. */
static void test_hold_names(void **state) {
        static const char *const whats[] = { "update", "build", "migration" }, *const modes[] = { "block", "delay" };
        static const char *const wrong[] = { "", "Update", "update ", "updat", "updates", "block,delay", "shutdown" };

        assert_int_equal(G_N_ELEMENTS(whats), _HOLD_WHAT_MAX);
        assert_int_equal(G_N_ELEMENTS(modes), _HOLD_MODE_MAX);
        for (unsigned i = 0; i < _HOLD_WHAT_MAX; i++) {
                assert_string_equal(hold_what_to_string((HoldWhat) i), whats[i]);
                assert_int_equal(hold_what_from_string(whats[i]), i);
                assert_int_equal(hold_mode_from_string(whats[i]), -1);
        }
        assert_int_equal(hold_what_from_string("update"), HOLD_UPDATE);
        assert_int_equal(hold_what_from_string("build"), HOLD_BUILD);
        assert_int_equal(hold_what_from_string("migration"), HOLD_MIGRATION);
        for (unsigned i = 0; i < _HOLD_MODE_MAX; i++) {
                assert_string_equal(hold_mode_to_string((HoldMode) i), modes[i]);
                assert_int_equal(hold_what_from_string(modes[i]), -1);
        }
        assert_int_equal(hold_mode_from_string("block"), HOLD_BLOCK);
        assert_int_equal(hold_mode_from_string("delay"), HOLD_DELAY);
        for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
                assert_int_equal(hold_what_from_string(wrong[i]), -1);
                assert_int_equal(hold_mode_from_string(wrong[i]), -1);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reasons),         cmocka_unit_test(test_no_reason), cmocka_unit_test(test_ignore_activity),
                cmocka_unit_test(test_ignored_guests),  cmocka_unit_test(test_block),     cmocka_unit_test(test_delay),
                cmocka_unit_test(test_several_holds),   cmocka_unit_test(test_window),    cmocka_unit_test(test_hold_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
