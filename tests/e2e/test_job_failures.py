# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Each way an attempt can go wrong, and what the job makes of it (design, section 5)."""

import pytest

from harness import BusError
from steps import (blockers, check_end, check_prepare_pairs, error_of, freeze, hold_kernel,
                   outcomes, settle, wait_blocked, watch_device)


@pytest.mark.host(set=["refuse=3"])
def test_refused_too_often(host):
    record = host.record()
    job = host.apply("1.5.06")
    # RefusedRetries=2: three attempts in all.
    check_end(host, record, job, "failed", spent=0, uploads=3)
    assert error_of(job) == "UploadFailed"
    assert outcomes(job) == ["refused"] * 3
    assert host.running_version() == host.get("ModuleVersion") == "1.5.05"
    assert not host.get("Lost") and not record.all("ModuleUpdated")
    assert check_prepare_pairs(record) >= 1


@pytest.mark.host(set=["refuse=3"], config_text="RefusedRetries=0")
def test_refused_without_retries(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=1)
    assert error_of(job) == "UploadFailed"


@pytest.mark.host(set=["refuse=1"])
def test_refused_once(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=2)
    assert outcomes(job) == ["refused", "success"]
    # Only device-busy shows that the kernel asks the module.
    assert host.get("BusyDetection") != "yes"


@pytest.mark.host(set=["refuse=1"], busy=2, config_text="RefusedRetries=1")
def test_busy_does_not_use_up_the_refused_retries(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=4)


@pytest.mark.host(world="B")
def test_world_b(host):
    """The kernel asks, and the module lacks the feature: refused for ever, nothing is lost."""
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=3)
    assert host.running_version() == "1.5.05"


@pytest.mark.parametrize("word", ["hw-error", "timeout", "read-write-error", "device-busy-but-new",
                                  "firmware-invalid-too", "user-abort", "flash-wearout", "x"])
@pytest.mark.parametrize("status", ["transferring", "programming"])
def test_error_words(host, status, word):
    """Known and unknown ones: the old module runs, and nothing is repeated."""
    host.sim.set(error=word, error_status=status)
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=1)
    assert error_of(job) == "UploadFailed"
    assert f"{status}:{word}" in job.get("Error")[1]
    attempt, = job.get("AttemptLog")
    assert (attempt["outcome"], attempt["kernel-error"]) == ("failed", f"{status}:{word}")
    assert host.running_version() == "1.5.05"
    assert check_prepare_pairs(record) == 1


@pytest.mark.parametrize("status", ["preparing", "programming", "a-new-status"])
def test_busy_in_any_status(host, status):
    host.sim.set(error="device-busy", error_status=status)
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=2)
    assert outcomes(job) == ["busy", "success"]


def test_same_request_after_a_failure_is_a_new_job(host):
    host.sim.set(error="hw-error")
    first = host.apply("1.5.06")
    assert first.finish() == "failed"
    second = host.apply("1.5.06")
    assert second.path != first.path and second.finish() == "success"


@pytest.mark.host(set=["mismatch=1.5.09"])
def test_mismatch(host):
    record = host.record()
    job = host.apply("1.5.16")
    check_end(host, record, job, "failed", spent=1, uploads=1)
    assert error_of(job) == "VerifyFailed"
    assert "1.5.09" in job.get("Error")[1]
    assert outcomes(job) == ["mismatch"]
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.09", 1)]
    assert host.get("ModuleVersion") == "1.5.09"
    assert host.get("RemainingUpdates") == 8

    def check_aside():
        image = next(i for i in host.call("ListImages") if i["version"] == "1.5.16")
        assert not image["eligible"]
        assert [b["id"] for b in image["blockers"]] == ["image-untrusted"]
        assert "image-untrusted" in blockers(host, "1.5.16")
        with pytest.raises(BusError) as error:
            host.apply("1.5.16")
        assert error.value.id == "ImageUntrusted"

    check_aside()
    host.daemon.restart()
    check_aside()
    assert host.sim.number("uploads") == 1
    # The others are as good as before.
    assert host.apply().finish() == "success"
    assert host.running_version() == "1.5.13"


def test_mismatch_is_remembered_without_the_image(make_host, images, world):
    """The image leaves the catalogue, the daemon is restarted, and the image comes back."""
    tree = world.dir / "another-tree"
    tree.mkdir()
    image = tree / "tdx_module_1.5.06.blob"
    images.make("--version", "1.5.06", "--seed", "77", "--output", image)
    host = make_host(images=[str(tree)])
    host.sim.set(mismatch="1.5.08")
    assert host.apply("1.5.06").finish() == "failed"
    host.sim.ctl("reboot")  # so that 1.5.06 is an upgrade again
    host.daemon.stop()
    aside = world.dir / "aside.blob"
    image.rename(aside)
    host.daemon.start()
    assert blockers(host, "1.5.06") == []  # the tree of all releases has another 1.5.06
    aside.rename(image)
    assert blockers(host, "1.5.06") == ["image-untrusted"]


@pytest.mark.host(set=["nothing=1"])
def test_nothing_ran(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=0)
    assert error_of(job) == "UploadFailed"
    assert outcomes(job) == ["nothing"]
    assert "handover taken, nothing runs" in host.sim.log()[-1]


@pytest.mark.host(busy=1)
def test_nothing_ran_with_an_old_error(host, images, world):
    """The error text that another upload has left is no answer to this one."""
    other = world.dir / "hosts" / "other.blob"
    images.make("--version", "1.5.09", "--format", "200", "--output", other)
    host.sim.ctl("upload", other)
    host.wait(lambda: host.sim.get("last-error"), "the other upload ends")
    host.sim.set(nothing=1)
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=1)
    assert outcomes(job) == ["nothing"]


