# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Bad requests over D-Bus, and busctl as people use it."""

import re
import time
from pathlib import Path

import pytest
from gi.repository import Gio, GLib

from harness import (INTROSPECTABLE, JOB, MANAGER, NAME, OBJECT_MANAGER, PATH, PROPERTIES, SIGNATURES,
                     BusError)

DBUS = Path(__file__).resolve().parents[2] / "dbus"
DBUS_ERROR = "org.freedesktop.DBus.Error."
INVALID_ARGS = DBUS_ERROR + "InvalidArgs"


def contract(name):
    return Gio.DBusNodeInfo.new_for_xml((DBUS / f"{name}.xml").read_text()).lookup_interface(name)


def error_of(function, *args, **options):
    with pytest.raises(BusError) as error:
        function(*args, **options)
    return error.value


def raw(host, signature, *values, member, path=PATH, interface=MANAGER, fds=()):
    return host.call(member, *values, signature=signature, path=path, interface=interface, fds=fds)


@pytest.fixture
def unchanged(host):
    """The test's requests must not change anything."""
    before = host.snapshot()
    yield
    assert host.snapshot() == before
    assert host.daemon.failures() == []


# Options.

WRONG_TYPES = {
    "deadline": [("s", "tomorrow"), ("x", 1), ("u", 5), ("d", 1.0), ("b", True), ("a{sv}", {})],
    "reason": [("b", True), ("u", 1), ("as", ["x"]), ("o", "/"), ("v", GLib.Variant("s", "x"))],
    "drain": [("s", "yes"), ("u", 1), ("y", 1)],
    "plan": [("u", 1), ("as", []), ("ay", [1])],
    "now": [("s", "yes"), ("i", 1)],
    "ignore-activity": [("s", "yes"), ("u", 1)],
    "ignore-guests": [("s", "all"), ("au", [1]), ("a(uu)", [(1, 2)]), ("b", True)],
}


@pytest.mark.parametrize("member", ["ApplyVersion", "Plan"])
def test_wrong_types_of_options(host, unchanged, member):
    for key, values in WRONG_TYPES.items():
        for signature, value in values:
            error = error_of(host.call, member, "1.5.06", {key: GLib.Variant(signature, value)})
            assert error.name == INVALID_ARGS, (key, signature)
            assert key in error.message and "type" in error.message


@pytest.mark.parametrize("member", ["ApplyVersion", "Plan"])
def test_unknown_options(host, unchanged, member):
    for key in ("", "Deadline", "deadline ", "force", "ignore.activity", "\n", "x" * 100000, "ö"):
        for value in (GLib.Variant("s", ""), GLib.Variant("a{sv}", {}), GLib.Variant("(ii)", (1, 2))):
            error = error_of(raw, host, "(sa{sv})", "1.5.06", {key: value}, member=member)
            assert error.name == INVALID_ARGS, key[:20]
            assert "reason" in error.message and len(error.message) < 500
    # A good one before it does not help.
    options = {"reason": GLib.Variant("s", "x"), "force": GLib.Variant("b", True)}
    assert error_of(raw, host, "(sa{sv})", "", options, member=member).name == INVALID_ARGS


def test_options_of_import(host, unchanged, images):
    with open(images.path("1.5.06"), "rb") as image:
        for options in ({"version": GLib.Variant("u", 1)}, {"mapping": GLib.Variant("s", "/etc/passwd")},
                        {"mapping": GLib.Variant("i", 0)}, {"force": GLib.Variant("b", True)},
                        {"version": GLib.Variant("v", GLib.Variant("s", "1.5.06"))}):
            error = error_of(raw, host, "(ha{sv})", 0, options, member="ImportImage", fds=[image.fileno()])
            assert error.name == INVALID_ARGS and "mapping" in error.message
        for version in ("", "1.5", "latest", "1.5.06 ", "-1.5.06", "1.5.06\n", "x" * 100000,
                        "../../../etc/passwd", "1.5.99999999999999"):
            error = error_of(host.call, "ImportImage", 0, {"version": version}, fds=[image.fileno()])
            assert error.name == INVALID_ARGS, version[:30]
            assert len(error.message) < 500
        # Another one than its own: a 1.5 image does not say, but one of 2.0 does.
    with open(images.path("2.0.05"), "rb") as image:
        error = error_of(host.call, "ImportImage", 0, {"version": "2.0.06"}, fds=[image.fileno()])
        assert error.id == "ImageUntrusted" and "2.0.05" in error.message


