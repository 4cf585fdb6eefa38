# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Hold and ListHolds: who holds, for how long, and what is refused. What holds do to an update is in test_drain."""

import os
import select
import signal
import subprocess
import time

import pytest

from harness import BusError, as_user
from steps import settle

SECOND = 1_000_000
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
CHALLENGE = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
RULE = """if (action.id == "org.tdx.update1.hold" && subject.user == "daemon") return polkit.Result.YES;"""


def hold(host, what="update", who="who", why="why", mode="block", bus=None):
    return host.call("Hold", what, who, why, mode, bus=bus)


def refusal(host, *args, bus=None):
    with pytest.raises(BusError) as error:
        host.call("Hold", *args, bus=bus)
    return error.value


def held(host):
    return [h[1] for h in host.call("ListHolds")]


def wait_held(host, *who):
    host.wait(lambda: held(host) == list(who), f"held by {who}")


def descriptors(host):
    return len(os.listdir(f"/proc/{host.daemon.pid}/fd"))


@pytest.fixture
def member(host, polkit_rule):
    """The connection of a user whom a rule lets hold."""
    polkit_rule(RULE)
    bus = host.connect("daemon")

    def may():
        with pytest.raises(BusError) as error:
            host.call("EndBuild", 1, bus=bus)
        return error.value.id == "NoSuchHold"

    host.wait(may, "polkitd takes the rule", interval=0.05)
    yield bus
    bus.close_sync(None)


@pytest.mark.parametrize("what,mode", [("update", "block"), ("update", "delay"), ("build", "block"), ("migration", "block")])
def test_listed_until_it_is_closed(host, what, mode):
    record = host.record()
    before = time.time()
    assert host.get("Holds") == 0 and host.call("ListHolds") == []
    fd = hold(host, what, "backup", "a backup runs", mode)
    [(a, b, c, d, _unit, uid, pid, since)] = host.call("ListHolds")
    assert (a, b, c, d, uid, pid) == (what, "backup", "a backup runs", mode, 0, os.getpid())
    assert before <= since / SECOND <= time.time()
    host.wait(lambda: record.changes("Holds") == [1], "Holds is told")
    os.close(fd)
    wait_held(host)
    host.wait(lambda: record.changes("Holds") == [1, 0], "Holds is told")
    assert host.get("Holds") == 0


def test_oldest_first(host):
    fds = [hold(host, who=str(i)) for i in range(5)]
    os.close(fds.pop(2))
    wait_held(host, "0", "1", "3", "4")
    fds.append(hold(host, who="5"))
    assert held(host) == ["0", "1", "3", "4", "5"]
    host.daemon.crash()
    assert held(host) == ["0", "1", "3", "4", "5"]
    for fd in fds:
        os.close(fd)


def test_dies_with_its_holder(host):
    fd = hold(host)
    child = subprocess.Popen(["sleep", "600"], pass_fds=[fd])
    os.close(fd)
    settle(host)
    assert held(host) == ["who"]
    child.send_signal(signal.SIGSTOP)
    assert held(host) == ["who"]
    child.kill()
    child.wait(10)
    wait_held(host)


def test_the_descriptor_is_the_hold(host):
    """Not the connection that it came over."""
    bus = host.connect()
    fd = hold(host, bus=bus)
    bus.close_sync(None)
    host.sync()
    assert held(host) == ["who"]
    os.close(fd)
    wait_held(host)


def test_nobody_is_woken_by_what_is_written(host):
    fd = hold(host)
    assert os.write(fd, b"x" * 1000) == 1000
    settle(host)
    assert held(host) == ["who"]
    os.close(fd)
    wait_held(host)


# Over the daemon's end.

@pytest.mark.parametrize("again", ["restart", "crash"])
def test_survives(host, again):
    words = ("a=b\n%41\t\"ä\"", "because\nof = that")
    fds = [hold(host, "update", *words, "delay"), hold(host, "build", "b", "", "block")]
    before = host.call("ListHolds")
    for _ in range(2):
        getattr(host.daemon, again)()
        assert host.call("ListHolds") == before and host.get("Holds") == 2
    for fd in fds:
        assert select.select([], [fd], [], 0)[1]
        os.close(fd)
    wait_held(host)
    assert host.daemon.stored == []


def test_released_while_the_daemon_is_down(host):
    gone, stays = hold(host, who="gone"), hold(host, who="stays")
    host.daemon.restart_delay = 2
    starts = len(host.daemon.starts)
    host.daemon.kill()
    host.daemon.wait_exit(1)
    os.close(gone)
    assert len(host.daemon.starts) == starts
    host.daemon.wait_restarted(starts)
    assert held(host) == ["stays"]
    host.wait(lambda: len(host.daemon.stored) == 2, "nothing of the other is kept")
    os.close(stays)


def test_ends_with_a_stop(host):
    """As documented: systemd empties the fd store. Its holder sees that."""
    fd = hold(host)
    poll = select.poll()
    poll.register(fd, 0)
    assert poll.poll(0) == []
    host.daemon.stop()
    assert poll.poll(10_000) == [(fd, select.POLLERR)]
    host.daemon.start()
    assert held(host) == []
    os.close(fd)


# Who may.

def test_another_user(host, member):
    fd = hold(host, bus=member)
    with as_user("daemon"):
        uid = os.geteuid()
    assert [(h[5], h[6]) for h in host.call("ListHolds")] == [(uid, os.getpid())]
    os.close(fd)
    wait_held(host)


