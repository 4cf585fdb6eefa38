# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""tdxctl follows a job and the signals of a service that does what a test wants."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tdxctl_mock as mock
from tdxctl_mock import ERROR, TDXCTL, GLib, until


def read_until(process, text):
    """Reads lines up to one with the text; returns them all."""
    lines = []
    end = time.monotonic() + 10
    while not lines or text not in lines[-1]:
        # Not through the stream's own buffer, which select() does not see.
        while "\n" not in process.rest:
            assert select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0], lines
            part = os.read(process.stdout.fileno(), 65536).decode()
            assert part, lines
            process.rest += part
        line, process.rest = process.rest.split("\n", 1)
        lines.append(line)
    return lines


def attempt(number, outcome="busy", error="transferring:device-busy"):
    return {"number": number, "started": GLib.Variant("t", 10**15), "outcome": outcome, "status": "idle", "kernel-error": error,
            "timings": {"total": 12000}}


def test_update_is_followed(daemon, run):
    def steps():
        daemon.change(1, State="waiting", Reason="A TD is being built.")
        daemon.change(1, State="uploading", Reason="The kernel has the image.", Attempts=1)
        for progress in (0.1, 0.2, 0.3):
            daemon.change(1, Progress=progress)
        daemon.change(1, State="backoff", Reason="The kernel answered busy; the next attempt is in 0.3 s.", AttemptLog=[attempt(1)])
        daemon.change(1, State="uploading", Reason="The kernel has the image.")
        daemon.change(1, State="verifying", Reason="Reading the version.", AttemptLog=[attempt(1), attempt(2, "success", "")])
        daemon.properties["RemainingUpdates"] = 8
        daemon.finish(1)

    daemon.on_apply = steps
    p = run("update", "1.5.13", "--deadline", "10min", "--reason", "why", "--drain", "--now", "--plan", "abc")
    assert (p.returncode, p.stderr) == (0, "")
    lines = p.stdout.splitlines()
    # What was over before the client looked is left out, and nothing older is shown after it.
    assert lines[0] == "Job 1: TDX module 1.5.05 -> 1.5.13"
    assert "  attempt 1  busy, the kernel said transferring:device-busy (12 ms)" in lines
    assert "  attempt 2  success (12 ms)" in lines
    assert lines[-1] == "The TDX module is now 1.5.13 (was 1.5.05): 2 attempts in 2.0 s, SVN 0x105 -> 0x107, 8 updates left."
    assert "  queued     Just queued." not in lines[2:]

    member, (version, options), interactive = daemon.calls[0]
    assert (member, version, interactive) == ("ApplyVersion", "1.5.13", True)
    assert 590e6 < options.pop("deadline") - time.time() * 1e6 < 601e6
    assert options == {"reason": "why", "drain": True, "now": True, "plan": "abc"}


def test_lines_in_a_pipe(daemon, start):
    p = start("update")
    read_until(p, "queued     Just queued.")
    daemon.change(1, State="waiting", Reason="A TD is being built.")
    read_until(p, "  waiting    A TD is being built.")
    daemon.change(1, State="uploading", Reason="Uploading.", Progress=0.5)
    read_until(p, "  uploading  Uploading.")
    daemon.change(1, Progress=0.7)
    daemon.finish(1)
    lines = read_until(p, "The TDX module is now 1.5.13")
    assert len(lines) == 1 and lines[0].endswith(", 9 updates left.")
    assert p.wait(10) == 0


RESULTS = [
    ("success", ("", ""), 0), ("already-current", ("", ""), 0), ("cancelled", ("", ""), 1),
    ("expired", (ERROR + "DeadlineExpired", "Too late."), 75), ("lost", (ERROR + "ModuleLost", "Gone."), 71),
    ("failed", (ERROR + "UploadFailed", "hw-error."), 70), ("failed", (ERROR + "VerifyFailed", "Other version."), 70),
    ("failed", (ERROR + "NoBudget", "None left."), 73), ("failed", (ERROR + "IncompatibleCpu", "No."), 76),
    ("failed", ("org.freedesktop.DBus.Error.IOError", "Unreadable."), 70), ("failed", ("", ""), 70),
]


