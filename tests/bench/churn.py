# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Builds begin at random while updates are asked for: who gets hurt, and who is told?

The daemon, the bus and the simulated kernel are real processes; a build takes hundredths of a second instead
of seconds. One loop plays all VMMs and the one who asks for updates. What happened is judged afterwards from
the simulator's log (CLOCK_MONOTONIC), which nobody here writes.
"""

import os
import random
import re
import socket
import statistics
import time
from dataclasses import dataclass, field

from gi.repository import Gio, GLib

NAME = "org.tdx.Update1"
PATH = "/org/tdx/Update1"
JOB = "org.tdx.Update1.Job"
SECOND = 1_000_000
FROM, TO = "1.5.05", "1.5.06"
UPLOAD = "sys/class/firmware/tdx_module"

# What the VMMs do: announce (BeginBuild), hold (Hold), neither; and plain VMs without a TD.
KINDS = ("announced", "held", "alone", "plain")


class SimError(Exception):
    pass


class Sim:
    """The simulator's control socket; see sim/README.md."""

    def __init__(self, path):
        self.path = str(path)

    def ctl(self, *words):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(self.path)
            s.sendall("\n".join(map(str, words)).encode() + b"\n\n")
            parts = []
            while part := s.recv(65536):
                parts.append(part)
        answer = b"".join(parts).decode()
        if not answer.startswith("ok\n"):
            raise SimError(f"{' '.join(map(str, words))}: {answer}")
        return answer[3:]


def drive(steps, value=None):
    """Runs a generator: it yields milliseconds, or a function that takes a callback for its answer."""
    try:
        wanted = steps.send(value)
    except StopIteration:
        return
    if callable(wanted):
        wanted(lambda answer: drive(steps, answer))
    else:
        GLib.timeout_add(max(int(wanted), 0), lambda: drive(steps))


class Bus:
    """Calls that do not wait; an error is an answer: its id. The VMMs have connections of their own."""

    def __init__(self, connection, others=()):
        self.connection = connection
        self.others = list(others) or [connection]
        self.next = 0
        self.finished = {}      # job path -> (result, details), or the callback that waits for it
        connection.signal_subscribe(NAME, JOB, "Finished", None, None, Gio.DBusSignalFlags.NONE, self._on_finished)

    def _on_finished(self, _bus, _sender, path, _interface, _signal, args):
        wanted, self.finished[path] = self.finished.get(path), args.unpack()
        if callable(wanted):
            wanted(self.finished[path])

    def as_vmm(self):
        self.next += 1
        return self.others[self.next % len(self.others)]

    def call(self, member, signature, *args, timeout=60_000, on=None):
        def start(callback):
            def done(connection, result):
                try:
                    reply, fds = connection.call_with_unix_fd_list_finish(result)
                except GLib.Error as error:
                    name = Gio.DBusError.get_remote_error(error) or error.domain
                    callback(name.rpartition(".")[2])
                    return
                values = reply.unpack()
                callback(fds.get(0) if reply.get_type_string() == "(h)" else values[0] if values else None)

            (on or self.connection).call_with_unix_fd_list(
                NAME, PATH, NAME, member, GLib.Variant(signature, args) if signature else None, None,
                Gio.DBusCallFlags.NO_AUTO_START, timeout, None, None, done)
        return start

    def end_of(self, path):
        def start(callback):
            known = self.finished.get(path)
            if known is None:
                self.finished[path] = callback
            else:
                GLib.idle_add(lambda: callback(known))
        return start


@dataclass
class Settings:
    seed: int = 1
    rate: float = 40            # VMs a second
    seconds: float = 20         # in which VMs are made
    build: tuple = (5, 45)      # milliseconds of a build
    kinds: tuple = KINDS
    drain: bool = False
    patience: float = 5         # seconds until a request expires
    pause: float = 20           # milliseconds between two requests
    cgroup: str = ""            # that the VMMs are in


@dataclass
class Request:
    asked: float                # CLOCK_MONOTONIC, seconds
    ended: float = 0
    result: str = ""
    attempts: int = 0
    looks: list = field(default_factory=list)   # usec from look to handover, of attempts that were handed over
    suspects: list = field(default_factory=list)


