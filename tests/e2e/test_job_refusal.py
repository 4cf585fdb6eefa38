# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What is answered at once, without a job: hard and policy blockers (design, section 4)."""

import pytest

from harness import BusError
from steps import blockers

STATUS = {"AlreadyCurrent": 0, "Downgrade": 76, "IncompatibleCpu": 76, "IncompatibleSeamldr": 76,
          "IncompatibleModule": 76, "NoSuchVersion": 66, "NoBudget": 73, "DebugImage": 76,
          "NotSupported": 69}


def check_refused(host, version, error_id, blocker=None, exit_status=True):
    record = host.record()
    with pytest.raises(BusError) as error:
        host.apply(version)
    assert error.value.id == error_id
    assert error.value.message
    if blocker:
        plan = host.call("Plan", version, {})
        assert blocker in [b["id"] for b in plan["blockers"]]
        assert not plan["allowed"] and plan["cost"] == 0 and plan["steps"] == []
    if exit_status:
        assert host.ctl("update", *([version] if version else [])).status == STATUS[error_id]
    host.sync()
    host.wait(lambda: True)
    assert host.call("ListJobs") == [] and not record.all("JobNew")
    assert host.history() == [] and host.get("Jobs") == []
    assert host.sim.number("uploads") == 0 and host.sim.number("aborts") == 0


def test_already_current(host):
    check_refused(host, "1.5.05", "AlreadyCurrent", "already-current")


@pytest.mark.host(module="1.5.16")
def test_nothing_newer(host):
    check_refused(host, "", "AlreadyCurrent", "already-current")


@pytest.mark.host(module="1.5.07")
def test_running_version_without_an_image(host):
    check_refused(host, "1.5.07", "AlreadyCurrent")


def test_downgrade(host):
    check_refused(host, "1.5.01", "Downgrade", "downgrade")


def test_other_line(host):
    check_refused(host, "2.0.08", "IncompatibleModule", "incompatible-module")


@pytest.mark.host(module="2.0.02", seamldr="2.0.00", cpu="0xa06d0")
def test_running_module_too_old(host):
    check_refused(host, "2.0.08", "IncompatibleModule", "incompatible-module")


def test_newest_that_fits(make_host, images, world):
    """An older image that fits beats a newer one that does not."""
    tree = world.dir / "hosts" / "other-cpu"
    tree.mkdir(parents=True)
    images.make("--version", "1.5.16", "--cpus", "0xb06f0",
                "--output", tree / "tdx_module_1.5.16.blob")
    host = make_host(images=[str(tree)])
    job = host.apply()
    assert job.get("ToVersion") == "1.5.13" and job.finish() == "success"


@pytest.mark.host(cpu="0xb06f0")
def test_wrong_cpu(host):
    check_refused(host, "1.5.06", "IncompatibleCpu", "incompatible-cpu")
    check_refused(host, "", "IncompatibleCpu", "incompatible-cpu")


@pytest.mark.host(cpu="0x806f5", config_text="RequireExactStepping=yes")
def test_stepping_refused(host):
    check_refused(host, "1.5.06", "IncompatibleCpu", "stepping-unlisted")


@pytest.mark.host(cpu="0x806f5")
def test_stepping_only_shown(host):
    plan = host.call("Plan", "1.5.06", {})
    assert plan["allowed"]
    assert [b["id"] for b in plan["blockers"]] == ["stepping-unlisted"]
    assert host.apply("1.5.06").finish() == "success"


@pytest.mark.host(seamldr="1.0.05")
def test_old_seamldr(host):
    check_refused(host, "1.5.06", "IncompatibleSeamldr", "incompatible-seamldr")


@pytest.mark.host(remaining=0)
def test_no_budget(host):
    check_refused(host, "1.5.06", "NoBudget", "no-budget")


@pytest.mark.host(remaining=1)
def test_reserve(host):
    check_refused(host, "1.5.06", "NoBudget", "reserve")


@pytest.mark.host(remaining=5, config_text="KeepRemaining=5")
def test_larger_reserve(host):
    check_refused(host, "1.5.06", "NoBudget", "reserve")


