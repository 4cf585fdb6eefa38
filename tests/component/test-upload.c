/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * The upload as a source in a real event loop, against the files of tdx-sim, and what its
 * report comes to. Needs root and /dev/fuse, and to be run by isolated.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "platform/inventory.h"
#include "test-upload-bed.h"

static const Version before = { 1, 5, 5 }, target = { 1, 5, 6 };

/* As the daemon does it: the report and the version together. */
static Outcome classify(const Bed *b, const char *stale) {
        const UploadReport *r = &b->seen.report;
        g_autofree char *line = NULL;
        AttemptFacts f = {
                .handed_over = r->handed_over, .write_error = r->write_error, .idle = g_strcmp0(r->end.status, "idle") == 0,
                .ran = r->ran, .error = r->end.error, .stale_error = stale, .have_remaining = r->end.have_remaining,
                .remaining = r->end.remaining, .size = b->image_size, .before = before, .target = target,
        };
        int error = read_line_at(b->roots->sysfs_fd, ABI_VERSION, &line);

        f.version_error = error < 0 ? -error : 0;
        if (error >= 0)
                assert_int_equal(version_parse(line, &f.version), 0);
        return outcome_classify(&f);
}

static void upload_once(Bed *b) {
        start(b, b->image_fd, UINT64_MAX);
        run_until(b, is_done);
        assert_int_equal(b->seen.dones, 1);
        assert_false(b->seen.repeated || b->seen.backwards || b->seen.out_of_range);
}

/* What the simulator is told to do, and what the attempt then comes to. */
static const struct {
        const char *what, *set;
        Outcome outcome;
        int write_error;
        unsigned uploads, aborts;       /* runs of the kernel's worker, writes of -1 */
        const char *error;              /* text at the end, NULL: any */
        const char *version;            /* that runs afterwards */
} rows[] = {
        { "success", "world=C", OUTCOME_SUCCESS, 0, 1, 0, "", "1.5.06" },
        { "success, slowly", "transfer-ms=120 receive-ms=40 prepare-ms=40 program-ms=40", OUTCOME_SUCCESS, 0, 1, 0, "", "1.5.06" },
        { "success, in no time", "transfer-ms=0 receive-ms=0 prepare-ms=0 program-ms=0", OUTCOME_SUCCESS, 0, 1, 0, "", "1.5.06" },
        { "busy", "busy=1", OUTCOME_BUSY, 0, 1, 0, "transferring:device-busy", "1.5.05" },
        { "busy, in no time", "busy=1 transfer-ms=0 receive-ms=0 prepare-ms=0 program-ms=0", OUTCOME_BUSY, 0, 1, 0, "transferring:device-busy", "1.5.05" },
        { "refused", "refuse=1", OUTCOME_REFUSED, 0, 1, 0, "transferring:firmware-invalid", "1.5.05" },
        { "world B", "world=B", OUTCOME_REFUSED, 0, 1, 0, "transferring:firmware-invalid", "1.5.05" },
        { "lost", "lose=1", OUTCOME_LOST, 0, 1, 0, "transferring:firmware-invalid", "lost" },
        { "another version than the target", "mismatch=1.5.13", OUTCOME_MISMATCH, 0, 1, 0, "", "1.5.13" },
        { "hw-error", "error=hw-error", OUTCOME_FAILED, 0, 1, 0, "transferring:hw-error", "1.5.05" },
        { "timeout", "error=timeout error-status=preparing", OUTCOME_FAILED, 0, 1, 0, "preparing:timeout", "1.5.05" },
        { "read-write-error", "error=read-write-error", OUTCOME_FAILED, 0, 1, 0, "transferring:read-write-error", "1.5.05" },
        { "in the last phase", "error=hw-error error-status=programming", OUTCOME_FAILED, 0, 1, 0, "programming:hw-error", "1.5.05" },
        { "a word of tomorrow", "error=moon-phase error-status=aligning", OUTCOME_FAILED, 0, 1, 0, "aligning:moon-phase", "1.5.05" },
        { "nothing runs", "nothing=1", OUTCOME_NOTHING, 0, 0, 0, "", "1.5.05" },
        { "somebody else's data fault", "data-error=ENODEV", OUTCOME_FAILED, ENODEV, 0, 1, "", "1.5.05" },
        { "a growth that fails", "data-error=ENOMEM", OUTCOME_FAILED, ENOMEM, 0, 0, "", "1.5.05" },
        { "no CAP_SYS_RAWIO", "open-error=sys/class/firmware/tdx_module/data:EPERM", OUTCOME_FAILED, EPERM, 0, 1, "", "1.5.05" },
        { "an interface that ignores writes", "sticky=yes", OUTCOME_FAILED, EPROTO, 0, 0, "", "1.5.05" },
        { "EBUSY on the handover", "ebusy-zero=1", OUTCOME_BUSY, EBUSY, 0, 1, "", "1.5.05" },
        { "a refusal by IMA", "zero-error=EACCES", OUTCOME_FAILED, EACCES, 0, 0, "", "1.5.05" },
};