class Churn:
    """Makes the VMs; whoever updates is a generator that is given to run()."""

    def __init__(self, sim, settings, bus=None):
        self.sim, self.settings, self.bus = sim, settings, bus
        self.random = random.Random(settings.seed)
        self.made = self.alive = self.refused = 0
        self.kind_of = {}
        self.waits = []         # seconds that a VMM waited for BeginBuild
        self.requests = []
        self.stopping = False

    def span(self, low, high):
        return self.random.uniform(low, high)

    def arrivals(self):
        end = time.monotonic() + self.settings.seconds
        due = time.monotonic()
        while time.monotonic() < end:
            due += self.random.expovariate(self.settings.rate)
            yield max(due - time.monotonic(), 0) * 1000
            self.made += 1
            self.alive += 1
            kind = self.settings.kinds[self.made % len(self.settings.kinds)]
            self.kind_of[100_000 + self.made] = kind
            drive(self.life(100_000 + self.made, kind))
        self.stopping = True

    def life(self, pid, kind):
        token = yield from self.announce(kind)
        self.sim.ctl("vm", "create", pid, 9)
        yield self.span(1, 4)
        begun = kind != "plain" and self.begin(pid)
        if begun:
            length = self.span(*self.settings.build)
            for part in range(4):
                self.sim.ctl("td", "add", pid, f"{pid} {part}")
                yield length / 4
            self.sim.ctl("td", "finalize", pid)
        yield self.span(0, 2)
        self.sim.ctl("vm", "run", pid, 9)
        yield from self.let_go(kind, token)
        yield self.span(20, 100)
        if begun:
            self.sim.ctl("td", "destroy", pid)
        self.sim.ctl("vm", "destroy", pid, 9)
        self.alive -= 1

    def begin(self, pid):
        """The kernel refuses it while BuildGate=misc keeps the cgroup shut."""
        try:
            self.sim.ctl("td", "begin", pid, pid, *([self.settings.cgroup] if self.settings.cgroup else []))
        except SimError:
            self.refused += 1
            return False
        return True

    def announce(self, kind):
        while self.bus and kind in ("announced", "held"):
            asked = time.monotonic()
            if kind == "announced":
                answer = yield self.bus.call("BeginBuild", "(stta{sv})", "churn", 10 * SECOND, 60 * SECOND, {},
                                             on=self.bus.as_vmm())
            else:
                answer = yield self.bus.call("Hold", "(ssss)", "build", "churn", "a build", "block",
                                             on=self.bus.as_vmm())
            self.waits.append(time.monotonic() - asked)
            if isinstance(answer, int):
                return answer
            yield 10            # Busy, or too many: try again
        return None

    def let_go(self, kind, token):
        if token is not None and kind == "announced":
            yield self.bus.call("EndBuild", "(u)", token, on=self.bus.as_vmm())
        elif token is not None:
            os.close(token)

    def run(self, updates):
        """Until the VMs are gone and the one who updates has ended."""
        loop = GLib.MainLoop()
        ended = []

        def wrapped():
            yield from updates
            ended.append(True)

        def look():
            if self.stopping and self.alive == 0 and ended:
                loop.quit()
            return True

        drive(self.arrivals())
        drive(wrapped())
        watch = GLib.timeout_add(20, look)
        loop.run()
        GLib.source_remove(watch)

    # Who asks for updates.

    def with_daemon(self):
        while not self.stopping:
            request = Request(time.monotonic())
            self.requests.append(request)
            options = {"deadline": GLib.Variant("t", int((time.time() + self.settings.patience) * SECOND))}
            if self.settings.drain:
                options["drain"] = GLib.Variant("b", True)
            path = yield self.bus.call("ApplyVersion", "(sa{sv})", TO, options)
            if not path.startswith("/"):
                request.result = path
                yield self.settings.pause
                continue
            request.result, details = yield self.bus.end_of(path)
            request.ended = time.monotonic()
            request.attempts = len(details["attempts"])
            request.looks = [a["timings"]["look-to-handover"] for a in details["attempts"]
                             if "look-to-handover" in a["timings"] and a["outcome"] not in ("aborted", "interrupted")]
            request.suspects = [g["pid"] for g in details["suspect-guests"]]
            self.sim.ctl("set", f"module={FROM}", "remaining=1000")
            yield self.settings.pause

    def on_the_files(self, mount, image, retry):
        """Without a daemon: write the image, wait for the end, and again after `retry` ms if it was refused."""
        node = mount / UPLOAD
        while not self.stopping:
            request = Request(time.monotonic())
            self.requests.append(request)
            while not request.result and not self.stopping:
                request.attempts += 1
                (node / "loading").write_text("1")
                with open(node / "data", "wb", buffering=0) as data:
                    for at in range(0, len(image), 4096):
                        data.write(image[at:at + 4096])
                (node / "loading").write_text("0")
                yield 1
                while (node / "status").read_text() != "idle\n":
                    yield 1
                if self.sim.ctl("get", "module").strip() == TO:
                    request.result, request.ended = "success", time.monotonic()
                else:
                    yield retry
            self.sim.ctl("set", f"module={FROM}", "remaining=1000")
            yield self.settings.pause


