# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The hook of libvirt, called as libvirt calls it, with the real tdxctl against a service on a private bus."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tdxctl_mock import ERROR, ROOT, TDXCTL, until

sys.path.insert(0, str(ROOT / "tools" / "lib"))

from tdxbox import isolate  # noqa: E402

HOOK = ROOT / "hooks/libvirt/qemu.d/tdx-updated"
STATE = Path("/run/tdx-updated-libvirt")
# As libvirt formats it: src/conf/domain_conf.c puts the id into the first line of a domain that is being started.
XML = """<domain type='kvm' id='3'>
  <name>{name}</name>
  <uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid>
  <description>{description}</description>
  <os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
  </os>
  {security}
</domain>
"""
TDX = "<launchSecurity type='tdx'>\n    <policy>0x10000000</policy>\n  </launchSecurity>"


@pytest.fixture(scope="module", autouse=True)
def private_run():
    """The hook keeps its files below /run: this process and what it starts get one of their own."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a mount namespace for the hook's files below /run")
    isolate.private_mounts()
    isolate.tmpfs("/run")


@pytest.fixture
def hook(environment, tmp_path):
    """hook(operation, sub-operation): libvirt's call, with the few variables that it passes on; what was logged is in .log."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "tdxctl").symlink_to(TDXCTL)
    log = tmp_path / "log"
    log.write_text("")
    (tools / "logger").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{log}\n')
    (tools / "logger").chmod(0o755)
    variables = {"PATH": f"{tools}:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/", "USER": "root",
                 "DBUS_SYSTEM_BUS_ADDRESS": environment["DBUS_SYSTEM_BUS_ADDRESS"]}

    def call(operation, sub="begin", name="web", xml=None, script=HOOK):
        if xml is None:
            xml = XML.format(name=name, description="", security=TDX)
        p = subprocess.run([script, name, operation, sub, "-"], env=variables, input=xml, capture_output=True, text=True, cwd="/run",
                           timeout=30)
        p.log = log.read_text()
        log.write_text("")
        assert p.stdout == "", "libvirt could take it for XML"
        return p

    call.tools = tools
    call.variables = variables
    yield call
    for file in STATE.glob("*"):
        file.unlink()


def calls(daemon, member):
    return [arguments for name, arguments, _ in daemon.calls if name == member]


def quiet(p):
    return (p.returncode, p.stderr, p.log) == (0, "", "")


@pytest.mark.parametrize("end", [("started", "begin"), ("release", "end")])
def test_a_td_is_announced(daemon, hook, end):
    assert quiet(hook("prepare"))
    assert calls(daemon, "BeginBuild") == [("libvirt: web", 20 * 10**6, 120 * 10**6, {"machine": "qemu-3-web"})]
    assert daemon.calls[0][2] is False, "nobody is there to type a password"
    assert list(daemon.builds) == [5]
    assert (STATE.stat().st_mode & 0o777, [f.read_text() for f in STATE.iterdir()]) == (0o700, ["5\n"])
    for operation, sub in (("start", "begin"), ("migrate", "begin"), ("reconnect", "begin"), ("stopped", "end")):
        assert quiet(hook(operation, sub))
    assert list(daemon.builds) == [5]

    assert quiet(hook(*end))
    assert daemon.builds == {} and list(STATE.iterdir()) == []
    # And the operation after it finds nothing to do.
    assert quiet(hook("release", "end"))
    assert calls(daemon, "EndBuild") == [(5,)]


@pytest.mark.parametrize("security,description", [
    ("", ""), ("<launchSecurity type='sev-snp'>\n  </launchSecurity>", ""), ("<launchSecurity type='sev' kind='tdx'/>", ""),
    ("<launchSecurity mode='x'/><other type='tdx'/>", ""), ("", "&lt;launchSecurity type='tdx'&gt;"),
])
def test_a_plain_vm_is_not(daemon, hook, security, description):
    xml = XML.format(name="web", description=description, security=security)
    for operation, sub in (("prepare", "begin"), ("started", "begin"), ("release", "end")):
        assert quiet(hook(operation, sub, xml=xml))
    assert daemon.calls == [] and not list(STATE.glob("*"))


def test_other_ways_to_write_a_td(daemon, hook):
    for security in ('<launchSecurity type="tdx"/>', "<launchSecurity foo='x' type='tdx'>\n</launchSecurity>"):
        hook("prepare", xml=XML.format(name="web", description="", security=security))
    assert len(calls(daemon, "BeginBuild")) == 2


@pytest.mark.parametrize("name,machine", [
    # virDomainDriverGenerateMachineName(): host name characters, no dots or dashes in a row, at the front or at the end, 64 in all.
    ("web", "qemu-3-web"), ("-.we__b..-a b.-", "qemu-3-web.ab"), ("täst", "qemu-3-tst"), ("x" * 200, "qemu-3-" + "x" * 57),
    ("x" * 56 + "-y", "qemu-3-" + "x" * 56), ("..", "qemu-3"),
])
def test_the_machine_has_libvirts_name(daemon, hook, name, machine):
    assert quiet(hook("prepare", name=name))
    assert calls(daemon, "BeginBuild")[0][3] == {"machine": machine}
    assert calls(daemon, "BeginBuild")[0][0] == f"libvirt: {name}"
    assert quiet(hook("started", name=name))
    assert daemon.builds == {}


