# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Builds at random and updates at once (tests/bench/churn.py): nobody who existed at the last look, announced
itself or held is hurt, nobody is hurt silently, no request is lost. CHURN_SECONDS sets the length of each run."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from churn import HEAD, TO, Bus, Churn, Settings, Sim, judge, row  # noqa: E402

SANITIZED = "ASAN_OPTIONS" in os.environ
SECONDS = float(os.environ.get("CHURN_SECONDS", 3 if SANITIZED else 8))

LOADS = {
    # VMs a second; of every four three build a TD, for 25 ms on average.
    "low": Settings(rate=12, seconds=SECONDS),
    "high": Settings(rate=30, seconds=SECONDS),
    # Some build is always running: only a drain makes room, and only those who announce themselves heed it.
    "always": Settings(rate=25, seconds=SECONDS, build=(60, 200), drain=True, kinds=("announced", "held", "announced")),
}
QUICK = ["transfer-ms=8", "critical-ms=6", f"misc-capacity={10 ** 6}"]
TOTAL = {"builds": 0, "updates": 0}
LINES = []


@pytest.fixture
def churn_host(make_host):
    def make(letter, text=""):
        return make_host(world=letter, remaining=1000, set=QUICK, log_level="notice",
                         config_text="MaxHolds=250\nMaxHoldsPerUser=250\nDrainMaxSec=3s\n" + text)
    return make


def with_daemon(host, settings):
    vmms = [host.connect() for _ in range(16)]
    churn = Churn(Sim(host.control), settings, Bus(host.bus, vmms))
    churn.run(churn.with_daemon())
    for connection in vmms:
        connection.close_sync(None)
    return churn, judge(churn, host.sim.ctl("log"))


def report(letter, load, who, v):
    line = row(letter, load, who, v)
    LINES.append(line)
    print(HEAD, line, f"results {v.results}, refused builds {v.refused}, longest BeginBuild {v.vmm_wait:.2f} s", sep="\n")


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("letter", ["A", "B", "C"])
def test_nobody_is_hurt(churn_host, letter, load):
    host = churn_host(letter)
    churn, v = with_daemon(host, LOADS[load])
    report(letter, load, "tdx-updated", v)
    TOTAL["builds"] += v.builds
    TOTAL["updates"] += v.updates
    assert v.existed == v.cooperative == v.silent == 0
    assert churn.requests and all(r.result for r in churn.requests)
    if letter == "B":
        assert set(v.results) <= {"failed", "expired"} and v.corrupted == 0
    else:
        assert set(v.results) <= {"success", "expired"} and v.updates == v.results["success"]
    assert letter == "C" or v.corrupted == 0
    # The bound that the VMMs have given, and what this machine needs to answer.
    assert v.vmm_wait < 10 + 5


@pytest.mark.parametrize("load", ["low", "high"])
@pytest.mark.parametrize("letter", ["A", "C"])
def test_against_what_others_do(churn_host, images, letter, load):
    """The same VMs, and on the same files: Intel's script in a loop of 1 s (it never looks at builds), and blind retries."""
    host = churn_host(letter)
    host.daemon.stop()
    host.may_fail = True
    raw = host.dir / "raw.blob"
    images.make("--version", TO, "--format", "200", "--output", raw)
    found = {}
    for who, retry in (("Intel's, every 1 s", 1000), ("blind retry", 0)):
        before = host.sim.ctl("log")
        churn = Churn(Sim(host.control), Settings(rate=LOADS[load].rate, seconds=SECONDS / 4))
        churn.run(churn.on_the_files(host.mount, raw.read_bytes(), retry))
        found[who] = judge(churn, host.sim.ctl("log")[len(before):])
        report(letter, load, who, found[who])
    # What the daemon is there for: without it TDs are hurt where the kernel does not ask.
    hurt = sum(v.corrupted for v in found.values())
    assert hurt > 0 if letter == "C" else hurt == 0
    assert all(v.updates > 0 for v in found.values())


def test_the_gap_is_told(churn_host):
    """VMs that nobody announces, and a daemon that is kept from running between look and handover now and then: those
    who are hurt then are named, each of them."""
    import signal
    from gi.repository import GLib

    host = churn_host("C")
    settings = Settings(rate=30, seconds=SECONDS, kinds=("alone",), build=(5, 15))
    churn = Churn(Sim(host.control), settings, Bus(host.bus))

    def stumble():
        os.kill(host.daemon.pid, signal.SIGSTOP)
        time.sleep(0.004)
        os.kill(host.daemon.pid, signal.SIGCONT)
        return not churn.stopping

    GLib.timeout_add(7, stumble)
    churn.run(churn.with_daemon())
    v = judge(churn, host.sim.ctl("log"))
    report("C", "high", "tdx-updated, stopped", v)
    assert v.existed == v.silent == 0 and v.updates > 0


def test_build_gate(churn_host):
    """With BuildGate=misc the kernel itself keeps them off: nobody at all is hurt. (By a kernel that counts a refused TD as
    it should: Linux 7.3 does not, see doc/build-gate.md.)"""
    host = churn_host("C", "BuildGate=misc\nBuildGateCGroup=machine.slice\n")
    host.sim.set(refund_refused="no")
    settings = Settings(rate=30, seconds=SECONDS, kinds=("alone",), build=(5, 15), cgroup="machine.slice")
    _, v = with_daemon(host, settings)
    report("C", "high", "tdx-updated, gate", v)
    assert v.corrupted == 0 and v.updates > 0
    assert "tdx max" in (host.mount / "cgroup/machine.slice/misc.max").read_text()


def test_starvation(churn_host):
    """Builds always overlap; with a drain the update comes as soon as those that run are over."""
    host = churn_host("C")
    settings = Settings(rate=20, seconds=SECONDS, kinds=("announced",), build=(100, 300), drain=True, pause=300, patience=40)
    churn, v = with_daemon(host, settings)
    report("C", "always", "tdx-updated, drain", v)
    slowest = max(v.wait)
    print(f"slowest update {slowest:.2f} s; longest build 0.3 s, HoldMaxSec=30 s; longest BeginBuild {v.vmm_wait:.2f} s")
    assert v.corrupted == 0 and v.results.get("success", 0) == len(churn.requests)
    assert slowest < 30 + 0.3
    assert v.vmm_wait < 10 + 5


def test_table():
    """The figures of this run, together."""
    assert LINES
    print(HEAD, *LINES, f"{TOTAL['builds']} builds and {TOTAL['updates']} updates with tdx-updated", sep="\n")
