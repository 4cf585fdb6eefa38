# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A service on a private bus that speaks the contract of dbus/ and does what a test tells it."""

import fcntl
import os
import select
import subprocess
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

TDXCTL = os.environ.get("TDXCTL", "tdxctl")
ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "org.tdx.Update1"
PATH = "/org/tdx/Update1"
MANAGER = "org.tdx.Update1"
JOB = "org.tdx.Update1.Job"
ERROR = "org.tdx.Update1.Error."

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen>
<policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""


class Bus:
    """A dbus-daemon of our own."""

    def __init__(self, directory):
        socket = directory / "bus"
        config = directory / "bus.conf"
        config.write_text(CONFIG.format(socket=socket))
        self.address = f"unix:path={socket}"
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("unix:")

    def connect(self):
        return Gio.DBusConnection.new_for_address_sync(
            self.address,
            Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
            None, None)

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def interface(name):
    for file in (ROOT / "dbus").glob("*.xml"):
        info = Gio.DBusNodeInfo.new_for_xml(file.read_text()).lookup_interface(name)
        if info:
            return info
    raise LookupError(name)


PROPERTIES = {
    "DaemonVersion": "0.1.0", "State": "idle", "StateReason": "Nothing to do.", "ModuleVersion": "1.5.05",
    "SeamldrVersion": "1.5.00", "RemainingUpdates": 9, "CpuSignature": 0x806F8, "UpdateSupported": True,
    "UnsupportedReason": "", "BusyDetection": "no", "Holds": 0, "Jobs": [], "DesiredVersion": "", "Lost": False,
    "Idle": True, "Evidence": "T0", "BlockedBy": [], "Guests": 0, "Building": 0,
}

JOB_PROPERTIES = {
    "Id": 1, "FromVersion": "1.5.05", "ToVersion": "1.5.13", "State": "queued", "Reason": "Just queued.",
    "Progress": 0.0, "Attempts": 0, "AttemptLog": [], "NextAttempt": 0, "Deadline": 0, "Cancelable": True,
    "Requester": 1000, "Unit": "", "Result": "", "Error": ("", ""), "Timings": {},
}


def variant(value):
    """Values whose types the tests do not name: numbers are u, times (large ones) t."""
    if isinstance(value, GLib.Variant):
        return value
    if isinstance(value, bool):
        return GLib.Variant("b", value)
    if isinstance(value, int):
        return GLib.Variant("u" if value < 1 << 32 else "t", value)
    if isinstance(value, str):
        return GLib.Variant("s", value)
    if isinstance(value, tuple):
        return GLib.Variant("(ss)", value)
    if isinstance(value, dict):
        return GLib.Variant("a{st}", value)
    if value and isinstance(value[0], str):
        return GLib.Variant("as", value)
    return GLib.Variant("aa{sv}", [dictionary(v) for v in value])


def dictionary(values):
    return {key: variant(value) for key, value in values.items()}


