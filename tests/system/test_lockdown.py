# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Lockdown, as Secure Boot brings it: what it takes away, and what still answers. These come
last in the guest: it can only be raised. (The test module is unsigned, so it is loaded before.)"""

import os

import pytest

from guest import LOCKDOWN, probe
from realhost import DEBUGFS
from steps import wait_blocked

LEVELS = ["integrity", "confidentiality"]


@pytest.fixture(params=LEVELS, scope="module")
def lockdown(request):
    """Raised for good: only where that was asked for, in a guest of ours."""
    if not os.environ.get("TDX_SYSTEM_REPORT"):
        pytest.skip("this would lock down the machine that the tests run on")
    LOCKDOWN.write_text(request.param)
    assert f"[{request.param}]" in LOCKDOWN.read_text()
    return request.param


def test_probes(lockdown, probes, make_reader, maker):
    """Loaded under lockdown, and read under it."""
    reader = make_reader()
    assert reader.read().complete
    maker.td("begin", "a")
    assert reader.wait().states() == [(maker.pid, "building")]
    maker.td("finalize", "a")
    picture = reader.wait()
    assert picture.states() == [(maker.pid, "finalized")] and picture.doubt is None
    probe("--check")


def test_vms(lockdown, make_host, maker):
    """KVM's statistics cannot be opened any more; vcpuN/pid can, so T2 still answers."""
    host = make_host()
    maker.ask("make", 0, 2)
    folder, = (p for p in (DEBUGFS / "kvm").iterdir() if p.is_dir())
    with pytest.raises(PermissionError):
        (folder / "exits").read_text()
    guest, = host.guests()
    assert (guest["phase"], guest["tier"], guest["pid"]) == ("building", "T2", maker.pid)
    job = host.apply("1.5.06")
    wait_blocked(host, job, "td-building")
    maker.run(0, 1)
    assert job.finish() == "success"
    assert host.phases() == ["running"]
