# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""BeginBuild and EndBuild: when an announcement is answered, and when it ends. Drains are in test_drain."""

import os
import signal
import time

import pytest
from gi.repository import Gio, GLib

from harness import JOB, MANAGER, NAME, PATH, BusError
from steps import call_without_waiting, settle, wait_blocked

SECOND = 1_000_000
HOUR = 3600 * SECOND
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
CHALLENGE = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
RULE = """if (action.id == "org.tdx.update1.hold" && subject.user == "daemon") return polkit.Result.YES;"""
TYPES = {"pid": "u", "machine": "s", "unit": "s"}
# The count of TDs cannot prove that there is none.
NO_COUNT = ["misc-tdx=absent"]


def begin(host, wait=0, hold=60 * SECOND, who="vmm", bus=None, **match):
    return host.call("BeginBuild", who, wait, hold, {k: GLib.Variant(TYPES[k], v) for k, v in match.items()}, bus=bus)


def refusal(function, *args, **options):
    with pytest.raises(BusError) as error:
        function(*args, **options)
    return error.value


def held(host):
    return [h[1] for h in host.call("ListHolds")]


class Waiter:
    """A call of BeginBuild that is not waited for; .answer is its id, or the error."""

    def __init__(self, host, who, wait=20 * SECOND, bus=None, answers=None):
        self.host, self.who, self.answer, self.time = host, who, None, None
        self.answers = answers if answers is not None else []
        bus = bus or host.bus
        arguments = GLib.Variant("(stta{sv})", (who, wait, 60 * SECOND, {}))
        bus.call(NAME, PATH, MANAGER, "BeginBuild", arguments, None, Gio.DBusCallFlags.NONE, 60_000, None, self._done)
        bus.flush_sync()

    def _done(self, bus, result):
        try:
            self.answer = bus.call_finish(result).unpack()[0]
        except GLib.Error as error:
            self.answer = BusError(error)
        self.time = time.monotonic()
        self.answers.append(self.who)

    def wait(self, timeout=20):
        self.host.wait(lambda: self.answer is not None, f"an answer to {self.who}", timeout)
        return self.answer


def arrived(host, *who):
    """The daemon keeps these calls."""
    host.wait(lambda: host.log().count(" waits for its build: ") >= len(who), f"{who} wait")


@pytest.fixture
def member(host, polkit_rule):
    """The connection of a user whom a rule lets hold."""
    polkit_rule(RULE)
    bus = host.connect("daemon")
    host.wait(lambda: refusal(host.call, "EndBuild", 1, bus=bus).id == "NoSuchHold", "polkitd takes the rule", interval=0.05)
    yield bus
    if not bus.is_closed():
        bus.close_sync(None)


@pytest.fixture
def critical(host):
    """An update in its critical section, until critical() lets it end."""
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    host.wait(lambda: not job.get("Cancelable"), "the kernel has the image")

    def let_go():
        host.sim.set(stuck="no")
        assert job.finish() == "success"

    return let_go


# At once.

def test_at_once(host):
    record = host.record()
    number = begin(host, machine="web", pid=4711, unit="web.service")
    assert number > 0
    [(what, who, why, mode, _unit, uid, pid, since)] = host.call("ListHolds")
    assert (what, who, mode, uid, pid) == ("build", "vmm", "block", 0, os.getpid())
    assert "web" in why and "4711" in why and "web.service" in why
    assert abs(since / SECOND - time.time()) < 10
    assert host.get("BlockedBy") == ["td-building"]
    assert host.call("EndBuild", number) is None
    assert held(host) == [] and host.get("BlockedBy") == []
    host.wait(lambda: record.changes("Holds") == [1, 0], "Holds is told")
    assert refusal(host.call, "EndBuild", number).id == "NoSuchHold"


def test_a_number_is_one_builds_only(host):
    numbers = [begin(host) for _ in range(10)]
    assert len(set(numbers)) == 10
    for number in numbers:
        host.call("EndBuild", number)
    host.daemon.restart()
    again = [begin(host) for _ in range(10)]
    assert not set(numbers) & set(again)
    for number in numbers:
        assert refusal(host.call, "EndBuild", number).id == "NoSuchHold"
    assert len(held(host)) == 10


def test_a_hold_is_no_announced_build(host):
    fd = host.call("Hold", "build", "who", "why", "block")
    name = next(s.name for s in host.daemon.stored)
    assert refusal(host.call, "EndBuild", int(name.removeprefix("hold-"))).id == "NoSuchHold"
    assert held(host) == ["who"]
    os.close(fd)