@pytest.mark.host(remaining=1, config_text="KeepRemaining=0")
def test_the_last_update(host):
    assert host.apply("1.5.06").finish() == "success"
    assert host.get("RemainingUpdates") == 0
    with pytest.raises(BusError) as error:
        host.apply("1.5.08")
    assert error.value.id == "NoBudget"


@pytest.mark.host(remaining=2)
def test_budget_runs_out_while_another_waits(host):
    """Each was allowed when it was asked for; the second would take the reserve."""
    host.sim.set(misc_tdx=1)
    first, second = host.apply("1.5.06"), host.apply("1.5.08")
    host.sim.set(misc_tdx=0)
    assert first.finish() == "success"
    assert second.finish() == "failed"
    assert second.get("Error")[0].endswith(".NoBudget") and second.get("Attempts") == 0
    assert host.sim.number("uploads") == 1 and host.sim.number("remaining") == 1


def test_unknown_version(host):
    check_refused(host, "1.5.99", "NoSuchVersion")


@pytest.mark.parametrize("version", ["1.5", "newest", "1.5.06.1", "1.5.x", "../1.5.06", "-1.5.06",
                                     "1.5.06 ", "99999.5.06", "1" * 4000])
def test_no_version(host, version):
    with pytest.raises(BusError) as error:
        host.apply(version)
    assert error.value.name == "org.freedesktop.DBus.Error.InvalidArgs"
    assert host.call("ListJobs") == [] and len(error.value.message) < 300


@pytest.mark.host(set=["supported=no"])
def test_unsupported(host):
    check_refused(host, "1.5.06", "NotSupported", "unsupported")
    assert not host.get("UpdateSupported") and host.get("UnsupportedReason")
    assert host.get("State") == "unsupported"


@pytest.mark.parametrize("setting", ["tdx-host=no", "cpu-tdx=no", "bug=yes"])
def test_unsupported_says_why(make_host, setting):
    host = make_host(set=[setting])
    with pytest.raises(BusError) as error:
        host.apply("1.5.06")
    assert error.value.id == "NotSupported"
    assert error.value.message == host.get("UnsupportedReason")
    cause = {"tdx-host=no": "driver", "cpu-tdx=no": "no TDX", "bug=yes": "seamret_invd_vmcs"}
    assert cause[setting] in error.value.message


def test_support_appears_later(make_host):
    host = make_host(set=["tdx-host=no"])
    assert not host.get("UpdateSupported")
    host.sim.set(tdx_host="yes")
    assert host.apply("1.5.06").finish() == "success"
    assert host.get("UpdateSupported")


@pytest.fixture
def debug_tree(images, world):
    tree = world.dir / "hosts" / "debug"
    tree.mkdir(parents=True)
    images.make("--version", "1.5.06", "--debug", "--output", tree / "tdx_module_1.5.06.blob")
    return str(tree)


def test_debug_image(make_host, debug_tree):
    host = make_host(images=[debug_tree])
    check_refused(host, "1.5.06", "DebugImage", "debug-image")
    image = next(i for i in host.call("ListImages") if i["debug"])
    assert not image["eligible"]


def test_debug_image_allowed(make_host, debug_tree):
    host = make_host(images=[debug_tree], config_text="AllowDebugImages=yes")
    assert blockers(host, "1.5.06") == []
    assert host.apply("1.5.06").finish() == "success"


def test_lower_svn(make_host, images, world):
    tree = world.dir / "hosts" / "lower"
    tree.mkdir(parents=True)
    images.make("--version", "1.5.06", "--svn", "0x104",
                "--output", tree / "tdx_module_1.5.06.blob")
    host = make_host(images=[str(tree)])
    check_refused(host, "1.5.06", "Downgrade", "svn-lower")


@pytest.mark.parametrize("deadline", [0, 1, 1_000_000_000_000_000])
def test_past_deadline(host, deadline):
    with pytest.raises(BusError) as error:
        host.apply("1.5.06", deadline=deadline)
    assert error.value.name == "org.freedesktop.DBus.Error.InvalidArgs"
    assert host.call("ListJobs") == []
