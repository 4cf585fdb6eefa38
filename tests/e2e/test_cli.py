# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""tdxctl against the real daemon: verbs, JSON, exit statuses, signals, pipes."""

import json
import os
import pty
import re
import select
import shutil
import signal
import time
from pathlib import Path

import pytest
from gi.repository import Gio

from harness import JOB, MANAGER

DBUS = Path(__file__).resolve().parents[2] / "dbus"
MAPPING = Path(__file__).resolve().parents[1] / "data" / "mapping_file.json"
PLAIN = ["status", "list", "plan", "plan 1.5.06", "plan 1.5.05", "plan 2.0.05", "jobs", "history", "config", "refresh"]


def properties(name):
    node = Gio.DBusNodeInfo.new_for_xml((DBUS / f"{name}.xml").read_text())
    return [p.name for p in node.lookup_interface(name).properties]


def kebab(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def clean(text):
    """No escape codes, no control characters."""
    return not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)


# Verbs.

@pytest.mark.host(set=["misc-tdx=1"])
def test_every_verb_as_text(host, images):
    for words in ("", *PLAIN, "help", "--help", "--version"):
        result = host.ctl(*words.split())
        assert result.status in (0, 76) and result.stderr == "", (words, result)
        assert result.stdout or words in ("jobs", "history"), words
        assert clean(result.stdout)
    assert host.ctl().stdout == host.ctl("status").stdout
    for words in ("update 1.5.06 --no-wait --reason because --deadline 1h", "jobs", "show 1", "cancel", "history",
                  "show 1"):
        result = host.ctl(*words.split())
        assert (result.status, result.stderr) == (0, ""), words
        assert result.stdout and clean(result.stdout), words
    assert host.ctl("wait", "1").status == 1        # it was cancelled
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", MAPPING)
    assert result.status == 0
    help_text = host.ctl("help").stdout
    for verb in ("status", "list", "plan", "update", "jobs", "show", "wait", "cancel", "history", "monitor",
                 "import", "inspect", "refresh"):
        assert re.search(rf"^  {verb}\b", help_text, re.M), verb


def test_json_has_the_names_of_the_api(host):
    host.apply("1.5.06", reason="because").finish()
    for mode in ("short", "pretty"):
        json_of = {words: host.ctl(f"--json={mode}", *words.split()) for words in (*PLAIN, "show 1")}
        for words, result in json_of.items():
            assert result.status in (0, 76), (words, result)
            assert result.stderr == "" and clean(result.stdout)
            assert (len(result.stdout.splitlines()) == 1) == (mode == "short" or result.json in ([], {})), words
            assert result.stdout.endswith("\n")
        assert json_of["list"].json == host.call("ListImages")
        assert json_of["history"].json == [{**e, "error": list(e["error"])} for e in host.history()]
        assert json_of["config"].json == host.call("DescribeConfig")
        plan = host.call("Plan", "", {})
        assert json_of["plan"].json == plan
        assert set(json_of["show 1"].json) >= {kebab(p) for p in properties(JOB)}
        assert set(json_of["status"].json) >= {kebab(p) for p in properties(MANAGER)}
        assert json_of["status"].json["module-version"] == "1.5.06"
        assert json_of["jobs"].json == []


@pytest.mark.host(set=["misc-tdx=1"])
def test_json_of_jobs(host):
    result = host.ctl("--json=short", "update", "1.5.06", "--no-wait")
    job = {"id": 1, "path": "/org/tdx/Update1/job/1", "version": "1.5.06"}
    assert result.status == 0 and {k: result.json[k] for k in job} == job
    host.job(1).wait_state("waiting")
    listed = host.ctl("--json=short", "jobs").json
    assert len(listed) == 1 and listed[0]["state"] == "waiting" and {k: listed[0][k] for k in job} == job
    assert set(listed[0]) == {"id", "path", "version", "state", "reason"}
    result = host.ctl("--json=short", "cancel", "1")
    assert result.status == 0 and result.json["state"] == "finished" and result.json["result"] == "cancelled"


@pytest.mark.host(busy=2)
def test_json_of_a_followed_update(host):
    """The last line is the result; if there are lines before, each is an object too."""
    result = host.ctl("--json=short", "update", "1.5.06")
    assert result.status == 0, result.stderr
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    last = objects[-1]
    assert last["result"] == "success" and last["job"] == 1
    assert last["from"] == "1.5.05" and last["to"] == "1.5.06"
    assert [a["outcome"] for a in last["attempts"]] == ["busy", "busy", "success"]


