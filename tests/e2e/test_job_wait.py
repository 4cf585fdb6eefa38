# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What a job waits for, how it goes on, and the end of its patience."""

import time

import pytest

from harness import BusError
from steps import (UPLOAD, blockers, check_end, check_prepare_pairs, error_of, hold_kernel,
                   outcomes, settle, stop_in_staging, wait_blocked)


def soon(seconds=0.4):
    return int((time.time() + seconds) * 1_000_000)


@pytest.fixture
def raw_image(images, world):
    """An image as the kernel takes it, for somebody else's upload."""
    folder = world.dir / "hosts"
    folder.mkdir(exist_ok=True)

    def make(version):
        path = folder / f"raw-{version}.blob"
        images.make("--version", version, "--format", "200", "--output", path)
        return path

    return make


# No evidence counts as busy.

# More TDs than VMs are known.
@pytest.mark.parametrize("evidence", ["misc-tdx=2", "misc-tdx=1"])
def test_activity_unknown(make_host, evidence):
    host = make_host(set=[evidence])
    record = host.record()
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    assert blockers(host, "1.5.06") == ["activity-unknown"]
    plan = host.call("Plan", "1.5.06", {})
    assert plan["allowed"] and plan["blockers"][0]["severity"] == "wait"
    assert not host.get("Idle")
    host.call("Refresh")
    assert job.get("State") == "waiting" and host.sim.number("uploads") == 0
    host.sim.set(misc_tdx=0)
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert check_prepare_pairs(record) == 1


@pytest.mark.parametrize("evidence", ["misc-tdx=absent", "read-error=cgroup/misc.current:EACCES"])
def test_no_vm_is_proof(make_host, evidence):
    """Without the count of TDs, too."""
    host = make_host(set=[evidence])
    assert host.get("Idle") and host.get("Evidence") == "T0" and host.get("BlockedBy") == []
    assert host.apply("1.5.06").finish() == "success"


@pytest.mark.host(set=["misc-tdx=absent", "kvm-intel-tdx=absent", "kvm=no"])
def test_no_kvm_is_proof(host):
    assert host.get("Idle") and host.get("Evidence").startswith("T0") and host.get("BlockedBy") == []
    assert host.apply("1.5.06").finish() == "success"


@pytest.mark.parametrize("evidence", ["misc-tdx=2", "misc-tdx=absent"])
def test_kvm_without_tdx_is_proof(make_host, evidence):
    host = make_host(set=[evidence, "kvm-intel-tdx=N"])
    assert host.get("Idle") and host.get("Evidence").startswith("T0")
    job = host.apply("1.5.06")
    assert job.finish() == "success"
    assert host.history()[0]["evidence"].startswith("T0")


def test_real_td(host):
    """Its build is over when it runs; that it is finalised cannot be seen without the probes."""
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("td", "begin", "web", "4711")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    host.sim.ctl("td", "finalize", "web")
    host.call("Refresh")
    wait_blocked(host, job, "td-building")
    host.sim.ctl("vm", "run", "4711", "9")
    assert job.finish() == "success"
    assert host.sim.number("corrupted") == 0


def test_td_appears_while_staging(host):
    """The last look: nothing is handed over, and no budget is spent."""
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.sim.ctl("td", "begin", "web", "4711")
    wait_blocked(host, job, "activity-unknown")
    assert host.sim.number("uploads") == 0 and host.sim.number("aborts") == 1
    assert (host.mount / UPLOAD / "loading").read_text() == "0\n"
    assert outcomes(job) == ["aborted"] and job.get("Cancelable")
    settle(host)
    assert check_prepare_pairs(record) == 1
    host.sim.ctl("td", "finalize", "web")
    host.sim.ctl("td", "destroy", "web")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert host.sim.number("corrupted") == 0
    assert check_prepare_pairs(record) == 2


def test_cpu_goes_offline_while_staging(host):
    """With one missing the install would cost the module."""
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.sim.set(cpus_online="0-2")
    wait_blocked(host, job, "cpus-offline")
    assert host.sim.number("uploads") == 0
    host.sim.set(cpus_online="0-3")
    assert job.finish() == "success"


