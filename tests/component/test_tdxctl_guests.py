# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""tdxctl's verbs about VMs, holds, announced builds and reasons, against a service that answers what a test wants."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest
from tdxctl_mock import ERROR, TDXCTL, GLib, until

GUEST = {"pid": 4711, "start-time": GLib.Variant("t", 1234567), "name": "qemu-system-x86", "machine": "qemu-3-web",
         "unit": "machine-qemu\\x2d3\\x2dweb.scope", "is-td": "yes", "phase": "building", "since": GLib.Variant("t", 10**15),
         "tier": "T1", "evidence": "The probes saw its build begin."}
HOLD = ("update", "backup", "nightly", "block", "backup.service", 1000, 77, 10**15)


def blocker(name, severity="wait", text="So it is.", **more):
    return {"id": name, "severity": severity, "text": text, **more}


# guests and holds

def test_guests(daemon, run):
    assert run("guests").stdout == "KVM reports no VM.\n"
    daemon.guests = [GUEST, {"pid": 9, "phase": "running", "unit": "vm.service"}]
    lines = run("guests").stdout.splitlines()
    assert lines[0].split() == ["PID", "NAME", "MACHINE", "TD", "PHASE", "SINCE", "TIER", "EVIDENCE"]
    assert lines[1].split(maxsplit=9) == ["4711", "qemu-system-x86", "qemu-3-web", "yes", "building", "2001-09-09", "01:46:40", "UTC",
                                          "T1", "The probes saw its build begin."]
    assert lines[2].split() == ["9", "-", "vm.service", "-", "running", "-", "-", "-"]
    guests = json.loads(run("guests", "--json=short").stdout)
    assert guests[0] == {**GUEST, "start-time": 1234567, "since": 10**15}
    assert [c for c in daemon.calls if c[0] == "ListGuests"][0][2] is True, "polkit may ask"


def test_holds(daemon, run):
    assert run("holds").stdout == "Nobody keeps updates off, and no build is announced.\n"
    daemon.holds = [HOLD]
    lines = run("holds").stdout.splitlines()
    assert lines[0].split() == ["WHAT", "MODE", "WHO", "UID", "PID", "UNIT", "SINCE", "WHY"]
    assert lines[1].split() == ["update", "block", "backup", "1000", "77", "backup.service", "2001-09-09", "01:46:40", "UTC", "nightly"]
    assert json.loads(run("holds", "--json=short").stdout) == [
        {"what": "update", "who": "backup", "why": "nightly", "mode": "block", "unit": "backup.service", "uid": 1000, "pid": 77,
         "since": 10**15}]


@pytest.mark.parametrize("verb,member", [("guests", "ListGuests"), ("holds", "ListHolds")])
def test_lists_that_are_refused(daemon, run, verb, member):
    daemon.errors[member] = ("org.freedesktop.DBus.Error.AccessDenied", "Only administrators.")
    p = run(verb, "--json=short")
    assert (p.returncode, json.loads(p.stdout)["error"]["name"]) == (77, "AccessDenied")
    assert p.stderr == "tdxctl: Only administrators.\n"


def test_terminal_is_safe_from_guests(daemon, run):
    daemon.guests = [dict(GUEST, name="evil\x1b[2J")]
    daemon.holds = [("update", "evil\x1b[2J", "x", "block", "", 1, 2, 3)]
    for verb in ("guests", "holds"):
        assert "evil\\x1b[2J" in run(verb).stdout


