# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""tdxctl against a service that answers what a test wants: exit statuses, texts, JSON, files."""

import json
import os
import re
import socket
import subprocess

import pytest
from tdxctl_mock import ERROR, ROOT, TDXCTL, GLib, until


# Errors and their exit statuses

STATUS = {
    "NotSupported": 69, "NotSafe": 75, "Busy": 75, "Downgrade": 76, "IncompatibleCpu": 76, "IncompatibleSeamldr": 76,
    "IncompatibleModule": 76, "ImageInvalid": 65, "ImageUntrusted": 65, "DebugImage": 76, "NoSuchVersion": 66, "NoSuchJob": 66, "NoSuchHold": 66,
    "NoBudget": 73, "Held": 75, "DeadlineExpired": 75, "NotCancelable": 1, "PlanStale": 75, "ModuleLost": 71, "UploadFailed": 70,
    "VerifyFailed": 70, "ForeignUpdate": 70, "LimitExceeded": 75,
}
FOREIGN = {
    "org.freedesktop.DBus.Error.AccessDenied": 77, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": 77,
    "org.freedesktop.DBus.Error.InvalidArgs": 64, "org.freedesktop.DBus.Error.ServiceUnknown": 69,
    "org.freedesktop.DBus.Error.NoReply": 69, "org.freedesktop.DBus.Error.UnknownMethod": 69,
    "org.freedesktop.DBus.Error.FileNotFound": 69, "org.freedesktop.DBus.Error.Spawn.ChildExited": 69,
    "org.freedesktop.systemd1.UnitMasked": 69, "org.example.Odd": 1,
}


@pytest.mark.parametrize("name,status", [(ERROR + n, s) for n, s in STATUS.items()] + list(FOREIGN.items()))
def test_error_of_a_request(daemon, run, name, status):
    daemon.errors["ApplyVersion"] = (name, "So it is.")
    p = run("update")
    assert p.returncode == status
    assert p.stdout == ""
    assert p.stderr.startswith("tdxctl: So it is.\n")

    p = run("update", "--json=short")
    assert p.returncode == status
    assert json.loads(p.stdout) == {"error": {"name": name.rsplit(".", 1)[1], "message": "So it is.", "exit-status": status}}


def test_table_of_errors_is_complete():
    source = (ROOT / "daemon/base/errors.c").read_text()
    assert set(re.findall(r'OWN\("(\w+)"\)', source)) == set(STATUS) | {"AlreadyCurrent"}


def test_already_current_is_a_success(daemon, run):
    daemon.errors["ApplyVersion"] = (ERROR + "AlreadyCurrent", "The catalogue has nothing newer.")
    p = run("update")
    assert (p.returncode, p.stderr) == (0, "")
    assert p.stdout == "already running 1.5.05: The catalogue has nothing newer.\n"
    p = run("update", "--json=short")
    assert p.returncode == 0
    assert json.loads(p.stdout)["result"] == "already-current"


def test_no_daemon(bus, run):
    for verb in ("status", "list", "update", "jobs", "history", "refresh"):
        p = run(verb, "--json=short")
        assert p.returncode == 69, verb
        assert json.loads(p.stdout)["error"]["name"] == "ServiceUnknown"
        assert "systemctl status tdx-updated" in p.stderr


@pytest.mark.parametrize("address", ["unix:path=/nonexistent/bus", "nonsense", "unix:path=/dev/null"])
def test_no_bus(run, environment, address):
    environment["DBUS_SYSTEM_BUS_ADDRESS"] = address
    p = run()
    assert p.returncode == 69
    assert p.stderr.startswith("tdxctl: ")