@pytest.mark.parametrize("arguments,words", [
    (("vmm", 0, 0, {}), ("hold_usec",)),
    (("", 0, HOUR, {}), ("who",)),
    (("w" * 1025, 0, HOUR, {}), ("who", "1024")),
    (("vmm", 0, HOUR, {"name": ("s", "web")}), ("name", "pid", "machine", "unit")),
    (("vmm", 0, HOUR, {"pid": ("s", "1")}), ("pid", "type s")),
    (("vmm", 0, HOUR, {"pid": ("t", 1)}), ("pid",)),
    (("vmm", 0, HOUR, {"machine": ("u", 1)}), ("machine",)),
    (("vmm", 0, HOUR, {"pid": ("u", 0)}), ("pid",)),
    (("vmm", 0, HOUR, {"machine": ("s", "")}), ("machine",)),
    (("vmm", 0, HOUR, {"unit": ("s", "")}), ("unit",)),
    (("vmm", 0, HOUR, {"unit": ("s", "u" * 256)}), ("255",)),
    (("vmm", 0, HOUR, {"machine": ("s", "m" * 256)}), ("255",)),
], ids=lambda value: None)
@pytest.mark.parametrize("busy", [False, True])
def test_wrong_arguments(host, request, arguments, words, busy):
    """Told at once, also when it would have to wait."""
    who, wait, hold, match = arguments
    if busy:
        critical = request.getfixturevalue("critical")
        wait = 20 * SECOND
    match = {k: GLib.Variant(*v) for k, v in match.items()}
    error = refusal(host.call, "BeginBuild", who, wait, hold, match, timeout=10)
    assert error.name == INVALID
    for word in words:
        assert word in error.message
    assert held(host) == []
    if busy:
        critical()


def test_a_key_twice(host):
    pair = GLib.VariantBuilder(GLib.VariantType("a{sv}"))
    for pid in (1, 2):
        pair.add_value(GLib.Variant.new_dict_entry(GLib.Variant("s", "pid"), GLib.Variant("v", GLib.Variant("u", pid))))
    arguments = GLib.Variant.new_tuple(GLib.Variant("s", "vmm"), GLib.Variant("t", 0), GLib.Variant("t", HOUR), pair.end())
    with pytest.raises(GLib.Error) as error:
        host.bus.call_sync(NAME, PATH, MANAGER, "BeginBuild", arguments, None, Gio.DBusCallFlags.NONE, -1, None)
    assert Gio.DBusError.get_remote_error(error.value) == INVALID and "twice" in error.value.message
    assert held(host) == []


@pytest.mark.host(config_text="MaxHolds=3\nMaxHoldsPerUser=2")
def test_limits(host, member):
    begin(host)
    begin(host)
    error = refusal(begin, host)
    assert error.id == "LimitExceeded" and "MaxHoldsPerUser=" in error.message
    begin(host, bus=member)
    error = refusal(begin, host, bus=member)
    assert error.id == "LimitExceeded" and "MaxHolds=" in error.message
    assert len(held(host)) == 3


def test_a_user_without_the_right(host):
    bus = host.connect("nobody")
    assert refusal(begin, host, bus=bus).name == CHALLENGE
    number = begin(host)
    assert refusal(host.call, "EndBuild", number, bus=bus).name == CHALLENGE
    assert held(host) == ["vmm"]
    bus.close_sync(None)


def test_only_the_same_user_ends_it(host, member):
    theirs, ours = begin(host, who="theirs", bus=member), begin(host, who="ours")
    assert refusal(host.call, "EndBuild", theirs).id == "NoSuchHold"
    assert refusal(host.call, "EndBuild", ours, bus=member).id == "NoSuchHold"
    assert held(host) == ["theirs", "ours"]
    # By another connection, as a hook's programs are.
    other = host.connect("daemon")
    host.call("EndBuild", theirs, bus=other)
    other.close_sync(None)
    assert held(host) == ["ours"]


# Waiting.

def test_no_wait(host, critical):
    began = time.monotonic()
    error = refusal(begin, host, wait=0)
    assert error.id == "Busy" and "1.5.06" in error.message and "within" not in error.message
    assert time.monotonic() - began < 5
    critical()
    assert held(host) == [] and begin(host) > 0


