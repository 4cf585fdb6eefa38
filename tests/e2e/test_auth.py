# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Who may do what, asked of the real polkitd.

Four users stand for four cases: nobody has no rule, so that the action's default counts;
daemon has a rule that says yes, games one that says no, mail one that wants a password.
"""

import os
import signal
from pathlib import Path

import pytest
from gi.repository import Gio, GLib

from harness import JOB, MANAGER, NAME, PATH, PROPERTIES, BusError, Job

DBUS_ERROR = "org.freedesktop.DBus.Error."
DENIED = DBUS_ERROR + "AccessDenied"
CHALLENGE = DBUS_ERROR + "InteractiveAuthorizationRequired"

RULE = '''
    if (action.id.indexOf("org.tdx.update1.") != 0) return polkit.Result.NOT_HANDLED;
    if (subject.user == "daemon") return polkit.Result.YES;
    if (subject.user == "games") return polkit.Result.NO;
    if (subject.user == "mail") return polkit.Result.AUTH_ADMIN;
    return polkit.Result.NOT_HANDLED;
'''

# The contract: which action a call needs.
GUARDED = {
    "Apply": ("apply", ()),
    "ApplyVersion": ("apply", ("1.5.06", {})),
    "ApplyVersion unsafe": ("apply-unsafe", ("1.5.06", {"ignore_activity": True})),
    "ApplyVersion guests": ("apply-unsafe", ("1.5.06", {"ignore_guests": [(1, 1)]})),
    "Hold": ("hold", ("update", "me", "a test", "block")),
    "BeginBuild": ("hold", ("me", 0, 0, {})),
    "EndBuild": ("hold", (1,)),
    "ListHolds": ("inspect-guests", ()),
    "ListGuests": ("inspect-guests", ()),
    "ImportImage": ("manage-images", (0, {})),
    "SetDesiredVersion": ("set-desired", ("newest",)),
    "Refresh": ("refresh", ()),
}
FREE = {
    "Plan": ("", {}), "ListImages": (), "InspectImage": (0,), "ListJobs": (), "GetJob": (1,),
    "GetHistory": (0, 0), "Diagnose": (), "GetMetrics": (), "DescribeConfig": (),
}


def outcome(host, name, args, bus=None, **options):
    """The error's name, or "" for an answer."""
    fds = []
    try:
        if name.split()[0] in ("ImportImage", "InspectImage"):
            fds = [os.memfd_create("test")]
        host.call(name.split()[0], *args, bus=bus, fds=fds, **options)
        return ""
    except BusError as error:
        return error.name
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def user(host):
    """user("games"): that user's connection."""
    connections = {}

    def connect(name):
        if name not in connections:
            connections[name] = host.connect(name)
        return connections[name]

    yield connect
    for connection in connections.values():
        connection.close_sync(None)


@pytest.fixture
def rules(host, user, polkit_rule):
    polkit_rule(RULE)
    host.wait(lambda: outcome(host, "Refresh", (), user("daemon")) == "", "polkitd takes the rule",
              interval=0.05)


def test_every_member_is_in_the_table(host):
    members = {m.name for m in host.introspect().lookup_interface(MANAGER).methods}
    assert {n.split()[0] for n in GUARDED} | set(FREE) == members


@pytest.mark.host(set=["misc-tdx=1", "cpus-online=0-2"])
def test_guarded_methods(host, user, rules):
    wrong = []
    for name, (action, args) in GUARDED.items():
        for interactive in (False, True):
            for who, wanted in (("nobody", {CHALLENGE}), ("games", {DENIED}), ("mail", {CHALLENGE})):
                found = outcome(host, name, args, user(who), interactive=interactive)
                if found not in wanted:
                    wrong.append((name, who, interactive, found))
        assert host.call("ListJobs") == [], name
        for who in ("daemon", None):
            found = outcome(host, name, args, user(who) if who else None)
            if found in (DENIED, CHALLENGE):
                wrong.append((name, who, found))
        for number, *_ in host.call("ListJobs"):
            host.job(number).cancel()
    assert wrong == []


