# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The worst case: the old module was shut down and the new one did not start."""

import pytest

from harness import PATH, BusError
from steps import (blockers, check_end, check_prepare_pairs, error_of, freeze, hold_kernel,
                   outcomes, settle)


def check_lost(host):
    assert host.get("Lost") and host.get("State") == "lost"
    assert host.get("ModuleVersion") == ""
    assert "module-lost" in blockers(host, "1.5.08")
    assert "module-lost" in host.get("BlockedBy")
    for version in ("1.5.08", ""):
        with pytest.raises(BusError) as error:
            host.apply(version)
        assert error.value.id == "ModuleLost"


@pytest.mark.host(set=["lose=1", "stuck=yes"])
def test_lost(host):
    record = host.record()
    job = host.apply("1.5.06")
    others = [host.apply(v) for v in ("1.5.08", "1.5.09")]
    host.sim.set(stuck="no")
    check_end(host, record, job, "lost", spent=0, uploads=1)
    assert error_of(job) == "ModuleLost"
    assert outcomes(job) == ["lost"]
    assert [s.args[0] for s in record.all("ModuleLost")] == ["1.5.05"]
    assert not record.all("ModuleUpdated")
    assert record.changes("Lost", PATH)[0] is True
    # Everything stops: the others end, and with the same error.
    for other in others:
        assert other.finish() == "failed"
        assert error_of(other) == "ModuleLost" and other.get("Attempts") == 0
    check_lost(host)
    assert check_prepare_pairs(record) == 1
    assert host.ctl("update", "1.5.08").status == 71
    assert host.history()[-1]["attempts"][0]["kernel-error"] == "transferring:firmware-invalid"


@pytest.mark.host(set=["lose=1"])
def test_lost_until_the_reboot(host):
    assert host.apply("1.5.06").finish() == "lost"
    record = host.record()
    host.daemon.restart()
    check_lost(host)
    settle(host)
    assert not record.all("ModuleLost")  # told once
    host.daemon.crash()
    check_lost(host)
    assert host.sim.number("uploads") == 1

    host.sim.ctl("reboot")
    host.daemon.restart()
    assert not host.get("Lost") and host.get("State") == "idle"
    assert host.get("ModuleVersion") == "1.5.05"
    assert host.apply("1.5.06").finish() == "success"


@pytest.mark.host(set=["lose=1"])
def test_client_says_so(host):
    result = host.ctl("--json=short", "update", "1.5.06")
    assert result.status == 71
    assert host.ctl("show", "1").status == 0


@pytest.mark.host(set=["lose=1", "stuck=yes"])
def test_lost_while_the_daemon_was_dead(host):
    record = host.record()
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    freeze(host)
    host.sim.set(stuck="no")
    host.wait(lambda: host.sim.get("module") == "lost", "the module is lost")
    host.daemon.crash()
    check_end(host, record, job, "lost", spent=0, uploads=1)
    assert len(record.all("ModuleLost")) == 1
    check_lost(host)


def test_somebody_else_lost_it(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    host.sim.set(module="lost")
    assert job.finish() == "failed"
    assert error_of(job) == "ModuleLost"
    record.wait("ModuleLost")
    check_lost(host)
    assert host.sim.number("uploads") == 0


@pytest.mark.host(module="lost")
def test_lost_before_the_first_start(host):
    check_lost(host)
