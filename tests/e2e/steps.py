# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What the tests of a job's life share: points to stop at, and what must hold at every end."""

import ctypes
import errno
import os
import select
import signal
import struct

import pytest
from gi.repository import Gio

from harness import JOB, MANAGER, NAME, PATH

UPLOAD = "sys/class/firmware/tdx_module"
REMAINING = "sys/devices/faux/tdx_host/num_remaining_updates"

FAN_CLASS_CONTENT, FAN_CLOEXEC, FAN_NONBLOCK = 0x4, 0x1, 0x2
FAN_MARK_ADD = 0x1
FAN_MODIFY, FAN_OPEN_PERM = 0x2, 0x10000
FAN_ALLOW = 1
AT_FDCWD = -100
EVENT = struct.Struct("=IBBHQii")
ANSWER = struct.Struct("=iI")

libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """fanotify on files of the simulated kernel: who touches them is seen, or stopped."""

    def __init__(self, mask, *paths):
        self.fd = self._check(libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK,
                                                 os.O_RDONLY))
        self.waiting = []
        for path in paths:
            self._check(libc.fanotify_mark(self.fd, FAN_MARK_ADD, ctypes.c_uint64(mask), AT_FDCWD,
                                           os.fsencode(path)))

    @staticmethod
    def _check(result):
        if result < 0:
            error = ctypes.get_errno()
            if error in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
                pytest.skip("this kernel cannot stop a process where it opens a file: "
                            f"fanotify permission events: {os.strerror(error)}")
            raise OSError(error, "fanotify")
        return result

    def read(self, timeout=0):
        """The pids of the events since the last call."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return []
        data, pids = os.read(self.fd, 65536), []
        while data:
            length, _, _, _, mask, fd, pid = EVENT.unpack_from(data)
            data = data[length:]
            pids.append(pid)
            if mask & FAN_OPEN_PERM:
                self.waiting.append(fd)
            else:
                os.close(fd)
        return pids

    def release(self):
        """Whoever was stopped goes on, up to the next time."""
        for fd in self.waiting:
            os.write(self.fd, ANSWER.pack(fd, FAN_ALLOW))
            os.close(fd)
        self.waiting.clear()

    def close(self):
        """Whoever was stopped goes on, for good."""
        if self.fd is None:
            return
        self.release()
        os.close(self.fd)
        self.fd = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Stop(Watch):
    """Stops the daemon where it opens a file; on leaving (or let_go) it goes on. No time is
    involved: what the test does meanwhile happens exactly there. The daemon answers nothing."""

    def __init__(self, host, path):
        super().__init__(FAN_OPEN_PERM, host.mount / path)
        self.host = host

    def wait(self, timeout=10):
        pids = self.read(timeout)
        assert pids == [self.host.daemon.pid], f"the daemon did not come to the file: {pids}"

    let_go = Watch.close


def call_without_waiting(host, member, path=PATH, interface=MANAGER):
    """The request lies in the daemon's socket when this returns."""
    host.bus.call(NAME, path, interface, member, None, None, Gio.DBusCallFlags.NONE, -1, None, None)
    host.bus.flush_sync()
    host.sync()


def cancel_without_waiting(host, job):
    call_without_waiting(host, "Cancel", job.path, JOB)


def stop_in_staging(host):
    """The daemon has announced its image and is about to write it."""
    return Stop(host, f"{UPLOAD}/data")


def stop_at_loading(host):
    """The daemon is about to read or write `loading`: after the staging first to see whether it is still its own, and
    then for the handover."""
    return Stop(host, f"{UPLOAD}/loading")


def stop_in_verification(host):
    """The daemon is about to read what is left of the budget. It does that at Refresh, too."""
    return Stop(host, REMAINING)


def watch_device(host):
    """Sees every write to the upload interface."""
    return Watch(FAN_MODIFY, host.mount / UPLOAD / "loading", host.mount / UPLOAD / "data")


def freeze(host):
    os.kill(host.daemon.pid, signal.SIGSTOP)


def blockers(host, version="", **options):
    """The ids in a plan."""
    return [b["id"] for b in host.call("Plan", version, options)["blockers"]]


def wait_blocked(host, job, *ids):
    """Until the job at the head waits for exactly these."""
    job.wait_state("waiting")
    host.wait(lambda: host.get("BlockedBy") == list(ids), f"blocked by {ids}")


def wait_kernel(host, status="transferring"):
    """Until the kernel works on the job's image; see set(stuck="yes")."""
    host.wait(lambda: host.sim.get("status") == status, f"the kernel is {status}")


def hold_kernel(host, job):
    """After sim.set(stuck="yes"): the daemon has seen that the kernel works."""
    wait_kernel(host)
    host.wait(lambda: not job.get("Cancelable") and "(transferring)" in job.get("Reason"),
              "the daemon follows the kernel")


def outcomes(job):
    return [a["outcome"] for a in job.get("AttemptLog")]


def error_of(job):
    """The id, without org.tdx.Update1.Error."""
    return job.get("Error")[0].rpartition(".")[2]


def settle(host):
    """What was sent to us before this has been recorded."""
    host.sync()
    host.wait(lambda: True)


def check_end(host, record, job, result, *, spent, uploads, installs=None):
    """Finished and JobRemoved came exactly once, in order, and the kernel saw what it should."""
    host.wait(lambda: job.path in [s.args[1] for s in record.all("JobRemoved")],
              f"{job.path} leaves the queue", 20)
    settle(host)
    ends = [s for s in record.signals if s.member in ("Finished", "JobRemoved")
            and job.path in (s.path, *s.args)]
    assert [s.member for s in ends] == ["Finished", "JobRemoved"]
    assert ends[0].args[0] == ends[1].args[2] == job.get("Result") == result
    assert job.get("State") == "finished"
    assert host.options.remaining - host.sim.number("remaining") == spent
    assert host.sim.number("uploads") == uploads
    assert host.sim.number("installs") == (spent if installs is None else installs)
    mine = [h for h in host.history() if h["job"] == job.get("Id")]
    assert [h["result"] for h in mine] == [result]
    assert len(mine[0]["attempts"]) == job.get("Attempts")


def check_prepare_pairs(record):
    """PrepareForUpdate: true, false, true, false, ..., and false at the end. How many pairs."""
    def starts():
        return [s.args[0] for s in record.all("PrepareForUpdate")]

    # The last one follows JobRemoved.
    record.host.wait(lambda: starts()[-1:] != [True], "PrepareForUpdate(false)")
    assert starts() == [True, False] * (len(starts()) // 2)
    return len(starts()) // 2