@pytest.mark.parametrize("arguments", [
    ("nonsense",), ("--nonsense",), ("status", "extra"), ("show",), ("show", "x"), ("show", "0"), ("show", "4294967296"),
    ("plan", "1", "2"), ("list", "--deadline", "1h"), ("status", "--max", "1"), ("history", "--max", "0"),
    ("history", "--since", "yore"), ("update", "--deadline", "0"), ("update", "--deadline", "2001-01-01"),
    ("update", "--deadline", "soon"), ("update", "--deadline", "infinity"), ("update", "--deadline"), ("--json=blue",), ("import",),
    ("import", "x", "--version"), ("-H", ""), ("-H", "a", "-M", "b"), ("-x",), ("--no-pager=1",),
])
def test_usage(daemon, run, arguments):
    p = run(*arguments)
    assert (p.returncode, p.stdout) == (64, "")
    assert p.stderr.startswith("tdxctl: ")
    p = run("--json=short", *arguments)
    assert p.returncode == 64
    assert json.loads(p.stdout)["error"]["exit-status"] == 64
    assert not any(member.startswith("Apply") for member, _, _ in daemon.calls)


def test_help_and_version(run):
    assert "update [VERSION]" in run("--help").stdout
    assert run("help").stdout == run("-h").stdout
    assert re.fullmatch(r"tdxctl \d+\.\d+\.\d+\n", run("--version").stdout)


