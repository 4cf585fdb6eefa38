/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <json-glib/json-glib.h>

#include "core/gate.h"
#include "platform/cpuinfo.h"
#include "test-tree.h"

/* One CPU's block as Linux prints it (arch/x86/kernel/cpu/proc.c), shortened in the middle. */
#define CPU(processor, vendor, family, model, name, stepping, flags, bugs) \
        "processor\t: " processor "\n" \
        "vendor_id\t: " vendor "\n" \
        "cpu family\t: " family "\n" \
        "model\t\t: " model "\n" \
        "model name\t: " name "\n" \
        "stepping\t: " stepping "\n" \
        "microcode\t: 0x2b000603\n" \
        "cpu MHz\t\t: 2000.000\n" \
        "fpu\t\t: yes\n" \
        "flags\t\t: " flags "\n" \
        "bugs\t\t: " bugs "\n" \
        "bogomips\t: 4000.00\n" \
        "address sizes\t: 46 bits physical, 57 bits virtual\n" \
        "power management:\n\n"

#define SPR(n, flags, bugs) CPU(n, "GenuineIntel", "6", "143", "Intel(R) Xeon(R) Platinum 8480+", "8", "fpu vme vmx " flags " avx512f", bugs)
#define GNR(n) CPU(n, "GenuineIntel", "6", "173", "Intel(R) Xeon(R) 6980P", "1", "fpu tdx_host_platform", "spectre_v1")
#define AMD(n) CPU(n, "AuthenticAMD", "25", "17", "AMD EPYC 9654 96-Core Processor", "1", "fpu svm sev", "sysret_ss_attrs")

static const struct {
        const char *what, *text;
        uint32_t signatures[3];
        size_t n;
        bool tdx_host, seamret;
} rows[] = {
        { "Sapphire Rapids", SPR("0", "tdx_host_platform", "spectre_v1 spectre_v2") SPR("1", "tdx_host_platform", "spectre_v1"),
          { 0x806f8 }, 1, true, false },
        { "without TDX", SPR("0", "", ""), { 0x806f8 }, 1, false, false },
        { "a guest's flag is not the host's", SPR("0", "tdx_guest tdx_host_platform2 xtdx_host_platform", ""), { 0x806f8 }, 1, false, false },
        { "the bug", SPR("0", "tdx_host_platform", "spectre_v1 seamret_invd_vmcs mmio_unknown"), { 0x806f8 }, 1, true, true },
        { "the bug alone", SPR("0", "tdx_host_platform", "seamret_invd_vmcs"), { 0x806f8 }, 1, true, true },
        { "no such bug", SPR("0", "tdx_host_platform", "seamret_invd_vmcs_x xseamret_invd_vmcs"), { 0x806f8 }, 1, true, false },
        { "the second CPU's bug", SPR("0", "", "") SPR("1", "", "seamret_invd_vmcs"), { 0x806f8 }, 1, false, true },
        { "Granite Rapids", GNR("0") GNR("1"), { 0xa06d1 }, 1, true, false },
        { "AMD", AMD("0") AMD("1"), { 0xa10f11 }, 1, false, false },
        { "mixed steppings", SPR("0", "", "") CPU("1", "GenuineIntel", "6", "143", "x", "6", "fpu", ""), { 0x806f8, 0x806f6 }, 2, false, false },
        { "hybrid",
          CPU("0", "GenuineIntel", "6", "151", "12th Gen", "2", "fpu", "") CPU("1", "GenuineIntel", "6", "190", "N100", "0", "fpu", "")
          CPU("2", "GenuineIntel", "6", "151", "12th Gen", "2", "fpu", ""), { 0x90672, 0xb06e0 }, 2, false, false },
        { "two sockets of different kinds", GNR("0") SPR("1", "", "") GNR("2"), { 0xa06d1, 0x806f8 }, 2, true, false },
        { "empty", "", {}, 0, false, false },
        { "no CPU in it", "\n\n\n", {}, 0, false, false },
        { "cut before the stepping", "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: x\n", {}, 0, false, false },
        { "the second one is cut", SPR("0", "", "") "processor\t: 1\ncpu family\t: 6\nmodel\t\t: 1", { 0x806f8 }, 1, false, false },
        { "another machine", "Processor\t: AArch64 Processor rev 4\nCPU architecture: 8\nCPU part\t: 0xd03\n", {}, 0, false, false },
        { "no model: the one before must not be taken", SPR("0", "", "") "processor\t: 1\ncpu family\t: 6\nstepping\t: 3\n", { 0x806f8 }, 1, false, false },
        { "no colons", "cpu family 6\nmodel 143\nstepping 8\n", {}, 0, false, false },
};

static void test_texts(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = -1, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1 };
        CpuInfo info = {};

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                tree_put(&t, "cpuinfo", rows[i].text);
                cpuinfo_read(&roots, &info);
                if (info.n_signatures != rows[i].n)
                        fail_msg("%s: %zu signatures", rows[i].what, info.n_signatures);
                for (size_t s = 0; s < rows[i].n; s++)
                        assert_int_equal(info.signatures[s], rows[i].signatures[s]);
                if (info.has_tdx_host != rows[i].tdx_host || info.has_seamret_bug != rows[i].seamret)
                        fail_msg("%s: flag %d, bug %d", rows[i].what, info.has_tdx_host, info.has_seamret_bug);
        }
        cpuinfo_clear(&info);
        assert_int_equal(info.n_signatures, 0);
}