def test_monitor(host):
    for mode in ((), ("--json=short",)):
        monitor = host.popen("tdxctl", *mode, "monitor")
        try:
            # It is subscribed when the daemon has a match for it; a signal that repeats shows that.
            seen = []

            def heard():
                host.call("Refresh")
                return select.select([monitor.stdout], [], [], 0)[0]

            host.wait(heard, "the monitor hears something", interval=0.05)
            version = "1.5.13" if mode else "1.5.06"
            host.apply(version).finish()
            while not seen or "JobRemoved" not in seen[-1]:
                seen.append(monitor.stdout.readline())
                assert seen[-1], "monitor ended"
            text = "".join(seen)
            assert clean(text)
            for member in ("JobNew", "PrepareForUpdate", "ModuleUpdated", "Finished"):
                assert member in text
            if mode:
                last = json.loads(seen[-1])
                assert last["signal"] == "JobRemoved" and last["result"] == "success"
                assert all("time" in json.loads(line) for line in seen)
        finally:
            monitor.send_signal(signal.SIGINT)
            monitor.communicate(timeout=10)
        assert monitor.returncode == 0


# Exit statuses, each for its own reason.

def error_of(host, *words, user=None):
    """Text and JSON agree; returns (status, name)."""
    text = host.ctl(*words, user=user)
    assert text.stderr.startswith("tdxctl: ") and clean(text.stderr), words
    result = host.ctl("--json=short", *words, user=user)
    assert result.status == text.status
    error = json.loads(result.stdout.splitlines()[-1])["error"]
    assert set(error) == {"name", "message", "exit-status"} and error["exit-status"] == result.status
    assert error["message"] in text.stderr
    return result.status, error["name"]


def test_0_done_or_current(host):
    assert host.ctl("update", "1.5.06").status == 0
    before = host.snapshot()
    for words in (("update", "1.5.06"), ("update", "1.5.6")):
        result = host.ctl(*words)
        assert result.status == 0 and "1.5.06" in result.stdout
        assert host.ctl("--json=short", *words).json["result"] == "already-current"
    assert host.snapshot() == before
    assert host.ctl("update").status == 0
    assert host.ctl("update").status == 0           # nothing newer
    assert host.sim.number("installs") == 2


def test_64_usage(host, images):
    before = host.snapshot()
    for words in (["frobnicate"], ["show"], ["show", "x"], ["show", "0"], ["show", "-1"], ["wait", "x"], ["cancel", "99999999999"],
                  ["update", "latest"], ["update", "1.5.06", "1.5.13"], ["update", "--deadline", "soon"],
                  ["update", "--deadline", "2001-01-01"], ["update", "--colour"], ["import"], ["status", "x"],
                  ["list", "--reason", "x"], ["history", "--max", "0"], ["history", "--since", "x"], ["--json=xml"],
                  ["import", images.path("1.5.06"), "--version", "x"], ["plan", "x"], ["update", "--reason", "x" * 2000],
                  ["update", "1.5"]):
        assert host.ctl(*words).status == 64, words
    assert error_of(host, "frobnicate") == (64, "Usage")
    assert error_of(host, "plan", "x") == (64, "InvalidArgs")
    assert host.snapshot() == before


def test_65_and_66(host, tmp_path):
    (tmp_path / "text").write_text("x")
    assert error_of(host, "import", tmp_path / "text") == (65, "ImageInvalid")
    assert error_of(host, "update", "1.5.99") == (66, "NoSuchVersion")
    assert error_of(host, "show", "7") == (66, "NoSuchJob")
    assert error_of(host, "wait", "7") == (66, "NoSuchJob")
    assert error_of(host, "cancel") == (66, "NoSuchJob")
    assert error_of(host, "import", tmp_path / "nothing")[0] == 66


@pytest.mark.host(set=["supported=no"])
def test_69_not_supported(host):
    assert error_of(host, "update", "1.5.06") == (69, "NotSupported")
    assert host.ctl("plan", "1.5.06").status == 69
    assert host.ctl("status").status == 0       # a good answer
    assert host.get("UnsupportedReason") in host.ctl("status").stdout


