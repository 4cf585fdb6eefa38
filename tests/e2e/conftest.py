# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Fixtures of the end-to-end tests.

pytest itself moves into a private mount namespace, with one bus and one polkitd for the
whole session; each test gets its own simulated kernel, daemon and state (fixture `host`).
TDX_BUILD names the build folder (default: build).
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools" / "lib"))

from harness import TestedHost  # noqa: E402
from tdxbox import isolate  # noqa: E402
from tdxbox.host import Options  # noqa: E402
from tdxbox.images import Images  # noqa: E402
from tdxbox.world import World  # noqa: E402

BUILD = Path(os.environ.get("TDX_BUILD", TOP / "build")).resolve()
PROGRAMS = ("daemon/tdx-updated", "client/tdxctl", "sim/tdx-sim")

# The host of the demo: a Sapphire Rapids machine with an old module.
DEFAULTS = {"module": "1.5.05", "seamldr": "1.5.00", "cpu": "0x806f8", "remaining": 9}


def pytest_configure(config):
    config.addinivalue_line("markers", "host(**options): how `host` is made; the fields of "
                            "tdxbox.host.Options, e.g. busy=2, set=['stuck=yes'], start=False")


@pytest.fixture(scope="session")
def images():
    """The test images: .tree, .signer, .path(version), .make(...)."""
    return Images(BUILD)


@pytest.fixture(scope="session")
def world(images):
    if os.geteuid() != 0:
        pytest.skip("only root can make a mount namespace and run the daemon")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse, so the simulated kernel cannot be mounted")
    missing = [p for p in PROGRAMS if not (BUILD / p).exists()]
    if missing:
        pytest.fail(f"not built in {BUILD}: {', '.join(missing)}", pytrace=False)
    isolate.private_mounts()
    made = World(BUILD, images=images)
    made.wait_for_polkitd()
    yield made
    made.close()


@pytest.fixture
def make_host(world, images, request):
    """make_host(busy=2, ...) for a test that wants several hosts, or makes one late; with
    start=False it is not started. Only one daemon can own the bus name at a time."""
    hosts = []

    def make(start=True, test_images=True, **options):
        folder = world.dir / "hosts" / str(len(hosts))
        host = TestedHost(world, folder, Options(**{**DEFAULTS, **options}),
                          images if test_images else None)
        hosts.append(host)
        if start:
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
def host(make_host, request):
    """One host; @pytest.mark.host(...) says how it differs from the default."""
    options = {}
    for mark in reversed(list(request.node.iter_markers("host"))):
        options.update(mark.kwargs)
    return make_host(**options)


@pytest.fixture
def polkit_rule(world):
    """polkit_rule("return polkit.Result.YES;") decides as long as the test runs. A rule
    sees action and subject. polkitd notices it by itself; wait for the effect."""
    files = []

    def add(body):
        path = world.rules / f"00-test-{len(files)}.rules"
        files.append(path)
        path.write_text(f"polkit.addRule(function (action, subject) {{ {body} }});\n")
        path.chmod(0o644)
        shutil.chown(path, "polkitd")

    yield add
    for path in files:
        path.unlink()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The logs of the hosts, under a test that failed."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for host in getattr(item, "hosts", ()):
        for name in ("daemon.log", "sim.log"):
            text = host.log_tail(name, lines=60)
            if text:
                report.sections.append((f"end of {host.dir.name}/{name}", text))
