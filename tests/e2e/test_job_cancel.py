# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Cancel in each state: it works until the kernel has the image, and never after."""

import time

import pytest

from harness import BusError
from steps import (cancel_without_waiting, check_end, check_prepare_pairs, error_of, freeze, hold_kernel, outcomes, settle,
                   stop_in_staging, stop_in_verification, wait_blocked)


def check_refused(job):
    with pytest.raises(BusError) as error:
        job.cancel()
    assert error.value.id == "NotCancelable"
    assert not job.get("Cancelable")


def test_queued(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    head, job = host.apply("1.5.06"), host.apply("1.5.08")
    assert job.get("State") == "queued" and job.get("Cancelable")
    job.cancel()
    check_end(host, record, job, "cancelled", spent=0, uploads=0)
    assert head.get("State") == "waiting"
    assert not record.all("PrepareForUpdate")
    check_refused(job)


def test_waiting(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    job, following = host.apply("1.5.06"), host.apply("1.5.08")
    wait_blocked(host, job, "activity-unknown")
    job.cancel()
    check_end(host, record, job, "cancelled", spent=0, uploads=0)
    assert error_of(job) == ""
    # The next one has its turn.
    following.wait_state("waiting")


def test_backoff(host):
    host.sim.set(busy=1000)
    record = host.record()
    job = host.apply("1.5.06")
    host.wait(lambda: job.get("State") == "backoff" and
              job.get("NextAttempt") > time.time_ns() // 1000 + 300_000, "a long backoff")
    job.cancel()
    check_end(host, record, job, "cancelled", spent=0, uploads=job.get("Attempts"))
    assert check_prepare_pairs(record) == 1


def test_staging(host):
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        cancel_without_waiting(host, job)
    check_end(host, record, job, "cancelled", spent=0, uploads=0)
    assert outcomes(job) == ["aborted"]
    assert host.sim.number("aborts") == 1
    assert (host.mount / "sys/class/firmware/tdx_module/loading").read_text() == "0\n"
    assert check_prepare_pairs(record) == 1
    # The interface is as it was: the next one works.
    assert host.apply("1.5.06").finish() == "success"


@pytest.mark.host(set=["stuck=yes"])
def test_uploading(host):
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    check_refused(job)
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=1, uploads=1)
    check_refused(job)


@pytest.mark.host(set=["stuck=yes"])
def test_kernel_has_just_ended(host):
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    freeze(host)
    host.sim.set(stuck="no")
    host.wait(lambda: host.sim.get("status") == "idle", "the kernel ends")
    cancel_without_waiting(host, job)
    host.daemon.kill(18)  # SIGCONT
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_verifying(host):
    record = host.record()
    with stop_in_verification(host) as stop:
        job = host.apply("1.5.06")
        stop.wait()
        cancel_without_waiting(host, job)
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_cancel_twice(host):
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    job.cancel()
    check_refused(job)
    assert job.get("Result") == "cancelled"
    assert [h["result"] for h in host.history()] == ["cancelled"]


def test_reply_and_signals(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    job.cancel()
    record.wait("JobRemoved")
    settle(host)
    assert record.changes("Result", job.path) == ["cancelled"]
    assert record.changes("Cancelable", job.path)[-1] is False


def test_the_client_cancels(host):
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    assert host.ctl("cancel", "1").status == 0
    assert job.get("Result") == "cancelled"
    assert host.ctl("cancel", "1").status == 1
    assert host.ctl("cancel", "99").status == 66
