# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The configuration: checking, reloading, drop-ins at their real places."""

import re
from pathlib import Path

import pytest

from harness import BusError
from tdxbox import isolate

MAIN = Path("/etc/tdx-updated")
FOLDERS = {"etc": MAIN, "run": Path("/run/tdx-updated"), "lib": Path("/usr/lib/tdx-updated")}
SIGNER = "ab" * 48

GOOD = {
    "CatalogueDirectory": ["/srv/images", "/a b/c"],
    "TrustedSigner": [SIGNER, SIGNER.upper()],
    "KeepRemaining": ["0", "1", "7"],
    "RequireExactStepping": ["yes", "no", "true", "off", "1"],
    "AllowDebugImages": ["yes", "no"],
    "DefaultDeadlineSec": ["infinity", "10min", "1h 30min", "90"],
    "AttemptTimeoutSec": ["2min", "infinity", "30s"],
    "RefusedRetries": ["0", "2"],
    "MaxJobs": ["1", "64"],
    "MaxJobsPerUser": ["1", "16"],
    "StaleGuestSec": ["10min", "1s", "infinity"],
    "QuietSec": ["infinity", "30s"],
    "HoldMaxSec": ["30s", "infinity"],
    "DrainAfterSec": ["infinity", "1h"],
    "DrainMaxSec": ["2min", "500ms"],
    "BuildWaitMaxSec": ["1min"],
    "BuildHoldMaxSec": ["10min"],
    "MaxHolds": ["1", "250"],
    "MaxHoldsPerUser": ["1", "50"],
    "MaintenanceWindow": ["Sat,Sun 02:00 4h", "*-*-* 03:00 Europe/Berlin 90min", "daily 1h"],
    "BuildGate": ["no", "misc"],
    "BuildGateCGroup": ["machine.slice", "a/b.slice"],
    "LogLevel": ["err", "warning", "notice", "info", "debug"],
}
BAD = {
    "CatalogueDirectory": ["images", "./x"],
    "TrustedSigner": ["x", "ab" * 47, "ab" * 49, "zz" * 48],
    "KeepRemaining": ["-1", "one", "1.5", "99999999999999999999", "1 2", "0x1"],
    "RequireExactStepping": ["maybe", "2", "yes no"],
    "AllowDebugImages": ["debug"],
    "DefaultDeadlineSec": ["0", "-5", "soon", "10 parsecs", "99999999999999999999999"],
    "AttemptTimeoutSec": ["0", "x"],
    "RefusedRetries": ["-1", "9999999"],
    "MaxJobs": ["0", "x"],
    "MaxJobsPerUser": ["0"],
    "StaleGuestSec": ["0", "soon"],
    "QuietSec": ["0", "never"],
    "HoldMaxSec": ["0"],
    "DrainAfterSec": ["0", "-1"],
    "DrainMaxSec": ["0"],
    "BuildWaitMaxSec": ["0"],
    "BuildHoldMaxSec": ["0"],
    "MaxHolds": ["0", "251"],
    "MaxHoldsPerUser": ["0", "251"],
    "MaintenanceWindow": ["4h", "Sat,Sun 02:00", "Someday 1h", "daily infinity", "daily 0"],
    "BuildGate": ["yes", "MISC"],
    "BuildGateCGroup": ["/", "../x", "a/../b"],
    "LogLevel": ["loud", "INFO", "99"],
}


def value_of(host, key):
    return next(k for k in host.call("DescribeConfig") if k["key"] == key)


def check(host, *arguments):
    return host.run(host.world.build / "daemon" / "tdx-updated", "--check-config", *arguments)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "test.conf"


# --check-config needs neither a bus nor the host's files.

def test_every_key_is_tested(host):
    assert {k["key"] for k in host.call("DescribeConfig")} == set(GOOD) == set(BAD)


def test_check_good(make_host, file):
    host = make_host(start=False)
    for key, values in GOOD.items():
        for value in values:
            file.write_text(f"# a remark\n\n[Update]\n{key}={value}\n; another\n{key} = {value}\n")
            result = check(host, f"--config={file}")
            assert (result.status, result.stderr) == (0, ""), (key, value)
    for text in ("", "[Update]\n", "\n\n# nothing\n", "[Update]", "[Update]\nMaxJobs=1\n[Update]\nMaxJobs=2\n",
                 "[Update]\r\nMaxJobs=1\r\n"):
        file.write_text(text)
        assert check(host, f"--config={file}").status == 0, text
    for key in GOOD:
        file.write_text(f"[Update]\n{key}=\n")      # back to the default
        assert check(host, f"--config={file}").status == 0, key