def test_69_no_daemon(host):
    host.daemon.stop()
    for words in (*PLAIN, "update", "wait", "cancel", "show 1"):
        result = host.ctl("--json=short", *words.split())
        assert result.status == 69 and result.json["error"]["exit-status"] == 69, words
        assert "daemon" in result.stderr or "systemctl" in result.stderr
    assert host.ctl("help").status == 0
    env = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
    assert host.run("tdxctl", "status", env=env).status == 69


@pytest.mark.parametrize("settings,status,name", [
    (["refuse=9"], 70, "UploadFailed"), (["error=hw-error"], 70, "UploadFailed"),
    (["mismatch=1.5.13"], 70, "VerifyFailed"), (["nothing=1"], 70, None), (["lose=1"], 71, "ModuleLost")])
def test_70_71_failed(make_host, settings, status, name):
    host = make_host(set=settings, config_text="RefusedRetries=0")
    result = host.ctl("--json=short", "update", "1.5.06")
    assert result.status == status, result.stderr
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["result"] == ("lost" if status == 71 else "failed")
    if name:
        assert last["error"][0].endswith("." + name)
    assert host.ctl("wait", "1").status == status
    if status == 71:
        assert error_of(host, "update", "1.5.13") == (71, "ModuleLost")
        assert "reboot" in host.ctl("status").stdout


@pytest.mark.host(remaining=1)
def test_73_no_budget(host):
    assert error_of(host, "update", "1.5.06") == (73, "NoBudget")      # the reserve
    host.sim.set(remaining=0)
    host.daemon.restart()
    assert error_of(host, "update", "1.5.06") == (73, "NoBudget")
    assert host.ctl("plan").status == 73


@pytest.mark.host(set=["misc-tdx=1"])
def test_75_not_now(host):
    result = host.ctl("--json=short", "update", "1.5.06", "--deadline", "1s")
    assert result.status == 75
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["result"] == "expired" and last["error"][0].endswith(".DeadlineExpired")
    assert error_of(host, "update", "1.5.06", "--plan", "0" * 64) == (75, "PlanStale")


def test_76_blocked(make_host):
    host = make_host(module="1.5.16")
    assert error_of(host, "update", "1.5.06") == (76, "Downgrade")
    assert error_of(host, "update", "2.0.05") == (76, "IncompatibleModule")
    assert host.ctl("plan", "1.5.06").status == 76
    host.close()
    host = make_host(cpu="0x906a0")
    assert error_of(host, "update", "1.5.06") == (76, "IncompatibleCpu")


def test_77_not_authorised(host):
    assert error_of(host, "update", "1.5.06", user="nobody")[0] == 77
    assert error_of(host, "refresh", user="nobody")[0] == 77


def test_78_configuration(make_host, tmp_path):
    """The daemon's: tdxctl has no configuration."""
    host = make_host(start=False)
    (tmp_path / "bad").write_text("[Update]\nx=1\n")
    daemon = host.world.build / "daemon" / "tdx-updated"
    assert host.run(daemon, "--check-config", f"--config={tmp_path / 'bad'}").status == 78


@pytest.mark.host(set=["misc-tdx=1"])
def test_1_other(host):
    host.apply("1.5.06").cancel()
    assert host.ctl("wait", "1").status == 1
    assert error_of(host, "cancel", "1") == (1, "NotCancelable")


# Following.

def wait_for_line(host, process, word):
    """Of both streams; returns what came."""
    text = ""

    def found():
        nonlocal text
        while True:
            ready = select.select([process.stdout, process.stderr], [], [], 0)[0]
            if not ready:
                return word in text
            parts = [os.read(stream.fileno(), 65536).decode() for stream in ready]
            if not any(parts):
                return word in text
            text += "".join(parts)

    host.wait(found, f"tdxctl says {word!r}", interval=0.02)
    return text


