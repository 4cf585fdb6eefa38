/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The model's settings, guests and devices: what a test can set up, and what KVM and
 * the driver core would report of it. */
#include "test-sim-bed.h"

static void test_td_list(void **state) {
        g_autoptr(GString) list = g_string_new(NULL);
        g_autofree char *a = NULL, *e = NULL, *i = NULL, *o = NULL;
        Bed *b = *state;

        assert_int_equal(model_td_begin(b->m, b->now, "one", 10, &a), 0);
        assert_int_equal(model_td_add(b->m, b->now, "one", "page", &a), 0);
        assert_int_equal(model_td_finalize(b->m, b->now, "one", &a), 0);
        assert_int_equal(model_td_begin(b->m, b->now, "two", 20, &a), 0);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        model_td_list(b->m, list);
        assert_string_equal(list->str, "one 10 finalized no\ntwo 20 building yes\n");

        assert_int_equal(model_td_begin(b->m, b->now, "one", 10, &a), -EEXIST);
        assert_int_equal(model_td_add(b->m, b->now, "one", "page", &e), -EINVAL);
        assert_int_equal(model_td_finalize(b->m, b->now, "three", &i), -ENOENT);
        assert_int_equal(model_td_destroy(b->m, b->now, "two", &o), 0);
        assert_int_equal(model_n_tds(b->m), 1);
        assert_key(b, "corrupted", "1");

        set(b, "module=lost");
        g_string_truncate(list, 0);
        model_td_list(b->m, list);
        assert_string_equal(list->str, "one 10 dead no\n");
}

static void test_vm_events(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 12209, .fd = 4, .n_vcpus = 2 }, &text), 0);
        assert_string_equal(b->uevents->str,
                            "change@/devices/virtual/misc/kvm misc CREATED=1 COUNT=1 EVENT=create PID=12209 "
                            "STATS_PATH=/kvm/12209-4 MAJOR=10 MINOR=232 DEVNAME=kvm\n");
        assert_int_equal(model_vm_find(b->m, 12209, 4)->exits, 0);
        assert_int_equal(model_vm_run(b->m, b->now, 12209, 4, &text), 0);
        assert_true(model_vm_find(b->m, 12209, 4)->exits > 0);
        g_string_truncate(b->uevents, 0);
        assert_int_equal(model_vm_destroy(b->m, b->now, 12209, 4, &text), 0);
        assert_string_equal(b->uevents->str,
                            "change@/devices/virtual/misc/kvm misc CREATED=1 COUNT=0 EVENT=destroy PID=12209 "
                            "STATS_PATH=/kvm/12209-4 MAJOR=10 MINOR=232 DEVNAME=kvm\n");
        assert_null(model_vm_find(b->m, 12209, 4));
}

/* KVM's name has the thread that makes a VM, and no two VMs have the same. */
static void test_vm_of_a_thread(void **state) {
        g_autofree char *a = NULL, *e = NULL, *i = NULL;
        Bed *b = *state;

        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 10, .tid = 17, .fd = 4, .n_vcpus = 1 }, &a), 0);
        assert_non_null(strstr(b->uevents->str, "EVENT=create PID=17 STATS_PATH=/kvm/17-4 "));
        assert_non_null(model_vm_find(b->m, 10, 4));
        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 17, .fd = 4, .n_vcpus = 1 }, &e), -EEXIST);
        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 10, .fd = 4, .n_vcpus = 1 }, &i), -EEXIST);
        g_string_truncate(b->uevents, 0);
        assert_int_equal(model_vm_destroy(b->m, b->now, 10, 4, &a), 0);
        assert_non_null(strstr(b->uevents->str, "EVENT=destroy PID=17 STATS_PATH=/kvm/17-4 "));
}