@pytest.mark.parametrize("result,error,status", RESULTS)
def test_result_decides_the_exit_status(daemon, run, result, error, status):
    daemon.on_apply = lambda: daemon.finish(1, result, error)
    p = run("update")
    assert p.returncode == status
    assert error[1] in p.stderr
    p = run("wait", "1", "--json=short")
    assert p.returncode == status
    details = json.loads(p.stdout)
    assert (details["job"], details["result"], details["error"]) == (1, result, list(error))


@pytest.mark.parametrize("error", ["VerifyFailed", "UploadFailed"])
def test_what_runs_after_a_failure_is_the_daemons_to_say(daemon, run, error):
    daemon.on_apply = lambda: daemon.finish(1, "failed", (ERROR + error, "1.5.13 runs now, not 1.5.16."))
    p = run("update")
    assert "1.5.13 runs now, not 1.5.16." in p.stderr
    assert "still" not in p.stderr and "old module" not in p.stderr
    assert ("another TDX module" in p.stderr) == (error == "VerifyFailed")


def test_json_of_an_update(daemon, run):
    daemon.on_apply = lambda: daemon.finish(1)
    p = run("update", "--json=short")
    assert (p.returncode, json.loads(p.stdout)["to"], p.stderr) == (0, "1.5.13", "")


def test_suspects_are_named(daemon, run):
    daemon.on_apply = lambda: daemon.finish(1, **{"suspect-guests": [{"name": "vm1", "pid": 7, "evidence": "It began then."}]})
    assert 'VM "vm1" (PID 7)' in run("update").stderr


def test_no_wait(daemon, run):
    p = run("update", "--no-wait")
    assert (p.returncode, p.stdout) == (0, "Job 1: TDX module 1.5.05 -> 1.5.13, queued: Just queued.\n")
    assert json.loads(run("update", "--no-wait", "--json=short").stdout)["id"] == 1


def test_wait_takes_the_newest(daemon, start, run):
    p = run("wait")
    assert (p.returncode, p.stderr.splitlines()[0]) == (66, "tdxctl: There is no unfinished job.")
    daemon.add_job(1)
    daemon.add_job(2)
    p = start("wait")
    read_until(p, "Job 2: ")
    daemon.finish(1, "failed")
    daemon.finish(2)
    read_until(p, "is now 1.5.13")
    assert p.wait(10) == 0


def test_cancel(daemon, run):
    assert run("cancel").returncode == 66
    daemon.add_job(1)
    assert run("cancel").stdout == "Job 1 is cancelled; nothing was changed.\n"
    daemon.add_job(2)
    assert run("cancel").returncode == 64
    assert json.loads(run("cancel", "2", "--json=short").stdout)["id"] == 2
    daemon.errors["Cancel"] = (ERROR + "NotCancelable", "The kernel has it.")
    assert run("cancel", "2").returncode == 1


def test_daemon_restarts(daemon, start):
    p = start("update")
    read_until(p, "Just queued.")
    daemon.stop()
    read_until(p, "went away")
    daemon.jobs[1].update(State="backoff", Reason="Read again.", AttemptLog=[attempt(1)])
    daemon.start()
    lines = read_until(p, "Read again.")
    assert any("attempt 1" in line for line in lines)
    daemon.finish(1)
    read_until(p, "is now 1.5.13")
    assert p.wait(10) == 0


@pytest.mark.parametrize("readable", [True, False])
def test_job_ends_while_the_daemon_is_away(daemon, start, readable):
    p = start("update")
    read_until(p, "Just queued.")
    daemon.stop()
    daemon.finish(1, "failed", (ERROR + "UploadFailed", "As the history says."), signals=False)
    if not readable:
        del daemon.jobs[1]
    daemon.start()
    read_until(p, "As the history says.")
    assert p.wait(10) == 70


def test_job_without_history(daemon, start):
    p = start("update")
    read_until(p, "Just queued.")
    daemon.jobs[1].update(State="finished", Result="success")
    daemon.emit(mock.PATH, mock.MANAGER, "JobRemoved", GLib.Variant("(uos)", (1, daemon.path(1), "success")))
    read_until(p, "is now 1.5.13")
    assert p.wait(10) == 0


