# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What all hosts of one mount namespace share: an own /run, the system bus, polkitd.

Bus and polkitd are Debian's own programs with Debian's own configuration; only the
folders in which an administrator adds things are replaced by ours, so that a machine's
local policy does not change what happens here.
"""

import os
import pwd
import select
import shutil
from pathlib import Path

from . import TOP, SandboxError, isolate
from .process import Process

BUS_SOCKET = "/run/dbus/system_bus_socket"
BUS_ADDRESS = f"unix:path={BUS_SOCKET}"
POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd")
POLKIT_ACTIONS = "/usr/share/polkit-1/actions"
POLKIT_RULES = "/etc/polkit-1/rules.d"
BUS_POLICIES = "/etc/dbus-1/system.d"
BUS_SERVICES = "/usr/share/dbus-1/system-services"
# logind's folders: without them polkitd's session lookups complain.
RUN_FOLDERS = ("dbus", "lock", "systemd/seats", "systemd/users", "systemd/sessions",
               "systemd/machines")


class World:
    """To be made in a private mount namespace (isolate.isolated or private_mounts)."""

    def __init__(self, build, polkit_rules=None, images=None):
        """images: the test images, None if they are not wanted."""
        self.polkitd_program = next((p for p in POLKITD if os.path.exists(p)), None)
        if self.polkitd_program is None:
            raise SandboxError("polkitd is not installed")
        self.dir = Path("/run/tdx-sandbox")
        self.build = self.dir / "build"
        self.rules = Path(POLKIT_RULES)
        self.processes = []
        self._make_run(Path(build).resolve())
        self.images = None
        if images:
            self.images = self.dir / "images"
            self.images.mkdir()
            isolate.bind(images.tree, self.images)
        self._mount_policies(polkit_rules)
        self._start_bus()
        self._start_polkitd()

    def _make_run(self, build):
        isolate.tmpfs("/run")
        for name in RUN_FOLDERS:
            (Path("/run") / name).mkdir(parents=True)
        os.chmod("/run/lock", 0o1777)
        # Bound here, so that programs are found by callers who may not enter the folders
        # above the build folder (nobody, when it is below /root).
        self.build.mkdir(parents=True)
        isolate.bind(build, self.build)

    def _mount_policies(self, polkit_rules):
        actions = self._copies("actions", [*Path(POLKIT_ACTIONS).glob("*.policy"),
                                           *(TOP / "polkit").glob("*.policy")])
        policies = self._copies("policies", (TOP / "dbus").glob("*.conf"))
        isolate.bind(actions, POLKIT_ACTIONS)
        Path(BUS_POLICIES).mkdir(parents=True, exist_ok=True)
        isolate.bind(policies, BUS_POLICIES)
        # Nothing is activated here: the sandbox starts what it wants itself.
        isolate.bind(self._copies("services", ()), BUS_SERVICES)
        isolate.tmpfs(POLKIT_RULES, mode="700")
        for rule in sorted(Path(polkit_rules).glob("*.rules")) if polkit_rules else ():
            shutil.copy(rule, self.rules)
        user = pwd.getpwnam("polkitd")
        for path in (self.rules, *self.rules.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)

    def _copies(self, name, files):
        folder = self.dir / name
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        return folder

    def _start_bus(self):
        read_end, write_end = os.pipe()
        try:
            bus = Process(["dbus-daemon", "--system", "--nofork", "--nopidfile", "--nosyslog",
                           "--print-address=3"], output=self.dir / "bus.log", fds=[write_end])
        finally:
            os.close(write_end)
        self.processes.append(bus)
        # dbus-daemon prints its address when it listens, and end of file when it dies.
        with os.fdopen(read_end) as address:
            ready, _, _ = select.select([address], [], [], 10)
            if not ready or not address.readline():
                raise SandboxError("dbus-daemon does not start:\n" + self.log_tail("bus.log"))
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = BUS_ADDRESS

    def _start_polkitd(self):
        self.polkitd = Process([self.polkitd_program, "--no-debug"], output=self.dir / "polkitd.log")
        self.processes.append(self.polkitd)

    def wait_for_polkitd(self):
        """It takes half a second; whoever makes a world does other things meanwhile."""
        waiter = Process(["gdbus", "wait", "--system", "--timeout", "10",
                          "org.freedesktop.PolicyKit1"], output=self.dir / "polkitd.log")
        if waiter.wait(12) != 0:
            raise SandboxError("polkitd does not start:\n" + self.log_tail("polkitd.log"))

    def log_tail(self, name, lines=20):
        try:
            text = (self.dir / name).read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def close(self):
        for process in reversed(self.processes):
            process.end()
        self.processes.clear()