/* What guests used stays with their process for as long as that lives, and so does its start. */
static void test_process_of_vms(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 10, .fd = 4, .n_vcpus = 1 }, &text), 0);
        assert_int_equal(model_vm_run(b->m, b->now, 10, 4, &text), 0);
        b->now += 5 * USEC_PER_SEC;
        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 10, .fd = 5, .n_vcpus = 1 }, &text), 0);
        assert_int_equal(model_vm_run(b->m, b->now, 10, 5, &text), 0);
        assert_int_equal(model_process_runs(b->m, 10), 2);
        assert_int_equal(model_vm_destroy(b->m, b->now, 10, 4, &text), 0);
        assert_int_equal(model_process_runs(b->m, 10), 2);
        assert_int_equal(model_vm_find(b->m, 10, 5)->process_since, START);
        assert_int_equal(model_vm_find(b->m, 10, 5)->since, b->now);
        assert_int_equal(model_vm_destroy(b->m, b->now, 10, 5, &text), 0);
        assert_int_equal(model_process_runs(b->m, 10), 0);
}

static unsigned count_lines(const char *text, const char *word) {
        unsigned n = 0;

        for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
                n++;
        return n;
}

static void test_burst(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        assert_int_equal(model_vm_burst(b->m, b->now, 100, &text), 0);
        assert_int_equal(count_lines(b->uevents->str, "EVENT=create"), 100);
        assert_int_equal(count_lines(b->uevents->str, "EVENT=destroy"), 100);
        assert_non_null(strstr(b->uevents->str, "CREATED=100 COUNT=0 EVENT=destroy"));
        assert_int_equal(model_vms(b->m)->len, 0);
        set(b, "kvm=no");
        assert_int_equal(model_vm_burst(b->m, b->now, 1, &text), -ENODEV);
}

/* What the receiver has no room for is gone, counted and in the log; KVM's own count goes on. */
static void test_dropped_events(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        assert_key(b, "uevents-dropped", "0");
        b->room = 3;
        assert_int_equal(model_vm_burst(b->m, b->now, 5, &text), 0);
        assert_key(b, "uevents-dropped", "7");
        assert_int_equal(count_lines(model_log(b->m), "uevent dropped change@/devices/virtual/misc/kvm\n"), 7);
        g_string_truncate(b->uevents, 0);
        b->room = 1;
        assert_int_equal(model_vm_burst(b->m, b->now, 1, &text), 0);
        assert_non_null(strstr(b->uevents->str, "CREATED=6 COUNT=1 EVENT=create"));
}

static void test_device_events(void **state) {
        Bed *b = *state;

        set(b, "supported=no");
        assert_string_equal(b->uevents->str, "remove@/devices/faux/tdx_host/firmware/tdx_module firmware\n");
        assert_true(model_has_tdx_host(b->m));
        assert_false(model_has_upload(b->m));
        g_string_truncate(b->uevents, 0);

        set(b, "tdx-host=no");
        assert_string_equal(b->uevents->str, "remove@/devices/faux/tdx_host faux\n");
        g_string_truncate(b->uevents, 0);

        assert_int_equal(model_set(b->m, b->now, (const char *const[]) { "tdx-host=yes", "supported=yes", NULL }, NULL), 0);
        assert_string_equal(b->uevents->str, "add@/devices/faux/tdx_host faux\n"
                                             "add@/devices/faux/tdx_host/firmware/tdx_module firmware\n");
        set(b, "bug=yes");
        assert_false(model_has_upload(b->m));
}

static void test_set_is_all_or_nothing(void **state) {
        static const char *const bad[] = {
                "foo=1", "busy=x", "busy=-1", "busy=", "busy", "=1", "module=1.5", "world=D", "world=", "cpu=xyz",
                "cpus-online=0-4", "cpus-online=", "cpus-present=3-1", "stuck=maybe", "status=idle", "uploads=0",
                "uevents-dropped=0", "uevents-queue=",
                "data-error=ENONSENSE", "read-error=sys", "read-error=sys/x:", "kvm-intel-tdx=yes", "misc-tdx=many",
                "boot-id=1", "error=two words", "error-status=", "transfer-ms=99999999999", "mismatch=new",
        };
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *text = NULL;
                int r = model_set(b->m, b->now, (const char *const[]) { "remaining=3", bad[i], NULL }, &text);

                if (r != -EINVAL && r != -ENOENT)
                        fail_msg("%s was taken: %d", bad[i], r);
                assert_non_null(text);
                assert_key(b, "remaining", "9");
        }
}