class Mock:
    """The daemon. What it answers stands in plain attributes; signals are sent by methods."""

    def __init__(self, bus):
        self.bus = bus
        self.properties = dict(PROPERTIES)
        self.jobs = {}
        self.history = []
        self.images = []
        self.plan = {}
        self.facts = {}
        self.config = []
        self.errors = {}        # member -> (name, message)
        self.calls = []         # (member, unpacked arguments, interactive)
        self.files = []         # what was read from descriptors
        self.descriptors = []   # what each is, its seals, its size
        self.on_apply = None    # called after the reply
        self.guests = []
        self.holds = []         # as ListHolds answers
        self.pipes = []         # our ends of the holds' pipes
        self.builds = {}        # id -> who
        self.build_wait = None  # an event that BeginBuild's answer waits for
        self.connection = None
        self.context = GLib.MainContext()
        self.loop = GLib.MainLoop(self.context)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.start()

    def run(self):
        self.context.push_thread_default()
        self.loop.run()
        self.context.pop_thread_default()

    def do(self, function):
        """Runs it in the service's thread, where objects must be registered."""
        done = threading.Event()
        result = []

        def run():
            result.append(function())
            done.set()
            return False

        self.context.invoke_full(GLib.PRIORITY_DEFAULT, run)
        assert done.wait(10)
        return result[0]

    def start(self):
        def register():
            self.connection = self.bus.connect()
            self.connection.register_object(PATH, interface(MANAGER), self.call, self.get, None)
            for job in self.jobs:
                self.export(job)
            self.connection.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
                                      GLib.Variant("(su)", (NAME, 4)), None, Gio.DBusCallFlags.NONE, -1, None)
        self.do(register)

    def stop(self):
        self.do(lambda: self.connection.close_sync(None))
        self.connection = None

    def close(self):
        if self.connection:
            self.stop()
        self.loop.quit()
        self.thread.join(10)
        for pipe in self.pipes:
            os.close(pipe)

    # Jobs

    def path(self, job):
        return f"{PATH}/job/{job}"

    def export(self, job):
        self.connection.register_object(self.path(job), interface(JOB), self.call, self.get, None)

    def add_job(self, job=1, **properties):
        self.jobs[job] = dict(JOB_PROPERTIES, Id=job, **properties)
        if threading.current_thread() is self.thread:
            self.export(job)
        else:
            self.do(lambda: self.export(job))
        return self.path(job)

    def change(self, job, **properties):
        self.jobs[job].update(properties)
        values = {k: self.typed(JOB, k, v) for k, v in properties.items()}
        self.emit(self.path(job), "org.freedesktop.DBus.Properties", "PropertiesChanged",
                  GLib.Variant("(sa{sv}as)", (JOB, values, [])))

    def finish(self, job, result="success", error=("", ""), signals=True, **more):
        p = self.jobs[job]
        entry = {"job": job, "from": p["FromVersion"], "to": p["ToVersion"], "result": result, "error": error,
                 "requester": 1000, "reason": "", "started": GLib.Variant("t", 10**15), "finished": GLib.Variant("t", 10**15 + 2 * 10**6),
                 "attempts": p["AttemptLog"], "svn-before": 0x105, "svn-after": 0x107, "external": False, **more}
        self.history.insert(0, entry)
        if not signals:
            p.update(State="finished", Result=result, Error=error)
            return
        self.change(job, State="finished", Result=result, Error=error)
        self.emit(self.path(job), JOB, "Finished", GLib.Variant("(sa{sv})", (result, dictionary(entry))))
        self.emit(PATH, MANAGER, "JobRemoved", GLib.Variant("(uos)", (job, self.path(job), result)))

    def emit(self, path, name, signal, parameters):
        self.connection.emit_signal(None, path, name, signal, parameters)
        self.connection.flush_sync(None)

    # The bus's side

    def typed(self, name, key, value):
        signature = interface(name).lookup_property(key).signature
        if signature == "aa{sv}":
            value = [dictionary(v) for v in value]
        return GLib.Variant(signature, value)

    def get(self, connection, sender, path, name, key):
        values = self.properties if name == MANAGER else self.jobs[int(path.rsplit("/", 1)[1])]
        return self.typed(name, key, values[key])

    def read_fds(self, invocation):
        fds = invocation.get_message().get_unix_fd_list()
        for i in range(fds.get_length() if fds else 0):
            fd = fds.get(i)
            self.descriptors.append((os.readlink(f"/proc/self/fd/{fd}"), fcntl.fcntl(fd, 1034), os.fstat(fd).st_size))
            self.files.append(os.read(fd, 100))
            os.close(fd)

    def call(self, connection, sender, path, name, member, parameters, invocation):
        flags = invocation.get_message().get_flags()
        interactive = bool(flags & Gio.DBusMessageFlags.ALLOW_INTERACTIVE_AUTHORIZATION)
        self.calls.append((member, parameters.unpack(), interactive))
        if member in self.errors:
            invocation.return_dbus_error(*self.errors[member])
            return
        answer = getattr(self, "do_" + member)(path, invocation, *parameters.unpack())
        if answer is not None:
            invocation.return_value(answer)
        if member == "ApplyVersion" and self.on_apply:
            connection.flush_sync(None)
            self.on_apply()

    def do_ApplyVersion(self, path, invocation, version, options):
        if 1 not in self.jobs:
            self.add_job(1)
        return GLib.Variant("(o)", (self.path(1),))

    def do_Plan(self, path, invocation, version, options):
        return GLib.Variant("(a{sv})", (dictionary(self.plan),))

    def do_ListImages(self, path, invocation):
        return GLib.Variant("(aa{sv})", ([dictionary(i) for i in self.images],))

    def do_ListJobs(self, path, invocation):
        return GLib.Variant("(a(uosss))", ([(j, self.path(j), p["ToVersion"], p["State"], p["Reason"])
                                            for j, p in self.jobs.items() if not p["Result"]],))

    def do_GetJob(self, path, invocation, job):
        if job in self.jobs:
            return GLib.Variant("(o)", (self.path(job),))
        invocation.return_dbus_error(ERROR + "NoSuchJob", f"There is no job {job}.")
        return None

    def do_GetHistory(self, path, invocation, since, most):
        return GLib.Variant("(aa{sv})", ([dictionary(e) for e in self.history],))

    def do_DescribeConfig(self, path, invocation):
        return GLib.Variant("(aa{sv})", ([dictionary(k) for k in self.config],))

    def do_Refresh(self, path, invocation):
        return GLib.Variant("()", ())

    def do_Cancel(self, path, invocation):
        return GLib.Variant("()", ())

    def do_ListGuests(self, path, invocation):
        return GLib.Variant("(aa{sv})", ([dictionary(g) for g in self.guests],))

    def do_ListHolds(self, path, invocation):
        return GLib.Variant("(a(sssssuut))", (self.holds,))

    def do_Hold(self, path, invocation, what, who, why, mode):
        ours, theirs = os.pipe()
        self.pipes.append(ours)
        fds = Gio.UnixFDList.new()
        handle = fds.append(theirs)
        os.close(theirs)
        invocation.return_value_with_unix_fd_list(GLib.Variant("(h)", (handle,)), fds)

    def held(self, pipe=-1):
        """Whether somebody still has the other end of the hold's pipe."""
        return not select.select([self.pipes[pipe]], [], [], 0)[0]

    def do_BeginBuild(self, path, invocation, who, wait, hold, match):
        number = len(self.builds) + 5

        def answer():
            self.builds[number] = who
            invocation.return_value(GLib.Variant("(u)", (number,)))

        if not self.build_wait:
            answer()
            return
        event = self.build_wait
        threading.Thread(target=lambda: event.wait(30) and self.do(answer), daemon=True).start()

    def do_EndBuild(self, path, invocation, number):
        if self.builds.pop(number, None):
            return GLib.Variant("()", ())
        invocation.return_dbus_error(ERROR + "NoSuchHold", f"No announced build has the number {number}.")
        return None

    def do_ImportImage(self, path, invocation, image, options):
        self.read_fds(invocation)
        return GLib.Variant("(s)", ("1.5.13",))

    def do_InspectImage(self, path, invocation, image):
        self.read_fds(invocation)
        return GLib.Variant("(a{sv})", (dictionary(self.facts),))


def until(condition, seconds=10):
    """Waits for something that another process or thread does, with a bound."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
