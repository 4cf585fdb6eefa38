# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Many requests and many clients: order, limits, identical requests."""

import os
import signal
import time

import pytest
from gi.repository import Gio, GLib

from harness import MANAGER, NAME, PATH, BusError, Job, WaitError
from steps import check_end, error_of, hold_kernel, settle, wait_blocked

VERSIONS = ("1.5.06", "1.5.08", "1.5.09", "1.5.13", "1.5.16")


def later(seconds=3600):
    return int((time.time() + seconds) * 1_000_000)


@pytest.fixture
def anyone_may(polkit_rule, host):
    """Everybody may apply; returns when polkitd knows."""
    polkit_rule('if (action.id == "org.tdx.update1.apply") return polkit.Result.YES;')
    answers = []

    def allowed():
        answers.append(host.ctl("update", "1.5.05", user="nobody"))
        return answers[-1].status == 0

    try:
        host.wait(allowed, "the rule", timeout=30, interval=0.1)
    except WaitError as error:
        raise WaitError(f"{error}; last: {answers[-1]}; polkitd: {host.world.polkitd.poll()}\n"
                        + host.world.log_tail("polkitd.log")) from None


def test_first_in_first_out(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    jobs = [host.apply(v) for v in VERSIONS]
    wait_blocked(host, jobs[0], "activity-unknown")
    assert [j.get("State") for j in jobs] == ["waiting"] + ["queued"] * 4
    assert [(row[0], row[2]) for row in host.call("ListJobs")] == list(enumerate(VERSIONS, 1))
    host.sim.set(misc_tdx=0)
    assert [j.finish() for j in jobs] == ["success"] * 5
    settle(host)
    assert [s.args[0] for s in record.all("JobRemoved")] == [1, 2, 3, 4, 5]
    assert [s.args[:2] for s in record.all("ModuleUpdated")] == list(
        zip(("1.5.05", *VERSIONS), VERSIONS))
    assert host.call("ListJobs") == []


def test_only_one_at_a_time(host):
    host.sim.set(stuck="yes")
    first, second = host.apply("1.5.06"), host.apply("1.5.08")
    hold_kernel(host, first)
    assert second.get("State") == "queued" and host.sim.number("uploads") == 1
    host.sim.set(stuck="no")
    assert second.finish() == "success"


def test_identical_request(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    deadline = later()
    first = host.apply("1.5.06", reason="one")
    assert host.apply("1.5.06").path == first.path
    assert host.apply("1.5.06", reason="another").path == first.path
    assert host.apply("1.5.06", plan=host.call("Plan", "1.5.06", {})["token"]).path == first.path
    second = host.apply("1.5.06", deadline=deadline)
    assert second.path != first.path
    assert host.apply("1.5.06", deadline=deadline).path == second.path
    assert host.apply("1.5.06", deadline=deadline + 1).path not in (first.path, second.path)
    assert host.apply("1.5.06", now=True).path not in (first.path, second.path)
    record.wait("JobNew", count=4)
    settle(host)
    assert len(record.all("JobNew")) == 4
    # The newest is asked for by its name, or as the newest.
    newest = host.apply("1.5.16")
    assert host.apply("").path == newest.path == host.call("Apply")
    first.cancel()
    assert host.apply("1.5.06").path != first.path


def test_identical_options(host):
    """What an option lets it step over is part of the request; the order of the VMs is not, nor is one that stands there twice."""
    host.sim.set(misc_tdx=1)
    host.sim.ctl("vm", "create", "4711", "9")
    paths = {}
    for name, options in {
        "none": {}, "drain": {"drain": True}, "activity": {"ignore_activity": True}, "one": {"ignore_guests": [(1, 2)]},
        "two": {"ignore_guests": [(1, 2), (3, 4)]}, "another start": {"ignore_guests": [(1, 2), (3, 5)]},
    }.items():
        paths[name] = host.apply("1.5.06", **options).path
    assert len(set(paths.values())) == len(paths)
    assert host.apply("1.5.06", drain=False, ignore_activity=False, ignore_guests=[]).path == paths["none"]
    assert host.apply("1.5.06", ignore_guests=[(1, 2)] * 100).path == paths["one"]
    assert host.apply("1.5.06", ignore_guests=[(3, 4), (1, 2), (3, 4)]).path == paths["two"]
    # Also those that another daemon has taken.
    host.daemon.restart()
    assert host.apply("1.5.06", ignore_guests=[(3, 4), (1, 2)]).path == paths["two"]
    assert host.apply("1.5.06", ignore_activity=True).path == paths["activity"]


@pytest.mark.usefixtures("anyone_may")
def test_the_same_of_another_user(host):
    host.sim.set(misc_tdx=1)
    first = host.apply("1.5.06")
    for _ in range(2):
        result = host.ctl("update", "--no-wait", "1.5.06", user="nobody")
        assert result.status == 0, result.stderr
    first_row, second_row = host.call("ListJobs")
    other = Job(host, second_row[1])
    assert first_row[1] == first.path and other.get("Requester") == 65534
    # nobody's own job; somebody else's is not nobody's to cancel.
    assert host.ctl("cancel", "1", user="nobody").status == 77
    assert host.ctl("cancel", "2", user="nobody").status == 0
    assert first.get("State") == "waiting" and other.get("Result") == "cancelled"


def test_a_queued_job_whose_target_becomes_current(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    first = host.apply("1.5.06")
    second = host.apply("1.5.06", deadline=later())
    older = host.apply("1.5.08")
    host.sim.set(misc_tdx=0)
    check_end(host, record, second, "already-current", spent=1 + (older.finish() == "success"),
              uploads=2)
    assert first.get("Result") == "success"
    assert second.get("Attempts") == 0 and second.get("Error") == ("", "")


def test_a_queued_job_whose_target_becomes_old(host):
    host.sim.set(misc_tdx=1)
    first, second = host.apply("1.5.16"), host.apply("1.5.06")
    host.sim.set(misc_tdx=0)
    assert first.finish() == "success" and second.finish() == "failed"
    assert error_of(second) == "Downgrade"
    assert host.sim.number("uploads") == 1


@pytest.mark.host(config_text="MaxJobs=2")
def test_max_jobs(host):
    host.sim.set(misc_tdx=1)
    first, second = host.apply("1.5.06"), host.apply("1.5.08")
    with pytest.raises(BusError) as error:
        host.apply("1.5.09")
    assert error.value.id == "LimitExceeded"
    # What exists already is no new job.
    assert host.apply("1.5.08").path == second.path
    assert host.ctl("update", "--no-wait", "1.5.09").status == 75
    first.cancel()
    assert host.apply("1.5.09").get("Id") == 3


@pytest.mark.host(config_text="MaxJobsPerUser=1")
@pytest.mark.usefixtures("anyone_may")
def test_max_jobs_per_user(host):
    host.sim.set(misc_tdx=1)
    host.apply("1.5.06")
    with pytest.raises(BusError) as error:
        host.apply("1.5.08")
    assert error.value.id == "LimitExceeded"
    assert host.ctl("update", "--no-wait", "1.5.08", user="nobody").status == 0
    assert host.ctl("update", "--no-wait", "1.5.09", user="nobody").status == 75
    assert len(host.call("ListJobs")) == 2


def test_two_clients_at_once(host):
    """Both requests lie in the daemon's socket before it answers the first."""
    os.kill(host.daemon.pid, signal.SIGSTOP)
    answers = {}
    buses = [host.connect(), host.connect()]
    for i, (bus, version) in enumerate(zip(buses, ("1.5.06", "1.5.08"))):
        def answered(source, result, i=i):
            answers[i] = source.call_finish(result).unpack()[0]
        bus.call(NAME, PATH, MANAGER, "ApplyVersion", GLib.Variant("(sa{sv})", (version, {})), None,
                 Gio.DBusCallFlags.NONE, -1, None, answered)
        bus.flush_sync()
    os.kill(host.daemon.pid, signal.SIGCONT)
    host.wait(lambda: len(answers) == 2, "both are answered")
    jobs = [Job(host, answers[i]) for i in (0, 1)]
    assert {j.get("Id") for j in jobs} == {1, 2}
    results = {j.get("ToVersion"): j.finish() for j in jobs}
    # In which order the bus delivered them is its business.
    assert results["1.5.08"] == "success"
    assert host.running_version() == "1.5.08"
    for bus in buses:
        bus.close_sync(None)


def test_both_ask_for_the_same(host):
    host.sim.set(stuck="yes")
    clients = [host.popen("tdxctl", "update", "1.5.06") for _ in range(2)]
    host.wait(lambda: host.sim.get("status") == "transferring", "the attempt")
    host.sim.set(stuck="no")
    for client in clients:
        client.communicate(timeout=20)
    assert [c.returncode for c in clients] == [0, 0]
    assert host.sim.number("uploads") == host.sim.number("installs") == 1


@pytest.mark.host(set=["stuck=yes"])
def test_client_dies_in_mid_update(host):
    record = host.record()
    client = host.popen("tdxctl", "update", "1.5.06")
    job = Job(host, record.wait("JobNew").args[1])
    hold_kernel(host, job)
    client.kill()
    client.communicate()
    assert job.get("State") == "uploading"
    host.sim.set(stuck="no")
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_client_dies_while_it_waits(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    bus = host.connect()
    job = Job(host, host.call("ApplyVersion", "1.5.06", {}, bus=bus))
    bus.close_sync(None)
    wait_blocked(host, job, "activity-unknown")
    host.sim.set(misc_tdx=0)
    check_end(host, record, job, "success", spent=1, uploads=1)


def test_ctrl_c_leaves_the_job(host):
    host.sim.set(misc_tdx=1)
    record = host.record()
    client = host.popen("tdxctl", "update", "1.5.06")
    job = Job(host, record.wait("JobNew").args[1])
    wait_blocked(host, job, "activity-unknown")
    client.send_signal(signal.SIGINT)
    output = "".join(client.communicate(timeout=10))
    assert "tdxctl cancel" in output
    assert job.get("State") == "waiting"