def test_free_methods(host, user, rules):
    """Whoever asks: the same answer as root's, or the same error."""
    for name, args in FREE.items():
        wanted = outcome(host, name, args)
        assert wanted not in (DENIED, CHALLENGE)
        for who in ("nobody", "games", "mail", "daemon"):
            assert outcome(host, name, args, user(who)) == wanted, (name, who)
    for who in ("nobody", "games"):
        values = host.call("GetAll", MANAGER, path=PATH, interface=PROPERTIES, signature="(s)", bus=user(who))
        assert values["ModuleVersion"] == "1.5.05"
        host.call("Introspect", interface="org.freedesktop.DBus.Introspectable", bus=user(who))
        host.call("GetManagedObjects", interface="org.freedesktop.DBus.ObjectManager", bus=user(who))
        assert host.ctl("status", user=who).status == 0
        assert host.ctl("plan", user=who).status == 0


def test_texts(host, user, rules):
    """A refusal says what to do."""
    for who in ("nobody", "games"):
        with pytest.raises(BusError) as error:
            host.call("Apply", bus=user(who))
        assert "root" in error.value.message
        result = host.ctl("--json=short", "update", user=who)
        assert result.status == 77
        assert result.json["error"]["exit-status"] == 77
        assert "root" in result.stderr
    assert host.running_version() == "1.5.05"


@pytest.mark.host(set=["misc-tdx=1"])
def test_bad_requests_are_refused_first(host, user):
    """No password is asked for what cannot be done anyway."""
    for args in (("x", {}), ("1.5.06", {"reason": "x" * 2000}), ("1.5.06", {"deadline": 1})):
        assert outcome(host, "ApplyVersion", args, user("nobody")) == DBUS_ERROR + "InvalidArgs", args


# Jobs of others.

def cancel(host, job, bus=None, **options):
    try:
        host.call("Cancel", path=job.path, interface=JOB, bus=bus, **options)
        return ""
    except BusError as error:
        return error.name


@pytest.mark.host(set=["misc-tdx=1"])
def test_cancel(host, user, rules):
    """Free for the job's own user, else the action `cancel`."""
    own = Job(host, host.call("ApplyVersion", "1.5.06", {}, bus=user("daemon")))
    roots = host.apply("1.5.13")
    assert own.get("Requester") == 1 and roots.get("Requester") == 0
    for job in (own, roots):
        for interactive in (False, True):
            assert cancel(host, job, user("nobody"), interactive=interactive) == CHALLENGE
            assert cancel(host, job, user("mail"), interactive=interactive) == CHALLENGE
            assert cancel(host, job, user("games"), interactive=interactive) == DENIED
        assert job.get("State") != "finished"
    assert cancel(host, roots, user("daemon")) == ""        # by the rule
    assert cancel(host, own) == ""                          # root
    assert [job.get("Result") for job in (own, roots)] == ["cancelled"] * 2


@pytest.mark.host(set=["misc-tdx=1"])
def test_cancel_of_ones_own(host, user, polkit_rule):
    """Who may only apply can take back what they asked for, and only that."""
    polkit_rule('if (action.id == "org.tdx.update1.apply" && (subject.user == "nobody" || subject.user == "games"))'
                ' return polkit.Result.YES;')
    jobs = []

    def applied():
        try:
            jobs.append(Job(host, host.call("Apply", bus=user("nobody"))))
            return True
        except BusError as error:
            assert error.name == CHALLENGE
            return False

    host.wait(applied, "polkitd takes the rule", interval=0.05)
    other = Job(host, host.call("ApplyVersion", "1.5.06", {}, bus=user("games")))
    assert cancel(host, other, user("nobody")) == CHALLENGE
    assert cancel(host, jobs[0], user("games")) == CHALLENGE
    assert host.ctl("cancel", "2", user="nobody").status == 77
    assert cancel(host, jobs[0], user("nobody")) == ""
    assert host.ctl("cancel", "2", user="games").status == 0
    # The same request by another user is another job: nobody can cancel mine through theirs.
    assert jobs[0].path != other.path


