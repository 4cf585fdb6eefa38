# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What the journal gets, by a real systemd-journald in the private /run."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tdxbox.process import Process, wait_until

TOP = Path(__file__).resolve().parents[2]
CATALOG = TOP / "systemd" / "tdx-updated.catalog"
JOURNALD = next((p for p in ("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald")
                 if os.path.exists(p)), None)
SETTINGS = "[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToSyslog=no\nForwardToWall=no\n" \
           "RateLimitBurst=0\n"
NAMES = dict(re.findall(r'#define MESSAGE_(\w+)\s+"([0-9a-f]{32})"', (TOP / "daemon/base/names.h").read_text()))
IDS = {value: name for name, value in NAMES.items()}
VERSIONS = {"TDX_FROM": "1.5.05", "TDX_TO": "1.5.06"}


class Journal:
    def __init__(self):
        settings = Path("/run/systemd/journald.conf.d/zz-test.conf")
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(SETTINGS)
        Path("/run/systemd/journal").mkdir(exist_ok=True)
        self.process = Process([JOURNALD], output="/run/tdx-sandbox/journald.log")
        wait_until(lambda: os.path.exists("/run/systemd/journal/socket"), "journald does not listen",
                   process=self.process)

    def entries(self, pid):
        done = subprocess.run(["journalctl", "--no-pager", "--quiet", "--all", "--output=json", "--merge",
                               "--directory=/run/log/journal", f"_PID={pid}"], capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def close(self):
        self.process.end()
        for path in ("/run/systemd/journal", "/run/systemd/journald.conf.d", "/run/log/journal"):
            shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def journald(world):
    if JOURNALD is None or not os.path.exists("/etc/machine-id"):
        pytest.skip("systemd-journald or /etc/machine-id is missing")
    journal = Journal()
    yield journal
    journal.close()


class Log:
    """Of the daemon that runs now."""

    def __init__(self, host, journald):
        self.host, self.journald = host, journald

    def entries(self):
        return self.journald.entries(self.host.daemon.pid)

    def named(self, name):
        return [e for e in self.entries() if IDS.get(e.get("MESSAGE_ID")) == name]

    def wait(self, name, count=1):
        self.host.wait(lambda: len(self.named(name)) >= count, f"the entry {name}", interval=0.05)
        return self.named(name)[count - 1]


def with_journal(host, journald):
    host.daemon.env["JOURNAL_STREAM"] = "8:1"       # as systemd sets it
    host.daemon.restart()
    return Log(host, journald)


@pytest.fixture
def log(host, journald):
    return with_journal(host, journald)


def has(entry, **fields):
    assert {k: entry.get(k) for k in fields} == fields, entry
    return entry


def check_catalog(entries):
    """Every id is explained, and the explanation speaks of no field that the entry lacks."""
    texts = dict(re.findall(r"^-- ([0-9a-f]{32})\n(.*?)(?=^-- |\Z)", CATALOG.read_text(), re.M | re.S))
    for entry in entries:
        assert entry["SYSLOG_IDENTIFIER"] == "tdx-updated" and entry["PRIORITY"] in "234567"
        if "MESSAGE_ID" in entry:
            assert entry["MESSAGE_ID"] in texts, entry
            wanted = set(re.findall(r"@(\w+)@", texts[entry["MESSAGE_ID"]]))
            assert wanted <= set(entry), (IDS[entry["MESSAGE_ID"]], wanted - set(entry))


def test_successful_update(host, log):
    host.apply("1.5.06", reason="a test").finish()
    log.wait("JOB_FINISHED")
    has(log.named("JOB_QUEUED")[0], TDX_JOB="1", TDX_UID="0", PRIORITY="6", **VERSIONS)
    has(log.named("ATTEMPT_STARTED")[0], TDX_JOB="1", TDX_ATTEMPT="1", **VERSIONS)
    has(log.named("ATTEMPT_ENDED")[0], TDX_JOB="1", TDX_ATTEMPT="1", TDX_OUTCOME="success", **VERSIONS)
    has(log.named("MODULE_UPDATED")[0], TDX_JOB="1", PRIORITY="5", **VERSIONS)
    has(log.named("JOB_FINISHED")[0], TDX_JOB="1", TDX_RESULT="success", PRIORITY="5", **VERSIONS)
    entries = log.entries()
    order = [IDS[e["MESSAGE_ID"]] for e in entries if "TDX_JOB" in e]
    assert order == ["JOB_QUEUED", "ATTEMPT_STARTED", "ATTEMPT_ENDED", "MODULE_UPDATED", "JOB_FINISHED"]
    check_catalog(entries)
    assert len(log.named("OVERRIDE")) == 1
    # Nothing of it goes to the standard error too.
    assert "Job 1" not in host.log()


@pytest.mark.host(busy=2)
def test_busy(host, log):
    host.apply("1.5.06").finish()
    log.wait("JOB_FINISHED")
    assert [e["TDX_OUTCOME"] for e in log.named("ATTEMPT_ENDED")] == ["busy", "busy", "success"]
    assert [e["TDX_ATTEMPT"] for e in log.named("ATTEMPT_STARTED")] == ["1", "2", "3"]
    assert len(log.named("JOB_FINISHED")) == 1
    assert not [e for e in log.entries() if e["PRIORITY"] in "234"]     # it is no failure
    check_catalog(log.entries())


@pytest.mark.host(set=["misc-tdx=1"])
def test_waiting_is_said_once(host, log):
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    has(log.wait("WAITING"), TDX_JOB="1", TDX_BLOCKER="activity-unknown", PRIORITY="6", **VERSIONS)
    before = len(log.entries())
    polls = host.sim.get("misc-tdx")        # nothing changes meanwhile
    host.call("Refresh")
    for _ in range(3):
        host.call("Plan", "", {})
    assert polls == host.sim.get("misc-tdx") and len(log.entries()) == before
    job.cancel()
    has(log.wait("JOB_FINISHED"), TDX_RESULT="cancelled", PRIORITY="5", **VERSIONS)
    check_catalog(log.entries())


FAILURES = {
    "refused": (["refuse=9"], "RefusedRetries=0", "failed", "refused"),
    "hw-error": (["error=hw-error"], "", "failed", None),
    "unknown-word": (["error=gremlins"], "", "failed", None),
    "mismatch": (["mismatch=1.5.13"], "", "failed", "mismatch"),
    "nothing-ran": (["nothing=1"], "", "failed", None),
    "lost": (["lose=1"], "", "lost", "lost"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_is_said_once(make_host, journald, name):
    settings, config, result, outcome = FAILURES[name]
    host = make_host(set=settings, config_text=config)
    log = with_journal(host, journald)
    assert host.apply("1.5.06").finish() == result
    has(log.wait("JOB_FINISHED"), TDX_JOB="1", TDX_RESULT=result, PRIORITY="3", **VERSIONS)
    entries = log.entries()
    assert len(log.named("JOB_FINISHED")) == len(log.named("ATTEMPT_ENDED")) == 1
    if outcome:
        assert log.named("ATTEMPT_ENDED")[0]["TDX_OUTCOME"] == outcome
    # One line that it failed; a lost module is a thing of its own.
    loud = [IDS.get(e.get("MESSAGE_ID")) for e in entries if e["PRIORITY"] in "23"]
    assert loud == (["MODULE_LOST", "JOB_FINISHED"] if result == "lost" else ["JOB_FINISHED"]), entries
    assert len({e["MESSAGE"] for e in entries}) == len(entries)
    if result == "lost":
        has(log.named("MODULE_LOST")[0], TDX_FROM="1.5.05", PRIORITY="2")
    check_catalog(entries)


def test_stuck(make_host, journald):
    host = make_host(set=["stuck=yes"], config_text="AttemptTimeoutSec=1s")
    log = with_journal(host, journald)
    job = host.apply("1.5.06")
    has(log.wait("STUCK"), TDX_JOB="1", TDX_ATTEMPT="1", PRIORITY="2")
    host.sim.set(stuck="no")
    assert job.finish() == "success"
    log.wait("JOB_FINISHED")
    assert len(log.named("STUCK")) == 1
    check_catalog(log.entries())


def test_expired(make_host, journald):
    host = make_host(set=["misc-tdx=1"], config_text="DefaultDeadlineSec=1s")
    log = with_journal(host, journald)
    assert host.apply("1.5.06").finish() == "expired"
    has(log.wait("JOB_FINISHED"), TDX_RESULT="expired", **VERSIONS)
    check_catalog(log.entries())


def test_foreign_update(host, log, images, tmp_path):
    images.make("--version", "1.5.06", "--format", 200, "--output", tmp_path / "image")
    host.sim.ctl("upload", tmp_path / "image")
    host.wait(lambda: host.running_version() == "1.5.06", "the foreign upload")
    host.call("Refresh")
    has(log.wait("FOREIGN_UPDATE"), PRIORITY="4", **VERSIONS)
    host.call("Refresh")
    host.call("Plan", "", {})
    assert len(log.named("FOREIGN_UPDATE")) == 1
    check_catalog(log.entries())


def test_configuration(host, log):
    host.config_file.write_text("[Update]\nColour=red\nMaxJobs=x\n")
    host.daemon.reload()
    log.wait("CONFIG_INVALID", 2)
    messages = [e["MESSAGE"] for e in log.named("CONFIG_INVALID")]
    assert [m.startswith(f"{host.config_file}:{n}: ") for n, m in zip((2, 3), messages)] == [True, True]
    assert len(messages) == 2
    check_catalog(log.entries())


def test_catalogue_problems(host, log):
    bad = host.state / "images" / "mapping_file.json"
    bad.write_text("{")
    for _ in range(3):
        host.call("ListImages")
    host.wait(lambda: [e for e in log.entries() if str(bad) in e["MESSAGE"]], "the entry", interval=0.05)
    assert len([e for e in log.entries() if str(bad) in e["MESSAGE"]]) == 1
    check_catalog(log.entries())


def test_refused_requests_are_no_news(host, log):
    """What somebody asked for and did not get is told to them, not to the journal."""
    before = len(log.entries())
    for args in (("9.9.99",), ("x",), ("1.5.05",)):
        host.ctl("update", *args)
    host.ctl("update", "1.5.06", user="nobody")
    assert len([e for e in log.entries()][before:]) == 0


def test_texts_from_outside(host, log):
    """A reason with a newline and other controls stays within its field."""
    host.apply("1.5.06", reason="x\nMESSAGE_ID=00000000000000000000000000000000\n\x1b[31m").finish()
    log.wait("JOB_FINISHED")
    entries = log.entries()
    assert {e.get("MESSAGE_ID") for e in entries} - set(IDS) <= {None}
    check_catalog(entries)


# The catalogue itself.

def test_catalog_has_every_id():
    listed = re.findall(r"^# (\w+)\n-- ([0-9a-f]{32})$", CATALOG.read_text(), re.M)
    assert dict(listed) == NAMES
    sources = "".join(p.read_text() for p in (TOP / "daemon").rglob("*.c"))
    unused = [name for name in NAMES if f"MESSAGE_{name}" not in sources]
    assert unused == []


def test_catalog_compiles(tmp_path):
    if not shutil.which("journalctl"):
        pytest.skip("journalctl is missing")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    for command in ("--update-catalog", "--list-catalog"):
        done = subprocess.run(["journalctl", f"--root={tmp_path}", "--no-pager", command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} >= set(IDS)
