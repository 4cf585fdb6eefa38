# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""tdxctl's verbs about VMs, holds and builds, and the hook of libvirt, against the real daemon."""

import select
import signal
from pathlib import Path

import pytest

from steps import wait_blocked

HOOK = Path(__file__).resolve().parents[2] / "hooks/libvirt/qemu.d/tdx-updated"
XML = """<domain type='kvm' id='3'>
  <name>web</name>
  <launchSecurity type='tdx'>
  </launchSecurity>
</domain>
"""
# The count of TDs cannot prove that there is none.
NO_COUNT = ["misc-tdx=absent"]


def held(host):
    return [hold[0] for hold in host.call("ListHolds")]


def start_hold(host, *options, command=("sleep", "60")):
    process = host.popen("tdxctl", "hold", "--why=a test", *options, "--", *command)
    host.wait(lambda: held(host), "the hold")
    return process


def hook(host, *operation, script=HOOK):
    return host.run(script, "web", *operation, "-", stdin=XML)


@pytest.mark.host(set=NO_COUNT)
def test_guests(host):
    host.sim.ctl("vm", "create", "4711", "9", "2", "web")
    assert host.ctl("--json=short", "guests").json == host.call("ListGuests")
    text = host.ctl("guests").stdout
    assert "4711" in text and "qemu-9-web" in text and "building" in text
    result = host.ctl("--json=short", "guests", user="nobody")
    assert result.status == 77 and result.json["error"]["exit-status"] == 77


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_hold_keeps_an_update_off(host, number):
    process = start_hold(host, "--what=update", "--who=backup")
    holds = host.ctl("--json=short", "holds").json
    assert [(h["what"], h["who"], h["why"], h["mode"], h["uid"], h["pid"]) for h in holds] == [
        ("update", "backup", "a test", "block", 0, process.pid)]
    assert "backup" in host.ctl("holds").stdout
    job = host.apply("1.5.06")
    wait_blocked(host, job, "held")
    why = host.ctl("--json=short", "why")
    assert why.status == 75 and why.json["job"] == 1 and [b["id"] for b in why.json["blockers"]] == ["held"]
    assert "backup" in host.ctl("why", "1").stdout
    process.send_signal(number)
    process.wait(10)
    assert job.finish() == "success"
    assert held(host) == [] and host.ctl("why").status == 0


def test_hold_ends_with_its_command(host):
    result = host.ctl("hold", "--what=build", "--why=x", "--", "sh", "-c", "tdxctl --json=short holds; exit 3")
    assert result.status == 3 and result.json[0]["what"] == "build"
    host.wait(lambda: held(host) == [], "the hold's end")


def test_hold_is_refused(host):
    for options, status in ((["--what=lunch"], 64), (["--what=build", "--mode=delay"], 64), (["--what=update", "--mode=x"], 64)):
        assert host.ctl("hold", "--why=x", *options, "--", "true").status == status, options
    result = host.ctl("hold", "--what=update", "--why=x", "--", "true", user="nobody")
    assert result.status == 77 and held(host) == []


def test_hold_over_a_restart_and_a_stop(host):
    process = start_hold(host, "--what=update")
    host.daemon.restart()
    assert held(host) == ["update"]
    host.daemon.stop()
    host.wait(lambda: select.select([process.stderr], [], [], 0)[0], "what tdxctl says to it")
    assert "the hold is gone" in process.stderr.readline()
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_begin_and_end_build(host):
    number = host.ctl("begin-build", "--who=test", "--hold=1min").stdout.strip()
    assert held(host) == ["build"]
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert host.ctl("why").status == 75 and "td-building" in host.ctl("why").stdout
    assert host.ctl("end-build", number, user="nobody").status in (66, 77)
    assert host.ctl("end-build", number).status == 0
    assert job.finish() == "success"
    assert host.ctl("end-build", number).status == 66


@pytest.mark.host(set=NO_COUNT)
def test_ignored_guest(host):
    host.sim.ctl("vm", "create", "4711", "9")
    assert host.ctl("plan", "1.5.06").stdout.count("td-building") == 1
    assert host.ctl("why", "1.5.06").status == 75
    assert host.ctl("why", "1.5.06", "--ignore-guest=4711").status == 0
    assert host.ctl("update", "1.5.06", "--ignore-guest=99").status == 66
    assert host.ctl("update", "1.5.06", "--ignore-guest=4711").status == 0
    assert host.running_version() == "1.5.06"


@pytest.mark.host(set=["misc-tdx=1"])
def test_ignored_activity(host):
    """What is not known can be stepped over, by whoever does know."""
    result = host.ctl("why", "1.5.06")
    assert result.status == 75 and "activity-unknown" in result.stdout
    assert host.ctl("why", "1.5.06", "--ignore-activity").status == 0
    assert host.ctl("update", "1.5.06", "--ignore-activity", user="nobody").status == 77
    assert host.ctl("update", "1.5.06", "--ignore-activity").status == 0
    assert host.running_version() == "1.5.06"


# The hook.

@pytest.mark.parametrize("end", [("started", "begin"), ("release", "end")])
def test_the_hook_keeps_an_update_off(host, end):
    assert hook(host, "prepare", "begin").status == 0
    holds = host.ctl("--json=short", "holds").json
    assert [(h["what"], h["who"]) for h in holds] == [("build", "libvirt: web")]
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    assert hook(host, *end).status == 0
    assert job.finish() == "success" and held(host) == []


@pytest.mark.host(set=NO_COUNT)
def test_the_hooks_build_ends_with_its_vm(host):
    """The machine's name that the hook makes is the one that the daemon sees."""
    hook(host, "prepare", "begin")
    # The simulator takes the descriptor's number for libvirt's.
    host.sim.ctl("vm", "create", "4711", "3", "1", "web")
    assert held(host) == ["build"]
    host.sim.ctl("vm", "run", "4711", "3")
    assert host.ctl("update", "1.5.06").status == 0
    assert held(host) == []
    result = hook(host, "started", "begin")
    assert (result.status, result.stdout) == (0, "")


@pytest.mark.host(set=["transfer-ms=60000"])
def test_the_hook_fails_a_start_in_the_critical_section(host, tmp_path):
    script = tmp_path / "hook"
    script.write_text(HOOK.read_text().replace("\nwait=20s\n", "\nwait=100ms\n"))
    script.chmod(0o755)
    assert "wait=100ms" in script.read_text()
    job = host.apply("1.5.06")
    job.wait_state("uploading")
    result = hook(host, "prepare", "begin", script=script)
    assert result.status == 1 and "Start web again later" in result.stderr
    assert held(host) == []
    assert hook(host, "release", "end", script=script).status == 0


def test_the_hook_without_a_daemon(host):
    host.daemon.stop()
    result = hook(host, "prepare", "begin")
    assert result.status == 0