def test_check_bad_values(make_host, file):
    """Named with file, line, key, value, and what it takes."""
    host = make_host(start=False)
    for key, values in BAD.items():
        for value in values:
            file.write_text(f"[Update]\nMaxJobs=5\n{key}={value}\n")
            result = check(host, f"--config={file}")
            assert result.status == 78, (key, value)
            assert f"{file}:3: {key}= does not take \"{value}\"; it takes " in result.stderr
            assert len(result.stderr.splitlines()) == 1


def test_check_bad_form(make_host, file):
    host = make_host(start=False)
    for text, line, word in (
            ("[Update]\nColour=red\n", 2, "Colour="),
            ("[Update]\nmaxjobs=1\n", 2, "maxjobs="),
            ("MaxJobs=1\n", 1, "MaxJobs="),
            ("[Other]\nMaxJobs=1\n", 1, "[Other]"),
            ("[Update\n", 1, "[Update"),
            ("[Update]\nMaxJobs\n", 2, "MaxJobs"),
            ("[Update]\n=5\n", 2, "="),
            ("[Update]\n\n\n# x\n   nonsense   \n", 5, "nonsense")):
        file.write_text(text)
        result = check(host, f"--config={file}")
        assert result.status == 78, text
        assert f"{file}:{line}: " in result.stderr and word in result.stderr, text


def test_check_all_mistakes_at_once(make_host, file):
    host = make_host(start=False)
    file.write_text("[Update]\nMaxJobs=x\nColour=red\nKeepRemaining=-1\n")
    lines = check(host, f"--config={file}").stderr.splitlines()
    assert [re.search(r":(\d+): ", line).group(1) for line in lines] == ["2", "3", "4"]


def test_check_odd_files(make_host, tmp_path, file):
    host = make_host(start=False)
    (tmp_path / "folder").mkdir()
    file.write_bytes(b"[Update]\nMaxJobs=\x001\n")
    big = tmp_path / "big"
    with open(big, "wb") as f:
        f.truncate(100 << 20)
    latin = tmp_path / "latin"
    latin.write_bytes(b"[Update]\n# \xe4\n")
    for path in (tmp_path / "folder", tmp_path / "nothing", file, big, latin, "/dev/null/x"):
        result = check(host, f"--config={path}")
        assert result.status == 78, path
        assert f"{path}: " in result.stderr and len(result.stderr) < 1000


def test_bad_usage(make_host):
    host = make_host(start=False)
    daemon = host.world.build / "daemon" / "tdx-updated"
    for arguments in (["--colour"], ["word"], ["--log-level=loud"], ["--cpu-signature=x"], ["--config"]):
        result = host.run(daemon, *arguments)
        assert result.status == 64 and result.stderr, arguments
    for option in ("--help", "--version"):
        assert host.run(daemon, option).status == 0
    text = host.run(daemon, "--help").stdout
    assert all(f"  {key}=" in text for key in GOOD)


def test_does_not_start_with_a_bad_one(make_host):
    host = make_host(start=False, config_text="Colour=red")
    host.may_fail = True
    with pytest.raises(Exception) as error:
        host.start()
    assert "exit status 78" in str(error.value)
    assert f"{host.config_file}:2: There is no key Colour=" in host.log()


# Reload.

def write(host, *lines):
    host.config_file.write_text("\n".join(["[Update]", f"TrustedSigner={host.images.signer}", *lines, ""]))


def notifications(host, since=0):
    return [key for m in host.daemon.messages[since:] for key in ("RELOADING", "READY", "STOPPING") if key in m]


@pytest.mark.host(remaining=3)
def test_reload_changes_behaviour(host):
    assert host.call("Plan", "1.5.06", {})["allowed"]
    token = host.call("Plan", "1.5.06", {})["token"]
    write(host, "KeepRemaining=3")
    seen = len(host.daemon.messages)
    host.daemon.reload()
    assert notifications(host, seen) == ["RELOADING", "READY"]
    assert "reserve" in [b["id"] for b in host.call("Plan", "1.5.06", {})["blockers"]]
    with pytest.raises(BusError) as error:
        host.apply("1.5.06")
    assert error.value.id == "NoBudget"
    assert host.ctl("update", "1.5.06").status == 73
    assert value_of(host, "KeepRemaining")["value"] == "3"
    write(host)
    host.daemon.reload()
    with pytest.raises(BusError) as error:
        host.apply("1.5.06", plan="x" + token[1:])
    assert error.value.id == "PlanStale"
    assert host.apply("1.5.06", plan=token).finish() == "success"


