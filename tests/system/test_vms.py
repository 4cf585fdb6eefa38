# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Real VMs: what the daemon makes of KVM's own events, debugfs and /proc (tier T2), alone and
together with the probes (T1).

A VM may be in its build from its making until something shows that a vCPU of it ran: that and
the order of the tiers are doc/architecture.md's.
"""

import random
import statistics
import time
from pathlib import Path

import pytest

from guest import TIMEOUT
from steps import blockers, outcomes, wait_blocked

BUILDING, RUNNING = "building", "running"


def start_time(pid):
    """proc(5): field 22; the name in field 2 may hold anything but is in parentheses."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def wait_counts(host, guests, building):
    host.wait(lambda: host.counts() == (guests, building), f"{guests} VMs, {building} building")


def test_life_of_a_vm(host, maker):
    assert host.get("Idle") and host.get("Evidence") == "T0" and host.counts() == (0, 0)
    before = time.time()
    maker.ask("make", 0, 1)
    assert host.counts() == (1, 1) and not host.get("Idle")
    guest, = host.guests()
    assert (guest["pid"], guest["name"], guest["phase"]) == (maker.pid, "vm-maker", BUILDING)
    assert guest["start-time"] == start_time(maker.pid) and guest["tier"] == "T2"
    assert guest["is-td"] == "unknown" and before - 1 <= guest["since"] / 1e6 <= time.time() + 1

    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert f"vm-maker[{maker.pid}]" in job.get("Reason") and host.sim.number("uploads") == 0
    maker.run(0)
    assert job.finish() == "success" and outcomes(job) == ["success"]
    assert host.history()[0]["evidence"].startswith("T2")
    assert host.counts() == (1, 0) and host.phases() == [RUNNING] and host.get("Idle")
    maker.ask("end", 0)
    wait_counts(host, 0, 0)
    assert host.get("Evidence") == "T0"


def test_a_vm_without_vcpus(host, maker):
    """KVM_TDX_INIT_VM comes before the first vCPU."""
    maker.ask("make", 0, 0)
    assert host.phases() == [BUILDING] and blockers(host, "1.5.06") == ["td-building"]
    maker.ask("end", 0)
    host.wait(lambda: not blockers(host, "1.5.06"), "nothing blocks")


@pytest.mark.parametrize("vcpu", [0, 3, 7])
def test_any_vcpu_shows_it(host, maker, vcpu):
    maker.ask("make", 0, 8)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    maker.run(0, vcpu)
    assert job.finish() == "success"
    assert host.phases() == [RUNNING]


def test_a_vmm_that_dies(host, make_maker):
    maker, other = make_maker(), make_maker()
    for number in range(3):
        maker.ask("make", number, 1)
    other.ask("make", 0, 1)
    other.run(0)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert host.counts() == (4, 3)
    maker.kill()
    assert job.finish() == "success"
    assert host.phases() == host.phases(other.pid) == [RUNNING]


def test_one_in_its_build_among_many_that_run(host, make_maker):
    """Never by counting."""
    plain, td = make_maker(), make_maker()
    for number in range(20):
        plain.ask("make", number, 1)
        plain.run(number)
    assert host.counts() == (20, 0) and host.get("Idle")
    td.ask("make", 0, 1)
    assert host.counts() == (21, 1) and not host.get("Idle")
    plain.kill()
    host.wait(lambda: host.counts() == (1, 1), "only the other one is left")
    assert not host.get("Idle") and host.phases(td.pid) == [BUILDING]


def test_many_at_once(host, make_maker):
    """From four processes at the same time, and gone as fast: no event is missed for good."""
    makers, each = [make_maker() for _ in range(4)], 50
    for maker in makers:
        for number in range(each):
            maker.send(f"make {number} 1")
    for maker in makers:
        for _ in range(each):
            maker.answer()
    assert host.counts() == (200, 200)
    for maker in makers[:2]:
        for number in range(each):
            maker.run(number)
    wait_counts(host, 200, 100)
    for maker in makers:
        assert host.phases(maker.pid) == [RUNNING if maker in makers[:2] else BUILDING] * each
    makers[0].kill()
    makers[3].kill()
    wait_counts(host, 100, 50)
    for number in range(each):
        makers[2].ask("end", number)
    wait_counts(host, 50, 0)
    assert host.get("Idle")