/* What is not a number must not become the number of a CPU that TDX knows. */
static void test_garbage(void **state) {
        static const char *const numbers[] = { "", "x", "unknown", "-1", "143x", "0x8f", "99999999999999999999" };
        static const uint32_t known[] = { 0x806f8, 0xc06f0, 0xa06f0, 0xa06d0 };
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = -1, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1 };
        CpuInfo info = {};

        for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
                g_autofree char *family = g_strdup_printf("processor\t: 0\ncpu family\t: %s\nmodel\t\t: 143\nstepping\t: 8\n", numbers[i]);
                g_autofree char *model = g_strdup_printf("processor\t: 0\ncpu family\t: 6\nmodel\t\t: %s\nstepping\t: 8\n", numbers[i]);

                tree_put(&t, "cpuinfo", family);
                cpuinfo_read(&roots, &info);
                for (size_t s = 0; s < info.n_signatures; s++)
                        assert_false(cpu_matches(info.signatures[s], known, G_N_ELEMENTS(known), false));
                tree_put(&t, "cpuinfo", model);
                cpuinfo_read(&roots, &info);
                for (size_t s = 0; s < info.n_signatures; s++)
                        assert_false(cpu_matches(info.signatures[s], known, G_N_ELEMENTS(known), false));
        }
        cpuinfo_clear(&info);
}

static void test_override(void **state) {
        _cleanup_tree_ Tree t = tree_new();
        Roots roots = { .sysfs_fd = -1, .proc_fd = t.fd, .cgroup_fd = -1, .debugfs_fd = -1, .cpu_signature = 0xa06d1 };
        CpuInfo info = {};

        /* The signature is replaced, flags and bugs are still the file's. */
        tree_put(&t, "cpuinfo", SPR("0", "tdx_host_platform", "seamret_invd_vmcs"));
        cpuinfo_read(&roots, &info);
        assert_int_equal(info.n_signatures, 1);
        assert_int_equal(info.signatures[0], 0xa06d1);
        assert_true(info.has_tdx_host && info.has_seamret_bug);

        tree_remove(&t, "cpuinfo");
        cpuinfo_read(&roots, &info);
        assert_int_equal(info.n_signatures, 1);
        roots.cpu_signature = 0;
        cpuinfo_read(&roots, &info);
        assert_int_equal(info.n_signatures, 0);
        assert_false(info.has_tdx_host || info.has_seamret_bug);
}

/* Intel SDM, CPUID: family 6 and 15 have an extended model, family 15 an extended family. */
static void test_arithmetic(void **state) {
        static const struct {
                unsigned family, model, stepping;
                uint32_t signature;
        } known[] = {
                { 6, 143, 8, 0x806f8 },  { 6, 207, 0, 0xc06f0 },  { 6, 175, 0, 0xa06f0 },  { 6, 173, 0, 0xa06d0 },
                { 6, 173, 1, 0xa06d1 },  { 6, 174, 1, 0xa06e1 },  { 6, 106, 6, 0x606a6 },  { 6, 151, 2, 0x90672 },
                { 15, 2, 9, 0xf29 },     { 15, 6, 5, 0xf65 },     { 23, 49, 0, 0x830f10 }, { 25, 17, 1, 0xa10f11 },
                { 26, 2, 1, 0xb00f21 },  { 5, 4, 3, 0x543 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
                assert_int_equal(cpuinfo_signature(known[i].family, known[i].model, known[i].stepping), known[i].signature);
}

/* Back from CPUID.1:EAX to what the kernel shows, as the SDM says it, for every CPU of every release. */
static void test_release_table(void **state) {
        g_autofree char *path = g_build_filename(getenv("TEST_DATA"), "module-releases.json", NULL);
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonArray *releases;
        unsigned n = 0;

        assert_true(json_parser_load_from_file(parser, path, NULL));
        releases = json_node_get_array(json_parser_get_root(parser));
        for (unsigned i = 0; i < json_array_get_length(releases); i++) {
                JsonArray *cpus = json_object_get_array_member(json_array_get_object_element(releases, i), "cpuid_table");

                for (unsigned c = 0; c < json_array_get_length(cpus); c++, n++) {
                        uint32_t eax = (uint32_t) strtoul(json_array_get_string_element(cpus, c), NULL, 0);
                        unsigned family = eax >> 8 & 0xf, model = eax >> 4 & 0xf;

                        if (family == 15)
                                family += eax >> 20 & 0xff;
                        if (family == 6 || family >= 15)
                                model |= (eax >> 16 & 0xf) << 4;
                        assert_int_equal(cpuinfo_signature(family, model, eax & 0xf), eax);
                }
        }
        assert_true(n > 20);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_texts),      cmocka_unit_test(test_garbage),       cmocka_unit_test(test_override),
                cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_release_table),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