def test_reload_of_a_bad_file(host):
    """Nothing of it counts, not even its good lines."""
    write(host, "KeepRemaining=2")
    host.daemon.reload()
    before = host.call("DescribeConfig")
    pid = host.daemon.pid
    write(host, "KeepRemaining=5", "Colour=red", "MaxJobs=none")
    seen, log = len(host.daemon.messages), len(host.log())
    host.daemon.reload()
    assert notifications(host, seen) == ["RELOADING", "READY"]
    assert host.call("DescribeConfig") == before and host.daemon.pid == pid
    lines = host.log()[log:].splitlines()
    assert [line for line in lines if f"{host.config_file}:4: There is no key Colour=" in line]
    assert [line for line in lines if f"{host.config_file}:5: MaxJobs= does not take \"none\"" in line]
    assert len([line for line in lines if "kept" in line]) == 1
    assert host.call("Plan", "1.5.06", {})["allowed"]
    # The file is gone: as bad.
    host.config_file.unlink()
    host.daemon.reload()
    assert host.call("DescribeConfig") == before
    write(host, "KeepRemaining=5")
    host.daemon.reload()
    assert value_of(host, "KeepRemaining")["value"] == "5"


@pytest.mark.host(set=["misc-tdx=1"])
def test_reload_with_a_job(host):
    """Limits count at once; what waits goes on; a signer that is no longer trusted ends its job."""
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    write(host, "MaxJobsPerUser=1")
    host.daemon.reload()
    assert job.get("State") == "waiting"
    with pytest.raises(BusError) as error:
        host.apply("1.5.13")
    assert error.value.id == "LimitExceeded"
    assert host.ctl("update", "1.5.13", "--no-wait").status == 75
    host.config_file.write_text("[Update]\n")
    host.daemon.reload()
    assert job.finish() == "failed"
    assert job.get("Error")[0].endswith(".ImageUntrusted")
    assert host.sim.number("uploads") == 0


def test_reload_keeps_the_command_line(host):
    """--log-level= and --catalogue= are stronger than the file, also after a reload."""
    folders = value_of(host, "CatalogueDirectory")["value"]
    write(host, "LogLevel=err")
    host.daemon.reload()
    log = len(host.log())
    host.apply("1.5.06").finish()
    assert "attempt 1" in host.log()[log:]      # host runs with --log-level=debug
    assert value_of(host, "CatalogueDirectory")["value"] == folders


def test_many_reloads(host):
    """Each is answered, none is lost, and an update in between is not disturbed."""
    job = host.apply("1.5.06")
    for number in range(20):
        write(host, f"KeepRemaining={number % 5}")
        host.daemon.reload()
    assert job.finish() == "success"
    assert value_of(host, "KeepRemaining")["value"] == "4"
    assert len({m.pid for m in host.daemon.messages}) == 1


# What it shows.

def test_describe_config(host):
    write(host, "KeepRemaining=2", "DefaultDeadlineSec=90min")
    host.daemon.reload()
    keys = {k["key"]: k for k in host.call("DescribeConfig")}
    for key in keys.values():
        assert set(key) == {"key", "value", "default", "source", "text"} and key["text"].endswith(".")
    assert keys["KeepRemaining"]["value"] == "2" and keys["KeepRemaining"]["default"] == "1"
    assert keys["KeepRemaining"]["source"] == f"{host.config_file}:3"
    assert keys["DefaultDeadlineSec"]["value"] in ("1h 30min", "90min")
    assert keys["MaxJobs"] == {**keys["MaxJobs"], "value": "64", "source": ""}
    assert keys["TrustedSigner"]["value"] == host.images.signer

    result = host.ctl("config", user="nobody")
    assert result.status == 0
    row = next(line for line in result.stdout.splitlines() if line.startswith("KeepRemaining"))
    assert row.split() == ["KeepRemaining", "2", "1", f"{host.config_file}:3"]
    assert host.ctl("--json=short", "config").json == list(keys.values())


# The real places.

@pytest.fixture
def places(world):
    """Empty folders where the configuration is looked for; of this mount namespace alone."""
    made = []
    for path in FOLDERS.values():
        if not path.exists():
            path.mkdir()
            made.append(path)
        isolate.tmpfs(path)
        (path / "tdx-updated.conf.d").mkdir()
    yield {name: path / "tdx-updated.conf.d" for name, path in FOLDERS.items()}
    for path in FOLDERS.values():
        isolate._check(isolate.libc.umount2(str(path).encode(), 0), f"cannot unmount {path}")
    for path in made:
        path.rmdir()


@pytest.fixture
def real(host, places):
    """The daemon without --config=."""
    host.restart_with(without="--config=")
    return host


def test_defaults_without_any_file(real):
    assert value_of(real, "KeepRemaining") == {**value_of(real, "KeepRemaining"), "value": "1", "source": ""}
    assert "image-untrusted" in [b["id"] for b in real.call("ListImages")[0]["blockers"]]


