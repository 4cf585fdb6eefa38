# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""No wakeups while idle: strace counts the daemon's system calls.

A turn of the event loop ends in epoll_wait; the calls of a turn belong together, and the
turn belongs to what it does: "watchdog" (it sends WATCHDOG=1) or "other".
"""

import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from tdxbox.process import Process

IDLE_SECONDS = 30
CALL = re.compile(r"^(?:\[pid\s+\d+\]\s+|\d+\s+)?(\d+\.\d+) (?:<\.\.\. )?(\w+)(.*)$")


class Trace:
    def __init__(self, host):
        self.host = host
        self.file = host.dir / "strace"
        self.process = Process(["strace", "-f", "-ttt", "-s", "200", "-o", self.file, "-p", host.daemon.pid],
                               output=host.dir / "strace.log")

    def attached(self):
        status = Path(f"/proc/{self.host.daemon.pid}/status").read_text()
        return re.search(r"^TracerPid:\t[1-9]", status, re.M)

    def end(self):
        self.process.kill(signal.SIGINT)
        self.process.wait(5)

    def calls(self):
        """(time, name, rest), without those that strace's own coming and going makes."""
        found = []
        for line in self.file.read_text().splitlines():
            match = CALL.match(line)
            if match:
                found.append((float(match.group(1)), match.group(2), match.group(3)))
        return found

    def turns(self):
        """The calls of each turn. That strace comes interrupts a wait; what the loop does until it
        waits again is no turn of its own."""
        turns, turn, waiting = [], [], False
        for when, name, rest in self.calls():
            if name in ("epoll_wait", "epoll_pwait", "epoll_pwait2", "ppoll", "restart_syscall"):
                if turn and waiting:
                    turns.append(turn)
                waiting = waiting or "EINTR" not in rest and "resumed" not in rest
                turn = []
            else:
                turn.append((when, name, rest))
        return turns + ([turn] if turn and waiting else [])


def kind(turn):
    return "watchdog" if any("WATCHDOG=1" in rest for _, _, rest in turn) else "other"


@pytest.fixture
def trace(host):
    if not shutil.which("strace"):
        pytest.skip("strace is missing")
    traces = []

    def begin():
        made = Trace(host)
        traces.append(made)
        try:
            host.wait(lambda: made.attached() or made.process.poll() is not None, "strace attaches")
        finally:
            if made.process.poll() is not None:
                pytest.skip("strace cannot attach here: " + (host.dir / "strace.log").read_text().strip())
        return made

    yield begin
    for made in traces:
        made.end()


def watch(host, seconds):
    """The time that is measured; signals are taken meanwhile, as by any client."""
    end = time.monotonic() + seconds
    host.wait(lambda: time.monotonic() > end, "the end of the time", seconds + 5, interval=0.5)


def show(turns):
    return "\n\n".join("\n".join(f"{when:.3f} {name}{rest[:150]}" for when, name, rest in t) for t in turns)


@pytest.mark.host(watchdog=20)
def test_only_the_watchdog(host, trace):
    """With a client that listens to every signal, and a watchdog that is due in the time."""
    host.record()
    host.get_all()
    made = trace()
    pings = len([m for m in host.daemon.messages if "WATCHDOG" in m])
    watch(host, IDLE_SECONDS)
    made.end()
    turns = made.turns()
    other = [t for t in turns if kind(t) == "other"]
    assert other == [], f"calls that are not the watchdog's:\n{show(other)}"
    ours = [t for t in turns if kind(t) == "watchdog"]
    assert 1 <= len(ours) <= 3, show(turns)
    assert len([m for m in host.daemon.messages if "WATCHDOG" in m]) - pings == len(ours)
    # A ping is what sd_notify(3) does, a new time for the next, and nothing else.
    assert all(len(t) <= 16 for t in ours), show(ours)


@pytest.mark.host(watchdog=300, busy=1)
def test_nothing_at_all(host, trace):
    """WatchdogSec=5min as in the unit, after a job that had to back off: no ping is due."""
    assert host.apply("1.5.06").finish() == "success"
    assert host.ctl("status").status == 0
    # The turn that follows the last reply is over when another call is answered.
    host.get_all()
    made = trace()
    watch(host, IDLE_SECONDS)
    made.end()
    assert made.turns() == [], show(made.turns())


@pytest.mark.host(set=["misc-tdx=1"])
def test_a_waiting_job_polls_and_stops(host, trace):
    """About four times a second while it waits, not at all when it is cancelled."""
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    made = trace()
    watch(host, 3)
    cancelled = time.time()
    job.cancel()
    host.get_all()
    marker = time.time()
    watch(host, 2)
    made.end()
    looks = [when for when, name, rest in made.calls()
             if "misc.current" in rest and name.startswith("open") and when < cancelled]
    # Before and after it looks at the VMs.
    assert 8 <= len(looks) / 2 <= 16, looks
    after = [t for t in made.turns() if t[0][0] > marker + 0.2]
    assert after == [], show(after)


def test_a_signal_of_others_does_not_wake_it(host, trace):
    """Clients come and go, names change owners, others send signals: none of it is for the daemon."""
    host.get_all()
    made = trace()
    watch(host, 0.2)
    marker = time.time()
    for _ in range(3):
        connection = host.connect()
        connection.emit_signal(None, "/org/example", "org.example", "Happened", None)
        connection.flush_sync(None)
        connection.close_sync(None)
    host.run("busctl", "--no-pager", "list")
    host.sync()
    watch(host, 0.5)
    made.end()
    after = [t for t in made.turns() if t[0][0] > marker]
    # busctl list asks each name for nothing but its credentials, and those from the bus.
    assert after == [], show(after)