def test_a_user_without_the_right(host):
    bus = host.connect("nobody")
    assert refusal(host, "update", "who", "why", "block", bus=bus).name == CHALLENGE
    fd = hold(host)
    with pytest.raises(BusError) as error:
        host.call("ListHolds", bus=bus)
    assert error.value.name == CHALLENGE
    # Everybody may know that there are some.
    assert host.call("Get", "org.tdx.Update1", "Holds", interface="org.freedesktop.DBus.Properties", signature="(ss)", bus=bus) == 1
    assert held(host) == ["who"]
    os.close(fd)
    bus.close_sync(None)


def test_a_user_whom_a_rule_denies(host, polkit_rule):
    polkit_rule("""if (action.id == "org.tdx.update1.hold") return polkit.Result.NO;""")
    bus = host.connect("nobody")
    host.wait(lambda: refusal(host, "update", "who", "why", "block", bus=bus).name == DENIED, "polkitd takes the rule", interval=0.05)
    assert held(host) == []
    bus.close_sync(None)


# What is refused.

@pytest.mark.parametrize("args,words", [
    (("lunch", "w", "y", "block"), ("lunch", "update", "build", "migration")),
    (("", "w", "y", "block"), ("update", "build", "migration")),
    (("UPDATE", "w", "y", "block"), ("update",)),
    (("update", "w", "y", "later"), ("later", "block", "delay")),
    (("update", "w", "y", ""), ("block", "delay")),
    (("build", "w", "y", "delay"), ("build", "block")),
    (("migration", "w", "y", "delay"), ("migration", "block")),
    (("update", "", "y", "block"), ("who",)),
    (("update", "w" * 1025, "y", "block"), ("who", "1024")),
    (("update", "ä" * 513, "y", "block"), ("who", "1024")),
    (("update", "w", "y" * 1025, "block"), ("why", "1024")),
    (("x" * 10000, "w", "y", "block"), ("update",)),
], ids=lambda value: None)
def test_wrong_arguments(host, args, words):
    error = refusal(host, *args)
    assert error.name == INVALID
    for word in words:
        assert word in error.message
    assert len(error.message) < 500
    assert held(host) == [] and host.daemon.stored == []


def test_the_longest_words(host):
    who, why = "ä" * 512, "\n" * 1024
    fd = hold(host, "update", who, why)
    host.daemon.crash()
    assert [h[1:3] for h in host.call("ListHolds")] == [(who, why)]
    os.close(fd)


@pytest.mark.host(config_text="MaxHolds=3\nMaxHoldsPerUser=2")
def test_limits(host, member):
    fds = [hold(host), hold(host, "build")]
    error = refusal(host, "update", "who", "why", "block")
    assert error.id == "LimitExceeded" and "2" in error.message and "MaxHoldsPerUser=" in error.message
    fds.append(hold(host, bus=member))
    error = refusal(host, "update", "who", "why", "block", bus=member)
    assert error.id == "LimitExceeded" and "3" in error.message and "MaxHolds=" in error.message
    assert len(held(host)) == 3

    # The same after a crash, and room as soon as one is closed.
    host.daemon.crash()
    assert refusal(host, "update", "who", "why", "block").id == "LimitExceeded"
    os.close(fds.pop(0))
    host.wait(lambda: host.get("Holds") == 2, "the hold's end")
    fds.append(hold(host, bus=member))
    assert refusal(host, "update", "who", "why", "block").id == "LimitExceeded"
    for fd in fds:
        os.close(fd)


@pytest.mark.host(config_text="MaxHoldsPerUser=200")
def test_two_hundred(host):
    """Each takes one descriptor of the daemon and two of its fd store, and all come back."""
    hold_and_close = [hold(host) for _ in range(3)]
    for fd in hold_and_close:
        os.close(fd)
    wait_held(host)
    before = descriptors(host)

    fds = [hold(host, who=str(i)) for i in range(200)]
    host.wait(lambda: len(host.daemon.stored) == 400, "all are kept")
    host.wait(lambda: descriptors(host) == before + 200, "one descriptor a hold")
    assert refusal(host, "update", "who", "why", "block").id == "LimitExceeded"
    assert host.get("Holds") == 200
    host.daemon.restart()
    assert held(host) == [str(i) for i in range(200)]
    # Of what the test itself has passed on by accident, some is replaced by what was kept.
    before = descriptors(host) - 200
    assert before > 10

    for fd in fds:
        os.close(fd)
    wait_held(host)
    host.wait(lambda: host.daemon.stored == [], "nothing is kept")
    host.wait(lambda: descriptors(host) == before, "no descriptor is left")


def test_others_descriptors_are_dropped(host):
    """What another version of the daemon has stored is not kept for ever."""
    from tdxbox.service import Stored
    fd = hold(host)
    host.wait(lambda: len(host.daemon.stored) == 2, "it is kept")
    for name in ("hold-7", "other"):
        host.daemon.stored.append(Stored(name, os.memfd_create("x"), False))
    host.daemon.restart()
    assert held(host) == ["who"]
    host.wait(lambda: len(host.daemon.stored) == 2, "the others are dropped")
    assert "other" in host.log() and "hold-7" in host.log()
    os.close(fd)
