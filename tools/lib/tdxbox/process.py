# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Child processes by posix_spawn: no fork in a process that has threads."""

import fcntl
import os
import select
import shutil
import signal
import time

from . import SandboxError

# Inherited dispositions and masks must not leak into children: Python ignores SIGPIPE,
# and the sandbox blocks the signals that it relays.
DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)

# The child is killed with the *thread* that spawned it, so nothing outlives a sandbox
# that was killed. setpriv and sh only exec: the pid stays.
TIED = ("setpriv", "--pdeathsig", "KILL", "--")
WITH_LISTEN_PID = ("sh", "-c", 'LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"')

FIRST_PASSED_FD = 3


def close_on_exec():
    """What this process inherited by accident must not reach the daemon."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass


class Process:
    """One child; its end is seen through a pidfd, so several threads can wait."""

    def __init__(self, argv, *, env=None, stdin=os.devnull, output=None, tied=True,
                 group=True, fds=()):
        """output: a file for stdout and stderr; None inherits all three streams.
        fds: passed as 3, 4, ... as systemd does, with LISTEN_PID set."""
        self.name = os.path.basename(str(argv[0]))
        self.status = None
        argv = [str(a) for a in argv]
        if fds:
            argv = [*WITH_LISTEN_PID, *argv]
        if tied:
            argv = [*TIED, *argv]
        env = dict(os.environ if env is None else env)
        program = shutil.which(argv[0], path=env.get("PATH"))
        if program is None:
            raise SandboxError(f"{argv[0]}: command not found")
        actions, spare = self._file_actions(stdin, output, fds)
        options = {"setpgroup": 0} if group else {}
        try:
            self.pid = os.posix_spawn(program, argv, env, file_actions=actions, setsigmask=(),
                                      setsigdef=DEFAULT_SIGNALS, **options)
        except OSError as e:
            raise SandboxError(f"{self.name} cannot be started: {e.strerror}") from e
        finally:
            for fd in spare:
                os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)

    @staticmethod
    def _file_actions(stdin, output, fds):
        actions = []
        if output is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            actions = [(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
                       (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o644),
                       (os.POSIX_SPAWN_DUP2, 1, 2)]
        # Out of the way first: a target must not be another one's source.
        spare = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500) for fd in fds]
        actions += [(os.POSIX_SPAWN_DUP2, fd, FIRST_PASSED_FD + i) for i, fd in enumerate(spare)]
        return actions, spare

    def poll(self):
        """The wait status as subprocess has it (negative: a signal), None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                os.close(self.pidfd)
        return self.status

    def wait(self, timeout):
        if self.status is None:
            poller = select.poll()
            poller.register(self.pidfd, select.POLLIN)
            poller.poll(timeout * 1000)
        return self.poll()

    def kill(self, number):
        if self.poll() is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def end(self, timeout=5):
        """SIGTERM, and SIGKILL when that does not help."""
        self.kill(signal.SIGTERM)
        if self.wait(timeout) is None:
            self.kill(signal.SIGKILL)
            self.wait(timeout)
        return self.status


def describe(status):
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def wait_until(condition, what, timeout=10, process=None, interval=0.004):
    """Poll condition() for files of a FUSE mount, which offer nothing to wait on."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if process is not None and process.poll() is not None:
            raise SandboxError(f"{process.name} ended too early ({describe(process.status)})")
        if time.monotonic() > end:
            raise SandboxError(f"{what}: nothing after {timeout} s")
        time.sleep(interval)
