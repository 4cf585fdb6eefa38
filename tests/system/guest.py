# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The programs that the system tests hold in their hands: VMMs, readers of the probes, the
loader."""

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TDX_BUILD", TOP / "build")).resolve()
PINS = "/sys/fs/bpf/tdx-updated"
LOCKDOWN = Path("/sys/kernel/security/lockdown")
# Bounds, not waits: the machine may be emulated, and slow.
TIMEOUT = 30


class ProgramError(AssertionError):
    """A program did not answer, or ended."""


class Talker:
    """A program that answers lines with lines."""

    def __init__(self, *argv):
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, bufsize=0)
        self.rest = b""

    @property
    def pid(self):
        return self.process.pid

    def send(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    def line(self, timeout=TIMEOUT):
        end = time.monotonic() + timeout
        while b"\n" not in self.rest:
            left = max(end - time.monotonic(), 0)
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise ProgramError(f"{self.process.args[-1]}: no answer within {timeout} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise ProgramError(f"{self.process.args[-1]} ended: {self.process.wait()}")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def kill(self):
        """SIGKILL, and until it is gone with all that it had open."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process.stdout.close()


class Refused(Exception):
    """The kernel said no to a VMM; the text is strerror's."""


class Maker(Talker):
    """A VMM: tests/system/vm-maker. ask("make", 0, 1) makes the VM 0 with one vCPU."""

    def __init__(self):
        super().__init__(BUILD / "tests/system/vm-maker")
        self.leaked = []    # TDs that outlive it

    def answer(self, timeout=TIMEOUT):
        word, _, rest = self.line(timeout).partition(" ")
        if word != "ok":
            raise Refused(rest)
        return rest

    def ask(self, *words, timeout=TIMEOUT):
        self.send(" ".join(map(str, words)))
        return self.answer(timeout)

    def run(self, vm, vcpu=0):
        """The times before KVM_RUN and at the first exit (CLOCK_MONOTONIC)."""
        start, first = self.ask("run", vm, vcpu).split()
        return float(start), float(first)

    def td(self, *words):
        if words[0] == "leak":
            self.leaked.append(words[1])
        return self.ask("td", *words)


@dataclass(frozen=True)
class Build:
    """One line of what the daemon's reader sees; the kernel's pointer is a name only."""
    td: str
    pid: int
    since: int      # usec, CLOCK_REALTIME
    began: int      # usec, CLOCK_BOOTTIME
    state: str
    name: str


@dataclass
class Picture:
    unavailable: str = None
    doubt: str = None
    complete: bool = False
    attached: int = 0
    told: bool = False      # of a change since the picture before
    builds: tuple = ()

    def states(self, pid=None):
        """(pid, state) of each, sorted; of one process its states alone."""
        found = sorted((b.pid, b.state) for b in self.builds)
        return found if pid is None else [state for who, state in found if who == pid]


class Reader(Talker):
    """The daemon's own reader of the probes: tests/system/builds-reader."""

    def __init__(self, *prefix, pins=PINS):
        super().__init__(*prefix, BUILD / "tests/system/builds-reader", pins)

    def read(self):
        self.send("read")
        return self._picture()

    def wait(self, timeout=TIMEOUT):
        """When it has been told of a change since the last picture (.told), or after the timeout."""
        self.send(f"wait {timeout * 1000}")
        return self._picture(timeout + TIMEOUT)

    def _picture(self, timeout=TIMEOUT):
        picture, builds = Picture(), []
        while line := self.line(timeout):
            word, _, rest = line.partition(" ")
            if word == "build":
                td, pid, since, began, state, name = rest.split(" ", 5)
                builds.append(Build(td, int(pid), int(since), int(began), state, name))
            elif word == "complete":
                picture.complete = rest == "1"
            elif word == "from":
                picture.attached = int(rest)
            elif word == "told":
                picture.told = rest == "1"
            elif word in ("unavailable", "doubt"):
                setattr(picture, word, rest)
            else:
                raise ProgramError(f"builds-reader said: {line}")
        picture.builds = tuple(builds)
        return picture


def probe(*arguments, prefix=(), status=0):
    """tdx-updated-probe; what it printed."""
    done = subprocess.run([*prefix, BUILD / "bpf/tdx-updated-probe", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT)
    assert done.returncode == status, done.stdout
    return done.stdout


def only_capabilities(*names):
    """A command prefix: root's uid, and of all capabilities these alone, for good."""
    wanted = ",".join(("-all", *(f"+{name}" for name in names)))
    return ("setpriv", "--inh-caps", wanted, "--ambient-caps", wanted, "--bounding-set", wanted,
            "--no-new-privs", "--")