def test_without_a_number_there_is_no_machine(daemon, hook):
    xml = XML.format(name="web", description=" id='7'", security=TDX).replace(" id='3'", "", 1)
    assert quiet(hook("prepare", xml=xml))
    assert calls(daemon, "BeginBuild")[0][3] == {}


def test_names_do_not_leave_the_folder(daemon, hook):
    for name in ("../evil", "a/b", ""):
        assert quiet(hook("prepare", name=name))
    assert daemon.calls == []
    # What a shell or an option parser could trip over.
    for name in ("--json", "$(touch ran)`touch ran`", "a;b", "*", "it's", "-"):
        assert quiet(hook("prepare", name=name)), name
        assert calls(daemon, "BeginBuild")[-1][0] == f"libvirt: {name}"
        assert quiet(hook("started", name=name)), name
    assert daemon.builds == {} and not Path("/run/ran").exists()


def test_guests_have_builds_of_their_own(daemon, hook):
    for name in ("a", "b"):
        hook("prepare", name=name)
    assert list(daemon.builds) == [5, 6]
    hook("started", name="a")
    assert list(daemon.builds) == [6]


def test_the_start_waits(daemon, hook):
    """As long as the daemon lets BeginBuild wait; the guest is not started meanwhile."""
    daemon.build_wait = threading.Event()
    done = []
    thread = threading.Thread(target=lambda: done.append(hook("prepare")))
    thread.start()
    until(lambda: daemon.calls)
    assert done == []
    daemon.build_wait.set()
    thread.join(20)
    assert quiet(done[0]) and list(daemon.builds) == [5]


def test_busy_fails_the_start(daemon, hook):
    daemon.errors["BeginBuild"] = (ERROR + "Busy", "An update is under way.")
    p = hook("prepare")
    assert p.returncode == 1
    # libvirt shows this to whoever started the guest.
    assert "An update is under way." in p.stderr and "Start web again later" in p.stderr
    assert not list(STATE.glob("*"))
    assert quiet(hook("release", "end"))
    assert calls(daemon, "EndBuild") == []


@pytest.mark.parametrize("name", [ERROR + "LimitExceeded", ERROR + "NotSupported", "org.freedesktop.DBus.Error.AccessDenied",
                                  "org.freedesktop.DBus.Error.NoReply"])
def test_anything_else_does_not(daemon, hook, name):
    daemon.errors["BeginBuild"] = (name, "So it is.")
    p = hook("prepare")
    assert p.returncode == 0
    assert p.log.startswith("-t tdx-updated-hook -p daemon.warning -- The build of web could not be announced") and "So it is." in p.log
    assert not list(STATE.glob("*"))


def test_no_daemon(bus, hook):
    p = hook("prepare")
    assert p.returncode == 0 and "could not be announced" in p.log and "ServiceUnknown" in p.log


def test_no_bus(hook):
    hook.variables["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"
    p = hook("prepare")
    assert p.returncode == 0 and "could not be announced" in p.log


def test_no_tdxctl(daemon, hook):
    (hook.tools / "tdxctl").unlink()
    p = hook("prepare")
    assert p.returncode == 0
    assert p.log == "-t tdx-updated-hook -p daemon.warning -- There is no tdxctl: the build of web is not announced to tdx-updated.\n"
    # A plain VM has no need for it, and no warning.
    assert quiet(hook("prepare", xml=XML.format(name="web", description="", security="")))


def test_no_logger(bus, hook):
    (hook.tools / "logger").write_text("#!/bin/sh\nexit 1\n")
    p = hook("prepare")
    assert p.returncode == 0 and "tdx-updated-hook: The build of web could not be announced" in p.stderr


def test_a_build_that_ended_by_itself(daemon, hook):
    hook("prepare")
    daemon.builds.clear()
    p = hook("started")
    assert (p.returncode, p.log) == (0, "")
    assert not list(STATE.glob("*"))


def test_an_end_that_cannot_be_told(daemon, hook):
    hook("prepare")
    daemon.errors["EndBuild"] = ("org.freedesktop.DBus.Error.AccessDenied", "No.")
    p = hook("started")
    assert p.returncode == 0, "libvirt would kill the guest"
    assert "build 5 could not be told" in p.log


def test_what_an_earlier_start_left(daemon, hook):
    hook("prepare")
    hook("prepare")
    assert calls(daemon, "EndBuild") == [(5,)]
    assert calls(daemon, "BeginBuild")[1:] and len(daemon.builds) == 1
    hook("started")
    assert daemon.builds == {}


def test_a_folder_that_cannot_be_written(daemon, hook):
    for file in STATE.glob("*"):
        file.unlink()
    if STATE.exists():
        STATE.rmdir()
    STATE.write_text("a file is in the way")
    try:
        p = hook("prepare")
        assert p.returncode == 0 and "cannot be kept" in p.log
        assert list(daemon.builds) == [5]
    finally:
        STATE.unlink()


def test_it_never_calls_libvirt():
    """libvirt waits for its hook: a call would never be answered (https://libvirt.org/hooks.html)."""
    code = [line for line in HOOK.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in code if "virsh" in line or "virt-" in line]


def test_it_is_posix_sh():
    assert HOOK.read_text().startswith("#!/bin/sh\n")
    assert os.access(HOOK, os.X_OK)
    assert subprocess.run(["dash", "-n", HOOK]).returncode == 0
