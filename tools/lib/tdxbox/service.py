# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Runs the daemon the way systemd 252 would (Type=notify).

A thread owns the notification socket and the child. It keeps what FDSTORE=1 hands over,
drops a stored descriptor when its other end is closed, gives the rest to the next start,
restarts the daemon after a failure (Restart=on-failure with a start limit) and ends it
when the watchdog is not fed. As in systemd 252, stop() empties the fd store; restart()
and crashes do not.
"""

import array
import os
import select
import signal
import socket
import threading
import time

from .process import Process, describe
from . import SandboxError

CLEAN_SIGNALS = (-signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGPIPE)
FD_STORE_MAX = 512
MAX_MESSAGE_FDS = 253
HANGUP = select.POLLHUP | select.POLLERR
START_LIMIT = (5, 10.0)  # starts in seconds: StartLimitBurst=, StartLimitIntervalSec=


class Message(dict):
    """One notification: its assignments, when it came and from whom."""

    def __init__(self, text, pid):
        super().__init__(line.split("=", 1) for line in text.splitlines() if "=" in line)
        self.pid = pid
        self.time = time.monotonic()


class Stored:
    def __init__(self, name, fd, poll):
        self.name, self.fd, self.poll = name, fd, poll


class Service:
    """States: dead, starting, ready, reloading, restarting (waits for the next start),
    stopping, failed (start limit hit, or never got ready: its message is wanted at once)."""

    def __init__(self, argv, folder, *, env=None, watchdog=0, restart_delay=0.1):
        self.argv = argv
        self.folder = folder
        self.log_file = folder / "daemon.log"
        self.pid_file = folder / "daemon.pid"
        self.watchdog = watchdog
        self.restart_delay = restart_delay
        self.messages = []
        self._notify_log = open(folder / "notify.log", "a", buffering=1)
        self.exits = []  # (pid, status), oldest first
        self.starts = []
        self.state = "dead"
        self.process = None
        self.stored = []
        self.env = dict(os.environ if env is None else env)
        self.env.pop("JOURNAL_STREAM", None)
        self.env["NOTIFY_SOCKET"] = str(folder / "notify")
        self._next_start = None
        self._limit_since = 0.0  # an explicit start gives a fresh start limit
        self._was_ready = False
        self._last_ping = 0.0
        self._quit = False
        self._changed = threading.Condition(threading.RLock())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.env["NOTIFY_SOCKET"])
        os.chmod(self.env["NOTIFY_SOCKET"], 0o666)
        self._socket.setblocking(False)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self._thread.start()

    # What others call.

    @property
    def pid(self):
        with self._changed:
            return self.process.pid if self.process else None

    def start(self, timeout=20):
        with self._changed:
            self.state = "starting"
            self._next_start = 0.0
            self._limit_since = time.monotonic()
            self._was_ready = False
        self._wake()
        self.wait_ready(timeout)

    def stop(self, timeout=15):
        """SIGTERM and wait; the fd store is emptied. Returns the exit status."""
        with self._changed:
            self._next_start = None
            running = self.process
            self.state = "stopping" if running else "dead"
        if running:
            self._end(running, timeout)
        with self._changed:
            self.state = "dead"
            self._drop_stored(self.stored)
        # The thread's poll(2) may have them still, and they are open as long as it does.
        self._wake()
        return running.status if running else None

    def restart(self, timeout=20):
        """As systemctl restart: the fd store stays."""
        with self._changed:
            running = self.process
            self.state = "stopping"
            self._next_start = None
        if running:
            self._end(running, timeout)
        self.start(timeout)

    def kill(self, number=signal.SIGKILL):
        """Only sends the signal. A failure is followed by a restart: see wait_restarted."""
        with self._changed:
            if self.process:
                self.process.kill(number)

    def crash(self, number=signal.SIGKILL, timeout=20):
        """Kill it and wait for the restarted one."""
        count = len(self.starts)
        self.kill(number)
        self.wait_restarted(count, timeout)

    def reload(self, timeout=10):
        """As ExecReload=: SIGHUP, then RELOADING=1 and READY=1."""
        with self._changed:
            seen = len(self.messages)
            self.kill(signal.SIGHUP)
            self._wait(lambda: any("RELOADING" in m for m in self.messages[seen:])
                       and self.state == "ready", "the daemon does not reload", timeout)

    def wait_ready(self, timeout=20):
        self._wait(lambda: self.state == "ready", "the daemon does not get ready", timeout)

    def wait_restarted(self, starts_before, timeout=20):
        self._wait(lambda: len(self.starts) > starts_before and self.state == "ready",
                   "the daemon is not restarted", timeout)

    def wait_exit(self, count, timeout=20):
        """Wait until it has ended count times in all; returns (pid, status)."""
        self._wait(lambda: len(self.exits) >= count, "the daemon does not end", timeout)
        return self.exits[count - 1]

    def close(self):
        self.stop()
        self._quit = True
        self._wake()
        self._thread.join()
        self._socket.close()
        self._notify_log.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def failures(self):
        """Ends that were the daemon's own fault: not ended or killed from outside."""
        wanted = (*CLEAN_SIGNALS, -signal.SIGKILL, 0)
        return [describe(status) for _, status in self.exits if status not in wanted]

    def log(self):
        try:
            return self.log_file.read_text(errors="replace")
        except OSError:
            return ""

    def _wake(self):
        os.write(self._wake_write, b"x")

    def _end(self, process, timeout):
        process.kill(signal.SIGTERM)
        end = time.monotonic() + timeout
        with self._changed:
            while self.process is process:
                left = end - time.monotonic()
                if left <= 0:
                    process.kill(signal.SIGKILL)
                self._changed.wait(max(left, 1))

    def _wait(self, condition, complaint, timeout):
        end = time.monotonic() + timeout
        with self._changed:
            while not condition():
                if self.state == "failed":
                    raise SandboxError(f"{complaint}: it failed ({describe(self.exits[-1][1])})")
                left = end - time.monotonic()
                if left <= 0:
                    raise SandboxError(f"{complaint}: nothing after {timeout} s")
                self._changed.wait(left)

    # What the thread does.

    def _run(self):
        # Signals are the main thread's: it may wait for them by sigwait.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._quit:
            events = self._poll()
            with self._changed:
                if self._wake_read in events:
                    os.read(self._wake_read, 4096)
                # Notifications first: they may be the last words of the one that ended.
                while self._receive():
                    pass
                self._drop_stored([s for s in self.stored
                                   if s.poll and events.get(s.fd, 0) & HANGUP])
                self._reap()
                self._check_watchdog()
                if self._next_start is not None and time.monotonic() >= self._next_start:
                    self._spawn()
                self._changed.notify_all()

    def _poll(self):
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        poller.register(self._socket, select.POLLIN)
        timeouts = []
        with self._changed:
            if self.process and self.process.status is None:
                poller.register(self.process.pidfd, select.POLLIN)
                if self.watchdog and self.state == "ready":
                    timeouts.append(self._last_ping + self.watchdog - time.monotonic())
            for stored in self.stored:
                if stored.poll:
                    poller.register(stored.fd, 0)
            if self._next_start is not None:
                timeouts.append(self._next_start - time.monotonic())
        timeout = max(min(timeouts), 0) * 1000 + 1 if timeouts else None
        return dict(poller.poll(timeout))

    def _spawn(self):
        self._next_start = None
        env = dict(self.env)
        if self.watchdog:
            env["WATCHDOG_USEC"] = str(int(self.watchdog * 1e6))
        if self.stored:
            env["LISTEN_FDS"] = str(len(self.stored))
            env["LISTEN_FDNAMES"] = ":".join(s.name for s in self.stored)
        self.process = Process(self.argv, env=env, output=self.log_file,
                               fds=[s.fd for s in self.stored])
        self.starts.append(time.monotonic())
        self.state = "starting"
        self.pid_file.write_text(f"{self.process.pid}\n")

    def _receive(self):
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                4096, socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4 * MAX_MESSAGE_FDS),
                socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        fds, pid = array.array("i"), 0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(value[:len(value) - len(value) % fds.itemsize])
            elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid = int.from_bytes(value[:4], "little")
        message = Message(data.decode(errors="replace"), pid)
        # NotifyAccess=main
        if self.process is None or pid != self.process.pid:
            for fd in fds:
                os.close(fd)
        else:
            self._handle(message, list(fds))
        return True

    def _handle(self, message, fds):
        self.messages.append(message)
        self._notify_log.write(f"{message.time:.3f} {message.pid} {dict(message)}\n")
        name = message.get("FDNAME", "stored")
        if message.get("FDSTOREREMOVE") == "1":
            self._drop_stored([s for s in self.stored if s.name == name])
        for fd in fds:
            if message.get("FDSTORE") == "1" and len(self.stored) < FD_STORE_MAX:
                self.stored.append(Stored(name, fd, message.get("FDPOLL") != "0"))
            else:
                os.close(fd)
        if self.state == "stopping":
            return
        if message.get("RELOADING") == "1":
            self.state = "reloading"
        if message.get("READY") == "1":
            self.state = "ready"
            self._was_ready = True
            self._last_ping = message.time
        if message.get("WATCHDOG") == "1":
            self._last_ping = message.time

    def _drop_stored(self, gone):
        for stored in list(gone):
            os.close(stored.fd)
            self.stored.remove(stored)

    def _reap(self):
        if self.process is None or self.process.poll() is None:
            return
        status = self.process.status
        self.exits.append((self.process.pid, status))
        self.process = None
        self.pid_file.unlink(missing_ok=True)
        if self.state == "stopping":
            return
        if self._was_ready and (status == 0 or status in CLEAN_SIGNALS):
            self.state = "dead"
            return
        burst, interval = START_LIMIT
        since = max(self._limit_since, time.monotonic() - interval)
        recent = [t for t in self.starts if t >= since]
        if len(recent) >= burst or not self._was_ready:
            self.state = "failed"
        else:
            self.state = "restarting"
            self._next_start = time.monotonic() + self.restart_delay

    def _check_watchdog(self):
        late = self.watchdog and time.monotonic() > self._last_ping + self.watchdog
        if late and self.state == "ready" and self.process:
            self.process.kill(signal.SIGABRT)
            self._last_ping = time.monotonic()
