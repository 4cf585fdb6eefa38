# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A job that goes well: what it does, what it tells, what is kept of it."""

import json
import re
import time

import pytest

from harness import JOB, MANAGER, OBJECT_MANAGER, PATH
from steps import check_end, check_prepare_pairs, wait_blocked

HISTORY_KEYS = {"job", "from", "to", "result", "error", "requester", "reason", "started",
                "finished", "attempts", "seam-hash", "signer", "svn-before", "svn-after",
                "evidence", "suspect-guests", "external"}
ATTEMPT_KEYS = {"number", "started", "outcome", "status", "kernel-error", "timings"}
TIMINGS = {"look-to-handover", "kernel", "verify", "total"}


def test_newest(host):
    record = host.record()
    job = host.apply()
    check_end(host, record, job, "success", spent=1, uploads=1)
    assert host.running_version() == host.get("ModuleVersion") == "1.5.16"
    assert host.get("RemainingUpdates") == 8
    assert [s.args for s in record.all("ModuleUpdated")] == [("1.5.05", "1.5.16", job.get("Id"))]
    assert check_prepare_pairs(record) == 1
    assert host.get("State") == "idle" and not host.get("Lost")


def test_apply_without_arguments(host):
    job = host.job(host.call("Apply"))
    assert job.finish() == "success"
    assert host.running_version() == "1.5.16"


def test_history_is_complete(host, images):
    before = time.time_ns() // 1000
    job = host.apply("1.5.06", reason="security fix")
    job.finish()
    after = time.time_ns() // 1000
    entry = host.history()[0]
    assert set(entry) == HISTORY_KEYS
    image = next(i for i in host.call("ListImages") if i["version"] == "1.5.06")
    expected = {"job": 1, "from": "1.5.05", "to": "1.5.06", "result": "success", "error": ("", ""),
                "requester": 0, "reason": "security fix", "seam-hash": image["seam-hash"],
                "signer": images.signer, "svn-before": 0x105, "svn-after": 0x106,
                "suspect-guests": [], "external": False}
    assert {k: entry[k] for k in expected} == expected
    assert entry["evidence"].startswith("T0")
    assert before <= entry["started"] <= entry["finished"] <= after

    attempt, = entry["attempts"]
    assert set(attempt) == ATTEMPT_KEYS
    assert (attempt["number"], attempt["outcome"], attempt["kernel-error"]) == (1, "success", "")
    assert entry["started"] <= attempt["started"] <= entry["finished"]
    assert set(attempt["timings"]) == TIMINGS
    timings = attempt["timings"]
    # The simulated kernel takes at least transfer-ms=50.
    assert 50_000 <= timings["kernel"] <= timings["total"]
    assert timings["look-to-handover"] < timings["total"]
    assert job.get("AttemptLog") == entry["attempts"] and job.get("Timings") == timings


def test_finished_carries_the_history(host):
    record = host.record()
    job = host.apply("1.5.06", reason="why not")
    result, details = record.wait("Finished", job.path).args
    assert result == "success"
    assert details == host.history()[0]


def test_properties_while_it_waits(host):
    host.sim.set(misc_tdx=1)
    deadline = (time.time_ns() // 1000) + 3600 * 1_000_000
    job = host.apply("1.5.06", deadline=deadline)
    wait_blocked(host, job, "activity-unknown")
    seen = job.all()
    expected = {"Id": 1, "FromVersion": "1.5.05", "ToVersion": "1.5.06", "State": "waiting",
                "Progress": 0.0, "Attempts": 0, "AttemptLog": [], "NextAttempt": 0,
                "Deadline": deadline, "Cancelable": True, "Requester": 0, "Result": "",
                "Error": ("", ""), "Timings": {}}
    assert {k: seen[k] for k in expected} == expected
    assert "1 TD" in seen["Reason"]
    assert host.call("ListJobs") == [(1, job.path, "1.5.06", "waiting", seen["Reason"])]
    assert host.call("ListJobs")[0][1] in host.get("Jobs")
    assert host.get("State") == "waiting" and seen["Reason"] in host.get("StateReason")


def test_states_are_told_in_order(host):
    record = host.record()
    job = host.apply("1.5.06")
    record.wait("JobRemoved")
    states = record.changes("State", job.path)
    assert [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]] == [
        "waiting", "uploading", "verifying", "finished"]
    assert record.changes("Result", job.path) == ["success"]
    members = [s.member for s in record.signals
               if job.path in (s.path, *s.args) and s.path != PATH or s.member.startswith("Job")]
    assert members[0] == "JobNew" and members[-2:] == ["Finished", "JobRemoved"]
    assert set(members[1:-2]) == {"PropertiesChanged"}
    last = [s for s in record.all("PropertiesChanged", job.path)][-1].args[1]
    assert (last["State"], last["Result"], last["Progress"]) == ("finished", "success", 1.0)
    assert last["Cancelable"] is False


