# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Moments around an update that are easily got wrong: crashes with the build gate closed, VMs that the last look let through,
waiting that must not be busy."""

import os
import time
from pathlib import Path

import pytest

from steps import hold_kernel, settle, wait_blocked
from test_drain import hold
from test_suspects import stopped_at_the_handover, suspects


def cpu(pid):
    f = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def test_the_gate_is_opened_after_a_crash(make_host):
    host = make_host(config_text="BuildGate=misc\nBuildGateCGroup=machine.slice")
    f = host.mount / "cgroup/machine.slice/misc.max"
    host.sim.ctl("vm", "create", "4712", "9")
    host.sim.ctl("vm", "run", "4712", "9")
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.daemon.kill()
    host.daemon.wait_exit(1)
    host.sim.set(stuck="no")
    host.daemon.wait_ready()
    assert job.finish() == "success"
    time.sleep(1)
    assert f.read_text() == "tdx max\n"


def test_a_stale_vm_that_builds_after_all_is_named(make_host):
    host = make_host(config_text="StaleGuestSec=1s", set=["transfer-ms=300", "critical-ms=200"])
    host.sim.ctl("vm", "create", "4711", "9", "1", "web")
    time.sleep(2)
    with stopped_at_the_handover(host) as job:
        host.sim.ctl("td", "begin", "web", "4711")
        host.sim.ctl("td", "add", "web", "kernel")
    job.finish()
    assert host.sim.number("corrupted") == len(suspects(host))


@pytest.mark.host(set=["transfer-ms=300", "critical-ms=200"])
def test_a_vm_of_the_gap_is_named_without_debugfs(host, tmp_path):
    host.restart_with(f"--debugfs={tmp_path}", without="--debugfs")
    host.sim.ctl("vm", "create", "4711", "9", "1", "web")
    time.sleep(1)
    for _ in range(3):
        host.sim.ctl("vm", "run", "4711", "9")
        time.sleep(0.2)
        host.get("Idle")
    with stopped_at_the_handover(host) as job:
        host.sim.ctl("vm", "create", "4711", "10", "1", "web2")
        host.sim.ctl("td", "begin", "web2", "4711")
        host.sim.ctl("td", "add", "web2", "kernel")
    job.finish()
    assert host.sim.number("corrupted") == len(suspects(host))


def test_a_due_drain_is_no_busy_loop(make_host):
    host = make_host(config_text="DrainAfterSec=1s")
    fd = hold(host)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "held")
    time.sleep(1.5)
    begin = cpu(host.daemon.pid)
    time.sleep(3)
    assert (cpu(host.daemon.pid) - begin) / 3 < 0.25
    job.cancel()
    os.close(fd)


def test_a_delay_has_its_limit_after_a_restart(make_host):
    host = make_host(config_text="HoldMaxSec=1s")
    fd = hold(host, mode="delay")
    host.sim.ctl("set", "busy=1", "stuck=yes")
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.daemon.crash()
    host.sim.set(stuck="no")
    assert job.finish(timeout=15) == "success"
    os.close(fd)


def test_a_preparation_ends_after_a_crash(host):
    record = host.record()
    fd = hold(host, mode="delay")
    job = host.apply("1.5.06")
    record.wait("PrepareForUpdate")
    settle(host)
    host.daemon.kill()
    host.daemon.wait_exit(1)
    host.sim.ctl("vm", "create", "4711", "9", "1", "web")
    host.sim.ctl("td", "begin", "web", "4711")
    host.daemon.wait_ready()
    time.sleep(1)
    job.cancel()
    settle(host)
    assert [s.args[0] for s in record.all("PrepareForUpdate")][-1] is False
    os.close(fd)


def test_the_gate_stays_closed_over_a_restart(make_host):
    host = make_host(config_text="BuildGate=misc\nBuildGateCGroup=machine.slice")
    f = host.mount / "cgroup/machine.slice/misc.max"
    host.sim.ctl("vm", "create", "4712", "9")
    host.sim.ctl("vm", "run", "4712", "9")
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.daemon.restart()
    time.sleep(0.5)
    assert f.read_text() == "tdx 0\n"
    host.sim.set(stuck="no")
    assert job.finish() == "success"