@pytest.mark.host(set=["misc-tdx=1"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_the_job(host, number):
    process = host.popen("tdxctl", "update", "1.5.06")
    host.wait(lambda: host.call("ListJobs"), "the job")
    host.job(1).wait_state("waiting")
    text = wait_for_line(host, process, "1.5.06")
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode in (1, -number) and clean(out + text)
    assert "tdxctl cancel 1" in text + out + err
    assert host.job(1).get("State") == "waiting"
    host.sim.set(misc_tdx=0)
    assert host.ctl("wait", "1").status == 0
    assert host.running_version() == "1.5.06"


@pytest.mark.host(set=["misc-tdx=1"])
def test_it_says_why_it_waits(host):
    process = host.popen("tdxctl", "update", "1.5.06")
    host.wait(lambda: host.call("ListJobs"), "the job")
    job = host.job(1)
    job.wait_state("waiting")
    reason = job.get("Reason")
    text = wait_for_line(host, process, reason)
    assert clean(text)
    host.sim.set(misc_tdx=0)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert clean(out) and "1.5.06" in out


@pytest.mark.host(set=["misc-tdx=1"])
def test_two_follow_one_job(host):
    first, second = host.popen("tdxctl", "update", "1.5.06"), host.popen("tdxctl", "update", "1.5.06")
    host.wait(lambda: host.call("ListJobs"), "the job")
    host.wait(lambda: "1" in wait_for_line(host, second, "1.5.06"), "the second one follows")
    assert len(host.call("ListJobs")) == 1
    host.sim.set(misc_tdx=0)
    for process in (first, second):
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert host.sim.number("installs") == 1


@pytest.mark.host(set=["misc-tdx=1"])
def test_cancelled_by_another(host):
    process = host.popen("tdxctl", "update", "1.5.06")
    host.wait(lambda: host.call("ListJobs"), "the job")
    wait_for_line(host, process, "1.5.06")
    assert host.ctl("cancel").status == 0
    process.communicate(timeout=10)
    assert process.returncode == 1


@pytest.mark.host(set=["misc-tdx=1"])
def test_followed_over_a_restart(host):
    process = host.popen("tdxctl", "update", "1.5.06")
    host.wait(lambda: host.call("ListJobs"), "the job")
    wait_for_line(host, process, "1.5.06")
    host.daemon.crash()
    host.sim.set(misc_tdx=0)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert host.running_version() == "1.5.06"


def test_cancel_needs_a_number_among_several(host):
    host.sim.set(misc_tdx=1)
    host.apply("1.5.06"), host.apply("1.5.13")
    result = host.ctl("cancel")
    assert result.status == 64 and "2 unfinished jobs" in result.stderr
    assert len(host.call("ListJobs")) == 2
    assert host.ctl("cancel", "2").status == 0
    assert host.ctl("cancel").status == 0


# Terminals, pipes, other hosts.

def test_escape_codes_only_on_a_terminal(host):
    def on_terminal(env):
        main, other = pty.openpty()
        process = host.popen("env", *env, "tdxctl", "--no-pager", "list", stdout=other, stderr=other)
        os.close(other)
        text = b""
        try:
            while part := os.read(main, 65536):
                text += part
        except OSError:
            pass
        os.close(main)
        process.wait()
        return text

    assert b"\x1b[" in on_terminal(["TERM=xterm"])
    assert b"\x1b" not in on_terminal(["TERM=dumb"])
    assert b"\x1b" not in on_terminal(["TERM=xterm", "NO_COLOR=1"])
    assert clean(host.run("tdxctl", "list", env={"TERM": "xterm", "SYSTEMD_COLORS": "1"}).stdout)


@pytest.mark.host(set=["misc-tdx=1"])
def test_controls_in_texts_of_others(host):
    host.apply("1.5.06", reason="\x1b[31mred\x07\nline").cancel()
    for words in (("history",), ("show", "1"), ("--json=short", "history"), ("--json=pretty", "show", "1")):
        result = host.ctl(*words)
        assert result.status == 0 and clean(result.stdout), words


def test_closed_pipe(host):
    """tdxctl list | head -1 is no accident."""
    result = host.run("bash", "-c", "set -o pipefail; tdxctl --json=pretty list | head -c 10 >/dev/null; "
                      "echo ${PIPESTATUS[0]}")
    assert result.stdout.strip() in ("0", "141") and result.stderr == ""


def test_files_do_not_go_over_ssh(host, images):
    before = host.snapshot()
    for verb in ("import", "inspect"):
        started = time.monotonic()
        result = host.ctl("--json=short", "-H", "host.invalid", verb, images.path("1.5.06"))
        assert result.status == 64 and "host.invalid" in result.json["error"]["message"]
        assert "ssh" in result.stderr and time.monotonic() - started < 5
    assert host.snapshot() == before
    if shutil.which("ssh"):
        assert host.ctl("-H", "host.invalid", "status", timeout=30).status == 69
