# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What KVM reports, and that no update starts while any VM may be building a TD (tier T2)."""

import itertools
import time

import pytest

from harness import BusError
from steps import (blockers, check_end, check_prepare_pairs, outcomes, settle, stop_in_staging,
                   wait_blocked)

# The count of TDs cannot prove that there is none.
NO_COUNT = ["misc-tdx=absent"]


def guests(host):
    return {g["pid"]: g for g in host.call("ListGuests")}


def phases(host):
    return {pid: g["phase"] for pid, g in guests(host).items()}


@pytest.mark.host(set=NO_COUNT)
def test_life_of_a_vm(host):
    assert host.get("Idle") and host.get("Evidence") == "T0" and host.get("Guests") == 0
    host.sim.ctl("vm", "create", "4711", "9", "2", "web")
    assert phases(host) == {4711: "building"}
    guest = guests(host)[4711]
    assert guest["is-td"] == "unknown" and guest["tier"] == "T2" and "vcpuN/pid" in guest["evidence"]
    assert abs(guest["since"] / 1e6 - time.time()) < 30 and guest["start-time"] > 0
    assert guest["machine"] == "qemu-9-web" and guest["unit"] == "machine-qemu\\x2d9\\x2dweb.scope"
    assert not host.get("Idle") and host.get("Guests") == host.get("Building") == 1
    assert host.get("BlockedBy") == ["td-building"]

    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    blocker = host.call("Plan", "1.5.06", {})["blockers"][0]
    assert blocker["subject"].endswith("[4711]") and blocker["subject"] in job.get("Reason")
    host.sim.ctl("vm", "run", "4711", "9")
    assert job.finish() == "success"
    assert host.history()[0]["evidence"].startswith("T2")
    assert phases(host) == {4711: "running"} and host.get("Building") == 0 and host.get("Idle")
    host.sim.ctl("vm", "destroy", "4711", "9")
    assert guests(host) == {} and host.get("Evidence") == "T0"


@pytest.mark.host(set=NO_COUNT)
@pytest.mark.parametrize("end", ["run", "destroy"])
def test_goes_on_when_the_build_is_over(host, end):
    record = host.record()
    host.sim.ctl("vm", "create", "4711", "9")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    host.sim.ctl("vm", end, "4711", "9")
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert check_prepare_pairs(record) == 1
    assert record.members("WindowOpened", "WindowClosed") == ["WindowClosed", "WindowOpened"]


@pytest.mark.host(set=NO_COUNT)
def test_window_signals(host):
    record = host.record()
    host.sim.ctl("vm", "create", "4711", "9")
    assert "4711" in record.wait("WindowClosed").args[0]
    host.sim.ctl("vm", "destroy", "4711", "9")
    record.wait("WindowOpened")
    settle(host)
    assert record.members("WindowOpened", "WindowClosed") == ["WindowClosed", "WindowOpened"]


@pytest.mark.host(set=NO_COUNT)
def test_older_than_the_daemon(host):
    """The scan at the start finds them, and knows since when."""
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("vm", "create", "4712", "10")
    host.sim.ctl("vm", "run", "4712", "10")
    before = guests(host)
    for again in (host.daemon.restart, host.daemon.crash):
        again()
        after = guests(host)
        assert {p: g["phase"] for p, g in after.items()} == {4711: "building", 4712: "running"}
        for pid, guest in after.items():
            assert abs(guest["since"] - before[pid]["since"]) < 100_000
            assert guest["start-time"] == before[pid]["start-time"]
    assert blockers(host, "1.5.06") == ["td-building"]


LOCKED = "open-error=kvm/*/exits:EPERM"
SIGNS = {
    "vcpu-pid": LOCKED,
    "exits": "open-error=kvm/*/vcpu*/pid:EPERM",
    "guest-time": "open-error=kvm/*/exits:EPERM,kvm/*/vcpu*/pid:EPERM",
}


