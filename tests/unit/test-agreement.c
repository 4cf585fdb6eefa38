/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The gate against the rule of Intel's reference tool (version_select_and_load.py) on
 * Intel's own data: every published release as the running module and as the target, with
 * P-SEAMLDR versions and CPUs. The rule is told again here, without the daemon's code,
 * and without the tool's two mistakes: it takes the running version for an update, and it
 * compares only the last number of the minimum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-glib/json-glib.h>

#include "core/gate.h"

#define N_RELEASES 11

typedef struct Release {
        char text[16], min_module[16], min_seamldr[4][16];
        unsigned n_min_seamldr, n_cpus;
        uint32_t cpus[16];
        uint16_t svn;
        uint64_t features0;
} Release;

static Release releases[N_RELEASES];

static JsonNode *load(const char *name) {
        g_autofree char *path = g_build_filename(getenv("TEST_DATA"), name, NULL);
        g_autoptr(JsonParser) parser = json_parser_new();
        g_autoptr(GError) error = NULL;

        if (!json_parser_load_from_file(parser, path, &error))
                fail_msg("%s", error->message);
        return json_parser_steal_root(parser);
}

static Release *find(const char *text) {
        for (unsigned i = 0; i < N_RELEASES; i++)
                if (strcmp(releases[i].text, text) == 0)
                        return &releases[i];

        fail_msg("%s has no facts", text);
        return NULL;
}

static void load_facts(void) {
        g_autoptr(JsonNode) root = load("module-releases.json");
        JsonArray *array = json_node_get_array(root);

        assert_int_equal(json_array_get_length(array), N_RELEASES);
        for (unsigned i = 0; i < N_RELEASES; i++) {
                JsonObject *o = json_array_get_object_element(array, i);
                JsonArray *cpus = json_object_get_array_member(o, "cpuid_table");
                g_autofree char *name = g_path_get_basename(json_object_get_string_member(o, "file"));
                Release *r = &releases[i];

                assert_int_equal(sscanf(name, "tdx_module_%15[0-9.]blob", r->text), 1);
                r->text[strlen(r->text) - 1] = '\0';
                r->svn = (uint16_t) strtoul(json_object_get_string_member(o, "seamsvn"), NULL, 0);
                r->n_cpus = json_array_get_length(cpus);
                assert_in_range(r->n_cpus, 1, 16);
                for (unsigned c = 0; c < r->n_cpus; c++)
                        r->cpus[c] = (uint32_t) strtoul(json_array_get_string_element(cpus, c), NULL, 0);
        }
}

static void load_mapping(void) {
        g_autoptr(JsonNode) root = load("mapping_file.json");
        JsonArray *array = json_object_get_array_member(json_node_get_object(root), "tdx_module_releases");

        assert_int_equal(json_array_get_length(array), N_RELEASES);
        for (unsigned i = 0; i < N_RELEASES; i++) {
                JsonObject *o = json_array_get_object_element(array, i);
                JsonArray *seamldrs = json_object_get_array_member(o, "min_seamldr_versions");
                Release *r = find(json_object_get_string_member(o, "version"));

                g_strlcpy(r->min_module, json_object_get_string_member(o, "min_module_version_for_td_preserving"), 16);
                r->features0 = strtoull(json_object_get_string_member(o, "tdx_feature0"), NULL, 16);
                r->n_min_seamldr = json_array_get_length(seamldrs);
                assert_in_range(r->n_min_seamldr, 1, 4);
                for (unsigned s = 0; s < r->n_min_seamldr; s++)
                        g_strlcpy(r->min_seamldr[s], json_array_get_string_element(seamldrs, s), 16);
        }
}

static int setup(void **state) {
        load_facts();
        load_mapping();
        return 0;
}

/* Our own reading and ordering of versions: a decimal number of three parts. */
static unsigned long number(const char *text) {
        unsigned a, b, c;

        assert_int_equal(sscanf(text, "%u.%u.%u", &a, &b, &c), 3);
        assert_true(a < 1000 && b < 1000 && c < 1000);
        return a * 1000000UL + b * 1000UL + c;
}

static bool same_line(const char *a, const char *b) {
        return number(a) / 1000 == number(b) / 1000;
}

static bool intel_says_yes(const Release *running, const Release *target, const char *seamldr, uint32_t cpu) {
        bool seamldr_fits = false, cpu_fits = false;

        for (unsigned i = 0; i < target->n_min_seamldr; i++)
                seamldr_fits = seamldr_fits || (same_line(seamldr, target->min_seamldr[i]) &&
                                                number(seamldr) >= number(target->min_seamldr[i]));
        for (unsigned i = 0; i < target->n_cpus; i++)
                cpu_fits = cpu_fits || cpu / 16 == target->cpus[i] / 16;

        return same_line(running->text, target->text) && number(target->text) > number(running->text) &&
               number(running->text) >= number(target->min_module) && seamldr_fits && cpu_fits;
}

