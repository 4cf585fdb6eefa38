# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Fixtures of tdxctl's tests: a private bus, a service on it that answers what a test wants, and the client."""

import os
import signal
import subprocess

import pytest
import tdxctl_mock as mock
from tdxctl_mock import TDXCTL


@pytest.fixture(scope="module")
def bus(tmp_path_factory):
    b = mock.Bus(tmp_path_factory.mktemp("bus"))
    yield b
    b.close()


@pytest.fixture
def daemon(bus):
    d = mock.Mock(bus)
    yield d
    d.close()


@pytest.fixture
def environment(bus):
    return dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=bus.address, LC_ALL="C.UTF-8", TZ="UTC", TERM="xterm")


@pytest.fixture
def run(environment):
    def run_(*arguments, **more):
        return subprocess.run([TDXCTL, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=20, **more)
    return run_


def default_signals():
    """Whoever runs the tests may have SIGHUP ignored (nohup), and a child would inherit that."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(environment):
    """A follower; its standard output and error come together."""
    started = []

    def start_(*arguments):
        p = subprocess.Popen([TDXCTL, *arguments], env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             preexec_fn=default_signals)
        p.rest = ""
        started.append(p)
        return p

    yield start_
    for p in started:
        p.kill()
        p.wait()
        p.stdout.close()