@pytest.mark.parametrize("sign", SIGNS)
def test_each_sign_alone(make_host, sign):
    """Lockdown takes exits away; whatever sign is left is enough, and what is missing is named."""
    host = make_host(set=[*NO_COUNT, SIGNS[sign]])
    host.sim.ctl("vm", "create", "4711", "9")
    job = host.apply("1.5.06")
    # Guest time of 0 is no evidence: then it is not known.
    unknown = sign == "guest-time"
    wait_blocked(host, job, "activity-unknown" if unknown else "td-building")
    guest = guests(host)[4711]
    assert guest["phase"] == ("unknown" if unknown else "building")
    # What is not needed is not asked for.
    assert ("cannot be read" in guest["evidence"]) == (sign != "vcpu-pid")
    host.sim.ctl("vm", "run", "4711", "9")
    assert job.finish() == "success"


def test_no_sign_can_be_read(make_host):
    host = make_host(set=[*NO_COUNT, "open-error=kvm/*/exits:EPERM,kvm/*/vcpu*/pid:EPERM,proc/4711/*:EACCES"])
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("vm", "run", "4711", "9")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    assert phases(host) == {4711: "unknown"}
    host.sim.ctl("vm", "destroy", "4711", "9")
    assert job.finish() == "success"


PLAIN = [(5000 + i, 20 + i) for i in range(2)]
TD = (4711, 9)


@pytest.mark.parametrize("order", itertools.permutations([TD, *PLAIN]), ids=str)
def test_the_trap_of_counting(make_host, order):
    """One TD in its build and plain VMs running, in every order of appearance: never idle."""
    host = make_host()
    for pid, fd in order:
        host.sim.ctl("vm", "create", pid, fd)
        if (pid, fd) == TD:
            host.sim.ctl("td", "begin", "web", pid)
        assert not host.get("Idle")
    for pid, fd in PLAIN:
        host.sim.ctl("vm", "run", pid, fd)
        assert not host.get("Idle") and host.get("BlockedBy") == ["td-building"]
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    # Plain ones come and go; that changes nothing.
    host.sim.ctl("vm", "destroy", *PLAIN[0])
    host.sim.ctl("vm", "create", 6000, 30)
    host.sim.ctl("vm", "run", 6000, 30)
    assert not host.get("Idle") and job.get("State") == "waiting"
    host.sim.ctl("td", "finalize", "web")
    assert not host.get("Idle")
    host.sim.ctl("vm", "run", *TD)
    assert job.finish() == "success"
    assert host.sim.number("corrupted") == 0


@pytest.mark.host(set=NO_COUNT)
def test_a_vm_appears_while_staging(host):
    record = host.record()
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.16")
        stop.wait()
        host.sim.ctl("vm", "create", "4711", "9")
    wait_blocked(host, job, "td-building")
    assert host.sim.number("uploads") == 0 and outcomes(job) == ["aborted"]
    host.sim.ctl("vm", "run", "4711", "9")
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_more_tds_than_vms(host):
    """The count never proves more than its own 0; above the VMs it is a doubt."""
    host.sim.ctl("td", "begin", "web", "4711")
    host.sim.ctl("td", "begin", "db", "4712")
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("vm", "run", "4711", "9")
    assert blockers(host, "1.5.06") == ["activity-unknown"]
    host.sim.ctl("vm", "create", "4712", "9")
    host.sim.ctl("vm", "run", "4712", "9")
    assert blockers(host, "1.5.06") == []
    assert {g["is-td"] for g in guests(host).values()} == {"unknown"}


def test_it_ran_while_there_was_no_td(host):
    """Proof that it is none."""
    host.sim.ctl("vm", "create", "4711", "9")
    assert blockers(host, "1.5.06") == ["td-building"]
    host.sim.ctl("vm", "run", "4711", "9")
    assert guests(host)[4711]["is-td"] == "no"
    host.sim.ctl("td", "begin", "web", "4712")
    assert blockers(host, "1.5.06") == ["activity-unknown"]