def test_object_comes_with_the_job(host):
    record = host.record()
    job = host.apply("1.5.06")
    record.wait("JobRemoved")
    added = [s for s in record.all("InterfacesAdded") if s.args[0] == job.path]
    assert len(added) == 1 and added[0].interface == OBJECT_MANAGER
    assert JOB in added[0].args[1]
    assert not record.all("InterfacesRemoved")


def test_reply_before_signals(host):
    """As the bus carries it: who asked knows the job when its first signal arrives."""
    monitor = host.popen("busctl", "--json=short", "monitor", "org.tdx.Update1")
    try:
        # It says so when the bus has made it a monitor.
        assert "Monitoring" in monitor.stderr.readline()
        job = host.apply("1.5.06")
        job.finish()
        host.sync()
    finally:
        monitor.terminate()
    lines = [json.loads(line) for line in monitor.communicate()[0].splitlines()]
    call = next(m for m in lines if m.get("member") == "ApplyVersion")
    reply = next(i for i, m in enumerate(lines) if m.get("reply_cookie") == call["cookie"]
                 and m["destination"] == call["sender"])
    about = [i for i, m in enumerate(lines) if m["type"] == "signal"
             and (job.path == m["path"] or job.path in json.dumps(m["payload"]))]
    assert about and reply < about[0]


@pytest.mark.host(set=["receive-ms=300", "prepare-ms=300", "transfer-ms=600", "program-ms=300"])
def test_progress(host):
    record = host.record()
    job = host.apply("1.5.16")
    record.wait("JobRemoved")
    progress = record.changes("Progress", job.path)
    assert progress == sorted(progress) and progress[-1] == 1.0
    assert all(0 <= p <= 1 for p in progress)
    reasons = " ".join(record.changes("Reason", job.path))
    assert re.findall(r"\((receiving|preparing|transferring|programming)\)", reasons) == [
        "receiving", "preparing", "transferring", "programming"]
    only = [s for s in record.all("PropertiesChanged", job.path) if set(s.args[1]) == {"Progress"}]
    entry = host.history()[0]
    seconds = (entry["finished"] - entry["started"]) / 1e6
    assert len(only) <= 4 * seconds + 1


@pytest.mark.host(busy=2)
def test_busy_twice(host):
    record = host.record()
    job = host.apply("1.5.06")
    check_end(host, record, job, "success", spent=1, uploads=3)
    assert [a["outcome"] for a in job.get("AttemptLog")] == ["busy", "busy", "success"]
    assert [a["number"] for a in job.get("AttemptLog")] == [1, 2, 3]
    assert [a["kernel-error"] for a in job.get("AttemptLog")] == [
        "transferring:device-busy", "transferring:device-busy", ""]
    backoffs = [s for s in record.all("PropertiesChanged", job.path)
                if s.args[1].get("State") == "backoff"]
    assert len(backoffs) == 2
    attempts = job.get("AttemptLog")
    for signal, failed, following in zip(backoffs, attempts, attempts[1:]):
        next_attempt = signal.args[1]["NextAttempt"]
        # Full jitter between 100 ms and 30 s; not before its time.
        assert failed["started"] + 100_000 <= next_attempt <= failed["started"] + 31_000_000
        assert next_attempt <= following["started"]
    # Retries that come soon do not tell everyone to go on in between.
    assert check_prepare_pairs(record) == 1
    assert host.get("BusyDetection") == "yes"
    assert job.get("NextAttempt") == 0


def test_a_later_job_starts_from_the_new_version(host):
    first = host.apply("1.5.06")
    assert first.finish() == "success"
    second = host.apply("1.5.08")
    assert second.finish() == "success"
    assert second.get("FromVersion") == "1.5.06"
    assert host.sim.number("remaining") == 7
    assert [(h["from"], h["to"]) for h in host.history()] == [("1.5.06", "1.5.08"),
                                                              ("1.5.05", "1.5.06")]
    assert host.history(maximum=1)[0]["job"] == 2
    assert host.history(since=host.history()[0]["finished"] + 1) == []


def test_properties_of_the_manager_follow(host):
    record = host.record()
    host.apply("1.5.06")
    host.wait(lambda: record.changes("State", PATH)[-1:] == ["idle"], "it is idle again")
    assert record.changes("ModuleVersion", PATH)[-1] == "1.5.06"
    assert record.changes("RemainingUpdates", PATH)[-1] == 8
    assert all(s.args[0] == MANAGER for s in record.all("PropertiesChanged", PATH))
