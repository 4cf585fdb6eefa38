# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The contract as it is on the bus, and the first update."""

from pathlib import Path

import pytest
from gi.repository import Gio

from harness import JOB, MANAGER, PATH

DBUS = Path(__file__).resolve().parents[2] / "dbus"
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
DEPRECATED = "org.freedesktop.DBus.Deprecated"


def annotation(element, name, default):
    return Gio.DBusAnnotationInfo.lookup(element.annotations, name) or default


def arguments(infos):
    return [(a.name, a.signature) for a in infos]


def describe(interface):
    """Everything that a client can rely on, one entry a member."""
    members = {}
    for m in interface.methods:
        members["method", m.name] = (arguments(m.in_args), arguments(m.out_args),
                                     annotation(m, DEPRECATED, "false"))
    for s in interface.signals:
        members["signal", s.name] = (arguments(s.args), annotation(s, DEPRECATED, "false"))
    for p in interface.properties:
        members["property", p.name] = (p.signature, int(p.flags), annotation(p, EMITS, "true"),
                                       annotation(p, DEPRECATED, "false"))
    return members


def contract(name):
    node = Gio.DBusNodeInfo.new_for_xml((DBUS / f"{name}.xml").read_text())
    return describe(node.lookup_interface(name))


def compare(live, written):
    assert sorted(live) == sorted(written)
    for member in written:
        assert live[member] == written[member], member


def test_manager_is_the_contract(host):
    compare(describe(host.introspect().lookup_interface(MANAGER)), contract(MANAGER))


def test_job_is_the_contract(host):
    job = host.apply("1.5.06")
    compare(describe(host.introspect(job.path).lookup_interface(JOB)), contract(JOB))


def test_every_property_is_readable(host):
    written = {name for kind, name in contract(MANAGER) if kind == "property"}
    assert set(host.get_all()) == written


def test_update(host):
    record = host.record()
    job = host.apply("", reason="a test")
    removed = record.wait("JobRemoved")
    assert removed.args == (1, job.path, "success")
    assert host.running_version() == "1.5.16"
    assert host.get("ModuleVersion") == "1.5.16"
    assert host.get("RemainingUpdates") == 8
    assert job.get("State") == "finished" and job.get("Result") == "success"
    assert host.sim.number("installs") == 1
    assert [entry["to"] for entry in host.history()] == ["1.5.16"]


def test_signals_in_order(host):
    record = host.record()
    job = host.apply("1.5.06")
    record.wait("JobRemoved")
    assert record.members("JobNew", "Finished", "JobRemoved") == ["JobNew", "Finished",
                                                                  "JobRemoved"]
    assert record.changes("State", job.path)[-1] == "finished"
    last_change = [s for s in record.all("PropertiesChanged", job.path) if "Result" in s.args[1]]
    assert record.signals.index(last_change[-1]) < record.signals.index(
        record.all("Finished")[0])
    assert record.all("ModuleUpdated")[0].args == ("1.5.05", "1.5.06", 1)


@pytest.mark.host(busy=2)
def test_busy_twice(host):
    assert host.apply("1.5.06").finish() == "success"
    assert host.history()[0]["attempts"][-1]["number"] == 3
    assert host.running_version() == "1.5.06"


def test_client(host):
    result = host.ctl("update", "1.5.06")
    assert result.status == 0, result.stderr
    assert host.running_version() == "1.5.06"


def test_nobody_needs_a_password(host):
    result = host.ctl("update", "1.5.06", user="nobody")
    assert result.status == 77
    assert host.running_version() == "1.5.05"


def test_a_rule_lets_nobody_update(host, polkit_rule):
    polkit_rule('if (action.id == "org.tdx.update1.apply" && subject.user == "nobody")'
                ' return polkit.Result.YES;')
    host.wait(lambda: host.ctl("update", "1.5.06", user="nobody").status == 0,
              "polkitd takes the rule", interval=0.1)
    assert host.running_version() == "1.5.06"


def test_restart_keeps_the_history(host):
    host.apply("1.5.06").finish()
    host.daemon.restart()
    assert host.history()[0]["result"] == "success"
    assert host.get("ModuleVersion") == "1.5.06"
    assert host.daemon.reload() is None
    assert host.introspect(PATH).lookup_interface(MANAGER) is not None
