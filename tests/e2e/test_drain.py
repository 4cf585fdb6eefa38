# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A host that is never idle: new builds are kept off for a while. And those who prepare for an update."""

import os
import threading
import time

import pytest

from harness import BusError
from steps import check_end, check_prepare_pairs, outcomes, settle, wait_blocked

SECOND = 1_000_000


def begin_build(host, wait=0, hold=60 * SECOND, **match):
    return host.call("BeginBuild", "test", wait, hold, match, timeout=wait / SECOND + 5)


def hold(host, what="update", mode="block", why="a test"):
    return host.call("Hold", what, "test", why, mode)


class Waiter(threading.Thread):
    """BeginBuild on a connection of its own; .result is the id or the error's."""

    def __init__(self, host, wait):
        super().__init__(daemon=True)
        self.host, self.wait, self.result, self.took = host, wait, None, None
        self.bus = host.connect()
        self.start()

    def run(self):
        begun = time.monotonic()
        try:
            self.result = self.host.call("BeginBuild", "waiter", self.wait, 60 * SECOND, {}, bus=self.bus,
                                         timeout=self.wait / SECOND + 5)
        except BusError as error:
            self.result = error.id
        self.took = time.monotonic() - begun

    def finish(self):
        self.join(60)
        assert not self.is_alive()
        self.bus.close_sync(None)
        return self.result


# Those who delay.

def test_a_delay_hold_is_told_and_lets_go(host):
    record = host.record()
    fd = hold(host, mode="delay")
    assert host.get("BlockedBy") == ["draining"]
    job = host.apply("1.5.06")
    record.wait("PrepareForUpdate")
    settle(host)
    assert job.get("State") == "waiting" and host.get("BlockedBy") == ["draining"]
    assert host.call("Plan", "1.5.06", {})["blockers"][0]["until"] > time.time() * SECOND
    os.close(fd)
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert check_prepare_pairs(record) == 1


def test_a_delay_hold_has_a_limit(make_host):
    host = make_host(config_text="HoldMaxSec=1s")
    record = host.record()
    fd = hold(host, mode="delay")
    job = host.apply("1.5.06")
    told = record.wait("PrepareForUpdate").time
    assert job.finish() == "success"
    assert record.wait("JobRemoved").time - told >= 1
    assert host.get("Holds") == 1 and check_prepare_pairs(record) == 1
    os.close(fd)


def test_no_preparation_while_something_else_blocks(host):
    record = host.record()
    fd = hold(host, mode="delay")
    host.sim.set(cpus_online="0-2")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "cpus-offline", "draining")
    time.sleep(0.5)
    settle(host)
    assert not record.all("PrepareForUpdate")
    host.sim.set(cpus_online="0-3")
    record.wait("PrepareForUpdate")
    os.close(fd)
    assert job.finish() == "success"


# Holds that keep updates off, and builds that are announced.

@pytest.mark.parametrize("what,blocker", [("update", "held"), ("build", "td-building"), ("migration", "td-migrating")])
def test_holds_block(host, what, blocker):
    record = host.record()
    fd = hold(host, what)
    assert host.get("BlockedBy") == [blocker]
    job = host.apply("1.5.06")
    wait_blocked(host, job, blocker)
    assert "test" in job.get("Reason") and "a test" in job.get("Reason")
    host.daemon.crash()
    wait_blocked(host, job, blocker)
    os.close(fd)
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_an_announced_build_blocks(host):
    number = begin_build(host)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    host.call("EndBuild", number)
    assert job.finish() == "success"


def test_a_hold_that_ends_cuts_a_backoff_short(host):
    host.sim.set(busy=1000)
    job = host.apply("1.5.06")
    host.wait(lambda: job.get("NextAttempt") > time.time() * SECOND + 1.5 * SECOND, "a long backoff", 60)
    fd = hold(host)
    settle(host)
    host.wait(lambda: host.get("Holds") == 1)
    host.sim.set(busy=0)
    until = job.get("NextAttempt")
    os.close(fd)
    assert job.finish() == "success"
    assert host.history()[0]["finished"] < until


def test_a_window_that_opens_cuts_a_backoff_short(make_host):
    host = make_host(set=["misc-tdx=absent"])
    host.sim.set(busy=1000)
    job = host.apply("1.5.06")
    host.wait(lambda: job.get("NextAttempt") > time.time() * SECOND + 1.5 * SECOND, "a long backoff", 60)
    until = job.get("NextAttempt")
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.set(busy=0)
    host.sim.ctl("vm", "run", "4711", "9")
    assert job.finish() == "success"
    assert host.history()[0]["finished"] < until


# Drains.

