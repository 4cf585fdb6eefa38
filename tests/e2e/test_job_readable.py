# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A finished job stays readable: for an hour, and longer while it is among the last 32."""

import sqlite3

import pytest

from harness import JOB, BusError
from steps import settle


def finish_many(host, count):
    """Cancelled ones are as finished as others, and quick."""
    host.sim.set(misc_tdx=1)
    jobs = []
    for _ in range(count):
        job = host.apply("1.5.06")
        job.cancel()
        jobs.append(job)
    return jobs


def readable(host):
    return {int(path.rpartition("/")[2]) for path in host.objects() if "/job/" in path}


def make_older(host, seconds):
    """As if all of it had been that much earlier. The daemon must not run."""
    with sqlite3.connect(next(host.state.glob("*.db*"))) as db:
        db.execute("UPDATE job SET created = created - :t, finished = finished - :t",
                   {"t": seconds * 1_000_000})
    db.close()


def test_finished_job(host):
    job = host.apply("1.5.06")
    job.finish()
    before = job.all()
    objects = host.objects()
    assert objects[job.path][JOB] == before
    assert host.job(1).path == job.path
    assert host.call("ListJobs") == []
    for end in (host.daemon.restart, host.daemon.crash):
        end()
        after = job.all()
        assert after.pop("Reason") and before.pop("Reason", True)
        assert after == before
        assert job.path in host.objects()


def test_failed_job_after_a_restart(host):
    host.sim.set(error="hw-error")
    job = host.apply("1.5.06")
    job.finish()
    before = job.all()
    host.daemon.restart()
    # Of an attempt that failed the progress is not kept.
    assert {**job.all(), "Progress": None} == {**before, "Progress": None}


def test_more_than_32_in_an_hour(host):
    jobs = finish_many(host, 36)
    assert readable(host) == set(range(1, 37))
    host.daemon.restart()
    assert readable(host) == set(range(1, 37))
    assert jobs[0].get("Result") == "cancelled"


def test_older_than_an_hour(host):
    jobs = finish_many(host, 36)
    host.daemon.stop()
    make_older(host, 2 * 3600)
    host.daemon.start()
    assert readable(host) == set(range(5, 37))
    with pytest.raises(BusError) as error:
        host.call("GetJob", 4)
    assert error.value.id == "NoSuchJob"
    with pytest.raises(BusError):
        jobs[3].get("State")
    assert len(host.history()) == 36
    # One more pushes the oldest out, now.
    record = host.record()
    host.apply("1.5.06").cancel()
    removed = record.wait("InterfacesRemoved")
    assert removed.args[0] == jobs[4].path and JOB in removed.args[1]
    settle(host)
    assert readable(host) == set(range(6, 38))
    assert len(record.all("InterfacesRemoved")) == 1


def test_the_hour_ends(host):
    finish_many(host, 34)
    host.daemon.stop()
    record = host.record()
    make_older(host, 3600 - 3)
    host.daemon.start()
    # All, unless the start took longer than what is left of the hour.
    before = readable(host)
    host.wait(lambda: readable(host) == set(range(3, 35)), "two are too old", 15)
    host.wait(lambda: len(record.all("InterfacesRemoved")) >= len(before) - 32, "the signals")
    settle(host)
    gone = [s.args[0] for s in record.all("InterfacesRemoved")]
    assert len(gone) == len(set(gone)) and not any(path in host.objects() for path in gone)


def test_unfinished_ones_are_never_forgotten(host):
    host.sim.set(misc_tdx=1)
    first = host.apply("1.5.08")
    finish_many(host, 34)
    host.daemon.stop()
    make_older(host, 2 * 3600)
    host.daemon.start()
    assert first.get("State") == "waiting"
    assert readable(host) == {1, *range(4, 36)}


def test_no_such_job(host):
    for job_id in (0, 1, 4294967295):
        with pytest.raises(BusError) as error:
            host.call("GetJob", job_id)
        assert error.value.id == "NoSuchJob"
