# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""One simulated kernel and one daemon on it."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from . import SandboxError
from .process import Process, wait_until
from .service import Service

# Reports of the sanitizers in a log; a test with one of them failed, whatever else it saw.
SANITIZER_REPORTS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehavior")


@dataclass
class Options:
    module: str = None
    seamldr: str = None
    cpu: str = None
    cpus: int = None
    remaining: int = None
    world: str = None
    busy: int = None
    set: list = field(default_factory=list)     # KEY=VALUE of the simulator
    images: list = field(default_factory=list)  # release trees instead of the test images
    config: str = None                          # a file
    config_text: str = ""                       # lines of its [Update] section, added to it
    state: str = None                           # None: a new one
    log_level: str = "debug"
    watchdog: float = 0
    daemon_args: list = field(default_factory=list)

    def simulator_arguments(self):
        for name in ("module", "seamldr", "cpu", "cpus", "remaining", "world", "busy"):
            value = getattr(self, name)
            if value is not None:
                yield from (f"--{name}", value)
        for assignment in self.set:
            yield from ("--set", assignment)


class Host:
    """Files below folder: sim/ (the mount), state/, tdx-updated.conf, *.log, daemon.pid."""

    def __init__(self, world, folder, options, images=None):
        """images: the test images (Images), or None when options.images has trees."""
        self.world = world
        self.dir = Path(folder)
        self.options = options
        self.images = images
        self.mount = self.dir / "sim"
        self.control = self.dir / "sim.control"
        self.uevents = self.dir / "uevents"
        self.config_file = self.dir / "tdx-updated.conf"
        self.state = Path(options.state) if options.state else self.dir / "state"
        self.trees = [Path(d) for d in options.images]
        if images:
            self.trees.append(world.images)
        self.simulator = None
        self.service = None
        for path in (self.mount, self.state, self.state / "images"):
            path.mkdir(parents=True, exist_ok=True)

    def start(self):
        self.start_simulator()
        self.write_config()
        self.service = Service(self.daemon_argv(), self.dir, watchdog=self.options.watchdog)
        self.service.start()

    def start_simulator(self):
        argv = [self.world.build / "sim" / "tdx-sim", "mount",
                "--control", self.control, "--uevents", self.uevents]
        argv += self.options.simulator_arguments()
        for tree in self.trees:
            argv += ["--images", tree]
        self.simulator = Process([*argv, self.mount], output=self.dir / "sim.log")
        wait_until(self._mounted, "tdx-sim does not serve its files", process=self.simulator)

    def _mounted(self):
        # Not the driver's files: a host without it is simulated, too.
        return (self.mount / "sys/devices/system/cpu/present").exists() and self.control.exists()

    def write_config(self):
        parts = []
        if self.options.config:
            parts.append(Path(self.options.config).read_text().rstrip("\n"))
        lines = [self.options.config_text.rstrip("\n")] if self.options.config_text else []
        if self.images:
            lines.append(f"TrustedSigner={self.images.signer}")
        if lines:
            parts.append("\n".join(["[Update]", *lines]))
        self.config_file.write_text("\n".join(parts) + "\n")

    def daemon_argv(self):
        argv = [self.world.build / "daemon" / "tdx-updated",
                f"--sysfs={self.mount}/sys", f"--proc={self.mount}/proc",
                f"--cgroup={self.mount}/cgroup", f"--debugfs={self.mount}",
                f"--uevents={self.uevents}", f"--probes={self.dir}/probes", f"--state={self.state}",
                f"--config={self.config_file}", f"--log-level={self.options.log_level}"]
        argv += [f"--catalogue={d}" for d in (self.state / "images", *self.trees)]
        return argv + list(self.options.daemon_args)

    def environment(self):
        """For whoever looks at this host from outside: tdxctl, tdx-sim ctl, a shell."""
        env = dict(os.environ)
        env["TDX_SANDBOX_DIR"] = str(self.dir)
        env["TDX_SIM_CONTROL"] = str(self.control)
        env["PATH"] = f"{self.world.build}/client:{self.world.build}/sim:{env.get('PATH', '')}"
        return env

    def running_version(self):
        """As the simulated kernel tells it."""
        return (self.mount / "sys/devices/faux/tdx_host/version").read_text().strip()

    def sanitizer_reports(self):
        reports = []
        for log in self.dir.glob("*.log"):
            text = log.read_text(errors="replace")
            reports += [f"{log.name}:\n{text}" for mark in SANITIZER_REPORTS if mark in text][:1]
        return reports

    def log_tail(self, name="daemon.log", lines=25):
        try:
            text = (self.dir / name).read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def explain(self):
        """The ends of the logs, for an error message."""
        logs = (("the simulator's log", "sim.log"), ("the daemon's log", "daemon.log"))
        texts = ((title, self.log_tail(name)) for title, name in logs)
        return "\n".join(f"--- the end of {title}:\n{text}" for title, text in texts if text)

    def close(self):
        if self.service:
            self.service.close()
        if self.simulator:
            self.simulator.end()


def check_owner(folder):
    """The daemon takes images only from folders that root alone can write."""
    try:
        status = os.stat(folder)
    except OSError as e:
        raise SandboxError(f"{folder}: {e.strerror}") from e
    if not stat.S_ISDIR(status.st_mode):
        raise SandboxError(f"{folder}: not a directory")
    return status.st_uid == 0 and not status.st_mode & 0o022