def test_made_by_a_thread_that_is_gone(host, maker):
    """KVM names the thread. Whose it was cannot be found any more; that it exists can, and that it
    runs."""
    maker.ask("make-by-thread", 0, 1)
    assert host.counts() == (1, 1) and blockers(host, "1.5.06") == ["td-building"]
    maker.run(0)
    assert host.phases() == [RUNNING]
    maker.ask("end", 0)
    wait_counts(host, 0, 0)


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_daemon_that_was_away(host, maker, how):
    """One is made before, one while it is away; one that ran before is known to have run."""
    maker.ask("make", 0, 1)
    maker.ask("make", 1, 1)
    maker.run(1)
    before = {g["since"]: g["phase"] for g in host.guests()}
    assert sorted(before.values()) == [BUILDING, RUNNING]
    if how == "restart":
        host.daemon.stop()
        maker.ask("make", 2, 1)
        host.daemon.start()
    else:
        host.daemon.crash()
        maker.ask("make", 2, 1)
    assert host.phases() == [BUILDING, BUILDING, RUNNING]
    assert {g["pid"] for g in host.guests()} == {maker.pid}
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    maker.run(0)
    maker.run(2)
    assert job.finish() == "success"


def test_guest_time_alone(make_host, maker, tmp_path):
    """Without debugfs: /proc says which VMs there are, and that the process's vCPU spent time in
    its guest. Until then nothing is known, and that is busy."""
    host = make_host(debugfs=tmp_path)
    maker.ask("make", 0, 1)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    assert host.phases() == ["unknown"] and host.guests()[0]["pid"] == maker.pid
    maker.ask("spin", 0, 3000)
    assert job.finish() == "success"
    assert host.phases() == [RUNNING]


# With the probes: the VMM's TD is the test module's, its VM is KVM's.


def test_a_td_from_its_making_to_its_end(make_host, probes, maker):
    """Exactly known: also while no vCPU has run, and with nobody polling."""
    host = make_host(misc_tdx="1", probes=True)
    assert host.get("Idle")
    maker.ask("make", 0, 1)
    guest, = host.guests()
    # It has begun none; it may at any moment.
    assert guest["phase"] == BUILDING and guest["tier"] == "T1" and not host.get("Idle")
    maker.td("begin", "a")
    guest, = host.guests()
    assert (guest["phase"], guest["tier"], guest["is-td"]) == (BUILDING, "T1", "yes")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    maker.td("finalize", "a")
    assert job.finish() == "success"
    assert host.history()[0]["evidence"].startswith("T1")
    guest, = host.guests()
    assert (guest["phase"], guest["tier"]) == (RUNNING, "T1")
    maker.run(0)
    maker.td("free", "a")
    maker.ask("end", 0)
    wait_counts(host, 0, 0)


def test_builds_while_the_daemon_is_away(make_host, probes, make_maker):
    """Killed in the middle of two builds: one ends, one goes on, one begins meanwhile."""
    host = make_host(misc_tdx="3", probes=True)
    makers = {name: make_maker() for name in ("ends", "stays", "new")}
    for name in ("ends", "stays"):
        makers[name].ask("make", 0, 1)
        makers[name].td("begin", name)
    assert host.counts() == (2, 2)
    host.daemon.stop()
    makers["ends"].td("finalize", "ends")
    makers["new"].ask("make", 0, 1)
    makers["new"].td("begin", "new")
    host.daemon.start()
    guests = {g["pid"]: g for g in host.guests()}
    assert {g["tier"] for g in guests.values()} == {"T1"}
    begun = {name for name, m in makers.items() if "has begun" in guests[m.pid]["evidence"]}
    assert begun == {"stays", "new"}
    # That the finalised TD is this VM's is known only to a daemon that saw the VM alone before it began. So it could
    # begin one now, as far as is known, and counts until it runs.
    assert host.phases(makers["ends"].pid) == [BUILDING]
    makers["ends"].run(0)
    assert host.phases(makers["ends"].pid) == [RUNNING]
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    makers["stays"].td("finalize", "stays")
    host.daemon.crash()
    job = host.job(host.call("ListJobs")[0][1])
    wait_blocked(host, job, "td-building")
    makers["new"].td("finalize", "new")
    for name in ("stays", "new"):
        makers[name].run(0)
    assert job.finish() == "success"