@pytest.mark.host(set=["cpus-online=0-2"])
def test_cpu_offline(host):
    job = host.apply("1.5.06")
    wait_blocked(host, job, "cpus-offline")
    assert "online" in job.get("Reason") and "0-2" in job.get("Reason")
    host.sim.set(cpus_online="0-3")
    assert job.finish() == "success"


def test_several_reasons(host):
    host.sim.set(misc_tdx=1, cpus_online="0,2-3")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "cpus-offline", "activity-unknown")
    host.sim.set(cpus_online="0-3")
    wait_blocked(host, job, "activity-unknown")
    host.sim.set(misc_tdx=0)
    assert job.finish() == "success"


# Somebody else at the interface.

def test_foreign_upload_runs(host, raw_image):
    host.sim.set(stuck="yes")
    host.sim.ctl("upload", raw_image("1.5.08"))
    record = host.record()
    job = host.apply("1.5.16")
    wait_blocked(host, job, "foreign-upload")
    assert host.sim.number("aborts") == 0 and job.get("Attempts") == 0
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=2, uploads=2)
    assert host.running_version() == "1.5.16"
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.08", 0),
                                                             ("1.5.08", "1.5.16", job.get("Id"))]
    external = next(h for h in host.history() if h["external"])
    assert (external["from"], external["to"]) == ("1.5.05", "1.5.08")
    assert external["attempts"] == []


def test_foreign_update_in_staging(host, raw_image):
    """It has come and gone between our first byte and our last one: what we staged is not staged any more."""
    raw = raw_image("1.5.08")
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.sim.ctl("upload", raw)
        host.wait(lambda: host.running_version() == "1.5.08", "the foreign update")
        host.wait(lambda: host.sim.get("status") == "idle", "it has ended")
    check_end(host, record, job, "success", spent=2, uploads=2)
    assert outcomes(job) == ["foreign", "success"]
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.08", 0), ("1.5.08", "1.5.16", 1)]
    assert job.get("FromVersion") == "1.5.08"


@pytest.mark.parametrize("ended", [True, False])
def test_lost_by_somebody_else_in_staging(host, raw_image, ended):
    raw = raw_image("1.5.08")
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.sim.set(lose=1, stuck="no" if ended else "yes")
        host.sim.ctl("upload", raw)
        if ended:
            host.wait(lambda: host.sim.get("module") == "lost", "the module is lost")
    host.sim.set(stuck="no")
    job.finish()
    assert error_of(job) == "ModuleLost" and host.get("Lost")
    settle(host)
    assert len(record.all("ModuleLost")) == 1 and host.sim.number("uploads") == 1


def test_foreign_upload_is_staged(host):
    loading = host.mount / UPLOAD / "loading"
    loading.write_text("1\n")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "foreign-upload")
    assert loading.read_text() == "1\n" and host.sim.number("aborts") == 0
    loading.write_text("-1\n")
    assert job.finish() == "success"
    assert host.sim.number("uploads") == 1


def test_foreign_update_makes_the_target_current(host, raw_image):
    host.sim.set(stuck="yes")
    host.sim.ctl("upload", raw_image("1.5.06"))
    record = host.record()
    job = host.apply("1.5.06")
    wait_blocked(host, job, "foreign-upload")
    host.sim.set(stuck="no")
    check_end(host, record, job, "already-current", spent=1, uploads=1)
    assert job.get("Attempts") == 0 and error_of(job) == ""


def test_foreign_update_passes_the_target(host, raw_image):
    host.sim.set(stuck="yes")
    host.sim.ctl("upload", raw_image("1.5.16"))
    job = host.apply("1.5.06")
    wait_blocked(host, job, "foreign-upload")
    host.sim.set(stuck="no")
    assert job.finish() == "failed"
    assert error_of(job) == "Downgrade" and host.sim.number("uploads") == 1


@pytest.mark.parametrize("method", ["Refresh", "Plan", "Apply"])
def test_foreign_update_is_noticed(host, raw_image, method):
    host.sim.ctl("upload", raw_image("1.5.08"))
    host.wait(lambda: host.running_version() == "1.5.08", "the foreign update")
    record = host.record()
    if method == "Refresh":
        host.call("Refresh")
    elif method == "Plan":
        assert host.call("Plan", "1.5.09", {})["from"] == "1.5.08"
    else:
        with pytest.raises(BusError) as error:
            host.apply("1.5.08")
        assert error.value.id == "AlreadyCurrent"
    record.wait("ModuleUpdated")
    entry, = host.history()
    assert entry["external"] and (entry["from"], entry["to"]) == ("1.5.05", "1.5.08")
    settle(host)
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.08", 0)]
    assert host.get("ModuleVersion") == "1.5.08" and host.get("RemainingUpdates") == 8