static void check_row(size_t i) {
        _cleanup_bed_ Bed *b = bed_new();
        g_autofree char *set = g_strconcat("set ", rows[i].set, NULL);
        Outcome outcome;

        print_message("%s\n", rows[i].what);
        ctl_do(b, set);
        upload_once(b);

        outcome = classify(b, "");
        if (outcome != rows[i].outcome)
                fail_msg("%s, not %s", outcome_to_string(outcome), outcome_to_string(rows[i].outcome));
        assert_int_equal(b->seen.report.write_error, rows[i].write_error);
        assert_int_equal(b->seen.report.handed_over, rows[i].write_error == 0);
        assert_int_equal(b->seen.report.write_what != NULL, rows[i].write_error != 0);
        assert_false(b->seen.report.aborted);
        assert_int_equal(b->seen.stucks, 0);
        assert_int_equal(ctl_number(b, "uploads"), rows[i].uploads);
        assert_true(rows[i].aborts == 0 ? ctl_number(b, "aborts") == 0 : ctl_number(b, "aborts") >= 1);
        check_key(b, "module", rows[i].version);
        if (rows[i].error)
                assert_string_equal(b->seen.report.end.error, rows[i].error);
        if (rows[i].write_error == 0) {
                assert_int_equal(b->seen.looks, 1);
                /* At the last look everything was staged and nothing had begun. */
                assert_true(b->seen.loading_at_look && b->seen.idle_at_look);
        }
}

static void test_outcomes(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                check_row(i);
}

static void test_success_in_detail(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        ctl_do(b, "set transfer-ms=100");
        upload_once(b);
        assert_true(b->seen.report.ran);
        assert_string_not_equal(b->seen.report.last_status, "");
        assert_string_not_equal(b->seen.report.last_status, "idle");
        assert_in_range(b->seen.report.kernel, 100 * USEC_PER_MSEC, BOUND);
        assert_true(b->seen.report.handover > 0 && b->seen.report.kernel > 0);
        assert_true(b->seen.report.end.have_remaining);
        assert_int_equal(b->seen.report.end.remaining, 0);
        assert_true(b->seen.progresses >= 4);
        check_key(b, "remaining", "8");
        check_key(b, "last-error", "");
}

/* An error text of an earlier run is no answer to a later one. */
static void test_stale_text(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        ctl_do(b, "set error=hw-error error-status=programming");
        upload_once(b);
        assert_int_equal(classify(b, ""), OUTCOME_FAILED);
        ctl_do(b, "set nothing=1");
        upload_once(b);
        assert_string_equal(b->seen.report.end.error, "programming:hw-error");
        assert_int_equal(classify(b, "programming:hw-error"), OUTCOME_NOTHING);
        upload_once(b);
        assert_int_equal(classify(b, "programming:hw-error"), OUTCOME_SUCCESS);
}

/* Busy, and then not: the same source code path twice on the same device. */
static void test_again_after_busy(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        ctl_do(b, "set busy=2");
        for (unsigned i = 0; i < 2; i++) {
                upload_once(b);
                assert_int_equal(classify(b, i == 0 ? "" : "transferring:device-busy"), OUTCOME_BUSY);
        }
        upload_once(b);
        assert_int_equal(classify(b, "transferring:device-busy"), OUTCOME_SUCCESS);
        assert_int_equal(ctl_number(b, "installs"), 1);
}

/* The last look says no: -1 is written, nothing ran, and the next try works. */
static void test_last_look(void **state) {
        _cleanup_bed_ Bed *b = bed_new();
        g_auto(UploadState) after = {};

        b->seen.look_result = -EAGAIN;
        upload_once(b);
        assert_int_equal(b->seen.looks, 1);
        assert_true(b->seen.report.aborted);
        assert_false(b->seen.report.handed_over || b->seen.report.ran);
        assert_int_equal(b->seen.report.write_error, 0);
        assert_int_equal(ctl_number(b, "uploads"), 0);
        assert_int_equal(ctl_number(b, "aborts"), 1);
        upload_read_state(b->roots, &after);
        assert_false(after.loading);
        assert_string_equal(after.status, "idle");

        b->seen.look_result = 0;
        upload_once(b);
        assert_int_equal(classify(b, ""), OUTCOME_SUCCESS);
}

