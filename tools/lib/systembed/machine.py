# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""QEMU with a console, which goes to a file, and a second serial line, on which the tests
report while they run."""

import ctypes
import os
import select
import signal
import subprocess
import time

from . import BedError, Unavailable

MEMORY_MIB = 1536
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def _die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    def __init__(self, kernel_image, initrd, disks, console):
        """disks: in the order of their names in the guest; nothing that is written to them
        is kept. console: a file."""
        self.console = console
        # Emulated always: the tests want AMD's SVM, for VMs of their own. Both CPUs by one thread: with two, a CPU
        # sometimes runs what the kernel's patching of its own code has replaced, and the kernel dies of that.
        argv = ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max,+svm", "-smp", "2",
                "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot",
                "-serial", f"file:{console}", "-serial", "stdio",
                "-kernel", kernel_image, "-initrd", initrd,
                "-append", "console=ttyS0 quiet panic=-1"]
        for disk in disks:
            argv += ["-drive", f"file={disk},if=virtio,format=raw,snapshot=on"]
        try:
            self.process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
        except FileNotFoundError:
            raise Unavailable("qemu-system-x86_64 is not installed") from None

    def lines(self, end):
        """What comes over the second line until the machine is off. BedError after the time
        `end` (monotonic)."""
        stream, rest = self.process.stdout, b""
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                raise BedError("the machine was stopped: its time is over")
            data = os.read(stream.fileno(), 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in lines)

    def console_tail(self, lines=40):
        try:
            text = self.console.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