static void test_get_shows_what_was_set(void **state) {
        static const char *const pairs[] = {
                "module=1.5.13", "module=lost", "seamldr=2.0.00", "remaining=0", "cpu=0xa06d0", "cpus-present=0-7",
                "cpus-online=0-2,5", "world=A", "busy=3", "refuse=1", "lose=2", "nothing=4", "error=hw-error", "error=",
                "error-status=programming", "mismatch=2.0.08", "mismatch=", "stuck=yes", "sticky=yes", "ebusy-zero=1",
                "zero-error=EACCES", "data-error=ENOMEM", "data-error=", "read-error=kvm/*/exits:EPERM,proc/cpuinfo:EIO",
                "open-error=kvm/*/exits:EPERM", "read-delay-ms=5", "receive-ms=1", "prepare-ms=2", "transfer-ms=3",
                "program-ms=4", "critical-ms=5", "misc-tdx=absent", "misc-tdx=7", "misc-tdx=auto", "misc-capacity=2",
                "kvm-intel-tdx=absent", "kvm-intel-tdx=N", "kvm=no", "cpu-tdx=no", "tdx-host=no", "supported=no",
                "bug=yes", "signer-check=no", "uevents-queue=0", "boot-id=01234567-89ab-4cde-8f01-23456789abcd",
        };
        Bed *b = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
                g_auto(GStrv) parts = g_strsplit(pairs[i], "=", 2);

                set(b, pairs[i]);
                assert_key(b, parts[0], parts[1]);
        }
}

static void test_reboot(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        set(b, "module=1.5.01");
        set(b, "remaining=5");
        model_boot(b->m);
        assert_int_equal(model_td_begin(b->m, b->now, "td", 1, &text), 0);
        assert_int_equal(model_vm_create(b->m, b->now, &(Vm) { .pid = 1, .fd = 2 }, &text), 0);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        set(b, "busy=2");
        set(b, "stuck=yes");
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_key(b, "status", "transferring");

        assert_int_equal(model_reboot(b->m, b->now, "01234567-89ab-4cde-8f01-23456789abcd", &text), 0);
        assert_key(b, "status", "idle");
        assert_key(b, "module", "1.5.01");
        assert_key(b, "remaining", "5");
        assert_key(b, "boot-id", "01234567-89ab-4cde-8f01-23456789abcd");
        assert_key(b, "busy", "2");
        assert_error(b, "");
        assert_int_equal(model_n_tds(b->m), 0);
        assert_int_equal(model_vms(b->m)->len, 0);
        assert_true(model_loading_store(b->m, b->now, "1", 1) == 0 && model_loading(b->m));
}

static void test_device_stays_while_it_works(void **state) {
        g_autofree char *text = NULL;
        Bed *b = *state;

        upload(b, GOOD_106);
        assert_int_equal(model_set(b->m, b->now, (const char *const[]) { "supported=no", NULL }, &text), -EBUSY);
        wait_ms(b, 50);
        set(b, "supported=no");
        set(b, "supported=yes");
        assert_int_equal(model_remaining_size(b->m), 0);
        assert_version(b, "1.5.06");
}

static void test_cpu_hotplug(void **state) {
        Bed *b = *state;

        assert_int_equal(model_cpu_online_store(b->m, b->now, 3, "0\n", 2), 0);
        assert_key(b, "cpus-online", "0-2");
        assert_string_equal(b->uevents->str, "offline@/devices/system/cpu/cpu3 cpu\n");
        assert_int_equal(model_cpu_online_store(b->m, b->now, 3, "maybe", 5), -EINVAL);
        upload(b, GOOD_106);
        wait_ms(b, 50);
        assert_version(b, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_td_list),
                TEST(test_vm_events),
                TEST(test_vm_of_a_thread),
                TEST(test_process_of_vms),
                TEST(test_burst),
                TEST(test_dropped_events),
                TEST(test_device_events),
                TEST(test_set_is_all_or_nothing),
                TEST(test_get_shows_what_was_set),
                TEST(test_reboot),
                TEST(test_device_stays_while_it_works),
                TEST(test_cpu_hotplug),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