def test_drop_ins(real, places):
    """The main file first, then the drop-ins by their names; /etc hides /run hides /usr/lib."""
    def value(key):
        real.daemon.reload()
        found = value_of(real, key)
        return found["value"], found["source"]

    (MAIN / "tdx-updated.conf").write_text(f"[Update]\nKeepRemaining=2\nTrustedSigner={real.images.signer}\n")
    assert value("KeepRemaining") == ("2", f"{MAIN}/tdx-updated.conf:2")
    lib = places["lib"] / "50-vendor.conf"
    lib.write_text("[Update]\nKeepRemaining=3\nMaxJobs=30\n")
    assert value("KeepRemaining") == ("3", f"{lib}:2")
    run = places["run"] / "50-vendor.conf"
    run.write_text("[Update]\nKeepRemaining=4\n")
    assert value("KeepRemaining") == ("4", f"{run}:2")
    assert value("MaxJobs") == ("64", "")          # the one in /usr/lib is hidden as a whole
    etc = places["etc"] / "50-vendor.conf"
    etc.write_text("[Update]\nKeepRemaining=5\n")
    assert value("KeepRemaining") == ("5", f"{etc}:2")

    # Sorted by name, wherever they are.
    (places["lib"] / "60-later.conf").write_text("[Update]\nKeepRemaining=6\n")
    assert value("KeepRemaining")[0] == "6"
    (places["etc"] / "10-early.conf").write_text("[Update]\nKeepRemaining=7\nRefusedRetries=9\n")
    assert value("KeepRemaining")[0] == "6" and value("RefusedRetries")[0] == "9"
    (places["run"] / "9-text.conf").write_text("[Update]\nRefusedRetries=8\n")      # after 60: text, not numbers
    assert value("RefusedRetries")[0] == "8"

    # An empty file masks, a link to /dev/null too.
    etc.write_text("")
    (places["etc"] / "60-later.conf").symlink_to("/dev/null")
    assert value("KeepRemaining")[0] == "7"

    # Names without .conf are nobody's business.
    for name in ("70-x.conf~", "70-x", "70-x.conf.dpkg-old", "README"):
        (places["etc"] / name).write_text("[Update]\nColour=red\n")
    assert value("KeepRemaining")[0] == "7"
    assert real.daemon.failures() == []
    assert real.ctl("update", "1.5.06").status == 0


def test_lists_in_drop_ins(real, places):
    """They grow; an empty assignment empties them."""
    (MAIN / "tdx-updated.conf").write_text(f"[Update]\nTrustedSigner={SIGNER}\n")
    (places["etc"] / "a.conf").write_text(f"[Update]\nTrustedSigner={real.images.signer}\n")
    real.daemon.reload()
    assert value_of(real, "TrustedSigner")["value"] == f"{SIGNER} {real.images.signer}"
    (places["etc"] / "b.conf").write_text("[Update]\nTrustedSigner=\n")
    real.daemon.reload()
    assert value_of(real, "TrustedSigner")["value"] == ""


def test_mistake_in_a_drop_in(real, places):
    (MAIN / "tdx-updated.conf").write_text("[Update]\nKeepRemaining=2\n")
    real.daemon.reload()
    bad = places["run"] / "50-bad.conf"
    bad.write_text("[Update]\n\nKeepRemaining=many\n")
    assert check(real).status == 78
    assert f"{bad}:3: KeepRemaining=" in check(real).stderr
    real.daemon.reload()
    assert f"{bad}:3: KeepRemaining=" in real.log()
    assert value_of(real, "KeepRemaining")["value"] == "2"
    bad.unlink()
    assert check(real).status == 0
    (places["run"] / "folder.conf").mkdir()
    assert check(real).status == 78


def test_directories_of_the_configuration(real, places, images):
    """CatalogueDirectory= comes after the built-in ones, and is read like them."""
    real.restart_with(without="--catalogue=")
    (MAIN / "tdx-updated.conf").write_text(
        f"[Update]\nTrustedSigner={images.signer}\nCatalogueDirectory={real.trees[0]}\n")
    real.daemon.reload()
    value = value_of(real, "CatalogueDirectory")["value"].split()
    assert value == ["/var/lib/tdx-updated/images", "/etc/tdx-updated/images", "/usr/lib/firmware/intel/tdx",
                     str(real.trees[0])]
    (MAIN / "images").mkdir()
    own = MAIN / "images" / "tdx_module_1.5.06.blob"
    own.write_bytes(images.path("1.5.06").read_bytes())
    found = [i for i in real.call("ListImages") if i["version"] == "1.5.06"]
    assert [i["path"].startswith(str(MAIN)) for i in found] == [True, False]