static bool is_stuck(const Bed *b) {
        return b->seen.stucks > 0;
}

/* Told once, nothing is written, and when it ends after all, that is seen. */
static void test_stuck(void **state) {
        _cleanup_bed_ Bed *b = bed_new();
        unsigned aborts;

        ctl_do(b, "set stuck=yes");
        start(b, b->image_fd, 50 * USEC_PER_MSEC);
        run_until(b, is_stuck);
        assert_string_equal(b->seen.stuck_status, "transferring");
        assert_true(upload_handed_over(b->upload));
        for (unsigned i = 0; i < 5; i++)
                assert_true(sd_event_run(b->event, 100 * USEC_PER_MSEC) >= 0);
        assert_int_equal(b->seen.stucks, 1);
        assert_int_equal(b->seen.dones, 0);
        aborts = ctl_number(b, "aborts");
        assert_int_equal(aborts, 0);

        ctl_do(b, "set stuck=no");
        run_until(b, is_done);
        assert_int_equal(classify(b, ""), OUTCOME_SUCCESS);
        assert_int_equal(ctl_number(b, "uploads"), 1);
}

static void ctl_upload(const Bed *b) {
        g_autofree char *command = g_strconcat("upload ", work_dir, "/1.5.06.blob", NULL);

        ctl_do(b, command);
}

/* A run that somebody has begun, a daemon before this one for example, is followed to its end. */
static void test_follow(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        ctl_do(b, "set transfer-ms=300");
        ctl_upload(b);
        start(b, -1, UINT64_MAX);
        assert_true(upload_handed_over(b->upload));
        run_until(b, is_done);
        assert_int_equal(b->seen.looks, 0);
        assert_true(b->seen.report.handed_over && b->seen.report.ran);
        assert_int_equal(classify(b, NULL), OUTCOME_SUCCESS);
        assert_int_equal(ctl_number(b, "uploads"), 1);
        assert_int_equal(ctl_number(b, "aborts"), 0);

        /* Nothing runs any more: done at once, and it was not seen to run. */
        start(b, -1, UINT64_MAX);
        run_until(b, is_done);
        assert_false(b->seen.report.ran);
}

/* Ours comes into somebody else's run: it is not disturbed, and nothing of ours runs. */
static void test_during_a_foreign_run(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        ctl_do(b, "set transfer-ms=400");
        ctl_upload(b);
        upload_once(b);
        assert_false(b->seen.report.handed_over);
        assert_int_not_equal(b->seen.report.write_error, 0);
        assert_int_equal(b->seen.looks, 0);
        start(b, -1, UINT64_MAX);
        run_until(b, is_done);
        assert_int_equal(ctl_number(b, "uploads"), 1);
        check_key(b, "module", "1.5.06");
}

static bool is_staging(const Bed *b) {
        return b->seen.progresses > 0;
}

static void test_freed_before_the_handover(void **state) {
        _cleanup_bed_ Bed *b = bed_new();
        g_auto(UploadState) during = {}, after = {};

        /* Not even begun: nothing to drop. */
        start(b, b->image_fd, UINT64_MAX);
        b->upload = upload_free(b->upload);
        assert_int_equal(ctl_number(b, "aborts"), 0);

        start(b, b->image_fd, UINT64_MAX);
        run_until(b, is_staging);
        assert_string_equal(b->seen.last_status, "staging");
        assert_false(upload_handed_over(b->upload));
        upload_read_state(b->roots, &during);
        assert_true(during.loading);
        b->upload = upload_free(b->upload);

        upload_read_state(b->roots, &after);
        assert_false(after.loading);
        assert_int_equal(ctl_number(b, "aborts"), 1);
        assert_int_equal(ctl_number(b, "uploads"), 0);
        assert_int_equal(b->seen.dones + b->seen.looks, 0);
        check_key(b, "module", "1.5.05");
}

static bool is_handed_over(const Bed *b) {
        return b->upload && upload_handed_over(b->upload);
}

/* After it the kernel goes on by itself; nothing is written to the device. */
static void test_freed_after_the_handover(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        ctl_do(b, "set transfer-ms=200");
        start(b, b->image_fd, UINT64_MAX);
        run_until(b, is_handed_over);
        b->upload = upload_free(b->upload);
        start(b, -1, UINT64_MAX);
        run_until(b, is_done);
        assert_int_equal(ctl_number(b, "aborts"), 0);
        check_key(b, "module", "1.5.06");
}