@dataclass
class Verdict:
    builds: int = 0
    updates: int = 0
    asked: int = 0
    results: dict = field(default_factory=dict)
    corrupted: int = 0
    existed: int = 0            # corrupted, although their VM existed at the last look
    cooperative: int = 0        # corrupted, although announced or held
    silent: int = 0             # corrupted, and not named
    named: int = 0              # named, corrupted or not
    attempts: float = 0         # mean
    wait: list = field(default_factory=list)    # seconds to success
    first_gap: list = field(default_factory=list)
    gap: list = field(default_factory=list)     # usec from look to handover
    refused: int = 0
    vmm_wait: float = 0         # longest, seconds


LINE = re.compile(r"^(\d+\.\d+) (.*)$")


def read_log(text):
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            yield float(match[1]), match[2].split()


def gaps(events):
    """(from, to) of the times in which no TD was in its build."""
    building, since, found = set(), 0.0, []
    for when, words in events:
        if words[:2] == ["td", "begin"]:
            if not building:
                found.append((since, when))
            building.add(words[2])
        elif words[:2] in (["td", "finalize"], ["td", "destroy"], ["td", "dead"]) and words[2] in building:
            building.discard(words[2])
            if not building:
                since = when
    found.append((since, float("inf")))
    return found


def judge(churn, log):
    events = list(read_log(log))
    requests = churn.requests
    created = {int(w[2].partition("-")[0]): when for when, w in events if w[:2] == ["vm", "create"]}
    queued = [when for when, w in events if w[0] == "upload" and w[2:3] == ["queued,"]]
    installed = [(int(w[1]), when) for when, w in events if w[0] == "upload" and w[2:3] == ["success,"]]
    # The looks of the attempts that were handed over, in the order of the uploads.
    looks = [look for r in requests for look in r.looks]
    owner = [r for r in requests for _ in r.looks]
    by_daemon = len(looks) == len(queued)

    v = Verdict(builds=sum(w[:2] == ["td", "begin"] for _, w in events), updates=len(installed), asked=len(requests),
                refused=churn.refused, vmm_wait=max(churn.waits, default=0))
    for r in requests:
        v.results[r.result] = v.results.get(r.result, 0) + 1
        v.named += len(r.suspects)
    for when, words in events:
        if words[:2] != ["td", "corrupted"]:
            continue
        v.corrupted += 1
        pid = int(words[3])
        v.cooperative += bool(churn.bus) and churn.kind_of[pid] in ("announced", "held")
        if by_daemon:
            upload = max(i for i, q in enumerate(queued) if q <= when)
            v.existed += created[pid] < queued[upload] - looks[upload] / 1e6
            v.silent += pid not in owner[upload].suspects
    good = [r for r in requests if r.result == "success"]
    v.attempts = statistics.mean(r.attempts for r in good) if good else 0
    v.wait = [r.ended - r.asked for r in good]
    free = gaps(events)
    v.first_gap = [next(max(begin, r.asked) for begin, end in free if end > r.asked) - r.asked for r in good]
    v.gap = looks if by_daemon else []
    return v


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0


HEAD = (f"{'world':5} {'load':6} {'who':22} {'builds':>6} {'updates':>7} {'corrupt':>7} {'existed':>7} {'silent':>6} {'named':>5} "
        f"{'tries':>5} {'wait p50':>8} {'p99 s':>7} {'1st gap':>7} {'look us':>7} {'p99':>6}")


def row(world, load, who, v):
    return (f"{world:5} {load:6} {who:22} {v.builds:6} {v.updates:7} {v.corrupted:7} {v.existed:7} {v.silent:6} {v.named:5} "
            f"{v.attempts:5.1f} {percentile(v.wait, .5):8.3f} {percentile(v.wait, .99):7.3f} {percentile(v.first_gap, .5):7.3f} "
            f"{percentile(v.gap, .5):7.0f} {percentile(v.gap, .99):6.0f}")