@pytest.mark.parametrize("leaked", [False, True], ids=["freed", "leaked"])
def test_a_vmm_that_dies_in_its_build(make_host, probes, make_maker, leaked):
    host = make_host(misc_tdx="1", probes=True)
    maker = make_maker()
    maker.ask("make", 0, 1)
    maker.td("begin", "a")
    if leaked:
        maker.td("leak", "a")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    host.sim.set(misc_tdx=0)
    maker.kill()
    assert job.finish() == "success"
    assert host.counts() == (0, 0)


def test_a_build_beside_a_vm_that_runs(make_host, probes, maker):
    """Two VMs of one process, one in its build, the other one runs: the build counts."""
    host = make_host(misc_tdx="1", probes=True)
    maker.ask("make", 0, 1)
    maker.ask("make", 1, 1)
    maker.run(1)
    maker.td("begin", "a")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert BUILDING in host.phases(maker.pid) and host.sim.number("uploads") == 0
    maker.td("finalize", "a")
    maker.run(0)
    assert job.finish() == "success"


ROUNDS = 50
# How old the VM is when it runs for the first time: TD builds take from well below a second
# to minutes, and the daemon looks the less often the longer it waits.
AGES = [0.0, 0.1, 0.3, 0.6]


def queued(host):
    """When the kernel was given the images: CLOCK_MONOTONIC, as the VMM's times are."""
    lines = (line.split() for line in host.sim.log())
    return [float(words[0]) for words in lines if words[1] == "upload" and words[3] == "queued,"]


def started(host):
    """When the attempts began, oldest first, on the same clock."""
    offset = time.time() - time.monotonic()
    attempts = [a for job in host.history() for a in job["attempts"]]
    return sorted(a["started"] / 1e6 - offset for a in attempts)


def quantile(values, part):
    """The smallest value that this part of all do not exceed."""
    values = sorted(values)
    return values[max(0, -(-int(part * 100) * len(values) // 100) - 1)]


def test_time_from_the_first_exit_to_the_upload(make_host, maker, record_property):
    """It is followed by signals: a test that polls would take the CPU that the daemon needs."""
    host = make_host(remaining=ROUNDS + 9)
    record = host.record()
    chance, runs = random.Random(1), []
    for number in range(ROUNDS):
        maker.ask("make", 0, 1)
        job = host.apply("1.5.06")
        host.wait(lambda: "waiting" in record.changes("State", job.path), "the job waits")
        # The age is what is varied here; nothing is waited for.
        time.sleep(AGES[number % len(AGES)] + chance.random() * 0.05)
        runs.append(maker.run(0))
        assert record.wait("Finished", job.path, timeout=TIMEOUT).args[0] == "success"
        maker.ask("end", 0)
        host.sim.tell("set", "module=1.5.05")

    uploads, attempts = queued(host), started(host)
    assert len(uploads) == len(attempts) == ROUNDS
    # Each between its VM's first KVM_RUN and the next one's.
    ends = [start for start, _ in runs[1:]] + [float("inf")]
    for (start, _), attempt, upload, end in zip(runs, attempts, uploads, ends):
        assert start < attempt < upload < end
    exits = [first for _, first in runs]
    for name, times in (("attempt", attempts), ("upload", uploads)):
        waits = [at - first for at, first in zip(times, exits)]
        record_property(f"first exit to {name}, {ROUNDS} times", ", ".join(
            f"{part} {value * 1000:.1f} ms" for part, value in (
                ("median", statistics.median(waits)), ("p99", quantile(waits, 0.99)), ("max", max(waits)))))
        # Far above what the daemon's longest interval (50 ms in the first ten minutes) makes of it, even emulated,
        # where each page of the image takes a millisecond to be written, and again to be read back.
        assert statistics.median(waits) < 3
