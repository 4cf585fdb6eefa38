# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Between the last look and the handover a VM can appear: it is named, everywhere, and in no other case."""

import json
from contextlib import contextmanager

import pytest

from steps import check_end, hold_kernel, settle, stop_at_loading, stop_in_staging

MESSAGE = "may be wrong"


def suspects(host):
    return host.history()[0]["suspect-guests"]


@contextmanager
def stopped_at_the_handover(host, version="1.5.06"):
    """The last look is over, and the write of 0 has not begun."""
    with stop_in_staging(host) as staging:
        job = host.apply(version)
        staging.wait()
        with stop_at_loading(host) as handover:
            staging.let_go()
            handover.wait()
            handover.release()
            handover.wait()
            yield job


@pytest.mark.host(set=["transfer-ms=300", "critical-ms=200"])
def test_named(host):
    """A TD that begins after the look, in world C: it is corrupted, and it is named."""
    record = host.record()
    with stopped_at_the_handover(host) as job:
        host.sim.ctl("vm", "create", "4711", "9", "1", "web")
        host.sim.ctl("td", "begin", "web", "4711")
        host.sim.ctl("td", "add", "web", "kernel")
    check_end(host, record, job, "success", spent=1, uploads=1)
    host.sim.ctl("td", "finalize", "web")
    assert host.sim.number("corrupted") == 1
    named = suspects(host)
    assert [g["pid"] for g in named] == [4711] and named[0]["machine"] == "qemu-9-web"
    finished = record.all("Finished")[0].args[1]
    assert [g["pid"] for g in finished["suspect-guests"]] == [4711]
    assert MESSAGE in host.log() and "[4711]" in host.log()
    shown = host.ctl("--json=short", "show", str(job.get("Id")))
    assert "4711" in json.dumps(shown.json)
    host.daemon.restart()
    assert suspects(host) == named


def test_during_the_update(host):
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("td", "begin", "web", "4711")
    host.sim.set(stuck="no")
    assert job.finish() == "success"
    assert [g["pid"] for g in suspects(host)] == [4711]


def test_named_after_a_crash(host):
    """The daemon is not there when the update ends: the next one knows when the look was."""
    host.sim.ctl("vm", "create", "4712", "9")
    host.sim.ctl("vm", "run", "4712", "9")
    host.sim.set(stuck="yes", misc_tdx="absent")
    job = host.apply("1.5.06")
    hold_kernel(host, job)
    host.daemon.kill()
    host.daemon.wait_exit(1)
    host.sim.ctl("vm", "create", "4711", "10")
    host.sim.ctl("td", "begin", "web", "4711")
    host.sim.set(stuck="no")
    host.daemon.wait_ready()
    assert job.finish() == "success"
    assert [g["pid"] for g in suspects(host)] == [4711]


def test_nobody_is_named_without_reason(host):
    """Those that were there, and those that come after it."""
    host.sim.ctl("vm", "create", "4711", "9")
    host.sim.ctl("td", "begin", "web", "4711")
    host.sim.ctl("td", "finalize", "web")
    host.sim.ctl("vm", "run", "4711", "9")
    assert host.apply("1.5.06").finish() == "success"
    assert suspects(host) == [] and MESSAGE not in host.log()


@pytest.mark.parametrize("outcome", ["busy=1", "refuse=1"])
def test_nobody_is_named_if_nothing_ran(host, outcome):
    host.sim.ctl("set", outcome)
    with stopped_at_the_handover(host) as job:
        host.sim.ctl("vm", "create", "4711", "9")
        host.sim.ctl("td", "begin", "web", "4711")
    host.wait(lambda: job.get("Attempts") == 1 and job.get("State") != "uploading", "the first attempt is over")
    host.sim.ctl("td", "finalize", "web")
    host.sim.ctl("vm", "run", "4711", "9")
    assert job.finish() == "success"
    settle(host)
    assert suspects(host) == [] and host.sim.number("corrupted") == 0