@pytest.mark.host(set=["sticky=yes"])
def test_sticky_interface(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=0)
    assert error_of(job) == "UploadFailed"
    assert len(outcomes(job)) == 1


@pytest.mark.host(set=["ebusy-zero=2"])
def test_ebusy_on_handover(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert outcomes(job) == ["busy", "busy", "success"]
    # The interface's word; it says nothing about what the module can.
    assert host.get("BusyDetection") != "yes"


@pytest.mark.parametrize("fault", ["zero-error=EACCES", "data-error=EIO", "data-error=ENOMEM",
                                   "data-error=ENOSPC",
                                   "open-error=sys/class/firmware/tdx_module/data:EPERM"])
def test_errors_before_the_handover(make_host, fault):
    host = make_host(set=[fault])
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "failed", spent=0, uploads=0)
    assert error_of(job) == "UploadFailed"
    attempt, = job.get("AttemptLog")
    assert attempt["outcome"] == "failed" and attempt["kernel-error"]
    assert host.running_version() == "1.5.05"
    # Nothing is left staged for the next one to stumble over.
    assert (host.mount / "sys/class/firmware/tdx_module/loading").read_text() == "0\n"


@pytest.mark.host(set=["data-error=EBUSY"])
def test_busy_data(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert outcomes(job) == ["busy", "success"]


@pytest.mark.host(set=["stuck=yes"], config_text="AttemptTimeoutSec=200ms")
def test_stuck(host):
    record = host.record()
    job = host.apply("1.5.06")
    other = host.apply("1.5.08")
    host.wait(lambda: job.get("Reason").startswith("stuck"), "it is stuck")
    assert job.get("State") == "uploading" and outcomes(job) == ["stuck"]
    assert host.get("State") == "uploading" and "stuck" in host.get("StateReason")
    with watch_device(host) as device:
        with pytest.raises(BusError) as error:
            job.cancel()
        assert error.value.id == "NotCancelable"
        host.call("Refresh")
        host.call("Plan", "1.5.06", {})
        third = host.apply("1.5.09")
        assert [other.get("State"), third.get("State")] == ["queued", "queued"]
        third.cancel()
        # The daemon has looked at the status many times meanwhile.
        reads = host.log().count("\n")
        host.call("Refresh")
        assert reads and device.read() == []
    assert host.sim.number("uploads") == 1 and host.sim.number("aborts") == 0
    assert job.get("State") == "uploading" and other.get("Attempts") == 0

    host.sim.set(stuck="no")
    assert job.finish() == "success"
    assert outcomes(job) == ["success"]
    assert other.finish() == "success"
    assert host.sim.number("uploads") == host.sim.number("installs") == 2
    settle(host)
    assert [s.args[0] for s in record.all("JobRemoved")] == [3, 1, 2]


@pytest.mark.host(set=["stuck=yes", "error=hw-error"], config_text="AttemptTimeoutSec=200ms")
def test_stuck_then_failed(host):
    record = host.record()
    job = host.apply("1.5.06")
    host.wait(lambda: outcomes(job) == ["stuck"], "it is stuck")
    host.sim.set(stuck="no")
    check_end(host, record, job, "failed", spent=0, uploads=1)
    assert outcomes(job) == ["failed"]


@pytest.mark.host(set=["stuck=yes"], config_text="AttemptTimeoutSec=200ms")
def test_stuck_over_a_restart(host):
    record = host.record()
    job = host.apply("1.5.06")
    host.wait(lambda: outcomes(job) == ["stuck"], "it is stuck")
    host.daemon.crash()
    assert job.get("State") == "uploading" and not job.get("Cancelable")
    host.wait(lambda: job.get("Reason").startswith("stuck"), "it is stuck again")
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=1, uploads=1)


@pytest.mark.host(set=["stuck=yes"])
def test_daemon_that_sleeps_through_it(host):
    """Suspended, starved, traced: what it finds later counts, not what it saw."""
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    freeze(host)
    host.sim.set(stuck="no")
    host.wait(lambda: host.sim.number("installs") == 1, "the kernel ends")
    host.daemon.kill(18)  # SIGCONT
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_busy_until_cancelled(host):
    host.sim.set(busy=1000)
    record = host.record()
    job = host.apply("1.5.06")
    host.wait(lambda: job.get("Attempts") >= 3 and job.get("State") == "backoff", "third backoff")
    assert job.get("NextAttempt") > 0
    assert blockers(host, "1.5.06") == []
    assert host.get("BlockedBy") == ["backoff"]
    job.cancel()
    check_end(host, record, job, "cancelled", spent=0, uploads=job.get("Attempts"))
    assert set(outcomes(job)) == {"busy"}
    assert job.get("NextAttempt") == 0 and check_prepare_pairs(record) == 1


@pytest.mark.host(busy=1, set=["stuck=yes"])
def test_waiting_after_busy_lets_the_others_go_on(host):
    """PrepareForUpdate(false) comes when the job goes back to waiting for something else."""
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.sim.set(misc_tdx=2)
    host.sim.set(stuck="no")
    wait_blocked(host, job, "activity-unknown")
    assert outcomes(job) == ["busy"]
    settle(host)
    assert check_prepare_pairs(record) == 1
    host.sim.set(misc_tdx=0)
    check_end(host, record, job, "success", spent=1, uploads=2)
    assert check_prepare_pairs(record) == 2
