# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Support that comes and goes while the daemon runs: the kernel's events say so."""

import pytest

from harness import PATH, BusError


@pytest.mark.parametrize("key", ["supported", "tdx-host"])
def test_interface_goes_and_comes_back(host, key):
    assert host.get("UpdateSupported") is True
    record = host.record()

    host.sim.set(**{key: "no"})
    host.wait(lambda: record.changes("UpdateSupported", PATH)[-1:] == [False], "it is told that support has gone")
    assert host.get("UnsupportedReason") != "" and host.get("State") == "unsupported"
    with pytest.raises(BusError) as refused:
        host.apply("1.5.06")
    assert refused.value.name.endswith(".NotSupported")

    host.sim.set(**{key: "yes"})
    host.wait(lambda: record.changes("UpdateSupported", PATH)[-1:] == [True], "it is told that support is back")
    assert host.get("UnsupportedReason") == "" and host.get("RemainingUpdates") == 9
    assert host.apply("1.5.06").finish() == "success"


@pytest.mark.host(set=["supported=no"])
def test_support_appears_after_the_start(host):
    assert host.get("UpdateSupported") is False
    record = host.record()
    host.sim.set(supported="yes")
    host.wait(lambda: record.changes("UpdateSupported", PATH) == [True], "it is told that there is support")
    assert host.get("SeamldrVersion") == "1.5.00"


def test_driver_comes_after_a_restart(host):
    """What is known of the module that runs is known again."""
    assert host.call("Plan", "1.5.06", {})["svn-before"] == 0x105
    host.sim.set(tdx_host="no")
    host.daemon.restart()
    assert "svn-before" not in host.call("Plan", "1.5.06", {})
    host.sim.set(tdx_host="yes")
    host.wait(lambda: host.get("UpdateSupported"), "the driver is seen")
    assert host.call("Plan", "1.5.06", {})["svn-before"] == 0x105