def test_answered_in_order(host, critical, member):
    """On one connection, so that the bus keeps the order of the answers; one of another user is between them."""
    answers, waiters = [], []
    for i in range(8):
        waiters.append(Waiter(host, str(i), bus=member if i == 3 else None, answers=answers))
        arrived(host, *range(i + 1))
    settle(host)
    assert answers == [] and held(host) == []
    critical()
    numbers = [w.wait() for w in waiters]
    assert all(isinstance(n, int) for n in numbers) and len(set(numbers)) == 8
    assert [a for a in answers if a != "3"] == [str(i) for i in range(8) if i != 3]
    assert held(host) == [str(i) for i in range(8)]
    host.call("EndBuild", numbers[3], bus=member)
    for number in numbers[:3] + numbers[4:]:
        host.call("EndBuild", number)
    assert held(host) == []


def test_the_wait_has_an_end(host, critical):
    began = time.monotonic()
    short, long = Waiter(host, "short", SECOND), Waiter(host, "long")
    error = short.wait()
    assert error.id == "Busy" and "1.5.06" in error.message and "1s" in error.message
    assert 1 <= short.time - began < 10
    assert long.answer is None and held(host) == []
    critical()
    assert isinstance(long.wait(), int) and held(host) == ["long"]


@pytest.mark.host(config_text="BuildWaitMaxSec=1s")
def test_the_wait_has_a_maximum(host, critical):
    began = time.monotonic()
    waiter = Waiter(host, "long", 2 ** 64 - 1)
    assert waiter.wait().id == "Busy" and 1 <= waiter.time - began < 10
    critical()


@pytest.mark.host(config_text="BuildWaitMaxSec=infinity")
def test_no_maximum(host, critical):
    waiter = Waiter(host, "long", 2 ** 64 - 1)
    arrived(host, "long")
    critical()
    assert isinstance(waiter.wait(), int)


def test_who_has_gone_builds_nothing(host, critical):
    bus = host.connect()
    Waiter(host, "gone", bus=bus)
    arrived(host, "gone")
    stays = Waiter(host, "stays")
    arrived(host, "gone", "stays")
    bus.close_sync(None)
    host.wait(lambda: "has gone while it waited" in host.log(), "the daemon knows")
    critical()
    assert isinstance(stays.wait(), int)
    assert held(host) == ["stays"]


def test_who_goes_in_the_last_moment_builds_nothing(host):
    """Its end and the update's are both news to the daemon, whichever it takes first."""
    host.sim.set(stuck="yes")
    job = host.apply("1.5.06")
    host.wait(lambda: not job.get("Cancelable"), "the kernel has the image")
    bus = host.connect()
    Waiter(host, "gone", bus=bus)
    arrived(host, "gone")
    os.kill(host.daemon.pid, signal.SIGSTOP)
    try:
        host.sim.set(stuck="no")
        bus.close_sync(None)
        host.sync()
    finally:
        os.kill(host.daemon.pid, signal.SIGCONT)
    assert job.finish() == "success"
    settle(host)
    assert held(host) == [] and host.daemon.stored == []


def test_who_goes_while_it_is_let_in_builds_nothing(host):
    """What lets it in is in the daemon's socket before the news of its end."""
    begin(host, who="running")
    job = host.apply("1.5.06", drain=True)
    job.wait_state("draining")
    bus = host.connect()
    Waiter(host, "gone", bus=bus)
    arrived(host, "gone")
    os.kill(host.daemon.pid, signal.SIGSTOP)
    try:
        call_without_waiting(host, "Cancel", path=job.path, interface=JOB)
        bus.close_sync(None)
        host.sync()
    finally:
        os.kill(host.daemon.pid, signal.SIGCONT)
    assert job.finish() == "cancelled"
    settle(host)
    assert held(host) == ["running"]


@pytest.mark.host(config_text="MaxHolds=3\nMaxHoldsPerUser=2")
def test_limits_of_those_who_wait(host, critical, member):
    waiters = [Waiter(host, "0"), Waiter(host, "1")]
    arrived(host, "0", "1")
    error = refusal(begin, host, wait=20 * SECOND)
    assert error.id == "Busy"       # and not LimitExceeded: it may not begin
    waiters.append(Waiter(host, "2", bus=member))
    arrived(host, "0", "1", "2")
    error = refusal(begin, host, wait=20 * SECOND, bus=member)
    assert error.id == "Busy"
    critical()
    assert all(isinstance(w.wait(), int) for w in waiters)
    assert held(host) == ["0", "1", "2"]


