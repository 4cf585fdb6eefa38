# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A plan's token, and an image that changes between the request and its turn."""

from types import SimpleNamespace

import pytest

from harness import BusError
from steps import call_without_waiting, error_of, stop_in_staging, wait_blocked


@pytest.fixture
def tree(images, world):
    """A folder of the catalogue that comes first, with a 1.5.06 of its own; .replace() it."""
    folder = world.dir / "hosts" / "first"
    folder.mkdir(parents=True)

    def replace(seed):
        made = folder.parent / "made.blob"
        images.make("--version", "1.5.06", "--seed", seed, "--output", made)
        made.rename(folder / "tdx_module_1.5.06.blob")

    replace(1)
    return SimpleNamespace(path=folder, replace=replace)


def token_of(host, version="1.5.06"):
    return host.call("Plan", version, {})["token"]


def check_stale(host, token, version="1.5.06"):
    with pytest.raises(BusError) as error:
        host.apply(version, plan=token)
    assert error.value.id == "PlanStale"
    assert host.call("ListJobs") == []


def test_plan_is_complete(host):
    plan = host.call("Plan", "1.5.06", {})
    token, steps = plan.pop("token"), plan.pop("steps")
    assert token and len(steps) >= 3
    assert plan == {"from": "1.5.05", "to": "1.5.06", "allowed": True, "cost": 1,
                    "remaining-after": 8, "svn-before": 0x105, "svn-after": 0x106, "blockers": []}
    assert host.call("Plan", "", {})["to"] == "1.5.16"
    assert host.call("ListJobs") == [] and host.sim.number("uploads") == 0


def test_token(host):
    token = token_of(host)
    assert token == token_of(host)
    assert token != token_of(host, "1.5.08")
    job = host.apply("1.5.06", plan=token)
    assert job.finish() == "success"


def test_token_over_a_restart(host):
    token = token_of(host)
    host.daemon.restart()
    assert host.apply("1.5.06", plan=token).finish() == "success"


def test_token_of_another_version(host):
    check_stale(host, token_of(host, "1.5.08"))
    check_stale(host, "nonsense")


def test_token_after_a_change_of_the_configuration(host):
    token = token_of(host)
    host.daemon.reload()
    assert token_of(host) == token
    host.options.config_text = "KeepRemaining=2"
    host.write_config()
    host.daemon.reload()
    check_stale(host, token)
    assert host.apply("1.5.06", plan=token_of(host)).finish() == "success"


def test_token_after_a_change_of_the_module(host):
    token = token_of(host, "1.5.08")
    assert host.apply("1.5.06").finish() == "success"
    check_stale(host, token, "1.5.08")


def test_token_after_a_change_of_the_image(make_host, tree):
    host = make_host(images=[str(tree.path)])
    token = token_of(host)
    tree.replace(2)
    check_stale(host, token)
    assert host.apply("1.5.06", plan=token_of(host)).finish() == "success"


def test_image_replaced_while_the_job_waits(make_host, tree):
    """What was agreed to is not what is there now: it ends, with nothing changed."""
    host = make_host(images=[str(tree.path)])
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    tree.replace(2)
    host.call("Refresh")
    assert job.finish() == "failed"
    assert error_of(job) == "PlanStale" and host.sim.number("uploads") == 0


def test_image_replaced_and_nobody_looked(make_host, tree):
    """The verified copy is used, or none; never what has not been verified."""
    host = make_host(images=[str(tree.path)])
    host.sim.set(misc_tdx=1)
    hash_before = next(i for i in host.call("ListImages") if i["version"] == "1.5.06")["seam-hash"]
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    (tree.path / "tdx_module_1.5.06.blob").write_bytes(b"no image")
    host.sim.set(misc_tdx=0)
    if job.finish() == "success":
        assert host.history()[0]["seam-hash"] == hash_before
        assert host.running_version() == "1.5.06"
    else:
        assert host.sim.number("uploads") == 0
    assert not host.get("Lost")


def test_image_gone_while_the_job_waits(make_host, tree):
    host = make_host(images=[str(tree.path)])
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    # Another folder has a 1.5.06 as well: not the same image.
    (tree.path / "tdx_module_1.5.06.blob").unlink()
    host.call("Refresh")
    assert job.finish() == "failed" and error_of(job) == "PlanStale"


def test_image_gone_in_staging(make_host, tree):
    """It is not handed over any more, although it is staged already."""
    host = make_host(images=[str(tree.path)])
    with stop_in_staging(host) as stop:
        job = host.apply("1.5.06")
        stop.wait()
        (tree.path / "tdx_module_1.5.06.blob").unlink()
        call_without_waiting(host, "Refresh")
    assert job.finish() == "failed" and error_of(job) == "PlanStale"
    assert host.sim.number("uploads") == 0 and host.sim.number("aborts") == 1


def test_image_gone_while_the_daemon_was_down(make_host, images, world):
    tree = world.dir / "hosts" / "only"
    tree.mkdir(parents=True)
    images.make("--tree", tree, "--versions", "1.5.06,1.5.08")
    host = make_host(test_images=False, images=[str(tree)],
                     config_text=f"TrustedSigner={images.signer}")
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    host.daemon.stop()
    next(tree.glob("**/tdx_module_1.5.06.blob")).unlink()
    host.daemon.start()
    assert job.finish() == "failed"
    assert error_of(job) == "NoSuchVersion" and host.sim.number("uploads") == 0


def test_policy_changes_while_the_job_waits(host):
    host.sim.set(misc_tdx=1)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "activity-unknown")
    host.options.config_text = "KeepRemaining=9"
    host.write_config()
    host.daemon.reload()
    assert job.finish() == "failed"
    assert error_of(job) == "NoBudget" and host.sim.number("uploads") == 0
