# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A daemon that sees the real KVM (its events, debugfs, /proc), and tdx-sim's TDX driver."""

import os
import socket
from pathlib import Path

from guest import PINS, TIMEOUT
from harness import BusError, Simulator, TestedHost
from tdxbox import SandboxError

DEBUGFS = Path("/sys/kernel/debug")
# Where a PID namespace's number says that it is the first one (PROC_PID_INIT_INO in include/linux/proc_ns.h).
FIRST_PID_NAMESPACE = "pid:[4026531836]"
# Replaced, so that the daemon takes the real ones.
SIMULATED = ("--proc=", "--debugfs=", "--uevents=", "--probes=")


class FastSimulator(Simulator):
    """Without a process for each word."""

    def tell(self, *words):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.host.control))
            connection.sendall("".join(f"{word}\n" for word in (*words, "")).encode())
            with connection.makefile() as stream:
                answer = stream.read()
        if not answer.startswith("ok\n"):
            raise SandboxError(f"tdx-sim: {' '.join(words)}: {answer}")


class RealHost(TestedHost):
    """As TestedHost, but only its TDX driver and its counts of TDs are simulated."""

    __test__ = False

    def __init__(self, world, folder, options, images, *, probes=False, debugfs=None):
        super().__init__(world, folder, options, images)
        self.sim = FastSimulator(self)
        # The simulated machine's CPU; /proc/cpuinfo is the real one's.
        self.more = ["--cpu-signature=0x806f8"]
        self.more.append(f"--probes={PINS if probes else self.dir / 'no-probes'}")
        if debugfs:
            self.more.append(f"--debugfs={debugfs}")

    def daemon_argv(self):
        return [a for a in map(str, super().daemon_argv()) if not a.startswith(SIMULATED)] + self.more

    def wait(self, condition, what="the condition", timeout=TIMEOUT, interval=0.02):
        return super().wait(condition, what, timeout, interval)

    def guests(self):
        return self.call("ListGuests")

    def phases(self, pid=None):
        """Of all VMs, or of one process's, sorted."""
        return sorted(g["phase"] for g in self.guests() if pid in (None, g["pid"]))

    def counts(self):
        return self.get("Guests"), self.get("Building")

    def describe(self):
        """For a failed test."""
        try:
            return "\n".join(map(str, self.guests()))
        except (AttributeError, BusError) as e:
            return f"the daemon does not tell: {e}"


def why_not():
    """Why real VMs cannot be seen here, or None."""
    if os.readlink("/proc/self/ns/pid") != FIRST_PID_NAMESPACE:
        return "KVM tells process ids of another PID namespace"
    if not (DEBUGFS / "kvm").is_dir():
        return "debugfs cannot be read"
    if any(p.is_dir() for p in (DEBUGFS / "kvm").iterdir()):
        return "other VMs run here"
    return None