/* The verified copy is shorter than it was said to be: half an image must not be handed over. */
static void test_short_image(void **state) {
        _cleanup_bed_ Bed *b = bed_new();

        b->image_size += 4096;
        upload_once(b);
        assert_false(b->seen.report.handed_over);
        assert_int_equal(b->seen.report.write_error, ENODATA);
        assert_int_equal(b->seen.looks, 0);
        assert_int_equal(ctl_number(b, "uploads"), 0);
        assert_int_equal(ctl_number(b, "aborts"), 1);
}

/* No interface (any more). */
static void test_no_interface(void **state) {
        _cleanup_bed_ Bed *b = bed_new();
        g_auto(UploadState) none = {};

        ctl_do(b, "set supported=no");
        upload_once(b);
        assert_int_equal(b->seen.report.write_error, ENOENT);
        upload_read_state(b->roots, &none);
        assert_null(none.status);
        assert_null(none.error);
        assert_false(none.loading || none.have_remaining);
}

/* What the inventory makes of a host that has just lost its module: ENXIO, for good. */
static void test_lost_in_the_inventory(void **state) {
        _cleanup_bed_ Bed *b = bed_new();
        g_autoptr(Inventory) inventory = inventory_new(b->roots);
        const HostFacts *f = inventory_facts(inventory);

        assert_int_equal(inventory_read(inventory), 0);
        inventory_read_hardware(inventory);
        assert_true(f->have_running && f->have_seamldr && f->have_remaining && !f->lost && !f->unsupported);
        assert_int_equal(version_compare(f->running, before), 0);
        assert_int_equal(f->remaining, 9);
        assert_int_equal(f->cpus_online, f->cpus_present);
        assert_int_equal(f->cpus[0], 0x806f8);

        ctl_do(b, "set lose=1");
        upload_once(b);
        assert_int_equal(inventory_read(inventory), ENXIO);
        assert_true(f->lost);
        assert_false(f->have_running);
        assert_int_equal(inventory_read(inventory), ENXIO);
        assert_true(f->lost);
}

static void test_read_state(void **state) {
        _cleanup_bed_ Bed *b = bed_new();
        g_auto(UploadState) idle = {}, staged = {}, dropped = {}, running = {};
        int fd = b->roots->sysfs_fd;

        upload_read_state(b->roots, &idle);
        assert_string_equal(idle.status, "idle");
        assert_string_equal(idle.error, "");
        assert_true(idle.have_remaining && !idle.loading);

        assert_int_equal(write_string_at(fd, ABI_LOADING, "1"), 0);
        upload_read_state(b->roots, &staged);
        assert_true(staged.loading);
        assert_int_equal(upload_abort_staged(b->roots), 0);
        upload_read_state(b->roots, &dropped);
        assert_false(dropped.loading);

        /* error gives EBUSY while not idle. */
        ctl_do(b, "set transfer-ms=5000");
        ctl_upload(b);
        upload_read_state(b->roots, &running);
        assert_string_not_equal(running.status, "idle");
        assert_null(running.error);
        assert_true(running.have_remaining);
        assert_int_equal(running.remaining, b->image_size);
}

static int setup(void **state) {
        g_autofree char *key = NULL, *tree = NULL, *image = NULL;

        if (access("/dev/fuse", R_OK | W_OK) != 0) {
                g_printerr("skipped: there is no /dev/fuse\n");
                exit(77);
        }

        work_dir = g_dir_make_tmp("tdx-updated-images-XXXXXX", NULL);
        key = g_build_filename(work_dir, "key.pem", NULL);
        tree = g_build_filename(work_dir, "tree", NULL);
        image = g_build_filename(work_dir, "1.5.06.blob", NULL);
        run_ok((const char *[]) { getenv("MAKE_IMAGE"), "--key", key, "--tree", tree, "--versions", "1.5.05,1.5.06,1.5.13", NULL }, NULL);
        run_ok((const char *[]) { getenv("MAKE_IMAGE"), "--key", key, "--format", "200", "--version", "1.5.06", "--output", image, NULL }, NULL);
        return 0;
}

static int teardown(void **state) {
        run_ok((const char *[]) { "rm", "-rf", work_dir, NULL }, NULL);
        g_free(work_dir);
        return 0;
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_outcomes),     cmocka_unit_test(test_success_in_detail), cmocka_unit_test(test_stale_text),
                cmocka_unit_test(test_again_after_busy), cmocka_unit_test(test_last_look),     cmocka_unit_test(test_stuck),
                cmocka_unit_test(test_follow),       cmocka_unit_test(test_during_a_foreign_run),
                cmocka_unit_test(test_freed_before_the_handover), cmocka_unit_test(test_freed_after_the_handover),
                cmocka_unit_test(test_short_image),  cmocka_unit_test(test_no_interface),      cmocka_unit_test(test_lost_in_the_inventory),
                cmocka_unit_test(test_read_state),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
