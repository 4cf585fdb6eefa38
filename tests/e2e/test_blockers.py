# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Each blocker once, end to end: Plan, BlockedBy and tdxctl why show the same, and say what will end it."""

import os
import time
from contextlib import contextmanager

import pytest

# Blocker -> how the host is made, what is done to it, what the text must say of its end, tdxctl's exit status.
# fleet-slot is reserved: nothing raises it.


@contextmanager
def nothing(host):
    yield


def sim(**values):
    @contextmanager
    def change(host):
        host.sim.set(**values)
        host.call("Refresh")
        yield
    return change


def held(what, mode="block"):
    @contextmanager
    def change(host):
        fd = host.call("Hold", what, "backup", "the nightly copy", mode)
        yield
        os.close(fd)
    return change


@contextmanager
def announced(host):
    host.call("BeginBuild", "vmm", 0, 60_000_000, {"machine": "web"})
    yield


@contextmanager
def vm(host):
    host.sim.ctl("vm", "create", "4711", "9")
    yield


@contextmanager
def foreign(host):
    (host.mount / "sys/class/firmware/tdx_module/loading").write_text("1")
    yield


@contextmanager
def empty_catalogue(host):
    host.restart_with(f"--catalogue={host.dir}", without="--catalogue=")
    yield


WAITS, REFUSES = 75, 76
CASES = {
    "cpus-offline": ({}, sim(cpus_online="0-2"), "online", WAITS),
    "held": ({}, held("update"), "backup", WAITS),
    "td-migrating": ({}, held("migration"), "backup", WAITS),
    "td-building": ({"set": ["misc-tdx=absent"]}, vm, "4711", WAITS),
    "td-building-announced": ({}, announced, "vmm", WAITS),
    "draining": ({}, held("update", "delay"), "HoldMaxSec=", WAITS),
    "activity-unknown": ({}, sim(misc_tdx=1), "1 TD exists", WAITS),
    "foreign-upload": ({}, foreign, "echo -1", WAITS),
    "outside-window": ({"config_text": "MaintenanceWindow=Mon 1999-01-04 10:00 1h"}, nothing, "MaintenanceWindow=", WAITS),
    "no-budget": ({"remaining": 0}, nothing, "reboot", REFUSES),
    "reserve": ({"remaining": 1}, nothing, "KeepRemaining=", REFUSES),
    "unsupported": ({"set": ["bug=yes"]}, nothing, "seamret_invd_vmcs", REFUSES),
    "module-lost": ({"module": "lost"}, nothing, "reboot", REFUSES),
    "already-current": ({"module": "1.5.16"}, nothing, "nothing newer", REFUSES),
    "incompatible-cpu": ({"cpu": "0x50656"}, nothing, "CPU", REFUSES),
    "incompatible-seamldr": ({"seamldr": "1.4.00"}, nothing, "P-SEAMLDR", REFUSES),
    "no-image": ({}, empty_catalogue, "import", REFUSES),
}


@pytest.mark.parametrize("case", CASES)
def test_why(make_host, case):
    options, change, word, status = CASES[case]
    blocker = case.removesuffix("-announced")
    host = make_host(**options)
    with change(host):
        assert blocker in host.get("BlockedBy")
        why = host.ctl("why")
        assert blocker in why.stdout and word in why.stdout, why.stdout
        if status == WAITS:
            assert why.status == WAITS
        else:
            # That it runs already is a success, as everywhere.
            assert (why.status == 0) == (blocker == "already-current")
        shown = host.ctl("--json=short", "why").json["blockers"]
        planned = host.call("Plan", "", {})["blockers"] if blocker != "no-image" else None
        if planned is not None:
            assert [b["id"] for b in shown] == [b["id"] for b in planned if b["severity"] != "note"]
        assert [b["id"] for b in shown if b["id"] == blocker]


# With an image of its own, since the newest eligible one is chosen without them.
@pytest.mark.parametrize("blocker,version", [("downgrade", "1.5.01"), ("incompatible-module", "2.0.08")])
def test_why_of_a_version(host, blocker, version):
    why = host.ctl("why", version)
    assert why.status != 0 and blocker in why.stdout


def test_why_of_a_backoff(host):
    host.sim.set(busy=1000)
    job = host.apply("1.5.06")
    host.wait(lambda: job.get("NextAttempt") > time.time() * 1e6 + 1e6, "a long backoff", 60)
    why = host.ctl("why")
    assert why.status == WAITS and "backoff" in why.stdout
    assert host.get("BlockedBy") == ["backoff"]


# Maintenance windows.

def test_outside_of_the_window(make_host):
    host = make_host(config_text="MaintenanceWindow=*-01-01 00:00 1min\nMaintenanceWindow=*-01-02 00:00 1min")
    job = host.apply("1.5.06")
    host.wait(lambda: host.get("BlockedBy") == ["outside-window"])
    assert job.get("State") == "waiting"
    plan = host.call("Plan", "1.5.06", {})["blockers"][0]
    assert time.gmtime(plan["until"] / 1e6)[1:3] in ((1, 1), (1, 2), (12, 31))
    # --now steps over it, and over nothing else.
    shown = host.call("Plan", "1.5.06", {"now": True})["blockers"]
    assert [(b["id"], b["severity"]) for b in shown] == [("outside-window", "note")]
    job.cancel()
    assert host.ctl("update", "--now", "1.5.06").status == 0
    assert host.running_version() == "1.5.06"


def test_a_window_opens(make_host):
    """Every minute at a second that is to come."""
    second = (int(time.time()) + 4) % 60
    host = make_host(config_text=f"MaintenanceWindow=*:*:{second:02} 5s")
    job = host.apply("1.5.06")
    host.wait(lambda: host.get("BlockedBy") == ["outside-window"])
    assert job.finish() == "success"
    assert 0 <= (int(host.history()[0]["finished"] / 1e6) - second) % 60 <= 5


def test_a_reload_changes_the_windows(make_host):
    host = make_host(config_text="MaintenanceWindow=*-01-01 00:00 1min")
    job = host.apply("1.5.06")
    host.wait(lambda: host.get("BlockedBy") == ["outside-window"])
    text = host.config_file.read_text()
    host.config_file.write_text(text.replace("*-01-01 00:00 1min", "*-*-* 00:00 24h"))
    host.daemon.reload()
    assert job.finish() == "success"


def test_a_bad_window(make_host):
    host = make_host()
    bad = host.dir / "bad.conf"
    bad.write_text("[Update]\nMaintenanceWindow=Someday 1h\n")
    shown = host.run(host.world.build / "daemon/tdx-updated", "--check-config", f"--config={bad}")
    assert shown.status == 78 and "Someday" in shown.stderr and "bad.conf:2" in shown.stderr