def test_job_is_unknown_after_the_restart(daemon, start):
    p = start("update")
    read_until(p, "Just queued.")
    daemon.stop()
    daemon.jobs.clear()
    daemon.start()
    read_until(p, "has come back without job 1")
    assert p.wait(10) == 66


def test_forged_signals_are_ignored(bus, daemon, start):
    p = start("update")
    read_until(p, "Just queued.")
    stranger = bus.connect()
    followers = [n for n in stranger.call_sync(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ListNames", None, None,
        mock.Gio.DBusCallFlags.NONE, -1, None).unpack()[0] if n.startswith(":")]
    for name in followers:
        stranger.emit_signal(name, daemon.path(1), mock.JOB, "Finished", GLib.Variant("(sa{sv})", ("success", {})))
    stranger.flush_sync(None)
    # The bus keeps the order: the stranger's signals arrive before this one, which is the daemon's.
    stranger.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", None, None,
                       mock.Gio.DBusCallFlags.NONE, -1, None)
    daemon.change(1, State="waiting", Reason="Really.")
    read_until(p, "Really.")
    daemon.finish(1, "cancelled")
    assert p.wait(10) == 1
    stranger.close_sync(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_the_job(daemon, start, number):
    p = start("update")
    read_until(p, "Just queued.")
    # The line is out when the job is read, the handlers come right after it.
    until(lambda: int(re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{p.pid}/status").read_text())[1], 16) & 1 << number - 1)
    p.send_signal(number)
    line = read_until(p, "tdxctl cancel 1")[0]
    assert "Job 1 goes on" in line and "tdxctl wait 1" in line
    assert p.wait(10) == 1
    assert "Cancel" not in [member for member, _, _ in daemon.calls]


@pytest.mark.parametrize("verb", ["update", "monitor"])
def test_bus_goes_away(tmp_path, environment, start, verb):
    bus = mock.Bus(tmp_path)
    daemon = mock.Mock(bus)
    daemon.connection.set_exit_on_close(False)
    environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
    p = start(verb)
    if verb == "update":
        read_until(p, "Just queued.")
    else:
        until(lambda: daemon.emit(mock.PATH, mock.MANAGER, "WindowOpened", None) or select.select([p.stdout], [], [], 0.05)[0])
    bus.close()
    read_until(p, "The connection to the bus broke")
    assert p.wait(10) == 69
    daemon.connection = None
    daemon.close()


def test_live_line(daemon, environment):
    main, side = pty.openpty()
    p = subprocess.Popen([TDXCTL, "update"], env=dict(environment, NO_COLOR="1"), stdin=side, stdout=side, stderr=side)
    os.close(side)
    seen = b""

    def has(text):
        nonlocal seen
        while select.select([main], [], [], 0)[0]:
            try:
                seen += os.read(main, 4096)
            except OSError:
                break
        return text in seen

    until(lambda: has(b"queued     Just queued."))
    daemon.change(1, State="uploading", Reason="The kernel has it.", Progress=0.5)
    until(lambda: has(b"[##########..........]  50 %  The kernel has it."))
    daemon.finish(1)
    until(lambda: has(b"is now 1.5.13"))
    assert p.wait(10) == 0
    assert b"\r\x1b[K" in seen and b"\x1b[3" not in seen
    os.close(main)


def test_monitor(daemon, start):
    p = start("monitor", "--json=pretty")
    until(lambda: (daemon.emit(mock.PATH, mock.MANAGER, "WindowOpened", None) or select.select([p.stdout], [], [], 0.05)[0]))
    assert json.loads(read_until(p, "WindowOpened")[-1])["path"] == mock.PATH
    daemon.add_job(1)
    daemon.change(1, State="waiting")
    event = json.loads(read_until(p, "PropertiesChanged")[-1])
    assert (event["path"], event["changed"]) == (daemon.path(1), {"State": "waiting"})
    daemon.finish(1)
    assert json.loads(read_until(p, '"Finished"')[-1])["details"]["to"] == "1.5.13"
    event = json.loads(read_until(p, "JobRemoved")[-1])
    assert (event["id"], event["job"], event["result"]) == (1, daemon.path(1), "success")
    daemon.stop()
    assert json.loads(read_until(p, "NameOwnerChanged")[-1])["new-owner"] == ""
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 0