def test_full_disk(daemon, environment):
    with open("/dev/full", "w") as full:
        p = subprocess.run([TDXCTL, "status"], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
    assert p.returncode == 1
    assert "No space left" in p.stderr


# Questions

def test_status(daemon, run):
    daemon.add_job(1, State="waiting", Reason="A TD is being built; it goes on when that has ended.")
    daemon.properties.update(State="waiting", Jobs=[daemon.path(1)], BlockedBy=["td-building"])
    text = run().stdout
    for part in ("TDX module: 1.5.05", "State: waiting", "P-SEAMLDR: 1.5.00", "Updates left: 9", "0x806f8", "proven (T0)",
                 "1, to 1.5.13, waiting: A TD is being built", "Blocked by: td-building"):
        assert part in text
    status = json.loads(run("status", "--json=pretty").stdout)
    assert status["module-version"] == "1.5.05"
    assert status["cpu-signature"] == 0x806F8
    assert status["blocked-by"] == ["td-building"]
    assert status["jobs"] == [daemon.path(1)]
    assert status["lost"] is False


def test_status_tells_none_from_not_known(daemon, run):
    daemon.properties["RemainingUpdates"] = 0
    assert "Updates left: 0 until the next reboot" in run().stdout
    daemon.properties["SeamldrVersion"] = ""
    assert "Updates left: not known" in run().stdout


def test_terminal_is_safe_from_the_daemon(daemon, run):
    daemon.properties["StateReason"] = "red \x1b[31m bell \x07 \u009b2J \u202eright\nnext"
    text = run().stdout
    assert "red \\x1b[31m bell \\x07 \\x9b2J \\u202eright\\x0anext" in text
    text = run("--json=short").stdout
    assert "\x1b" not in text and "\u009b" not in text and "\u202e" not in text
    assert json.loads(text)["state-reason"] == daemon.properties["StateReason"]


def test_list(daemon, run):
    daemon.images = [
        {"version": "1.5.05", "path": "/a/5", "eligible": False, "date": "2024-01-29", "svn": 0x105,
         "blockers": [{"id": "already-current", "severity": "hard", "text": "It runs."}]},
        {"version": "1.5.13", "path": "/a/13", "eligible": True, "date": "2025-01-01", "svn": 0x107, "cpus": GLib.Variant("au", [1]),
         "features0": GLib.Variant("t", (1 << 64) - 1), "blockers": [{"id": "stepping-unlisted", "severity": "note", "text": "x"}]},
        {"version": "1.5.13", "path": "/b/13", "eligible": False, "shadowed": True,
         "blockers": [{"id": "incompatible-cpu", "severity": "hard", "text": "x"}, {"id": "debug-image", "severity": "policy", "text": "y"}]},
    ]
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["VERSION", "DATE", "SVN", "ELIGIBLE", "PATH"]
    assert lines[1].split() == ["*", "1.5.05", "2024-01-29", "0x105", "already-current", "/a/5"]
    assert lines[2].split() == ["1.5.13", "2025-01-01", "0x107", "yes", "/a/13"]
    assert lines[3].split() == ["1.5.13", "-", "-", "incompatible-cpu,debug-image", "/b/13", "(shadowed)"]
    assert len(run("list", "--no-legend").stdout.splitlines()) == 3
    images = json.loads(run("list", "--json=short").stdout)
    assert [i["version"] for i in images] == ["1.5.05", "1.5.13", "1.5.13"]
    assert images[0]["blockers"][0]["id"] == "already-current"
    assert images[1]["features0"] == str((1 << 64) - 1)


PLAN = {"from": "1.5.05", "to": "1.5.13", "token": "abc", "allowed": True, "steps": ["Wait.", "Upload."], "cost": 1,
        "remaining-after": 8, "svn-before": 0x105, "svn-after": 0x107, "blockers": []}


def test_plan(daemon, run):
    daemon.plan = dict(PLAN, blockers=[{"id": "activity-unknown", "severity": "wait", "text": "It is not known.", "subject": "vm1"}])
    p = run("plan", "1.5.13")
    assert p.returncode == 0
    for part in ("1.5.05 -> 1.5.13", "1 update, 8 left", "0x105 -> 0x107", "TEE_TCB_SVN_2", "1. Wait.", "2. Upload.",
                 "yes, and it would wait", "wait  activity-unknown: It is not known. [vm1]", "--plan abc"):
        assert part in p.stdout
    assert daemon.calls[0] == ("Plan", ("1.5.13", {}), False)
    assert json.loads(run("plan", "--json=short").stdout)["blockers"][0]["id"] == "activity-unknown"


BLOCKED = {
    "module-lost": 71, "unsupported": 69, "already-current": 0, "image-invalid": 65, "image-untrusted": 65, "downgrade": 76,
    "incompatible-module": 76, "incompatible-seamldr": 76, "incompatible-cpu": 76, "svn-lower": 76, "no-budget": 73,
    "debug-image": 76, "no-image": 66, "stepping-unlisted": 76, "reserve": 73, "of-the-future": 76,
}


@pytest.mark.parametrize("blocker,status", BLOCKED.items())
def test_plan_blocked(daemon, run, blocker, status):
    daemon.plan = dict(PLAN, allowed=False, blockers=[
        {"id": "held", "severity": "wait", "text": "w"}, {"id": blocker, "severity": "hard", "text": "Why."},
        {"id": "no-budget", "severity": "hard", "text": "later"}])
    assert run("plan").returncode == status
    p = run("plan", "--json=short")
    assert (p.returncode, json.loads(p.stdout)["allowed"]) == (status, False)


def test_blockers_are_those_of_the_gate():
    source = (ROOT / "daemon/core/blocker.c").read_text()
    refusing = set(re.findall(r'"([a-z-]+)", SEVERITY_(?:HARD|POLICY)', source))
    assert refusing == set(BLOCKED) - {"of-the-future"}


def test_jobs_and_show(daemon, run):
    assert run("jobs").stdout == "No unfinished jobs.\n"
    assert json.loads(run("jobs", "--json=short").stdout) == []
    daemon.add_job(3, State="backoff", Reason="Busy.", AttemptLog=[
        {"number": 1, "started": GLib.Variant("t", 10**15), "outcome": "busy", "status": "idle", "kernel-error": "transferring:device-busy",
         "timings": {"total": 12000}}])
    assert run("jobs", "--no-legend").stdout.split() == ["3", "1.5.13", "backoff", "Busy."]
    assert json.loads(run("jobs", "--json=short").stdout) == [
        {"id": 3, "path": daemon.path(3), "version": "1.5.13", "state": "backoff", "reason": "Busy."}]
    assert "busy, the kernel said transferring:device-busy (12 ms)" in run("show", "3").stdout
    assert json.loads(run("show", "3", "--json=short").stdout)["attempt-log"][0]["timings"] == {"total": 12000}
    assert run("show", "4").returncode == 66


def test_history(daemon, run):
    assert run("history").stdout == "No updates yet.\n"
    daemon.add_job(1)
    daemon.finish(1, "failed", (ERROR + "UploadFailed", "hw-error"), signals=False)
    line = run("history", "--no-legend", "--max", "5", "--since", "@7").stdout.split()
    assert line == ["1", "2001-09-09", "01:46:42", "UTC", "1.5.05", "1.5.13", "failed", "0", "1000", "hw-error"]
    assert daemon.calls[-1] == ("GetHistory", (7_000_000, 5), False)
    assert json.loads(run("history", "-j").stdout)[0]["error"] == [ERROR + "UploadFailed", "hw-error"]


def test_config_and_refresh(daemon, run):
    daemon.config = [{"key": "KeepRemaining", "value": "1", "default": "1", "source": "", "text": "x"}]
    assert run("config", "--no-legend").stdout.split() == ["KeepRemaining", "1", "1", "-"]
    assert json.loads(run("config", "--json=short").stdout)[0]["key"] == "KeepRemaining"
    assert "TDX module: 1.5.05" in run("refresh").stdout
    assert [c for c in daemon.calls if c[0] == "Refresh"] == [("Refresh", (), True)]


# Files

def test_import_and_inspect(daemon, run, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"image")
    link = tmp_path / "link"
    link.symlink_to(image)
    mapping = tmp_path / "mapping"
    mapping.write_bytes(b"mapping")
    p = run("import", str(link), "--version", "1.5.13", "--mapping", str(mapping), "--no-ask-password")
    assert (p.returncode, p.stdout) == (0, "1.5.13 is in the catalogue now.\n")
    assert daemon.files == [b"image", b"mapping"]
    member, (_, options), interactive = daemon.calls[-1]
    assert (member, options["version"], interactive) == ("ImportImage", "1.5.13", False)
    assert json.loads(run("import", str(image), "--version=2", "--json=short").stdout) == {"version": "1.5.13"}
    # A name of the release tree speaks for the image, the option goes before it.
    named = tmp_path / "tdx_module_1.5.16.blob"
    named.symlink_to(image)
    for options, version in ((), "1.5.16"), (("--version=1.5.08",), "1.5.08"):
        run("import", str(named), *options)
        assert daemon.calls[-1][1][1]["version"] == version
    run("import", str(image))
    assert daemon.calls[-1][1][1] == {}

    daemon.facts = {"version": "1.5.13", "eligible": False, "svn": 0x107, "cpus": GLib.Variant("au", [0x806F8]),
                    "blockers": [{"id": "downgrade", "severity": "hard", "text": "Old."}]}
    p = run("inspect", str(image))
    assert p.returncode == 0
    assert "CPUs: 0x806f8" in p.stdout and "hard, downgrade: Old." in p.stdout
    daemon.facts["blockers"] = [{"id": "image-invalid", "severity": "hard", "text": "Broken."}]
    assert run("inspect", str(image)).returncode == 65


def test_files_that_are_none(daemon, run, tmp_path):
    assert run("inspect", str(tmp_path / "none")).returncode == 66
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "fifo", tmp_path / "socket", tmp_path, "/dev/null"):
        p = run("import", str(path))
        assert p.returncode == 65
        assert "is no regular file" in p.stderr
    assert daemon.calls == []


def test_files_come_in_memory(daemon, run, tmp_path):
    """The daemon takes from users no descriptor that could make it wait; a huge file does not fill memory."""
    with open(tmp_path / "huge", "wb") as huge:
        huge.truncate(1 << 40)
    assert run("inspect", str(tmp_path / "huge")).returncode == 0
    link, seals, size = daemon.descriptors[0]
    assert link.startswith("/memfd:")
    assert (seals, size) == (0xF, 1 << 40)


def test_files_do_not_cross_ssh(daemon, run, environment, tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    for verb in ("inspect", "import"):
        p = run("-H", "other", verb, "/etc/hostname")
        assert p.returncode == 64
        assert "ssh" in p.stderr and "other" in p.stderr
    assert run("-H", "other", "status").returncode == 69
