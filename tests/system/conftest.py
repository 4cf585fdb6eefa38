# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Fixtures of the system tests, and their report to whoever started the guest.

TDX_SYSTEM_REPORT names the line on which they report (tools/lib/system-run reads it);
without it they run as any tests.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "e2e"), str(TOP / "tools" / "lib")]

from guest import BUILD, PINS, Maker, Reader, probe  # noqa: E402
from realhost import DEBUGFS, RealHost, why_not  # noqa: E402
from tdxbox import isolate  # noqa: E402
from tdxbox.host import Options  # noqa: E402
from tdxbox.images import Images  # noqa: E402
from tdxbox.world import World  # noqa: E402


class Report:
    """`plan N`, one line a case, `done`; below a failed case its text as `# ...`."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_NOCTTY)
        self.failed = set()
        self.seconds = {}

    def say(self, text):
        data = f"{text}\n".encode()
        while data:
            data = data[os.write(self.fd, data):]

    def pytest_collection_finish(self, session):
        self.say(f"plan {len(session.items)}")

    def pytest_collectreport(self, report):
        if report.failed:
            self.say(f"not ok - {report.nodeid}: it cannot be read")
            self.details(report)

    def pytest_runtest_logreport(self, report):
        """A case is over when its teardown is; that can fail, too."""
        name = report.nodeid.removeprefix("tests/system/")
        self.seconds[name] = self.seconds.get(name, 0) + report.duration
        if report.failed:
            if name not in self.failed:
                self.say(f"not ok - {name}" + ("" if report.when == "call" else f" ({report.when})"))
            self.failed.add(name)
            self.details(report)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.say(f"skip - {name}: {reason.removeprefix('Skipped: ')}")
            self.failed.add(name)
        elif report.when == "teardown" and name not in self.failed:
            self.say(f"ok - {name} ({self.seconds.pop(name, 0):.1f} s)")
            for key, text in report.user_properties:
                self.say(f"# {key}: {text}")

    def details(self, report):
        for line in f"{report.longreprtext}\n{report.caplog}".splitlines()[-80:]:
            self.say(f"# {line}")
        for title, text in report.sections:
            for line in (f"--- {title}:", *text.splitlines()[-60:]):
                self.say(f"# {line}")

    def pytest_sessionfinish(self):
        self.say("done")


def pytest_configure(config):
    path = os.environ.get("TDX_SYSTEM_REPORT")
    if path:
        config.pluginmanager.register(Report(path), "system-report")


@pytest.fixture
def make_maker():
    """make_maker() is another VMM; all end with the test."""
    makers = []

    def make():
        makers.append(Maker())
        return makers[-1]

    yield make
    for maker in makers:
        maker.close()
    leaked = [name for maker in makers for name in maker.leaked]
    if leaked:
        cleaner = Maker()
        for name in leaked:
            cleaner.td("drop", name)
        cleaner.close()


@pytest.fixture
def maker(make_maker):
    return make_maker()


@pytest.fixture
def make_reader():
    """make_reader() reads what the probes have recorded, as the daemon does."""
    readers = []

    def make(*prefix, **options):
        readers.append(Reader(*prefix, **options))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture
def probes(tmp_path):
    """Fresh probes, loaded when no TD existed: they know all."""
    if not (BUILD / "bpf/tdx-updated-probe").exists():
        pytest.skip("built without BPF")
    if not os.path.exists("/dev/tdx-test"):
        pytest.skip("the test module is not loaded here")
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    (cgroup / "misc.capacity").write_text("tdx 31\n")
    (cgroup / "misc.current").write_text("tdx 0\n")
    probe("--remove")
    probe(f"--cgroup={cgroup}")
    yield cgroup
    probe("--remove")
    assert not os.path.exists(PINS)


@pytest.fixture(scope="session")
def world():
    if os.geteuid() != 0:
        pytest.skip("only root can make a mount namespace and run the daemon")
    for device, use in (("kvm", "no VM can be made (tools/test --system emulates one)"),
                        ("fuse", "the simulated driver cannot be mounted")):
        if not os.path.exists(f"/dev/{device}"):
            pytest.skip(f"there is no /dev/{device}, so {use}")
    isolate.private_mounts()
    if not (DEBUGFS / "kvm").exists():
        isolate.mount("debugfs", DEBUGFS, "debugfs")
    reason = why_not()
    if reason:
        pytest.skip(reason)
    made = World(BUILD, images=Images(BUILD))
    made.wait_for_polkitd()
    yield made
    made.close()


@pytest.fixture
def make_host(world, request):
    """make_host(probes=True, misc_tdx="1") is a RealHost; by default nothing counts TDs, so that
    there is no proof without VMs."""
    hosts = []

    def make(misc_tdx="absent", probes=False, debugfs=None, **options):
        folder = world.dir / "hosts" / str(len(hosts))
        values = {"module": "1.5.05", "seamldr": "1.5.00", "cpu": "0x806f8", "remaining": 9,
                  "set": [f"misc-tdx={misc_tdx}"]}
        host = RealHost(world, folder, Options(**{**values, **options}), Images(BUILD),
                        probes=probes, debugfs=debugfs)
        hosts.append(host)
        host.start()
        return host

    request.node.hosts = hosts
    yield make
    complaints = []
    for host in hosts:
        host.close()
        complaints += host.complaints()
    shutil.rmtree(world.dir / "hosts", ignore_errors=True)
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture
def host(make_host):
    return make_host()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The logs of the hosts, under a test that failed."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for host in getattr(item, "hosts", ()):
            report.sections.append((f"VMs of {host.dir.name}", host.describe()))
            for name in ("daemon.log", "sim.log"):
                report.sections.append((f"end of {host.dir.name}/{name}", host.log_tail(name, lines=40)))