def test_deadlines(host, unchanged):
    now = int(time.time() * 1e6)
    for deadline in (0, 1, now - 1, now - 10**9):
        for member in ("ApplyVersion", "Plan"):
            error = error_of(host.call, member, "1.5.06", {"deadline": deadline})
            assert error.name == INVALID_ARGS and "passed" in error.message


@pytest.mark.host(set=["misc-tdx=1"])
@pytest.mark.parametrize("deadline", [2**63 - 1, 2**63, 2**64 - 1])
def test_deadline_far_away(host, deadline):
    """As good as none, over a restart too."""
    job = host.apply("1.5.06", deadline=deadline)
    other = host.apply("1.5.13", deadline=deadline)
    job.wait_state("waiting")
    host.daemon.restart()
    job.wait_state("waiting")
    # The largest number is the API's "never", which reads as 0.
    assert job.get("Deadline") == (0 if deadline == 2**64 - 1 else deadline)
    assert host.ctl("show", "1").status == 0
    host.sim.set(misc_tdx=0)
    assert job.finish() == "success"
    assert other.finish() == "success"
    assert "Failed to arm" not in host.log()


def test_long_texts(host, unchanged):
    for key in ("reason", "plan"):
        for size in (1025, 1 << 20, 4 << 20):
            error = error_of(host.call, "ApplyVersion", "1.5.06", {key: "x" * size})
            assert error.name == INVALID_ARGS and len(error.message) < 500
    assert host.call("Plan", "1.5.06", {"reason": "x" * 1024})["allowed"] is True
    assert error_of(host.call, "ApplyVersion", "1.5.06", {"plan": "x"}).id == "PlanStale"


VERSIONS = ["latest", "1.5", "1.5.06.1", "1..06", ".1.5.06", "1.5.06 ", " 1.5.06", "1.5.-6", "+1.5.06", "1.5.6x",
            "0x1.5.06", "1.5.99999", "99999999999999999999.5.06", "1,5,06", "1.5.06\n", "ⅰ.5.06", "%s%s%s%n",
            "'; drop table jobs; --", "../../etc/passwd", "x" * (1 << 20), "1.5." + "0" * 1000]


def test_bad_versions(host, unchanged):
    for version in VERSIONS:
        for member in ("ApplyVersion", "Plan"):
            error = error_of(host.call, member, version, {})
            assert error.name == INVALID_ARGS or error.id == "NoSuchVersion", version[:30]
            assert len(error.message) < 500
    assert error_of(host.call, "ApplyVersion", "1.5.99", {}).id == "NoSuchVersion"
    assert error_of(host.call, "Plan", "9.9.99", {}).id == "NoSuchVersion"


# Members, signatures, paths.

def other_signatures(right):
    return [s for s in ("()", "(s)", "(u)", "(h)", "(sa{sv})", "(sa{ss})", "(a{sv})", "(ss)", "(ut)", "(tuu)",
                        "(sss)", "(a{sv}s)", "(v)") if s != right]


EXAMPLES = {"()": (), "(s)": ("x",), "(u)": (1,), "(h)": (0,), "(sa{sv})": ("", {}), "(sa{ss})": ("", {}),
            "(a{sv})": ({},), "(ss)": ("", ""), "(ut)": (1, 1), "(tuu)": (1, 1, 1), "(sss)": ("", "", ""),
            "(a{sv}s)": ({}, ""), "(v)": (GLib.Variant("s", ""),)}


def test_wrong_signatures(host, unchanged):
    for method in contract(MANAGER).methods:
        right = SIGNATURES.get(method.name, "()")
        for signature in other_signatures(right):
            with open("/dev/null", "rb") as null:
                error = error_of(raw, host, signature, *EXAMPLES[signature], member=method.name,
                                 fds=[null.fileno()] if "h" in signature else ())
            assert error.name == INVALID_ARGS, (method.name, signature)


def test_unknown_members(host, unchanged):
    assert error_of(host.call, "Frobnicate").name == DBUS_ERROR + "UnknownMethod"
    assert error_of(host.call, "apply").name == DBUS_ERROR + "UnknownMethod"
    assert error_of(host.call, "Cancel").name == DBUS_ERROR + "UnknownMethod"
    # Root may send to interfaces that are not there.
    assert error_of(host.call, "Apply", interface="org.tdx.Update2").name in (
        DBUS_ERROR + "UnknownInterface", DBUS_ERROR + "UnknownMethod")
    for key in ("Frobnicate", "state", "", "x" * 100000):
        assert error_of(host.get, key).name == DBUS_ERROR + "UnknownProperty"
    assert error_of(host.get, "State", interface="org.tdx.Update2").name in (
        DBUS_ERROR + "UnknownInterface", DBUS_ERROR + "UnknownProperty")
    assert error_of(host.get_all, interface=JOB).name == DBUS_ERROR + "UnknownInterface"


