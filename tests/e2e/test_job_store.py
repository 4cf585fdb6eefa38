# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The disk of the job database is full: nothing begins that a crash could make happen twice."""

import os

import pytest
from tdxbox import isolate

from harness import BusError
from steps import cancel_without_waiting, check_end, check_prepare_pairs, hold_kernel, settle, stop_in_staging, wait_blocked


class Disk:
    """A small file system below the state folder."""

    def __init__(self, folder):
        self.folder, self.ballast = folder, folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        isolate.mount("tmpfs", folder, "tmpfs", data="size=2m,mode=700")

    def fill(self):
        with open(self.ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def make_room(self):
        self.ballast.unlink()


@pytest.fixture
def disk(world):
    made = Disk(world.dir / "hosts" / "disk")
    yield made
    os.system(f"umount -l {made.folder}")


@pytest.fixture
def full_host(make_host, disk):
    return make_host(state=str(disk.folder))


def test_no_job_without_a_record(full_host, disk):
    host = full_host
    record = host.record()
    disk.fill()
    with pytest.raises(BusError) as error:
        host.apply("1.5.06")
    assert error.value.name == "org.freedesktop.DBus.Error.IOError"
    assert host.call("ListJobs") == [] and not record.all("JobNew")
    assert host.sim.number("uploads") == 0
    disk.make_room()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_a_job_waits_for_room(full_host, disk):
    host = full_host
    host.sim.set(misc_tdx=1)
    record = host.record()
    job = host.apply("1.5.08")
    wait_blocked(host, job, "activity-unknown")
    disk.fill()
    host.sim.set(misc_tdx=0)
    wait_blocked(host, job, "store-failed")
    assert host.sim.number("uploads") == 0 and host.get("State") == "waiting"
    disk.make_room()
    check_end(host, record, job, "success", spent=1, uploads=1)
    check_prepare_pairs(record)


def test_no_cancelling_without_a_record(full_host, disk):
    """Who was told that a job is cancelled must not find it running after a crash."""
    host = full_host
    host.sim.set(misc_tdx=1)
    record = host.record()
    job = host.apply("1.5.08")
    wait_blocked(host, job, "activity-unknown")
    disk.fill()
    with pytest.raises(BusError) as error:
        job.cancel()
    assert error.value.name == "org.freedesktop.DBus.Error.IOError"
    assert job.get("State") == "waiting"
    disk.make_room()
    job.cancel()
    check_end(host, record, job, "cancelled", spent=0, uploads=0)


def test_full_before_the_handover(full_host, disk):
    """What is about to happen cannot be written down, so it does not happen."""
    host = full_host
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        disk.fill()
    wait_blocked(host, job, "store-failed")
    assert host.sim.number("uploads") == 0 and host.sim.number("aborts") == 1
    disk.make_room()
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert check_prepare_pairs(record) == 2


def test_full_in_mid_update(full_host, disk):
    host = full_host
    host.sim.set(stuck="yes")
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    disk.fill()
    host.sim.set(stuck="no")
    assert job.finish() == "success"
    disk.make_room()
    # Nobody has to ask for another job before this one stands in the history.
    host.wait(lambda: [h["result"] for h in host.history()] == ["success"], "it is in the history")
    check_end(host, record, job, "success", spent=1, uploads=1)
    # Nor does a later start take it for somebody else's.
    host.daemon.restart()
    settle(host)
    assert [h["external"] for h in host.history()] == [False]
    assert len(record.all("ModuleUpdated")) == 1


def test_full_in_mid_update_and_killed(full_host, disk):
    """The record is behind; what the kernel runs is not."""
    host = full_host
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    disk.fill()
    host.sim.set(stuck="no")
    assert job.finish() == "success"
    host.daemon.kill()
    host.daemon.wait_exit(1)
    disk.make_room()
    host.daemon.wait_ready()
    assert job.finish() == "success"
    assert host.sim.number("uploads") == host.sim.number("installs") == 1
    assert [h["result"] for h in host.history()] == ["success"]


def test_no_cancelling_in_staging_without_a_record(full_host, disk):
    """What was staged is dropped, the job is not cancelled, and it goes on when there is room."""
    host = full_host
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        cancel_without_waiting(host, job)
        disk.fill()
    wait_blocked(host, job, "store-failed")
    assert job.get("State") == "waiting" and host.sim.number("uploads") == 0
    disk.make_room()
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_store_failed_ends_without_a_job(full_host, disk):
    host = full_host
    disk.fill()
    with pytest.raises(BusError):
        host.apply("1.5.06")
    assert host.get("BlockedBy") == ["store-failed"]
    disk.make_room()
    host.wait(lambda: host.get("BlockedBy") == [], "the store is good again", 20)