static Version version(const char *text) {
        unsigned long n = number(text);

        return (Version) { (uint16_t) (n / 1000000), (uint16_t) (n / 1000 % 1000), (uint16_t) (n % 1000) };
}

/* Exactly what the gate is told on such a host; the budget and the rest are in order. */
static void evaluate(const Release *running, const Release *target, const char *seamldr, uint32_t cpu, BlockerList *list) {
        Version min_seamldr[4];
        Mapping mapping = {
                .version = version(target->text), .min_module = version(target->min_module), .min_seamldr = min_seamldr,
                .n_min_seamldr = target->n_min_seamldr, .features0 = target->features0,
        };
        ImageFacts image = {
                .version = version(target->text), .svn = target->svn, .cpus = target->cpus, .n_cpus = target->n_cpus,
                .mapping = &mapping,
        };
        HostFacts host = {
                .have_running = true, .running = version(running->text), .have_seamldr = true, .seamldr = version(seamldr),
                .have_remaining = true, .remaining = 5, .have_svn = true, .svn = running->svn,
                .cpus = &cpu, .n_cpus = 1, .cpus_present = 8, .cpus_online = 8,
        };
        Policy policy = { .keep_remaining = 1 };

        for (unsigned i = 0; i < target->n_min_seamldr; i++)
                min_seamldr[i] = version(target->min_seamldr[i]);
        eligibility_evaluate(&host, &image, &policy, list);
}

static void check(const Release *running, const Release *target, const char *seamldr, uint32_t cpu, unsigned count[2]) {
        g_auto(BlockerList) list = {};
        bool yes = intel_says_yes(running, target, seamldr, cpu);

        evaluate(running, target, seamldr, cpu, &list);
        count[yes]++;
        if (yes != !blocker_list_refusal(&list))
                fail_msg("%s -> %s with P-SEAMLDR %s on 0x%x: Intel's rule says %s, the gate %s", running->text, target->text,
                         seamldr, cpu, yes ? "yes" : "no", list.n > 0 ? list.items[0].text : "yes");
        if (!yes)
                return;

        /* Only a stepping that is not in the table may be remarked upon. */
        for (size_t i = 0; i < list.n; i++)
                assert_int_equal(list.items[i].id, BLOCKER_STEPPING_UNLISTED);
}

static void test_agreement(void **state) {
        static const char *const seamldrs[] = {
                "1.0.00", "1.4.99", "1.5.00", "1.5.01", "1.5.06", "1.6.00", "2.0.00", "2.0.01", "2.0.15", "2.1.00", "3.0.00",
        };
        /* In the tables: Sapphire Rapids, Emerald Rapids, Sierra Forest, Granite Rapids; others: Ice Lake, Alder Lake, Zen 4. */
        static const uint32_t families[] = {
                0x806f0, 0xc06f0, 0xa06f0, 0xa06d0, 0xa06e0, 0x606a0, 0x90670, 0xa10f10, 0x906f0, 0x806e0, 0x1806f0, 0,
        };
        unsigned count[2] = {};

        for (unsigned r = 0; r < N_RELEASES; r++)
                for (unsigned t = 0; t < N_RELEASES; t++)
                        for (unsigned s = 0; s < G_N_ELEMENTS(seamldrs); s++)
                                for (unsigned f = 0; f < G_N_ELEMENTS(families); f++)
                                        for (uint32_t stepping = 0; stepping < 16; stepping++)
                                                check(&releases[r], &releases[t], seamldrs[s], families[f] | stepping, count);

        print_message("%u combinations: %u updates possible, %u not\n", count[0] + count[1], count[1], count[0]);
        assert_true(count[0] > 0 && count[1] > 0);
}

/* Every CPU of every release's table is itself a listed CPU, stepping included. */
static void test_listed_cpus(void **state) {
        for (unsigned r = 0; r < N_RELEASES; r++)
                for (unsigned c = 0; c < releases[r].n_cpus; c++)
                        assert_true(cpu_matches(releases[r].cpus[c], releases[r].cpus, releases[r].n_cpus, true));
}

/* Of these releases all have TD-preserving updates and none can refuse one in a build. */
static void test_features(void **state) {
        for (unsigned r = 0; r < N_RELEASES; r++) {
                assert_true(releases[r].features0 & FEATURES0_TD_PRESERVING);
                assert_false(releases[r].features0 & FEATURES0_UPDATE_COMPAT);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_agreement),
                cmocka_unit_test(test_listed_cpus),
                cmocka_unit_test(test_features),
        };

        return cmocka_run_group_tests(tests, setup, NULL);
}