def test_unknown_objects(host, unchanged):
    for path in ("/", "/org", "/org/tdx", "/org/tdx/Update2", "/org/tdx/Update1/jobs", "/org/tdx/Update1/x",
                 "/org/freedesktop/systemd1"):
        error = error_of(host.call, "Apply", path=path)
        assert error.name in (DBUS_ERROR + "UnknownObject", DBUS_ERROR + "UnknownMethod"), path
        assert error_of(host.get, "State", path=path).name.startswith(DBUS_ERROR + "Unknown"), path


@pytest.mark.host(set=["misc-tdx=1"])
def test_jobs_that_are_none(host):
    job = host.apply("1.5.06")
    assert job.path == PATH + "/job/1"
    before = host.snapshot()
    for name in ("0", "2", "99", "01", "001", "+1", "-1", "1_", "abc", "_", "1/1", "4294967297", "18446744073709551617",
                 "1" * 300):
        if not re.fullmatch("[A-Za-z0-9_/]*", name):
            continue  # no object path at all
        path = f"{PATH}/job/{name}"
        assert error_of(host.call, "Cancel", path=path, interface=JOB).name == DBUS_ERROR + "UnknownObject", name
        assert error_of(host.get, "State", path=path, interface=JOB).name == DBUS_ERROR + "UnknownObject", name
        assert error_of(host.get_all, path=path, interface=JOB).name == DBUS_ERROR + "UnknownObject", name
    for number in (0, 2, 99, 2**32 - 1):
        assert error_of(host.call, "GetJob", number).id == "NoSuchJob"
    # The folder of the jobs has no job's members.
    assert error_of(host.call, "Cancel", path=PATH + "/job", interface=JOB).name.startswith(DBUS_ERROR + "Unknown")
    assert host.snapshot() == before
    assert list(host.objects()) == [job.path] or set(host.objects()) == {PATH, job.path}


@pytest.mark.host(set=["misc-tdx=1"])
def test_properties_are_read_only(host):
    job = host.apply("1.5.06")
    before = host.snapshot()
    for path, interface in ((PATH, MANAGER), (job.path, JOB)):
        for p in contract(interface).properties:
            value = GLib.Variant(p.signature, host.get(p.name, path, interface))
            error = error_of(raw, host, "(ssv)", interface, p.name, value, member="Set", path=path,
                             interface=PROPERTIES)
            assert error.name == DBUS_ERROR + "PropertyReadOnly", p.name
    assert host.snapshot() == before


def call_without_interface(host, member, path=PATH, bus=None):
    bus = bus or host.bus
    message = Gio.DBusMessage.new_method_call(NAME, path, None, member)
    reply, _ = bus.send_message_with_reply_sync(message, Gio.DBusSendMessageFlags.NONE, 10000, None)
    return reply


@pytest.mark.host(set=["misc-tdx=1"])
def test_calls_without_an_interface(host):
    """sd-bus knows no such calls, and the bus lets none of other users through: no way past the door."""
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    before = host.snapshot()
    nobody = host.connect("nobody")
    for bus in (host.bus, nobody):
        for member, path in (("Cancel", job.path), ("Apply", PATH), ("Refresh", PATH), ("Frobnicate", PATH)):
            name = call_without_interface(host, member, path, bus).get_error_name()
            assert name.startswith(DBUS_ERROR + ("Unknown" if bus is host.bus else "AccessDenied")), member
    nobody.close_sync(None)
    assert host.snapshot() == before


def test_history_limits(host):
    assert host.history() == []
    for version in ("1.5.06", "1.5.13", "1.5.16"):
        assert host.apply(version).finish() == "success"
    everything = host.history()
    assert [e["to"] for e in everything] == ["1.5.16", "1.5.13", "1.5.06"]
    assert host.history(0, 1) == everything[:1]
    assert host.history(0, 2) == everything[:2]
    assert host.history(0, 2**32 - 1) == everything
    assert host.history(1, 0) == everything
    for since in (everything[0]["finished"] + 1, 2**63 - 1, 2**63, 2**64 - 1):
        assert host.history(since) == [], since
    assert host.history(everything[1]["finished"], 0)[-1]["to"] in ("1.5.13", "1.5.16")
    assert len(host.history(everything[1]["finished"])) == 2