def on_terminal(environment, columns, *arguments):
    """What a terminal of so many columns gets."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    p = subprocess.Popen([TDXCTL, "--no-pager", *arguments], env=dict(environment, NO_COLOR="1"), stdin=side, stdout=side, stderr=side)
    os.close(side)
    text = b""
    end = time.monotonic() + 10
    while select.select([main], [], [], max(0, end - time.monotonic()))[0]:
        try:
            part = os.read(main, 4096)
        except OSError:     # EIO: nobody has the other side any more
            break
        text += part
    assert p.wait(10) == 0
    os.close(main)
    return text.decode().replace("\r\n", "\n")


def test_narrow_terminal(daemon, environment):
    daemon.guests = [GUEST, dict(GUEST, pid=4712)]
    wide = on_terminal(environment, 200, "guests")
    assert len(wide.splitlines()) == 3
    narrow = on_terminal(environment, 60, "guests")
    for line in ("     PID: 4711", " MACHINE: qemu-3-web", "EVIDENCE: The probes saw its build begin.", "     PID: 4712"):
        assert line in narrow.splitlines()
    assert max(len(line) for line in narrow.splitlines()) <= 60
    # Exactly as wide as it has to be is wide enough.
    needed = max(len(line.rstrip()) for line in wide.splitlines())
    assert len(on_terminal(environment, needed, "guests").splitlines()) == 3
    assert len(on_terminal(environment, needed - 1, "guests").splitlines()) > 3


# why

PLAN = {"from": "1.5.05", "to": "1.5.13", "token": "abc", "allowed": True, "steps": [], "blockers": []}


def test_why_nothing(daemon, run):
    daemon.plan = dict(PLAN, blockers=[blocker("stepping-unlisted", "note")])
    p = run("why")
    assert (p.returncode, p.stdout, p.stderr) == (0, "Nothing keeps an update to 1.5.13 from starting.\n", "")
    assert json.loads(run("why", "--json=short").stdout) == {"to": "1.5.13", "blockers": []}


def test_why_of_an_update(daemon, run):
    daemon.plan = dict(PLAN, blockers=[
        blocker("held", text="Backup keeps updates off.", subject="backup", until=GLib.Variant("t", 10**15)),
        blocker("td-building", text="A TD is being built.", subject="web")])
    p = run("why", "1.5.13")
    assert p.returncode == 75
    assert p.stdout.splitlines() == [
        "What keeps an update to 1.5.13 from starting:",
        "            wait  held: Backup keeps updates off. [backup] (until 2001-09-09 01:46:40 UTC)",
        "            wait  td-building: A TD is being built. [web]"]
    assert daemon.calls[-1][:2] == ("Plan", ("1.5.13", {}))
    answer = run("why", "--json=short")
    assert answer.returncode == 75
    assert [b["id"] for b in json.loads(answer.stdout)["blockers"]] == ["held", "td-building"]
    assert json.loads(answer.stdout)["blockers"][0]["until"] == 10**15


@pytest.mark.parametrize("name,status", [("downgrade", 76), ("no-budget", 73), ("module-lost", 71), ("already-current", 0)])
def test_why_it_is_refused(daemon, run, name, status):
    daemon.plan = dict(PLAN, allowed=False, blockers=[blocker(name, "hard", "No."), blocker("td-building")])
    p = run("why")
    assert p.returncode == status
    assert f"            hard  {name}: No." in p.stdout.splitlines()


def test_why_of_the_first_job(daemon, run):
    daemon.add_job(3, State="waiting", Reason="Two things.", ToVersion="1.5.16", NextAttempt=2 * 10**15)
    daemon.add_job(4)
    daemon.properties.update(Jobs=[daemon.path(3), daemon.path(4)], BlockedBy=["td-building", "td-building", "backoff"])
    # The plan sees the window too; the job was told to step over it.
    daemon.plan = dict(PLAN, blockers=[blocker("outside-window"), blocker("td-building", text="One.", subject="a"),
                                       blocker("td-building", text="Two.", subject="b")])
    p = run("why")
    assert p.returncode == 75
    assert p.stdout.splitlines() == [
        "What keeps job 3 (to 1.5.16, waiting) from starting:",
        "            wait  td-building: One. [a]",
        "            wait  td-building: Two. [b]",
        "            wait  backoff: Two things. (until 2033-05-18 03:33:20 UTC)"]
    assert [c[1] for c in daemon.calls if c[0] == "Plan"] == [("1.5.16", {})]
    answer = json.loads(run("why", "3", "--json=short").stdout)
    assert (answer["job"], answer["to"], [b["text"] for b in answer["blockers"]]) == (3, "1.5.16", ["One.", "Two.", "Two things."])
    # That nothing blocks it is the daemon's word too.
    daemon.properties["BlockedBy"] = []
    p = run("why", "3")
    assert (p.returncode, p.stdout) == (0, "Nothing keeps job 3 (to 1.5.16, waiting) from starting.\n")


def test_why_of_a_job_that_is_refused_now(daemon, run):
    daemon.add_job(3, State="waiting", Reason="It will be told.")
    daemon.properties.update(Jobs=[daemon.path(3)], BlockedBy=["no-budget"])
    daemon.errors["Plan"] = (ERROR + "NoSuchVersion", "There is no image of it.")
    p = run("why")
    assert (p.returncode, p.stdout.splitlines()[1]) == (73, "            hard  no-budget: It will be told.")


def test_why_of_another_job(daemon, run):
    daemon.add_job(3, State="waiting", ToVersion="1.5.06")
    daemon.add_job(4, ToVersion="1.5.16")
    daemon.properties.update(Jobs=[daemon.path(3), daemon.path(4)], BlockedBy=["held"])
    daemon.plan = dict(PLAN, blockers=[blocker("held", text="Held.")])
    p = run("why", "4")
    assert p.returncode == 75
    assert p.stdout.splitlines() == ["What keeps job 4 (to 1.5.16, queued) from starting:",
                                     "            wait  job 3 is before it in the queue; what keeps that one:", "            wait  held: Held."]
    answer = json.loads(run("why", "4", "--json=short").stdout)
    assert (answer["job"], answer["behind"], answer["to"]) == (4, 3, "1.5.16")
    daemon.properties["BlockedBy"] = []
    assert run("why", "4").returncode == 75


def test_why_of_a_job_that_runs_or_ended(daemon, run):
    daemon.add_job(3, State="uploading", Reason="The kernel has the image.")
    daemon.properties.update(Jobs=[daemon.path(3)], BlockedBy=["foreign-upload"])
    p = run("why")
    assert (p.returncode, p.stdout) == (0, "Job 3 has started: The kernel has the image.\n")
    daemon.jobs[3].update(State="finished", Result="success")
    p = run("why", "3")
    assert p.returncode == 64 and "tdxctl show 3" in p.stderr
    assert run("why", "9").returncode == 66


def test_why_is_already_current(daemon, run):
    daemon.errors["Plan"] = (ERROR + "AlreadyCurrent", "It runs.")
    p = run("why", "1.5.05")
    assert (p.returncode, p.stdout) == (0, "already running 1.5.05: It runs.\n")
    daemon.errors["Plan"] = (ERROR + "NoSuchVersion", "There is none.")
    assert run("why", "1.5.99").returncode == 66


# What to ignore

def test_options_of_a_request(daemon, run):
    daemon.plan = PLAN
    daemon.on_apply = lambda: daemon.finish(1)
    options = ("--drain", "--now", "--ignore-activity", "--ignore-guest=4711:5", "--ignore-guest", "7:8")
    for verb in (["plan"], ["why", "1.5.13"], ["update"]):
        assert run(*verb, *options).returncode == 0, verb
        given = [c[1][1] for c in daemon.calls if c[0] in ("Plan", "ApplyVersion")][-1]
        assert given == {"drain": True, "now": True, "ignore-activity": True, "ignore-guests": [(4711, 5), (7, 8)]}
    assert "ListGuests" not in [c[0] for c in daemon.calls]
    command = "tdxctl update 1.5.13 --plan abc --drain --now --ignore-activity --ignore-guest=4711:5 --ignore-guest=7:8\n"
    assert run("plan", *options).stdout.endswith(f"   Do just this: {command}")


def test_start_times_are_looked_up(daemon, run):
    daemon.plan = PLAN
    daemon.guests = [dict(GUEST, pid=1), GUEST]
    assert run("plan", "--ignore-guest=4711", "--ignore-guest=7:8").returncode == 0
    assert daemon.calls[-1][1][1] == {"ignore-guests": [(4711, 1234567), (7, 8)]}
    assert [c[0] for c in daemon.calls] == ["ListGuests", "Plan"]

    del daemon.calls[:]
    p = run("update", "--ignore-guest=4711", "--ignore-guest=99", "--json=short")
    assert (p.returncode, json.loads(p.stdout)["error"]["name"]) == (66, "NoSuchGuest")
    assert "process 99" in p.stderr
    daemon.guests = [{"pid": 4711}]
    p = run("update", "--ignore-guest=4711")
    assert p.returncode == 64 and "--ignore-guest=4711:START" in p.stderr
    daemon.errors["ListGuests"] = ("org.freedesktop.DBus.Error.AccessDenied", "No.")
    assert run("update", "--ignore-guest=4711").returncode == 77
    assert "ApplyVersion" not in [c[0] for c in daemon.calls]


# begin-build and end-build

def test_begin_build(daemon, run):
    p = run("begin-build", "--who=libvirt")
    assert (p.returncode, p.stdout, p.stderr) == (0, "5\n", "")
    assert daemon.calls[-1] == ("BeginBuild", ("libvirt", 20 * 10**6, 120 * 10**6, {}), True)
    p = run("begin-build", "--who", "x", "--wait=1500ms", "--hold=1h", "--machine=qemu-3-web", "--unit=a.scope", "--pid=7", "--json=short")
    assert json.loads(p.stdout) == {"id": 6}
    assert daemon.calls[-1][1] == ("x", 1500000, 3600 * 10**6, {"machine": "qemu-3-web", "unit": "a.scope", "pid": 7})
    p = run("end-build", "5")
    assert (p.returncode, p.stdout, daemon.builds) == (0, "", {6: "x"})
    assert json.loads(run("end-build", "6", "--json=short").stdout) == {"id": 6}
    assert run("end-build", "6").returncode == 66


@pytest.mark.parametrize("name,status", [("Busy", 75), ("LimitExceeded", 75)])
def test_begin_build_is_refused(daemon, run, name, status):
    daemon.errors["BeginBuild"] = (ERROR + name, "Not now.")
    p = run("begin-build", "--who=x", "--json=short")
    assert (p.returncode, json.loads(p.stdout)["error"]["name"], p.stderr) == (status, name, "tdxctl: Not now.\n")


def test_begin_build_waits_longer_than_other_calls(daemon, environment, start):
    """sd-bus gives up on other calls much earlier than the time that was asked for, which this makes visible."""
    environment["SYSTEMD_BUS_TIMEOUT"] = "100ms"
    daemon.build_wait = threading.Event()
    p = start("begin-build", "--who=x", "--wait=10s")
    until(lambda: daemon.calls)
    with pytest.raises(subprocess.TimeoutExpired):
        p.wait(0.5)
    daemon.build_wait.set()
    assert (p.wait(10), p.stdout.read()) == (0, "5\n")


def test_begin_build_gives_up(daemon, run):
    """wait + 5 s is how long an answer can take; a daemon that never answers does not stop a VMM for ever."""
    daemon.build_wait = threading.Event()
    before = time.monotonic()
    p = run("begin-build", "--who=x", "--wait=0")
    assert p.returncode == 69
    assert 4.9 < time.monotonic() - before < 15
    daemon.build_wait.set()


# hold

def test_hold(daemon, start, run, tmp_path):
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    p = start("hold", "--what=update", "--why=because", "--", "sh", "-c", f"echo runs; read x <{fifo}; exit 7")
    assert p.stdout.readline() == "runs\n"
    assert daemon.calls == [("Hold", ("update", "sh", "because", "block"), True)]
    assert daemon.held()
    fifo.write_text("\n")
    assert (p.wait(10), p.stdout.read()) == (7, "")
    until(lambda: not daemon.held())

    assert run("hold", "--what=update", "--why=x", "--mode=delay", "--who=me", "--", "true").returncode == 0
    assert daemon.calls[-1][1] == ("update", "me", "x", "delay")


def test_hold_passes_everything_on(daemon, run, environment):
    p = run("hold", "--what=build", "--why=x", "--", "printf", "%s,", "--json=short", "-H", "a b", "--", "")
    assert (p.returncode, p.stdout, p.stderr) == (0, "--json=short,-H,a b,--,,", "")
    p = subprocess.run([TDXCTL, "hold", "--what=build", "--why=x", "--", "cat"], env=environment, input="through", text=True,
                       capture_output=True, timeout=20)
    assert (p.returncode, p.stdout) == (0, "through")


def test_hold_is_not_inherited(daemon, run, tmp_path):
    """Something that the command leaves running must not hold for ever."""
    p = run("hold", "--what=build", "--why=x", "--", "sh", "-c", f"sleep 30 >/dev/null 2>&1 & echo $! >{tmp_path}/pid; ls /proc/self/fd")
    assert p.returncode == 0
    try:
        until(lambda: not daemon.held())
        assert len(p.stdout.split()) == 4, "0, 1, 2 and ls's own"
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_hold_command_that_cannot_run(daemon, run, tmp_path):
    p = run("hold", "--what=build", "--why=x", "--json=short", "--", "no-such-command")
    assert (p.returncode, json.loads(p.stdout)["error"]["name"]) == (127, "CommandNotFound")
    (tmp_path / "text").write_text("x")
    p = run("hold", "--what=build", "--why=x", "--", str(tmp_path / "text"))
    assert (p.returncode, p.stdout) == (126, "")
    assert p.stderr == f"tdxctl: {tmp_path}/text cannot be started: Permission denied\n"
    for pipe in range(2):
        until(lambda: not daemon.held(pipe))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_hold_passes_signals_on(daemon, start, number):
    p = start("hold", "--what=build", "--why=x", "--", "sh", "-c", f"trap 'echo got; exit 3' {number.value}; echo ready; while :; do sleep 0.05; done")
    assert p.stdout.readline() == "ready\n"
    p.send_signal(number)
    assert p.stdout.readline() == "got\n"
    assert p.wait(10) == 3


def test_hold_of_a_command_that_is_killed(daemon, run):
    assert run("hold", "--what=build", "--why=x", "--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_hold_dies_with_its_holder(daemon, start):
    """And the command with it: what was to be protected does not go on unprotected."""
    p = start("hold", "--what=build", "--why=x", "--", "sh", "-c", "echo $$; exec sleep 60")
    command = int(p.stdout.readline())
    p.kill()
    p.wait(10)
    until(lambda: not daemon.held())
    # Gone, or left over for the init of this place to reap.
    until(lambda: not os.path.exists(f"/proc/{command}") or
          re.search(r"^State:\s+Z", open(f"/proc/{command}/status").read(), re.M))


TELL_SIGNALS = """
import signal, time
signals = {signal.SIGINT, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while True:
    info = signal.sigwaitinfo(signals)
    print("got", signal.Signals(info.si_signo).name, "from", info.si_pid, flush=True)
    if info.si_signo == signal.SIGUSR1:
        break
"""


def test_hold_signals_of_the_terminal_come_once(daemon, environment):
    """Ctrl-C reaches the whole foreground group by itself; tdxctl adds none of its own, and stays until its command ends."""
    main, side = pty.openpty()
    p = subprocess.Popen([TDXCTL, "hold", "--what=build", "--why=x", "--", "/usr/bin/python3", "-c", TELL_SIGNALS],
                         env=environment, stdin=side, stdout=side, stderr=side, start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
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

    until(lambda: has(b"ready"))
    os.write(main, b"\x03")
    until(lambda: has(b"got SIGINT from 0"))
    assert daemon.held()
    # This one is for tdxctl alone, and comes behind anything that it passed on before.
    p.send_signal(signal.SIGUSR1)
    until(lambda: has(b"got SIGUSR1"))
    assert p.wait(10) == 0
    assert seen.count(b"got SIGINT") == 1
    os.close(main)


def test_hold_is_lost(daemon, start, tmp_path):
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    p = start("hold", "--what=build", "--why=x", "--", "sh", "-c", f"echo runs; read x <{fifo}; exit 4")
    assert p.stdout.readline() == "runs\n"
    os.close(daemon.pipes.pop())
    assert "the hold is gone" in p.stdout.readline()
    fifo.write_text("\n")
    assert (p.wait(10), p.stdout.read()) == (4, ""), "it is said once"


@pytest.mark.parametrize("error,status", [("Busy", 75), ("LimitExceeded", 75)])
def test_hold_that_is_refused_runs_nothing(daemon, run, tmp_path, error, status):
    daemon.errors["Hold"] = (ERROR + error, "Not now.")
    p = run("hold", "--what=build", "--why=x", "--", "touch", str(tmp_path / "ran"))
    assert (p.returncode, p.stderr) == (status, "tdxctl: Not now.\n")
    assert not (tmp_path / "ran").exists()


def test_hold_does_not_cross_ssh(daemon, run, environment, tmp_path):
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    p = run("-H", "other", "hold", "--what=build", "--why=x", "--", "touch", str(tmp_path / "ran"))
    assert p.returncode == 64 and "ssh" in p.stderr and "other" in p.stderr
    assert not (tmp_path / "ran").exists()


# Usage, and a daemon that is not there

@pytest.mark.parametrize("arguments", [
    ("hold", "--what=build", "--why=x"), ("hold", "--what=build", "--why=x", "--"), ("hold", "--what=build", "--why=x", "true"),
    ("hold", "--what=build", "--why=x", "true", "--", "true"), ("hold", "--what=build", "--", "true"), ("hold", "--why=x", "--", "true"),
    ("hold", "--what=build", "--why=x", "--wait=1s", "--", "true"), ("guests", "x"), ("holds", "x"), ("guests", "--drain"),
    ("begin-build",), ("begin-build", "--who=x", "y"), ("begin-build", "--who=x", "--wait=soon"), ("begin-build", "--who=x", "--hold="),
    ("begin-build", "--who=x", "--pid=0"), ("begin-build", "--who=x", "--pid=4294967296"), ("begin-build", "--who=x", "--machine="),
    ("begin-build", "--who=x", "--mode=block"), ("end-build",), ("end-build", "x"), ("end-build", "0"), ("end-build", "1", "2"),
    ("why", "1", "2"), ("why", "--deadline=1h"), ("plan", "--reason=x"), ("update", "--ignore-guest=x"), ("status", "--ignore-activity"),
])
def test_usage(daemon, run, arguments):
    p = run("--json=short", *arguments)
    assert p.returncode == 64
    assert json.loads(p.stdout)["error"]["exit-status"] == 64
    assert p.stderr.startswith("tdxctl: ")
    assert daemon.calls == []


@pytest.mark.parametrize("arguments", [
    ("guests",), ("holds",), ("why",), ("why", "1.5.13"), ("why", "3"), ("plan", "--ignore-guest=3"), ("begin-build", "--who=x"),
    ("end-build", "5"), ("hold", "--what=build", "--why=x", "--", "true"),
])
def test_no_daemon(bus, run, arguments):
    p = run("--json=short", *arguments)
    assert p.returncode == 69
    assert json.loads(p.stdout)["error"]["name"] == "ServiceUnknown"


def test_help(run):
    text = run("help").stdout
    for verb in ("why", "guests", "holds", "hold", "begin-build", "end-build"):
        assert re.search(rf"^  {verb}\b", text, re.M), verb
    assert max(len(line) for line in text.splitlines()) < 120


# TDs that may have been harmed

SUSPECTS = {"suspect-guests": [
    {"name": "qemu", "pid": 7, "machine": "qemu-3-web", "unit": "u.scope", "since": GLib.Variant("t", 10**15), "evidence": "It began then."},
    {"name": "vm2", "pid": 8, "unit": "vm.service"}]}
WARNING = ["tdxctl: WARNING: a TD may have been in its build while job 1 updated the module to 1.5.13.",
           "tdxctl: The measurement of these TDs may be wrong; rebuild them:",
           'tdxctl:   VM "qemu" (PID 7, qemu-3-web, since 2001-09-09 01:46:40 UTC): It began then.',
           'tdxctl:   VM "vm2" (PID 8, vm.service)']


@pytest.mark.parametrize("arguments", [("update",), ("wait", "1"), ("show", "1"), ("history",)])
def test_suspects(daemon, run, arguments):
    daemon.add_job(1)
    daemon.finish(1, **SUSPECTS)
    p = run(*arguments)
    assert (p.returncode, p.stderr.splitlines()) == (0, WARNING)
    p = run("--json=short", *arguments)
    assert p.stderr.splitlines() == WARNING
    answer = json.loads(p.stdout)
    guests = (answer[0] if arguments == ("history",) else answer)["suspect-guests"]
    assert [g["pid"] for g in guests] == [7, 8] and guests[0]["machine"] == "qemu-3-web"


def test_no_suspects_no_warning(daemon, run):
    daemon.add_job(1)
    daemon.finish(1)
    for arguments in (("update",), ("wait", "1"), ("show", "1"), ("history",)):
        assert run(*arguments).stderr == ""