def test_foreign_update_while_the_daemon_was_down(host, raw_image):
    host.daemon.stop()
    host.sim.ctl("upload", raw_image("1.5.08"))
    host.wait(lambda: host.running_version() == "1.5.08", "the foreign update")
    host.daemon.start()
    entry, = host.history()
    assert entry["external"] and (entry["from"], entry["to"]) == ("1.5.05", "1.5.08")


def test_a_reboot_is_no_update(host):
    assert host.apply("1.5.06").finish() == "success"
    host.sim.ctl("reboot")
    host.daemon.restart()
    assert host.get("ModuleVersion") == "1.5.05" and host.get("RemainingUpdates") == 9
    assert len(host.history()) == 1


# Deadlines.

def test_deadline_while_waiting(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    deadline = soon()
    job = host.apply("1.5.06", deadline=deadline)
    assert job.get("Deadline") == deadline
    check_end(host, record, job, "expired", spent=0, uploads=0)
    assert error_of(job) == "DeadlineExpired"
    assert host.history()[0]["finished"] >= deadline
    assert not record.all("PrepareForUpdate")


def test_deadline_behind_another(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    head = host.apply("1.5.06")
    job = host.apply("1.5.08", deadline=soon())
    assert job.get("State") == "queued"
    check_end(host, record, job, "expired", spent=0, uploads=0)
    assert head.get("State") == "waiting"


@pytest.mark.host(set=["stuck=yes"])
def test_deadline_behind_an_attempt(host):
    record = host.record()
    head = host.apply("1.5.06")
    hold_kernel(host, head)
    job = host.apply("1.5.08", deadline=soon())
    check_end(host, record, job, "expired", spent=0, uploads=1)
    assert head.get("State") == "uploading"


def test_deadline_in_backoff(host):
    host.sim.set(busy=1000)
    record = host.record()
    job = host.apply("1.5.06", deadline=soon(0.7))
    record.wait("JobRemoved")
    # An attempt that was staged when the time was over has not become an upload.
    check_end(host, record, job, "expired", spent=0, uploads=outcomes(job).count("busy"))
    check_prepare_pairs(record)


@pytest.mark.host(set=["stuck=yes"])
def test_no_deadline_after_the_handover(host):
    record = host.record()
    deadline = soon(1.0)
    job = host.apply("1.5.06", deadline=deadline)
    hold_kernel(host, job)
    host.wait(lambda: soon(0) > deadline + 300_000, "the deadline passes")
    assert job.get("State") == "uploading"
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_deadline_while_staging(host):
    record = host.record()
    with stop_in_staging(host) as stop:
        deadline = soon(0.6)
        job = host.apply("1.5.16", deadline=deadline)
        stop.wait()
        host.wait(lambda: soon(0) > deadline, "the deadline passes")
    check_end(host, record, job, "expired", spent=0, uploads=0)
    assert outcomes(job) == ["aborted"] and check_prepare_pairs(record) == 1


@pytest.mark.host(config_text="DefaultDeadlineSec=300ms")
def test_default_deadline(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    job = host.apply("1.5.06")
    own = host.apply("1.5.08", deadline=soon(3600))
    check_end(host, record, job, "expired", spent=0, uploads=0)
    own.wait_state("waiting")
    entry = host.history()[0]
    assert job.get("Deadline") == entry["started"] + 300_000


def test_no_deadline_by_default(host):
    host.sim.set(misc_tdx=1)
    assert host.apply("1.5.06").get("Deadline") == 0


def test_deadline_over_a_restart(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    deadline = soon(0.5)
    job = host.apply("1.5.06", deadline=deadline)
    host.daemon.stop()
    host.wait(lambda: soon(0) > deadline, "the deadline passes")
    host.sim.set(misc_tdx=0)
    host.daemon.start()
    check_end(host, record, job, "expired", spent=0, uploads=0)