# What comes later is there, and says so.

def test_members_of_later(host, unchanged):
    later = {"SetDesiredVersion": ("1.5.06",), "Diagnose": (), "GetMetrics": ()}
    for member, args in later.items():
        error = error_of(host.call, member, *args)
        assert error.id == "NotSupported", member
        assert member in error.message
    # The rest of the contract works.
    done = {m.name for m in contract(MANAGER).methods} - set(later)
    assert done == {"Apply", "ApplyVersion", "Plan", "ListImages", "InspectImage", "ListJobs", "GetJob",
                    "GetHistory", "ImportImage", "DescribeConfig", "Refresh", "Hold", "BeginBuild", "EndBuild",
                    "ListHolds", "ListGuests"}


# The options that step over something.

def test_options_that_step_over(host, unchanged):
    for options in ({"drain": True}, {"now": True}, {"ignore-activity": True}, {"ignore-guests": [(1, 2)]},
                    {"ignore-guests": [(n, 1) for n in range(1, 65)]}, {"ignore-guests": []}):
        assert host.call("Plan", "1.5.06", options)["allowed"] is True, options
    for guests in ([(0, 1)], [(1, 0)], [(1, 2), (0, 0)], [(n, 1) for n in range(1, 66)]):
        for member in ("ApplyVersion", "Plan"):
            error = error_of(host.call, member, "1.5.06", {"ignore-guests": guests})
            assert error.name == "org.freedesktop.DBus.Error.InvalidArgs" and "ignore-guests" in error.message


# busctl, as the documentation has it.

def busctl(host, *args, user=None):
    return host.run("busctl", "--no-pager", *args, user=user)


def test_busctl_call(host):
    record = host.record()
    result = busctl(host, "call", NAME, PATH, MANAGER, "Apply")
    assert result.status == 0 and result.stdout == 'o "/org/tdx/Update1/job/1"\n'
    assert record.wait("JobRemoved").args == (1, PATH + "/job/1", "success")
    result = busctl(host, "call", NAME, PATH, MANAGER, "ApplyVersion", "sa{sv}", "1.5.99", "0")
    assert result.status == 1 and "no image of 1.5.99" in result.stderr
    result = busctl(host, "--json=short", "call", NAME, PATH, MANAGER, "Plan", "sa{sv}", "", "0")
    assert result.json["data"][0]["from"]["data"] == "1.5.16"
    result = busctl(host, "call", NAME, PATH, MANAGER, "Apply", user="nobody")
    assert result.status == 1 and result.stdout == ""


def test_busctl_introspect(host):
    for user in (None, "nobody"):
        result = busctl(host, "introspect", NAME, PATH, user=user)
        assert result.status == 0
        for member in (*contract(MANAGER).methods, *contract(MANAGER).signals, *contract(MANAGER).properties):
            assert re.search(rf"^\.{member.name} ", result.stdout, re.MULTILINE), member.name
    host.apply("1.5.06").finish()
    assert PATH + "/job/1" in busctl(host, "tree", "--list", NAME).stdout.split()


def test_busctl_get_property(host):
    for user in (None, "nobody"):
        result = busctl(host, "get-property", NAME, PATH, MANAGER, "ModuleVersion", "RemainingUpdates", user=user)
        assert result.stdout == 's "1.5.05"\nu 9\n'
    assert busctl(host, "set-property", NAME, PATH, MANAGER, "DesiredVersion", "s", "newest").status == 1


def test_busctl_monitor(host):
    monitor = host.popen("busctl", "--no-pager", "--json=short", "monitor", NAME)
    try:
        line = monitor.stderr.readline()
        assert "Monitoring" in line
        host.apply("1.5.06").finish()
        seen = ""
        while "JobRemoved" not in seen:
            line = monitor.stdout.readline()
            assert line, "busctl monitor ended"
            seen += line
        for member in ("ApplyVersion", "JobNew", "PropertiesChanged", "ModuleUpdated", "Finished"):
            assert f'"member":"{member}"' in seen
    finally:
        monitor.terminate()
        monitor.communicate()


def test_standard_interfaces(host):
    interfaces = {i.name for i in host.introspect().interfaces}
    assert {MANAGER, PROPERTIES, INTROSPECTABLE, OBJECT_MANAGER, "org.freedesktop.DBus.Peer"} <= interfaces
    assert host.call("Ping", interface="org.freedesktop.DBus.Peer") is None
    for path in ("/", "/org", "/org/tdx"):
        assert host.introspect(path) is not None