def test_drain(host):
    """Builds overlap for ever; with drain the running ones finish, the new one waits, and is let in after it."""
    record = host.record()
    running = begin_build(host)
    job = host.apply("1.5.06", drain=True)
    job.wait_state("draining")
    record.wait("PrepareForUpdate")
    assert host.get("State") == "draining" and host.get("BlockedBy") == ["td-building"]
    waiter = Waiter(host, 20 * SECOND)
    with pytest.raises(BusError) as error:
        hold(host, "build")
    assert error.value.id == "Busy"
    with pytest.raises(BusError) as error:
        begin_build(host)
    assert error.value.id == "Busy"
    time.sleep(0.3)
    assert waiter.result is None
    host.call("EndBuild", running)
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert isinstance(waiter.finish(), int)
    assert check_prepare_pairs(record) == 1
    assert host.get("BlockedBy") == ["td-building"]


def test_without_drain_nobody_waits(host):
    begin_build(host)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert isinstance(begin_build(host), int)


def test_drain_after_a_time(make_host):
    host = make_host(config_text="DrainAfterSec=1s")
    running = begin_build(host)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    job.wait_state("draining")
    host.call("EndBuild", running)
    assert job.finish() == "success"


def test_a_drain_is_bounded(make_host):
    """At its end builds are let in again, and the next one comes later."""
    host = make_host(config_text="DrainMaxSec=1s")
    record = host.record()
    begin_build(host)
    job = host.apply("1.5.06", drain=True)
    job.wait_state("draining")
    waiter = Waiter(host, 20 * SECOND)
    job.wait_state("waiting")
    assert isinstance(waiter.finish(), int) and waiter.took < 10
    settle(host)
    assert check_prepare_pairs(record) == 1
    time.sleep(1)
    assert job.get("State") == "waiting"
    job.cancel()


def test_a_waiting_build_has_a_limit(host):
    begin_build(host)
    job = host.apply("1.5.06", drain=True)
    job.wait_state("draining")
    waiter = Waiter(host, SECOND)
    assert waiter.finish() == "Busy" and 1 <= waiter.took < 5
    assert job.get("State") == "draining"
    job.cancel()
    assert isinstance(begin_build(host), int)


def test_no_drain_for_what_it_cannot_end(host):
    """A hold, or a CPU that is offline, does not go away by keeping builds off."""
    begin_build(host)
    fd = hold(host)
    job = host.apply("1.5.06", drain=True)
    wait_blocked(host, job, "held", "td-building")
    time.sleep(0.5)
    assert job.get("State") == "waiting"
    os.close(fd)
    job.wait_state("draining")
    fd = hold(host)
    job.wait_state("waiting")
    os.close(fd)
    job.cancel()


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_drain_that_is_given_up(host, how):
    record = host.record()
    begin_build(host)
    deadline = int((time.time() + 1.5) * SECOND)
    job = host.apply("1.5.06", drain=True, **({"deadline": deadline} if how == "deadline" else {}))
    job.wait_state("draining")
    waiter = Waiter(host, 20 * SECOND)
    time.sleep(0.2)
    if how == "cancel":
        job.cancel()
    assert job.finish() == ("cancelled" if how == "cancel" else "expired")
    assert isinstance(waiter.finish(), int)
    assert check_prepare_pairs(record) == 1


def test_the_daemon_dies_in_a_drain(host):
    running = begin_build(host)
    job = host.apply("1.5.06", drain=True)
    job.wait_state("draining")
    host.daemon.crash()
    job.wait_state("draining")
    host.call("EndBuild", running)
    assert job.finish() == "success"


def test_a_build_waits_for_the_critical_section(host):
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    host.wait(lambda: not job.get("Cancelable"), "the kernel has the image")
    waiter = Waiter(host, 20 * SECOND)
    for what, mode in (("build", "block"), ("migration", "block"), ("update", "delay"), ("update", "block")):
        with pytest.raises(BusError) as error:
            hold(host, what, mode)
        assert error.value.id == "Busy"
    time.sleep(0.3)
    assert waiter.result is None
    host.sim.set(stuck="no")
    assert job.finish() == "success"
    assert isinstance(waiter.finish(), int)


def test_a_waiting_build_comes_before_the_next_job(host):
    """Who has waited for one update is not made to wait for the next."""
    host.sim.set(stuck="yes")
    first, second = host.apply("1.5.06"), host.apply("1.5.08")
    host.wait(lambda: not first.get("Cancelable"), "the kernel has the image")
    waiter = Waiter(host, 20 * SECOND)
    time.sleep(0.3)
    host.sim.set(stuck="no")
    assert first.finish() == "success"
    number = waiter.finish()
    wait_blocked(host, second, "td-building")
    assert outcomes(second) in ([], ["aborted"])
    host.call("EndBuild", number)
    assert second.finish() == "success"
