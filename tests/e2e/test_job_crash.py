# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The daemon dies in every state: the job ends once, the budget is spent once, nothing is repeated
blindly. And the host goes down in mid-update."""

import os
import signal
import time

import pytest

from steps import (check_end, check_prepare_pairs, error_of, freeze, hold_kernel, outcomes, settle,
                   stop_at_loading, stop_in_staging, stop_in_verification, wait_blocked)


def test_while_waiting(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    job, following = host.apply("1.5.06", reason="why"), host.apply("1.5.08")
    wait_blocked(host, job, "activity-unknown")
    before = job.all()
    host.daemon.crash()
    wait_blocked(host, job, "activity-unknown")
    assert job.all() == before
    assert following.get("State") == "queued"
    host.sim.set(misc_tdx=0)
    assert following.finish() == "success"
    check_end(host, record, job, "success", spent=2, uploads=2)
    assert host.history()[-1]["reason"] == "why"
    assert [s.args[0] for s in record.all("JobRemoved")] == [1, 2]


def test_in_backoff(host):
    host.sim.set(busy=1000)
    record = host.record()
    job = host.apply("1.5.06")
    host.wait(lambda: job.get("State") == "backoff" and
              job.get("NextAttempt") > time.time_ns() // 1000 + 300_000, "a long backoff")
    attempts = job.get("Attempts")
    host.daemon.crash()
    assert job.get("Attempts") >= attempts
    host.sim.set(busy=0)
    assert job.finish(40) == "success"
    check_end(host, record, job, "success", spent=1, uploads=job.get("Attempts"))
    assert outcomes(job)[:attempts] == ["busy"] * attempts
    assert check_prepare_pairs(record) >= 1
    assert host.get("BusyDetection") == "yes"


@pytest.mark.host(busy=1)
def test_busy_detection_is_remembered(host):
    assert host.apply("1.5.06").finish() == "success"
    host.daemon.crash()
    assert host.get("BusyDetection") == "yes"
    host.sim.ctl("reboot")
    host.daemon.restart()
    assert host.get("BusyDetection") != "yes"


def test_in_staging(host):
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.daemon.kill()
        host.daemon.wait_exit(1)
    host.wait(lambda: host.daemon.state == "ready", "the daemon is back")
    check_end(host, record, job, "success", spent=1, uploads=1)
    # It was not handed over, so it is no repetition.
    assert outcomes(job) == ["interrupted", "success"]
    assert check_prepare_pairs(record) >= 1


def test_in_staging_and_then_tds(host):
    """The dropped image is not put back without another look."""
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.daemon.kill()
        host.daemon.wait_exit(1)
        host.sim.set(misc_tdx=1)
    host.wait(lambda: host.daemon.state == "ready", "the daemon is back")
    wait_blocked(host, job, "activity-unknown")
    assert host.sim.number("uploads") == 0 and job.get("Cancelable")
    assert (host.mount / "sys/class/firmware/tdx_module/loading").read_text() == "0\n"


def kill_at_the_handover(host, then=lambda: None):
    """Killed when the last look is done and the one write that hands the image over is not."""
    with stop_in_staging(host) as staging:
        job = host.apply("1.5.16")
        staging.wait()
        with stop_at_loading(host) as handover:
            staging.let_go()
            handover.wait()
            handover.release()
            handover.wait()
            host.daemon.kill()
            host.daemon.wait_exit(1)
            then()
    host.daemon.wait_ready()
    return job


def test_at_the_handover(host):
    record = host.record()
    job = kill_at_the_handover(host)
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert outcomes(job) == ["interrupted", "success"]
    assert check_prepare_pairs(record) >= 1


def test_at_the_handover_and_then_tds(host):
    job = kill_at_the_handover(host, then=lambda: host.sim.set(misc_tdx=1))
    wait_blocked(host, job, "activity-unknown")
    assert host.sim.number("uploads") == 0
    assert (host.mount / "sys/class/firmware/tdx_module/loading").read_text() == "0\n"


@pytest.mark.host(set=["stuck=yes"])
def test_before_the_kernel_has_ended(host):
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.daemon.crash()
    assert job.get("State") == "uploading" and not job.get("Cancelable")
    host.daemon.crash()
    assert host.sim.number("uploads") == 1
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert outcomes(job) == ["success"]
    assert check_prepare_pairs(record) == 1
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.06", 1)]
    assert not any(h["external"] for h in host.history())


def crash_after_the_kernel(host):
    """Killed when the kernel has ended, and before the daemon has seen that."""
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    freeze(host)
    host.sim.set(stuck="no")
    host.wait(lambda: host.sim.get("status") == "idle", "the kernel ends")
    host.daemon.crash()
    return job


@pytest.mark.host(set=["stuck=yes"])
def test_after_the_kernel_has_ended(host):
    record = host.record()
    job = crash_after_the_kernel(host)
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert outcomes(job) == ["success"]
    assert check_prepare_pairs(record) == 1
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.06", 1)]
    assert not any(h["external"] for h in host.history())


@pytest.mark.host(set=["stuck=yes"], busy=1)
def test_after_a_busy_answer(host):
    record = host.record()
    job = crash_after_the_kernel(host)
    check_end(host, record, job, "success", spent=1, uploads=2)
    assert outcomes(job) == ["busy", "success"]


@pytest.mark.host(set=["stuck=yes", "error=hw-error"])
def test_after_an_error(host):
    record = host.record()
    job = crash_after_the_kernel(host)
    check_end(host, record, job, "failed", spent=0, uploads=1)
    assert error_of(job) == "UploadFailed" and outcomes(job) == ["failed"]
    assert check_prepare_pairs(record) == 1


@pytest.mark.host(set=["stuck=yes", "refuse=1"], config_text="RefusedRetries=0")
def test_after_a_refusal(host):
    record = host.record()
    job = crash_after_the_kernel(host)
    check_end(host, record, job, "failed", spent=0, uploads=1)
    assert outcomes(job) == ["refused"]


@pytest.mark.host(set=["stuck=yes", "mismatch=1.5.08"])
def test_after_a_mismatch(host):
    record = host.record()
    job = crash_after_the_kernel(host)
    check_end(host, record, job, "failed", spent=1, uploads=1)
    assert error_of(job) == "VerifyFailed"
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.08", 1)]


def test_while_verifying(host):
    record = host.record()
    with stop_in_verification(host) as stop:
        job = host.apply("1.5.06")
        stop.wait()
        host.daemon.kill()
        host.daemon.wait_exit(1)
    host.wait(lambda: host.daemon.state == "ready", "the daemon is back")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert "verifying" in record.changes("State", job.path)
    assert outcomes(job) == ["success"]
    assert check_prepare_pairs(record) == 1
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.06", 1)]
    assert not any(h["external"] for h in host.history())


@pytest.mark.host(set=["read-delay-ms=300"])
def test_again_and_again(host):
    """Killed at some moment of each start: it still ends once."""
    record = host.record()
    job = host.apply("1.5.06")
    host.wait(lambda: host.sim.number("uploads") == 1, "the attempt")
    for ends in range(1, 4):
        host.wait(lambda: host.daemon.pid, "the daemon is started")
        host.daemon.kill()
        host.daemon.wait_exit(ends)
    host.daemon.wait_ready()
    check_end(host, record, job, "success", spent=1, uploads=1)


# Stopped in order.

@pytest.mark.parametrize("how", ["restart", "stop and start"])
def test_sigterm_in_mid_update(make_host, how):
    host = make_host(set=["stuck=yes"])
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    if how == "restart":
        host.daemon.restart()
    else:
        assert host.daemon.stop() == 0
        host.sim.set(stuck="no")
        host.wait(lambda: host.sim.number("installs") == 1, "the kernel goes on alone")
        host.daemon.start()
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert check_prepare_pairs(record) == 1


def test_sigterm_in_staging(host):
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.daemon.kill(15)
    host.daemon.wait_exit(1)
    assert (host.mount / "sys/class/firmware/tdx_module/loading").read_text() == "0\n"
    if host.sim.number("uploads") == 0:
        assert host.sim.number("aborts") == 1
    host.daemon.start()
    check_end(host, record, job, "success", spent=1, uploads=1)


# The host goes down.

def reboot(host):
    host.daemon.stop()
    host.sim.ctl("reboot")
    host.daemon.start()


@pytest.mark.host(set=["stuck=yes"])
def test_reboot_in_mid_update(host):
    record = host.record()
    job, following = host.apply("1.5.06"), host.apply("1.5.08")
    hold_kernel(host, job)
    host.daemon.kill()
    host.daemon.wait_exit(1)
    host.sim.ctl("reboot")
    host.sim.set(stuck="no")
    host.daemon.wait_ready()
    assert job.finish() == "failed"
    assert error_of(job) == "UploadFailed" and outcomes(job) == ["interrupted"]
    assert following.finish() == "success"
    assert host.running_version() == "1.5.08"
    # Told exactly once each, and 1.5.06 is not tried again.
    host.wait(lambda: len(record.all("JobRemoved")) >= 2, "both leave the queue")
    settle(host)
    assert [s.args[0] for s in record.all("JobRemoved")] == [1, 2]
    assert sum(" queued," in line for line in host.sim.log()) == 2
    assert check_prepare_pairs(record) == 2


def test_reboot_in_staging(host):
    """The kernel never had the image, so it cannot be what brought the host down."""
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.daemon.kill()
        host.daemon.wait_exit(1)
        host.sim.ctl("reboot")
    host.daemon.wait_ready()
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert outcomes(job) == ["interrupted", "success"]
    assert check_prepare_pairs(record) >= 1


def test_reboot_at_the_handover(host):
    """It stands on the disk that the kernel gets the image now; whether it did, nobody knows."""
    record = host.record()
    job = kill_at_the_handover(host, then=lambda: host.sim.ctl("reboot"))
    check_end(host, record, job, "failed", spent=0, uploads=0)
    assert error_of(job) == "UploadFailed" and outcomes(job) == ["interrupted"]
    assert check_prepare_pairs(record) == 1


def test_reboot_while_verifying(host):
    """It ran; that it is gone again is what a reboot does."""
    with stop_in_verification(host) as stop:
        job = host.apply("1.5.06")
        stop.wait()
        host.daemon.kill()
        host.daemon.wait_exit(1)
        host.sim.ctl("reboot")
    host.daemon.wait_ready()
    assert job.finish() == "success"
    assert host.get("ModuleVersion") == "1.5.05"
    assert not any(h["external"] for h in host.history())


def test_reboot_while_waiting(host):
    """Nothing was begun: it waits on."""
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    reboot(host)
    wait_blocked(host, job, "activity-unknown")
    host.sim.set(misc_tdx=0)
    assert job.finish() == "success"


def test_ids_never_repeat(host):
    host.sim.set(misc_tdx=1)
    ids = []
    for end in (host.daemon.crash, host.daemon.restart, lambda: reboot(host)):
        job = host.apply("1.5.06")
        ids.append(job.get("Id"))
        job.cancel()
        end()
    ids.append(host.apply("1.5.06").get("Id"))
    assert ids == sorted(set(ids))


def test_the_same_refusal_is_not_counted_twice(host):
    """Killed right before the handover: the old error text is not an answer to what was not asked."""
    host.sim.set(refuse=1)
    record = host.record()
    with stop_in_staging(host) as staging:
        job = host.apply("1.5.16")
        staging.wait()
        staging.release()
        staging.wait()  # of the second attempt
        with stop_at_loading(host) as handover:
            staging.let_go()
            handover.wait()
            handover.release()
            handover.wait()
            host.daemon.kill()
            host.daemon.wait_exit(1)
    host.daemon.wait_ready()
    check_end(host, record, job, "success", spent=1, uploads=2)
    assert outcomes(job) == ["refused", "interrupted", "success"]


def test_stopped_in_staging(host):
    """Who listens to PrepareForUpdate is let go before the daemon stops."""
    record = host.record()
    with stop_in_staging(host) as staging:
        job = host.apply("1.5.16")
        staging.wait()
        os.kill(host.daemon.pid, signal.SIGTERM)
        host.sim.set(misc_tdx=1)
    host.daemon.wait_exit(1)
    host.daemon.start()
    wait_blocked(host, job, "activity-unknown")
    settle(host)
    assert check_prepare_pairs(record) == 1
    host.sim.set(misc_tdx=0)
    check_end(host, record, job, "success", spent=1, uploads=1)