def test_stale(make_host):
    """Still busy, but named with what can be done about it."""
    host = make_host(set=NO_COUNT, config_text="StaleGuestSec=1s")
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("vm", "create", "4712", "10")
    host.sim.ctl("vm", "run", "4712", "10")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")

    def text():
        return host.call("Plan", "1.5.06", {})["blockers"][0]["text"]

    assert "StaleGuestSec=" not in text()
    host.wait(lambda: "StaleGuestSec=" in text(), "it is named as stale")
    assert "ignore-guests" in text() and "[4711]" in text()
    assert host.get("BlockedBy") == ["td-building"] and job.get("State") == "waiting"


def test_stale_without_tds(make_host):
    """Where it is proven that it has begun no TD it stops to block."""
    host = make_host(config_text="StaleGuestSec=1s")
    host.sim.ctl("vm", "create", "4711", "9")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert job.finish() == "success"
    assert host.history()[0]["evidence"].startswith("T0")


def test_ignored_guest(make_host):
    host = make_host(set=NO_COUNT)
    host.sim.ctl("vm", "create", "4711", "9")
    start = guests(host)[4711]["start-time"]
    job = host.apply("1.5.06", ignore_guests=[(4711, start + 1)])
    wait_blocked(host, job, "td-building")
    job.cancel()
    plan = host.call("Plan", "1.5.06", {"ignore-guests": [(4711, start)]})
    assert [(b["id"], b["severity"]) for b in plan["blockers"]] == [("td-building", "note")]
    job = host.apply("1.5.06", ignore_guests=[(4711, start)])
    assert job.finish() == "success"
    # It may have been hurt all the same: it is named.
    assert [g["pid"] for g in host.history()[0]["suspect-guests"]] == [4711]
    assert host.history()[0]["suspect-guests"][0]["start-time"] == start


def test_ignore_activity(host):
    """Turns only unknown into idle."""
    host.sim.set(misc_tdx=1)
    assert host.apply("1.5.06", ignore_activity=True).finish() == "success"
    host.sim.ctl("vm", "create", "4711", "9")
    job = host.apply("1.5.08", ignore_activity=True)
    wait_blocked(host, job, "td-building")
    host.sim.ctl("vm", "run", "4711", "9")
    assert job.finish() == "success"


def test_guessed(make_host):
    host = make_host(set=NO_COUNT, config_text="QuietSec=1s")
    host.sim.ctl("vm", "create", "4711", "9")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert job.finish() == "success"
    assert host.history()[0]["evidence"].startswith("T3")
    assert host.get("Evidence") == "T3"


def test_list_guests_needs_rights(host):
    host.sim.ctl("vm", "create", "4711", "9")
    other = host.connect("nobody")
    with pytest.raises(BusError) as error:
        host.call("ListGuests", bus=other)
    assert "Access" in error.value.name or "Interactive" in error.value.name
    assert host.call("Get", "org.tdx.Update1", "Guests", interface="org.freedesktop.DBus.Properties",
                     signature="(ss)", bus=other) == 1
    other.close_sync(None)


# Bursts.

@pytest.mark.parametrize("queue", ["100000", "0"], ids=["all-arrive", "many-are-lost"])
def test_burst(make_host, queue):
    """5,000 VMs come and go at once: the picture is right again, nothing started on a wrong one, and calls are answered."""
    host = make_host(set=[*NO_COUNT, f"uevents-queue={queue}"])
    host.sim.ctl("vm", "create", "4711", "9")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    begun = time.monotonic()
    host.sim.ctl("vm", "burst", "5000")
    made = time.monotonic() - begun
    assert host.get("State") == "waiting"
    host.sim.ctl("vm", "create", "4712", "10")
    host.wait(lambda: set(phases(host)) == {4711, 4712}, "the picture is right again", 30)
    print(f"5,000 VMs in {made:.2f} s, {host.sim.get('uevents-dropped')} events dropped")
    assert (host.sim.number("uevents-dropped") > 0) == (queue == "0")
    assert phases(host) == {4711: "building", 4712: "building"} and host.sim.number("uploads") == 0
    host.sim.ctl("vm", "run", "4711", "9")
    host.call("Refresh")
    assert job.get("State") == "waiting" and host.sim.number("uploads") == 0
    host.sim.ctl("vm", "run", "4712", "10")
    assert job.finish() == "success"