def test_rule_sees_the_version(host, user, polkit_rule):
    polkit_rule('if (action.id == "org.tdx.update1.apply" && subject.user == "nobody")'
                ' return action.lookup("version") == "1.5.06" ? polkit.Result.YES : polkit.Result.NO;')
    host.wait(lambda: outcome(host, "ApplyVersion", ("1.5.13", {}), user("nobody")) == DENIED,
              "polkitd takes the rule", interval=0.05)
    assert outcome(host, "Apply", (), user("nobody")) == DENIED
    job = Job(host, host.call("ApplyVersion", "1.5.06", {}, bus=user("nobody")))
    assert job.finish() == "success"
    assert job.get("Requester") == 65534
    assert host.history()[0]["requester"] == 65534


# polkitd is slow, or gone.

def asleep(process):
    text = Path(f"/proc/{process.pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def polkit_sleeps(host, world):
    """polkitd does not answer until wake()."""
    world.polkitd.kill(signal.SIGSTOP)
    host.wait(lambda: asleep(world.polkitd), "polkitd stops")

    def wake():
        world.polkitd.kill(signal.SIGCONT)

    yield wake
    wake()


@pytest.fixture
def polkit_gone(host, world):
    world.polkitd.end()
    world.processes.remove(world.polkitd)
    yield
    world._start_polkitd()
    world.wait_for_polkitd()


class Pending:
    """Calls of another user, sent without waiting for their answers."""

    def __init__(self, host, bus):
        self.host, self.bus, self.answers, self.sent = host, bus, [], 0

    def send(self, count=1, member="Refresh", args=None, path=PATH, interface=MANAGER):
        for _ in range(count):
            self.sent += 1
            self.bus.call(NAME, path, interface, member, args, None, Gio.DBusCallFlags.NO_AUTO_START, 60000, None,
                          self._done)

    def _done(self, bus, result):
        try:
            bus.call_finish(result)
            self.answers.append("")
        except GLib.Error as error:
            self.answers.append(BusError(error).name)

    def wait(self, count=None):
        count = self.sent if count is None else count
        self.host.wait(lambda: len(self.answers) >= count, f"{count} answers", 20)
        return self.answers


@pytest.mark.host(set=["misc-tdx=1"])
def test_slow_polkit_stops_nobody_else(host, user, polkit_sleeps):
    pending = Pending(host, user("nobody"))
    pending.send()
    assert host.apply("1.5.06").get("FromVersion") == "1.5.05"      # root's go on
    assert host.call("Plan", "1.5.13", {}, bus=user("games"))["allowed"]
    host.job(1).cancel()
    assert pending.answers == []
    polkit_sleeps()
    assert pending.wait() == [CHALLENGE]


@pytest.mark.host(set=["misc-tdx=1"])
def test_caller_vanishes(host, user, world, rules):
    """While polkit thinks: whatever it will say, nothing happens."""
    world.polkitd.kill(signal.SIGSTOP)
    try:
        host.wait(lambda: asleep(world.polkitd), "polkitd stops")
        leaving = host.connect("daemon")
        pending = Pending(host, leaving)
        pending.send(member="Apply")
        pending.send(member="ApplyVersion", args=GLib.Variant("(sa{sv})", ("1.5.13", {})))
        leaving.flush_sync(None)
        # The daemon has them when it answers what was sent after them.
        host.call("ListJobs", bus=leaving)
        leaving.close_sync(None)
        host.sync()
    finally:
        world.polkitd.kill(signal.SIGCONT)
    # polkitd works in order: when it has answered this, it has answered those.
    assert outcome(host, "Refresh", (), user("games")) == DENIED
    assert host.call("ListJobs") == [] and host.history() == []
    assert host.daemon.failures() == []


def test_too_many_requests(host, user, polkit_sleeps, world):
    """200 that wait for polkit: the last are turned away at once, and all places are given back."""
    for again in range(2):
        if again:
            world.polkitd.kill(signal.SIGSTOP)
            host.wait(lambda: asleep(world.polkitd), "polkitd stops")
        crowd = [Pending(host, user("nobody")), Pending(host, user("games"))]
        for pending in crowd:
            pending.send(100)
            host.call("ListJobs", bus=pending.bus)
        answers = [a for p in crowd for a in p.answers]
        host.wait(lambda: sum(len(p.answers) for p in crowd) >= 72, "those that are too many are refused")
        answers = [a for p in crowd for a in p.answers]
        assert set(answers) == {"org.tdx.Update1.Error.LimitExceeded"}
        assert len(answers) < 200
        # Others are not kept out by them.
        assert host.call("ListImages", bus=user("mail"))
        assert outcome(host, "Refresh", ()) == ""
        polkit_sleeps()
        kinds = {a for p in crowd for a in p.wait()}
        assert kinds == {"org.tdx.Update1.Error.LimitExceeded", CHALLENGE}
    assert outcome(host, "Refresh", (), user("nobody")) == CHALLENGE
    assert host.daemon.failures() == []


def test_crowd_that_vanishes(host, user, polkit_sleeps, world):
    """Their places are free again, also when polkit never answers them."""
    for _ in range(5):
        crowd = host.connect("nobody")
        pending = Pending(host, crowd)
        pending.send(100)
        host.call("ListJobs", bus=crowd)
        crowd.close_sync(None)
    host.sync()
    last = Pending(host, user("nobody"))
    last.send()
    host.call("ListJobs", bus=user("nobody"))
    assert last.answers == []       # it waits for polkit like the first one
    polkit_sleeps()
    assert last.wait() == [CHALLENGE]


@pytest.mark.host(set=["misc-tdx=1"])
def test_without_polkit(host, user, polkit_gone):
    """Root alone, and the text says why."""
    for name, (action, args) in GUARDED.items():
        for who in ("nobody", "daemon"):
            for interactive in (False, True):
                assert outcome(host, name, args, user(who), interactive=interactive) == DENIED, name
        assert outcome(host, name, args) not in (DENIED, CHALLENGE), name
    with pytest.raises(BusError) as error:
        host.call("Refresh", bus=user("nobody"))
    assert "polkit" in error.value.message and "root" in error.value.message
    for name, args in FREE.items():
        assert outcome(host, name, args, user("nobody")) not in (DENIED, CHALLENGE), name
    assert host.ctl("update", "1.5.06", "--no-wait").status == 0


def test_polkit_dies_while_it_thinks(host, user, world):
    world.polkitd.kill(signal.SIGSTOP)
    host.wait(lambda: asleep(world.polkitd), "polkitd stops")
    pending = Pending(host, user("nobody"))
    pending.send(5)
    host.call("ListJobs", bus=user("nobody"))
    world.polkitd.kill(signal.SIGKILL)
    try:
        assert pending.wait() == [DENIED] * 5
    finally:
        world.polkitd.end()
        world.processes.remove(world.polkitd)
        world._start_polkitd()
        world.wait_for_polkitd()
    assert outcome(host, "Refresh", (), user("nobody")) == CHALLENGE


# The log level is root's.

LOG = {"path": "/org/freedesktop/LogControl1", "interface": PROPERTIES}


def test_log_level(host, user, rules):
    assert host.call("Get", "org.freedesktop.LogControl1", "LogLevel", signature="(ss)", **LOG) == "debug"
    value = GLib.Variant("s", "notice")
    for who in ("nobody", "daemon"):
        for member, signature, args in (("Get", "(ss)", ("LogLevel",)), ("Set", "(ssv)", ("LogLevel", value)),
                                        ("GetAll", "(s)", ())):
            with pytest.raises(BusError) as error:
                host.call(member, "org.freedesktop.LogControl1", *args, signature=signature, bus=user(who), **LOG)
            assert error.value.name == DENIED
    host.call("Set", "org.freedesktop.LogControl1", "LogLevel", value, signature="(ssv)", **LOG)
    assert host.call("Get", "org.freedesktop.LogControl1", "LogLevel", signature="(ss)", **LOG) == "notice"
    host.ctl("update", "1.5.06")
    assert "attempt 1" not in host.log()
    for level in ("loud", "", "7", "x" * 1000):
        with pytest.raises(BusError) as error:
            host.call("Set", "org.freedesktop.LogControl1", "LogLevel", GLib.Variant("s", level),
                      signature="(ssv)", **LOG)
        assert error.value.name == DBUS_ERROR + "InvalidArgs"
    for key in ("LogTarget", "SyslogIdentifier"):
        with pytest.raises(BusError):
            host.call("Set", "org.freedesktop.LogControl1", key, GLib.Variant("s", "console"),
                      signature="(ssv)", **LOG)