def test_a_stop_answers(host, critical):
    waiter = Waiter(host, "waits")
    arrived(host, "waits")
    host.daemon.stop()
    assert waiter.wait().id == "Busy"
    host.daemon.start()
    critical()
    assert held(host) == []


# The end.

def test_ends_by_time(host):
    began = time.monotonic()
    begin(host, hold=SECOND, who="short")
    number = begin(host, who="long")
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    host.wait(lambda: held(host) == ["long"], "the end of the time")
    assert time.monotonic() - began >= 1
    host.call("EndBuild", number)
    assert job.finish() == "success"


@pytest.mark.host(config_text="BuildHoldMaxSec=1s")
@pytest.mark.parametrize("hold", [HOUR, 2 ** 64 - 1])
def test_the_time_has_a_maximum(host, hold):
    began = time.monotonic()
    begin(host, hold=hold)
    assert held(host) == ["vmm"]
    host.wait(lambda: held(host) == [], "the end of the time")
    assert 1 <= time.monotonic() - began < 10


@pytest.mark.parametrize("again", ["restart", "crash"])
def test_survives(host, again):
    number = begin(host)
    begin(host, hold=SECOND, who="short")
    before = host.call("ListHolds")[:1]
    getattr(host.daemon, again)()
    assert host.call("ListHolds")[:1] == before
    host.wait(lambda: held(host) == ["vmm"], "the end of the time")
    host.call("EndBuild", number)
    assert held(host) == [] and host.daemon.stored == []


# By its VM.

# The simulator names the machine of the VM 4711 9 "web" as libvirt does, with its descriptor's number.
SCOPE = "machine-qemu\\x2d9\\x2dweb.scope"


@pytest.mark.host(set=NO_COUNT)
@pytest.mark.parametrize("match", [{"pid": 4711}, {"machine": "web"}, {"machine": "qemu-9-web"}, {"unit": SCOPE},
                                   {"pid": 4711, "machine": "web", "unit": SCOPE}], ids=str)
@pytest.mark.parametrize("job", [False, True])
def test_ends_by_its_vm(host, match, job):
    begin(host, hold=HOUR, **match)
    job = job and host.apply("1.5.06")
    host.sim.ctl("vm", "create", "4711", "9", "1", "web")
    assert held(host) == ["vmm"]
    host.sim.ctl("vm", "run", "4711", "9")
    host.wait(lambda: host.get("Holds") == 0, "the end by the VM")
    assert held(host) == [] and host.daemon.stored == []
    if job:
        assert job.finish() == "success"


@pytest.mark.host(set=NO_COUNT)
@pytest.mark.parametrize("match", [{}, {"pid": 4712}, {"machine": "we"}, {"unit": "web.scope"},
                                   {"pid": 4711, "machine": "db"}], ids=str)
def test_another_vm_does_not_end_it(host, match):
    number = begin(host, hold=HOUR, **match)
    host.sim.ctl("vm", "create", "4711", "9", "1", "web")
    host.sim.ctl("vm", "run", "4711", "9")
    host.wait(lambda: host.get("Building") == 0, "the VM runs")
    assert held(host) == ["vmm"]
    host.call("EndBuild", number)


@pytest.mark.host(set=NO_COUNT)
@pytest.mark.parametrize("again", [False, True])
def test_an_older_vm_does_not_end_it(host, again):
    """One that is there when the next of its name is announced."""
    host.sim.ctl("vm", "create", "4711", "9", "1", "web")
    host.sim.ctl("vm", "run", "4711", "9")
    host.wait(lambda: host.get("Building") == 0 and host.get("Guests") == 1, "the VM runs")
    since = host.call("ListGuests")[0]["since"]
    # The two times are compared with a tolerance of a second.
    host.wait(lambda: time.time() * SECOND > since + 1.5 * SECOND, "the VM is older")
    begin(host, hold=HOUR, machine="web")
    if again:
        host.daemon.crash()
    assert host.get("Building") == 0
    assert held(host) == ["vmm"]


@pytest.mark.host(set=NO_COUNT, config_text="MaxHoldsPerUser=1")
def test_those_that_are_over_take_no_room(host):
    """No job waits, so nobody looks whether their VMs run until there is no room."""
    fd = None
    for i in range(3):
        begin(host, hold=HOUR, pid=4711 + i)
        host.sim.ctl("vm", "create", str(4711 + i), "9")
        host.sim.ctl("vm", "run", str(4711 + i), "9")
    fd = host.call("Hold", "update", "who", "why", "block")
    assert refusal(begin, host).id == "LimitExceeded"
    os.close(fd)
