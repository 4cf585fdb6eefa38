# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Namespaces.

tools/sandbox takes a mount *and* a PID namespace: its COMMAND may start anything and
leave it behind, and with a PID namespace all of it dies with the namespace's init, even
when the sandbox itself is killed by SIGKILL. Pids inside are small numbers that differ
from those outside; that harms nobody, because bus, polkitd, simulator and daemon live in
there together. The tests take only a mount namespace (a process cannot move itself into a
PID namespace) and tie their children by PR_SET_PDEATHSIG.
"""

import ctypes
import errno
import os
import signal
import sys
import traceback

from . import SandboxError

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_NOSUID_NODEV = 0x2 | 0x4
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
SI_KERNEL = 0x80
FAILED = 125  # as env(1) has it: the sandbox's own failure, not COMMAND's status
RELAYED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}

libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result < 0:
        error = ctypes.get_errno()
        raise SandboxError(f"{what}: {os.strerror(error)}") from OSError(error, what)


def unshare(flags):
    _check(libc.unshare(flags), "cannot make a private namespace")


def mount(source, target, kind=None, flags=0, data=None):
    def encode(text):
        return None if text is None else str(text).encode()

    _check(libc.mount(encode(source), encode(target), encode(kind), flags, encode(data)),
           f"cannot mount {target}")


def bind(source, target):
    mount(source, target, flags=MS_BIND | MS_REC)


def tmpfs(target, mode="755"):
    mount("tmpfs", target, "tmpfs", MS_NOSUID_NODEV, f"mode={mode}")


def require_root():
    if os.geteuid() != 0:
        raise SandboxError("only root can do this: it makes a mount namespace and the daemon "
                           "needs root. Try it with sudo.")


def _make_private():
    try:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        return
    except SandboxError as e:
        if e.__cause__.errno != errno.EINVAL:
            raise
    # In a chroot "/" is no mount. Bind it over itself and step into that mount: at the root
    # ".." goes nowhere, but arrives at what is mounted on top.
    folder = os.getcwd()
    bind("/", "/")
    os.chdir("/..")
    os.chroot(".")
    with open("/proc/self/mountinfo") as mounts:
        root = [line.split() for line in mounts if line.split()[4] == "/"][-1]
    if any(field.startswith("shared:") for field in root):
        libc.umount2(b"/", MNT_DETACH)
        raise SandboxError("the file system around this chroot shares its mounts with others: "
                           "enter the chroot by `unshare --mount` or systemd-nspawn")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    os.chdir(folder)


def private_mounts():
    """From here on this process mounts for itself alone."""
    unshare(CLONE_NEWNS)
    _make_private()


def relay(pid, reap=-1):
    """Wait for pid and pass signals on to it; reap it, or (-1) whatever else ends too.
    RELAYED and SIGCHLD must be blocked in every thread. What the terminal sends goes to the
    whole group, so it is not repeated."""
    while True:
        info = signal.sigwaitinfo(RELAYED | {signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD:
            if info.si_code != SI_KERNEL:
                os.kill(pid, info.si_signo)
            continue
        while True:
            try:
                ended, status = os.waitpid(reap, os.WNOHANG)
            except ChildProcessError:
                return 1
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if ended == 0:
                break


def _in_child(function):
    """Never returns into the caller's stack, which belongs to the parent."""
    status = 1
    try:
        status = function()
    except SandboxError as e:
        print(f"sandbox: {e}", file=sys.stderr)
        status = FAILED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def fork_and_relay(function):
    pid = os.fork()
    if pid == 0:
        _in_child(function)
    return relay(pid)


def isolated(main):
    """Run main() in own mount and PID namespaces and return its status. Three processes:
    this one, the namespace's init, and main, so that main need not reap orphans."""
    require_root()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED | {signal.SIGCHLD})

    def run():
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        return main()

    def init():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _make_private()
        mount("proc", "/proc", "proc", MS_NOSUID_NODEV)
        return fork_and_relay(run)

    unshare(CLONE_NEWNS | CLONE_NEWPID)
    try:
        return fork_and_relay(init)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
