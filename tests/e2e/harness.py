# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What an end-to-end test holds in its hands: see TestedHost.

One thread only: signals are delivered while the test waits (wait, Record.wait), so their
order is the order in which they came over the bus.
"""

import ctypes
import hashlib
import json
import os
import pwd
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass

from gi.repository import Gio, GLib

from tdxbox import SandboxError
from tdxbox.host import Host
from tdxbox.world import BUS_ADDRESS

NAME = "org.tdx.Update1"
PATH = "/org/tdx/Update1"
MANAGER = "org.tdx.Update1"
JOB = "org.tdx.Update1.Job"
ERROR = "org.tdx.Update1.Error."
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"

# The signatures of what takes arguments; `options` come as {key: (signature, value)}.
SIGNATURES = {
    "ApplyVersion": "(sa{sv})", "Plan": "(sa{sv})", "InspectImage": "(h)", "GetJob": "(u)",
    "GetHistory": "(tu)", "Hold": "(ssss)", "BeginBuild": "(stta{sv})", "EndBuild": "(u)",
    "ImportImage": "(ha{sv})", "SetDesiredVersion": "(s)",
}

# The types of the known options, so that tests can write apply("1.5.06", reason="x").
OPTION_TYPES = {
    "deadline": "t", "reason": "s", "drain": "b", "plan": "s", "now": "b",
    "ignore-activity": "b", "ignore-guests": "a(ut)", "version": "s", "mapping": "h",
    "machine": "s", "unit": "s", "pid": "u",
}


SYS_SETRESUID = 117     # x86-64, as everything here
libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def as_user(name):
    """This thread alone is somebody else: what it connects to sees that user. (glibc's own
    function would change the threads that serve the daemon, too.)"""
    uid = pwd.getpwnam(name).pw_uid
    if libc.syscall(SYS_SETRESUID, uid, uid, 0) < 0:
        raise OSError(ctypes.get_errno(), "setresuid")
    try:
        yield
    finally:
        if libc.syscall(SYS_SETRESUID, 0, 0, 0) < 0:
            os._exit(1)


class BusError(Exception):
    """A D-Bus error; .name is complete, .id what follows org.tdx.Update1.Error."""

    def __init__(self, error):
        self.name = Gio.DBusError.get_remote_error(error) or "local." + error.domain
        self.id = self.name.removeprefix(ERROR)
        # strip_remote_error() would change a copy.
        self.message = error.message.removeprefix(f"GDBus.Error:{self.name}: ")
        super().__init__(f"{self.name}: {self.message}")


class WaitError(AssertionError):
    """What a test waited for did not come."""


def pack_options(options):
    """reason="x", ignore_activity=True -> {"reason": <"x">, ...}; a GLib.Variant stays."""
    packed = {}
    for key, value in options.items():
        key = key.replace("_", "-")
        if not isinstance(value, GLib.Variant):
            value = GLib.Variant(OPTION_TYPES[key], value)
        packed[key] = value
    return packed


@dataclass
class Result:
    """Of a program."""
    status: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)


@dataclass
class Signal:
    time: float
    path: str
    interface: str
    member: str
    args: tuple

    def __str__(self):
        return f"{self.path} {self.interface}.{self.member}{self.args}"


class Record:
    """Every signal of the daemon since host.record(), in order."""

    def __init__(self, host):
        self.host = host
        self.signals = []
        self.subscription = host.bus.signal_subscribe(
            NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, self._add)
        # The match rule is in force when the bus has answered something sent after it.
        host.sync()

    def _add(self, _bus, _sender, path, interface, member, args):
        self.signals.append(Signal(time.monotonic(), path, interface, member, args.unpack()))

    def all(self, member=None, path=None):
        return [s for s in self.signals
                if member in (None, s.member) and path in (None, s.path)]

    def members(self, *members, path=None):
        """Names in order, only of these members."""
        return [s.member for s in self.signals if s.member in members and path in (None, s.path)]

    def changes(self, key, path=None):
        """The values that PropertiesChanged announced for a property, in order."""
        return [s.args[1][key] for s in self.all("PropertiesChanged", path) if key in s.args[1]]

    def wait(self, member, path=None, timeout=10, count=1):
        """The count-th such signal."""
        self.host.wait(lambda: len(self.all(member, path)) >= count,
                       f"the signal {member}", timeout)
        return self.all(member, path)[count - 1]

    def close(self):
        self.host.bus.signal_unsubscribe(self.subscription)


class Simulator:
    """`tdx-sim ctl`; see `tdx-sim --help` for the keys."""

    def __init__(self, host):
        self.host = host

    def ctl(self, *args):
        result = self.host.run("tdx-sim", "ctl", *args)
        if result.status != 0:
            raise SandboxError(f"tdx-sim ctl {' '.join(map(str, args))}: {result.stderr.strip()}")
        return result.stdout

    def get(self, key=None):
        if key:
            return self.ctl("get", key).strip()
        return dict(line.split("=", 1) for line in self.ctl("get").splitlines())

    def number(self, key):
        return int(self.get(key), 0)

    def set(self, **values):
        """set(misc_tdx=0) sets misc-tdx."""
        self.ctl("set", *(f"{k.replace('_', '-')}={v}" for k, v in values.items()))

    def log(self):
        return self.ctl("log").splitlines()


class Job:
    def __init__(self, host, path):
        self.host, self.path = host, path

    def get(self, key):
        return self.host.get(key, path=self.path, interface=JOB)

    def all(self):
        return self.host.get_all(path=self.path, interface=JOB)

    def cancel(self):
        return self.host.call("Cancel", path=self.path, interface=JOB)

    def wait_state(self, *states, timeout=10):
        self.host.wait(lambda: self.get("State") in states,
                       f"{self.path} in {'/'.join(states)}", timeout)

    def finish(self, timeout=20):
        """Wait for its end; returns the result."""
        self.wait_state("finished", timeout=timeout)
        return self.get("Result")


class TestedHost(Host):
    """A simulated host with a daemon, for one test.

    host.call("Plan", "1.5.06", {})     a method of the manager; raises BusError
    host.apply("1.5.06", reason="x")    ApplyVersion; a Job
    host.get("State")                   a property
    host.ctl("status", user="nobody")   tdxctl; a Result
    host.connect("nobody")              another user's connection, for call(..., bus=)
    host.snapshot()                     what a refused request must leave as it is
    host.sim.set(busy=2)                the simulator
    host.record()                       the signals from here on
    host.wait(lambda: ..., "what")      with a bound, while signals come in
    host.daemon                         tdxbox.service.Service: crash(), restart(), stop(), ...
    host.may_fail = True                the test wants the daemon to end by itself
    """

    __test__ = False

    def __init__(self, world, folder, options, images=None):
        super().__init__(world, folder, options, images)
        self.sim = Simulator(self)
        self.may_fail = False
        self.closed = False
        self.bus = None

    def start(self):
        super().start()
        self.bus = self.connect()

    @property
    def daemon(self):
        return self.service

    def restart_with(self, *arguments, without=None):
        """Restart the daemon with more arguments, those that begin with `without` left out."""
        kept = [a for a in map(str, self.service.argv) if not (without and a.startswith(without))]
        self.service.argv = [*kept, *map(str, arguments)]
        self.service.restart()

    def catalogues(self, *folders):
        """Restart the daemon with these folders in place of its own."""
        self.restart_with(*(f"--catalogue={f}" for f in folders), without="--catalogue=")

    @staticmethod
    def connect(user="root"):
        """A bus connection of its own."""
        flags = (Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
                 | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION)
        with as_user(user):
            connection = Gio.DBusConnection.new_for_address_sync(BUS_ADDRESS, flags, None, None)
        connection.set_exit_on_close(False)
        return connection

    # The bus.

    def call(self, member, *args, path=PATH, interface=MANAGER, signature=None, fds=(),
             bus=None, timeout=20, interactive=False):
        """Returns the only value, or a tuple, or None. Handles in args are indices of fds;
        descriptors in the answer come as numbers that the caller closes."""
        signature = signature or SIGNATURES.get(member, "()")
        values = tuple(pack_options(a) if isinstance(a, dict) else a for a in args)
        fd_list = Gio.UnixFDList.new()
        for fd in fds:
            fd_list.append(fd)
        flags = Gio.DBusCallFlags.NO_AUTO_START
        if interactive:
            flags |= Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION
        try:
            reply, out_fds = (bus or self.bus).call_with_unix_fd_list_sync(
                NAME, path, interface, member, GLib.Variant(signature, values), None,
                flags, int(timeout * 1000), fd_list, None)
        except GLib.Error as error:
            raise BusError(error) from None
        if reply.get_type_string() == "(h)":
            return out_fds.get(reply.unpack()[0])
        values = reply.unpack()
        return values[0] if len(values) == 1 else (values or None)

    def get(self, key, path=PATH, interface=MANAGER):
        return self.call("Get", interface, key, path=path, interface=PROPERTIES,
                         signature="(ss)")

    def get_all(self, path=PATH, interface=MANAGER):
        return self.call("GetAll", interface, path=path, interface=PROPERTIES, signature="(s)")

    def introspect(self, path=PATH):
        text = self.call("Introspect", path=path, interface=INTROSPECTABLE)
        return Gio.DBusNodeInfo.new_for_xml(text)

    def objects(self):
        return self.call("GetManagedObjects", interface=OBJECT_MANAGER)

    def apply(self, version="", **options):
        return Job(self, self.call("ApplyVersion", version, options))

    def job(self, path_or_id):
        if isinstance(path_or_id, int):
            path_or_id = self.call("GetJob", path_or_id)
        return Job(self, path_or_id)

    def history(self, since=0, maximum=0):
        return self.call("GetHistory", since, maximum)

    def snapshot(self):
        """Two are equal if nothing was changed in between: the catalogue, what is below the
        import directory, the queue, the history, the module, the budget, the daemon's pid."""
        files = {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None
                 for p in (self.state / "images").rglob("*")}
        return {"files": files, "images": self.call("ListImages"), "history": self.history(),
                "jobs": self.call("ListJobs"), "module": self.running_version(),
                "remaining": self.sim.number("remaining"), "uploads": self.sim.number("uploads"),
                "pid": self.daemon.pid}

    def record(self):
        return Record(self)

    def sync(self):
        """Whatever was sent before this has been handled by the bus."""
        self.bus.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", "GetId", None, None,
                           Gio.DBusCallFlags.NONE, -1, None)

    def wait(self, condition, what="the condition", timeout=10, interval=0.01):
        """Until condition() is true; signals are delivered meanwhile."""
        context = GLib.MainContext.default()
        end = time.monotonic() + timeout
        while True:
            while context.iteration(False):
                pass
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise WaitError(f"{what}: not within {timeout} s")
            wake = GLib.timeout_add(int(interval * 1000), lambda: True)
            context.iteration(True)
            GLib.source_remove(wake)

    # Programs.

    def run(self, *argv, user=None, stdin=None, timeout=60, env=None):
        """Any program, as root or as another user."""
        argv = [str(a) for a in argv]
        if user:
            argv = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", "--", *argv]
        environment = self.environment()
        environment.update(env or {})
        done = subprocess.run(argv, env=environment, input=stdin, capture_output=True, text=True,
                              timeout=timeout, stdin=None if stdin else subprocess.DEVNULL)
        return Result(done.returncode, done.stdout, done.stderr)

    def popen(self, *argv, **options):
        """In the background; the test ends it."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([str(a) for a in argv], env=self.environment(), text=True,
                                stdin=subprocess.DEVNULL, **options)

    def ctl(self, *args, **options):
        return self.run("tdxctl", "--no-ask-password", "--no-pager", *args, **options)

    def log(self):
        return self.service.log()

    # Checks that every test ends with.

    def complaints(self):
        """After close(): what must not have happened, whatever the test looked at."""
        found = self.sanitizer_reports()
        if self.service and not self.may_fail:
            found += [f"the daemon ended by itself: {f}" for f in self.service.failures()]
        return found

    def close(self):
        """A test may have done it already, to make room for another daemon."""
        if self.closed:
            return
        self.closed = True
        if self.bus:
            self.bus.close_sync(None)
            self.bus = None
        super().close()
