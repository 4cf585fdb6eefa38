# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""tdx-sim mounted: modes, errno values, short writes, and the control socket.

What is expected is the behaviour of the real files of Linux 7.3. Runs as root, in a
mount namespace of its own.
"""

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "lib"))

from tdxbox import isolate  # noqa: E402

SIM = os.environ.get("TDX_SIM", "tdx-sim")
MAKE_IMAGE = os.environ.get("MAKE_IMAGE", "tools/make-image")
BOUND = 20  # seconds that anything may take at most
HOST = "sys/devices/faux/tdx_host"
UPLOAD = "sys/class/firmware/tdx_module"
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}

pytestmark = [pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")]


def wait_for(condition, what):
    end = time.monotonic() + BOUND
    while not (result := condition()):
        assert time.monotonic() < end, f"waited {BOUND} s for {what}"
        time.sleep(0.002)
    return result


@pytest.fixture(scope="session", autouse=True)
def namespace():
    isolate.private_mounts()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A release tree, and images in the form that Linux takes."""
    folder = tmp_path_factory.mktemp("images")
    key = folder / "key.pem"

    def make(*arguments):
        subprocess.run([MAKE_IMAGE, "--key", key, *arguments], check=True)

    make("--tree", folder / "tree", "--versions", "1.5.05,1.5.06,1.5.13")
    for name, arguments in {
        "good": [],
        "bad-hash": ["--flip", "20000"],
        "bad-signature": ["--flip", str(4096 + 600)],
        "bad-header": ["--flip", "100"],
        "other-cpu": ["--cpus", "0xa06d0"],
        "unknown": ["--seed", "9"],
    }.items():
        make("--format", "200", "--version", "1.5.06", "--output", folder / f"{name}.blob", *arguments)
    make("--version", "1.5.06", "--output", folder / "format-100.blob")
    return folder


class Sim:
    def __init__(self, folder, images, *options):
        self.root = folder / "mount"
        self.root.mkdir(exist_ok=True)
        self.control = folder / "control"
        self.images = images
        self.process = subprocess.Popen(
            [SIM, "mount", "--images", images / "tree", "--control", self.control, *options, self.root],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, self.process.communicate()
            return os.path.ismount(self.root) and self.control.exists()
        wait_for(ready, "the mount")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            # closedir(3) does not wait for its RELEASEDIR, and libfuse leaks what is open at its end (which the leak
            # checker reports). Requests are read in their order: after this one it has been read.
            with suppress(OSError):
                self.root.stat()
            self.process.send_signal(how)
        return self.process.communicate(timeout=BOUND)

    def path(self, name):
        return self.root / name

    def read(self, name):
        return self.path(name).read_text()

    def write(self, name, text):
        with open(self.path(name), "wb", buffering=0) as f:
            return f.write(text.encode())

    def ctl(self, *words, expect=0):
        r = subprocess.run([SIM, "ctl", *words], text=True, capture_output=True, timeout=BOUND,
                           env={**os.environ, "TDX_SIM_CONTROL": str(self.control)})
        assert r.returncode == expect, (words, r)
        return r.stdout if expect == 0 else r.stderr

    def write_data(self, name):
        """Loops on short writes, as the kernel wants it."""
        image = (self.images / f"{name}.blob").read_bytes()
        with open(self.path(f"{UPLOAD}/data"), "wb", buffering=0) as f:
            view = memoryview(image)
            while view:
                written = f.write(view)
                assert written == min(len(view), 4096)
                view = view[written:]
        return len(image)

    def start_upload(self, name):
        self.write(f"{UPLOAD}/loading", "1\n")
        assert self.read(f"{UPLOAD}/loading") == "1\n"
        size = self.write_data(name)
        self.write(f"{UPLOAD}/loading", "0\n")
        return size

    def wait_idle(self):
        wait_for(lambda: self.read(f"{UPLOAD}/status") == "idle\n", "idle")

    def upload(self, name):
        self.start_upload(name)
        self.wait_idle()
        return self.read(f"{UPLOAD}/error")


@contextmanager
def simulator(folder, images, *options):
    s = Sim(folder, images, *options)
    try:
        s.wait_ready()
        yield s
        out, err = s.stop()
        assert (s.process.returncode, out, err) == (0, "", "")
        assert not os.path.ismount(s.root)
        assert not s.control.exists()
    finally:
        if s.process.poll() is None:
            s.process.kill()
            s.process.wait()
            subprocess.run(["umount", "-l", s.root], check=False)


@pytest.fixture
def sim(tmp_path, images):
    with simulator(tmp_path, images) as s:
        yield s


@contextmanager
def fails(*names):
    with pytest.raises(OSError) as e:
        yield
    assert errno.errorcode[e.value.errno] in names


def test_modes(sim):
    expected = {
        f"{HOST}/version": 0o444, f"{HOST}/seamldr_version": 0o400, f"{HOST}/num_remaining_updates": 0o400,
        f"{UPLOAD}/loading": 0o644, f"{UPLOAD}/data": 0o644, f"{UPLOAD}/status": 0o444, f"{UPLOAD}/error": 0o444,
        f"{UPLOAD}/remaining_size": 0o444, f"{UPLOAD}/cancel": 0o200,
        "sys/devices/system/cpu/present": 0o444, "sys/devices/system/cpu/cpu1/online": 0o644,
        "sys/module/kvm_intel/parameters/tdx": 0o444, "proc/cpuinfo": 0o444, "cgroup/misc.current": 0o444,
    }
    for name, mode in expected.items():
        st = sim.path(name).stat()
        assert (name, oct(stat.S_IMODE(st.st_mode)), st.st_uid) == (name, oct(mode), 0)
        assert stat.S_ISREG(st.st_mode)
    assert os.readlink(sim.path(UPLOAD)) == "../../devices/faux/tdx_host/firmware/tdx_module"
    assert sim.path(UPLOAD).resolve() == sim.path(f"{HOST}/firmware/tdx_module")


def test_defaults(sim):
    assert sim.read(f"{HOST}/version") == "1.5.05\n"
    assert sim.read(f"{HOST}/seamldr_version") == "1.5.00\n"
    assert sim.read(f"{HOST}/num_remaining_updates") == "9\n"
    assert sim.ctl("get", "hw-reads") == "2\n"
    assert sim.read(f"{UPLOAD}/loading") == "0\n"
    assert sim.read(f"{UPLOAD}/status") == "idle\n"
    assert sim.read(f"{UPLOAD}/error") == ""
    assert sim.read(f"{UPLOAD}/remaining_size") == "0\n"
    assert sim.read("sys/devices/system/cpu/present") == "0-3\n"
    assert sim.read("sys/devices/system/cpu/online") == "0-3\n"
    assert sim.read("sys/module/kvm_intel/parameters/tdx") == "Y\n"
    assert sim.read("cgroup/misc.current") == "tdx 0\n"
    assert sim.read("cgroup/misc.capacity") == "tdx 31\n"


def test_permissions(sim):
    """Root is not above sysfs's own check of the mode; others are held by the mode."""
    with fails("EACCES"):
        sim.read(f"{UPLOAD}/cancel")
    for name in "status", "error", "remaining_size":
        with fails("EACCES"):
            sim.write(f"{UPLOAD}/{name}", "1")
    with fails("EACCES"):
        sim.write(f"{UPLOAD}/new", "1")

    def as_nobody(name):
        # By the file: the folders above the mount point are not for everyone.
        fd = os.open(sim.root, os.O_PATH)
        try:
            return subprocess.run(["cat", f"/proc/self/fd/{fd}/{name}"], pass_fds=[fd], capture_output=True,
                                  text=True, timeout=BOUND, **NOBODY)
        finally:
            os.close(fd)

    assert as_nobody(f"{HOST}/version").stdout == "1.5.05\n"
    for name in f"{HOST}/seamldr_version", f"{HOST}/num_remaining_updates", "kvm/exits":
        assert "Permission denied" in as_nobody(name).stderr


def test_data_needs_rawio(sim):
    sim.write(f"{UPLOAD}/loading", "1")
    r = subprocess.run(["setpriv", "--bounding-set=-sys_rawio", "dd", "if=/dev/zero", "bs=16", "count=1",
                        f"of={sim.path(UPLOAD)}/data", "conv=notrunc"], capture_output=True, text=True, timeout=BOUND)
    assert r.returncode != 0
    assert "Operation not permitted" in r.stderr
    sim.write(f"{UPLOAD}/loading", "-1")


def test_update(sim):
    sim.ctl("set", "stuck=yes")  # so that there is time to look
    size = sim.start_upload("good")
    with fails("EBUSY"):
        sim.read(f"{UPLOAD}/error")
    assert sim.read(f"{UPLOAD}/status") == "transferring\n"
    assert sim.read(f"{UPLOAD}/remaining_size") == f"{size}\n"
    assert sim.read(f"{UPLOAD}/loading") == "0\n"
    with fails("ENODEV"):
        sim.write(f"{UPLOAD}/data", "x")
    sim.write(f"{UPLOAD}/loading", "1")  # ignored
    sim.write(f"{UPLOAD}/cancel", "1")  # without effect
    sim.ctl("set", "stuck=no")
    sim.wait_idle()
    assert sim.read(f"{UPLOAD}/error") == ""
    assert sim.read(f"{UPLOAD}/remaining_size") == "0\n"
    assert sim.read(f"{HOST}/version") == "1.5.06\n"
    assert sim.read(f"{HOST}/num_remaining_updates") == "8\n"


def test_loading_and_cancel_errno(sim):
    for text in "", "abc", "1 ", "0x1":
        if text:
            with fails("EINVAL"):
                sim.write(f"{UPLOAD}/loading", text)
    with fails("EINVAL"):
        sim.write(f"{UPLOAD}/cancel", "0")
    with fails("ENODEV"):
        sim.write(f"{UPLOAD}/cancel", "1")


def test_data_is_addressed_by_offset(sim):
    sim.write(f"{UPLOAD}/loading", "1")
    fd = os.open(sim.path(f"{UPLOAD}/data"), os.O_RDWR)
    try:
        assert os.pwrite(fd, b"a" * 100000, 0) == 4096
        assert os.pwrite(fd, b"bc", 4095) == 2
        assert os.pread(fd, 10, 4090) == b"aaaaabc"
        assert os.pread(fd, 10, 4097) == b""
    finally:
        os.close(fd)
    sim.write(f"{UPLOAD}/loading", "-1")


@pytest.mark.parametrize("name", ["bad-header", "format-100"])
def test_refused_before_the_shutdown(sim, name):
    assert sim.upload(name) == "transferring:firmware-invalid\n"
    assert sim.read(f"{HOST}/version") == "1.5.05\n"
    assert sim.read(f"{HOST}/num_remaining_updates") == "9\n"


@pytest.mark.parametrize("name", ["bad-hash", "bad-signature", "other-cpu", "unknown"])
def test_refused_after_the_shutdown(sim, name):
    sim.ctl("td", "begin", "guest", "1")
    sim.ctl("td", "finalize", "guest")
    assert sim.upload(name) == "transferring:firmware-invalid\n"
    with fails("ENXIO"):
        sim.read(f"{HOST}/version")
    assert sim.ctl("tds") == "guest 1 dead no\n"
    assert sim.upload("good") == "transferring:firmware-invalid\n"
    with fails("ENXIO"):
        sim.read(f"{HOST}/version")


def test_two_writers(sim):
    """The last 1 throws the other's data away."""
    sim.write(f"{UPLOAD}/loading", "1")
    sim.write_data("bad-hash")
    assert sim.upload("good") == ""
    assert sim.read(f"{HOST}/version") == "1.5.06\n"


def test_foreign_upload(sim):
    sim.ctl("upload", str(sim.images / "good.blob"))
    sim.wait_idle()
    assert sim.read(f"{HOST}/version") == "1.5.06\n"
    assert "No such file" in sim.ctl("upload", "/nonexistent", expect=1)
    log = [line.split(" ", 1)[1] for line in sim.ctl("log").splitlines()]
    assert log == [f"upload 1 queued, {(sim.images / 'good.blob').stat().st_size} bytes",
                   "upload 1 success, 1.5.05 -> 1.5.06"]


def test_upload_of_a_file_in_the_mount(sim):
    sim.ctl("upload", str(sim.path("proc/cpuinfo")))
    sim.wait_idle()
    assert sim.read(f"{UPLOAD}/error") == "transferring:firmware-invalid\n"


def test_options(tmp_path, images):
    with simulator(tmp_path, images, "--module=1.5.06", "--seamldr", "2.0.00", "--cpu=0xa06d1", "--cpus=2",
                   "--remaining=3", "--world=A", "--busy=1", "--set=misc-tdx=5", "--set", "transfer-ms=1") as s:
        assert s.read(f"{HOST}/version") == "1.5.06\n"
        assert s.read(f"{HOST}/seamldr_version") == "2.0.00\n"
        assert s.read(f"{HOST}/num_remaining_updates") == "3\n"
        assert s.read("sys/devices/system/cpu/online") == "0-1\n"
        assert s.read("cgroup/misc.current") == "tdx 5\n"
        text = s.read("proc/cpuinfo")
        assert re.findall(r"^(processor|cpu family|model|stepping)\s*: (\d+)$", text, re.M) == [
            ("processor", "0"), ("cpu family", "6"), ("model", "173"), ("stepping", "1"),
            ("processor", "1"), ("cpu family", "6"), ("model", "173"), ("stepping", "1")]
        assert s.upload("good") == "transferring:device-busy\n"


@pytest.mark.parametrize("arguments", [
    ["mount"], ["mount", "--cpus=0", "/tmp"], ["mount", "--set=foo=1", "/tmp"], ["mount", "--module=x", "/tmp"],
    ["mount", "--nonsense", "/tmp"], ["ctl"], [], ["nonsense"]])
def test_bad_usage(arguments):
    env = {k: v for k, v in os.environ.items() if k != "TDX_SIM_CONTROL"}
    r = subprocess.run([SIM, *arguments], capture_output=True, text=True, env=env, timeout=BOUND)
    assert r.returncode == 64
    assert r.stderr and not r.stdout


def test_help():
    r = subprocess.run([SIM, "--help"], capture_output=True, text=True, timeout=BOUND)
    assert r.returncode == 0 and "MOUNTPOINT" in r.stdout and not r.stderr


def test_set_is_all_or_nothing(sim):
    assert "unknown key 'foo'" in sim.ctl("set", "remaining=1", "foo=2", expect=64)
    assert sim.ctl("get", "remaining") == "9\n"
    assert "can only be read" in sim.ctl("set", "status=idle", expect=64)
    assert "unknown key" in sim.ctl("get", "foo", expect=64)
    assert "usage" in sim.ctl("td", "begin", "x", expect=64)
    assert "unknown command" in sim.ctl("dance", expect=64)
    sim.ctl("set", "remaining=1", "busy=2")
    values = dict(line.split("=", 1) for line in sim.ctl("get").splitlines())
    assert (values["remaining"], values["busy"], values["status"]) == ("1", "2", "idle")


def test_control_protocol(sim):
    """A slow or broken client neither gets an answer nor stops others."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(sim.control))
        s.sendall(b"get\nmod")
        s.sendall(b"ule\n\n")
        assert s.makefile().read() == "ok\n1.5.05\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(sim.control))
        s.sendall(b"get\nmodule")
    assert sim.ctl("get", "module") == "1.5.05\n"


def test_files_come_and_go(sim):
    with open(sim.path(f"{UPLOAD}/status")) as status:
        sim.ctl("set", "supported=no")
        with fails("ENODEV"):
            status.read()
    assert sim.path(f"{HOST}/version").exists()
    for name in f"{HOST}/seamldr_version", f"{HOST}/num_remaining_updates", f"{HOST}/firmware", UPLOAD:
        assert not sim.path(name).exists()
    assert os.listdir(sim.path("sys/class/firmware")) == []

    sim.ctl("set", "supported=yes", "bug=yes")
    assert not sim.path(UPLOAD).exists()
    assert "seamret_invd_vmcs" in re.search(r"^bugs\s*:.*$", sim.read("proc/cpuinfo"), re.M).group()

    sim.ctl("set", "bug=no", "tdx-host=no")
    assert not sim.path(HOST).exists()
    assert "seamret_invd_vmcs" not in sim.read("proc/cpuinfo")

    sim.ctl("set", "tdx-host=yes", "kvm=no", "misc-tdx=absent")
    assert os.listdir(sim.path("sys/class/firmware")) == ["tdx_module"]
    assert os.listdir(sim.path("sys/module")) == []
    assert os.listdir(sim.path("cgroup")) == ["machine.slice"]
    assert os.listdir(sim.path("cgroup/machine.slice")) == []
    assert not sim.path("kvm").exists()

    sim.ctl("set", "kvm=yes", "misc-tdx=auto", "kvm-intel-tdx=N")
    assert sim.read("sys/module/kvm_intel/parameters/tdx") == "N\n"
    assert sim.read("cgroup/misc.capacity") == ""
    sim.ctl("set", "kvm-intel-tdx=absent")
    assert os.listdir(sim.path("sys/module/kvm_intel/parameters")) == []


def test_cpu_hotplug(sim):
    assert not sim.path("sys/devices/system/cpu/cpu0/online").exists()
    sim.write("sys/devices/system/cpu/cpu2/online", "0\n")
    assert sim.read("sys/devices/system/cpu/online") == "0-1,3\n"
    assert sim.read("sys/devices/system/cpu/cpu2/online") == "0\n"
    assert re.findall(r"^processor\s*: (\d)$", sim.read("proc/cpuinfo"), re.M) == ["0", "1", "3"]
    with fails("EINVAL"):
        sim.write("sys/devices/system/cpu/cpu2/online", "maybe")


def test_faults(sim):
    sim.ctl("set", f"read-error={HOST}/version:EIO,{UPLOAD}/status:ENOMEM", "open-error=kvm/*/exits:EPERM")
    with fails("EIO"):
        sim.read(f"{HOST}/version")
    with fails("ENOMEM"):
        sim.read(f"{UPLOAD}/status")
    sim.ctl("vm", "create", "12", "4")
    with fails("EPERM"):
        sim.read("kvm/12-4/exits")
    assert sim.read("kvm/12-4/vcpu0/pid") == "0\n"
    sim.ctl("set", "read-error=", "open-error=")
    assert sim.read(f"{HOST}/version") == "1.5.05\n"
    assert sim.read("kvm/12-4/exits") == "0\n"


def test_slow_reads_hold_up_nothing_else(sim):
    sim.ctl("set", "read-delay-ms=3000")
    started = time.monotonic()
    readers = [threading.Thread(target=sim.read, args=(f"{HOST}/seamldr_version",)) for _ in range(2)]
    for r in readers:
        r.start()
    assert sim.read(f"{HOST}/version") == "1.5.05\n"
    assert sim.ctl("get", "hw-reads") == "0\n"
    assert all(r.is_alive() for r in readers)
    for r in readers:
        r.join(BOUND)
    assert time.monotonic() - started >= 6  # one after the other
    assert sim.ctl("get", "hw-reads") == "2\n"


def process_stat(sim, path):
    fields = sim.read(path).rsplit(")", 1)[1].split()
    assert len(fields) == 50  # proc(5): 52 fields, two of them before the bracket
    return {"start": int(fields[22 - 3]), "guest": int(fields[43 - 3])}


def test_process_of_a_vm(sim):
    sim.ctl("vm", "create", "4242", "11", "2", "web")
    before = process_stat(sim, "proc/4242/stat")
    sim.ctl("vm", "run", "4242", "11")
    after = process_stat(sim, "proc/4242/stat")
    assert (before["guest"], after["guest"]) == (0, 1)
    assert before["start"] == after["start"] != 0
    assert sim.read("proc/4242/comm") == "qemu-system-x86\n"
    assert re.search(r"^Tgid:\t4242$", sim.read("proc/4242/status"), re.M)
    assert sim.read("proc/4242/cgroup") == "0::/machine.slice/machine-qemu\\x2d11\\x2dweb.scope\n"
    assert os.readlink(sim.path("proc/4242/fd/11")) == "anon_inode:kvm-vm"
    assert os.listdir(sim.path("proc/4242/task")) == ["4242"]
    assert process_stat(sim, "proc/4242/task/4242/stat") == after
    sim.ctl("vm", "destroy", "4242", "11")
    assert not sim.path("proc/4242").exists()


def test_vm_of_a_thread(sim):
    sim.ctl("vm", "create", "4242", "11", "1", "-", "4250")
    assert sorted(os.listdir(sim.path("kvm"))) == ["4250-11", "exits"]
    # proc(5): a thread can be visited by its number, but is not listed.
    assert "4242" in os.listdir(sim.path("proc"))
    assert "4250" not in os.listdir(sim.path("proc"))
    status = sim.read("proc/4250/status")
    assert re.search(r"^Tgid:\t4242$", status, re.M) and re.search(r"^Pid:\t4250$", status, re.M)
    assert sim.read("proc/4250/stat").startswith("4250 (")
    assert sorted(os.listdir(sim.path("proc/4242/task"))) == ["4242", "4250"]
    assert os.listdir(sim.path("proc/4242/fd")) == ["11"]
    assert sim.read("proc/4250/cgroup") == "0::/system.slice/vmm-4242.service\n"
    sim.ctl("vm", "run", "4242", "11")
    assert sim.read("kvm/4250-11/vcpu0/pid") not in ("0\n", "4242\n", "4250\n")
    sim.ctl("vm", "create", "4250", "11", expect=1)
    sim.ctl("vm", "create", "1", "1", "1", "-", "x", expect=64)


def test_time_and_number_of_a_vm(sim):
    """debugfs: a folder has the time of its making, and a number that no other one had."""
    before = time.time()
    sim.ctl("vm", "create", "12", "4")
    first = sim.path("kvm/12-4").stat()
    assert before - 0.1 <= first.st_ctime <= time.time() + 0.1
    assert first.st_ctime == first.st_mtime == sim.path("kvm/12-4").stat().st_ctime
    assert first.st_nlink == 3  # itself, its name, vcpu0
    sim.ctl("vm", "run", "12", "4")
    assert sim.path("kvm/12-4").stat().st_ino == first.st_ino
    assert {e.name: e.inode() for e in os.scandir(sim.path("kvm"))}["12-4"] == first.st_ino
    sim.ctl("vm", "destroy", "12", "4")
    sim.ctl("vm", "create", "12", "4")
    assert sim.path("kvm/12-4").stat().st_ino != first.st_ino


def test_thousands_of_vms(tmp_path, images):
    with simulator(tmp_path, images, "--set=uevents-queue=10") as s:
        started = time.monotonic()
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(str(s.control))
            c.sendall(b"vm\nburst\n20000\n\n")
            assert c.makefile().read() == "ok\n"
        for i in range(1, 4001):
            with socket.socket(socket.AF_UNIX) as c:
                c.connect(str(s.control))
                c.sendall(f"vm\ncreate\n{i}\n4\n\n".encode())
                assert c.makefile().read() == "ok\n"
        assert len(os.listdir(s.path("kvm"))) == 4001
        assert s.read("kvm/4000-4/vcpu0/pid") == "0\n"
        assert s.read("proc/4000/comm") == "qemu-system-x86\n"
        assert time.monotonic() - started < BOUND
        s.ctl("vm", "burst", "50001", expect=64)
        s.ctl("vm", "burst", "x", expect=64)


def test_reboot(sim):
    boot_id = sim.read("proc/sys/kernel/random/boot_id")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", boot_id)
    assert sim.upload("good") == ""
    sim.ctl("set", "lose=1")
    sim.upload("good")
    sim.ctl("reboot")
    assert sim.read("proc/sys/kernel/random/boot_id") != boot_id
    assert sim.read(f"{HOST}/version") == "1.5.05\n"
    assert sim.read(f"{HOST}/num_remaining_updates") == "9\n"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly_in_the_middle_of_an_update(tmp_path, images, how):
    s = Sim(tmp_path, images, "--set=transfer-ms=60000")
    try:
        s.wait_ready()
        s.start_upload("good")
    finally:
        assert s.stop(how) == ("", "")
    assert s.process.returncode == 0
    assert not os.path.ismount(s.root)

    # The same places again, over what a killed one leaves behind.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(s.control))
    with simulator(tmp_path, images) as again:
        assert again.read(f"{HOST}/version") == "1.5.05\n"


def receive(listener):
    text = listener.recv(8192)
    header, *fields = text.split(b"\0")
    assert fields.pop() == b""
    return header.decode(), dict(f.decode().split("=", 1) for f in fields)


@pytest.fixture
def events(tmp_path, images):
    path = tmp_path / "uevents"
    with simulator(tmp_path, images, f"--uevents={path}") as s:
        s.ctl("vm", "create", "1", "1")  # nobody listens yet
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            listener.settimeout(BOUND)
            yield s, listener


def test_uevents(events):
    sim, listener = events
    sim.ctl("vm", "create", "12209", "4", "2")
    header, fields = receive(listener)
    assert header == "change@/devices/virtual/misc/kvm"
    assert fields.pop("SEQNUM") == "2"
    assert fields == {
        "ACTION": "change", "DEVPATH": "/devices/virtual/misc/kvm", "SUBSYSTEM": "misc", "CREATED": "2", "COUNT": "2",
        "EVENT": "create", "PID": "12209", "STATS_PATH": "/kvm/12209-4", "MAJOR": "10", "MINOR": "232",
        "DEVNAME": "kvm"}
    stats = sim.path("." + fields["STATS_PATH"])
    assert sorted(os.listdir(stats)) == ["exits", "vcpu0", "vcpu1"]
    assert (stats / "exits").read_text() == "0\n"
    sim.ctl("vm", "run", "12209", "4")
    assert int((stats / "exits").read_text()) > 0
    assert (stats / "vcpu1/pid").read_text() == "12211\n"
    sim.ctl("vm", "destroy", "12209", "4")
    header, fields = receive(listener)
    assert (fields["EVENT"], fields["COUNT"], fields["CREATED"]) == ("destroy", "1", "2")
    assert not stats.exists()
    sim.ctl("set", "supported=no")
    assert receive(listener)[0] == "remove@/devices/faux/tdx_host/firmware/tdx_module"


def test_uevents_of_a_slow_listener_arrive_in_order(events):
    sim, listener = events
    n = 40  # more than net.unix.max_dgram_qlen has by default
    for i in range(n):
        sim.ctl("vm", "create", "7", str(i))
    assert [receive(listener)[1]["STATS_PATH"] for _ in range(n)] == [f"/kvm/7-{i}" for i in range(n)]


def test_uevents_without_room_are_dropped(events):
    sim, listener = events
    sim.ctl("set", "uevents-queue=0")
    sim.ctl("vm", "burst", "2000")
    dropped = int(sim.ctl("get", "uevents-dropped"))
    assert 0 < dropped < 4000
    assert sim.ctl("log").count("uevent dropped change@/devices/virtual/misc/kvm\n") == dropped
    for _ in range(4000 - dropped):
        receive(listener)
    # What comes next shows by its count that there was more.
    sim.ctl("vm", "create", "7", "7")
    assert receive(listener)[1]["CREATED"] == "2002"


def test_harm_in_world_c(sim):
    sim.ctl("td", "begin", "a", "100")
    sim.ctl("td", "add", "a", "first-page")
    assert sim.read("cgroup/misc.current") == "tdx 1\n"
    assert sim.upload("good") == ""
    sim.ctl("td", "finalize", "a")
    assert sim.ctl("tds") == "a 100 finalized yes\n"
    assert sim.ctl("get", "corrupted") == "1\n"
    assert "td corrupted a 100" in sim.ctl("log")
    sim.ctl("td", "destroy", "a")
    assert sim.read("cgroup/misc.current") == "tdx 0\n"


def test_cgroups(sim):
    group = "cgroup/machine.slice"
    assert sorted(p.name for p in sim.path(group).iterdir()) == ["misc.current", "misc.events", "misc.events.local", "misc.max"]
    assert sorted(p.name for p in sim.path("cgroup").iterdir()) == ["machine.slice", "misc.capacity", "misc.current"]
    assert stat.S_IMODE(sim.path(f"{group}/misc.max").stat().st_mode) == 0o644
    assert sim.read(f"{group}/misc.max") == "tdx max\n"
    sim.ctl("cgroup", "add", "machine.slice/vm.scope")
    sim.ctl("td", "begin", "a", "100", "machine.slice/vm.scope")
    for name in "cgroup", group, f"{group}/vm.scope":
        assert sim.read(f"{name}/misc.current") == "tdx 1\n"

    sim.write(f"{group}/misc.max", "tdx 0\n")
    assert sim.read(f"{group}/misc.max") == "tdx 0\n"
    assert "EBUSY" in sim.ctl("td", "begin", "b", "101", "machine.slice/vm.scope", expect=1)
    assert "td refused b 101" in sim.ctl("log")
    assert sim.ctl("get", "refused-tds") == "1\n"
    assert sim.read(f"{group}/misc.events") == sim.read(f"{group}/misc.events.local") == "tdx.max 1\n"
    assert sim.read(f"{group}/vm.scope/misc.events") == "tdx.max 0\n"
    # Linux gives back a charge that it refused.
    assert sim.read("cgroup/misc.current") == "tdx 0\n"
    sim.ctl("td", "destroy", "a")
    assert sim.read("cgroup/misc.current") == f"tdx {2 ** 64 - 1}\n"
    for text in "tdx", "sev 1", "tdx -1", "tdx 1 2":
        with fails("EINVAL"):
            sim.write(f"{group}/misc.max", text)
    with fails("ERANGE"):
        sim.write(f"{group}/misc.max", f"tdx {2 ** 64}")
    assert sim.read(f"{group}/misc.max") == "tdx 0\n"

    sim.ctl("set", "kvm-intel-tdx=N")
    assert sim.read(f"{group}/misc.max") == ""
    with fails("EINVAL"):
        sim.write(f"{group}/misc.max", "tdx max")
    sim.ctl("set", "kvm-intel-tdx=Y")
    assert sim.read(f"{group}/misc.max") == "tdx 0\n"


def test_a_cgroup_goes_while_its_file_is_open(sim):
    sim.ctl("cgroup", "add", "a/b")
    with open(sim.path("cgroup/a/b/misc.max"), "r+b", buffering=0) as f:
        assert f.read() == b"tdx max\n"
        sim.ctl("cgroup", "remove", "a/b")
        assert not sim.path("cgroup/a/b").exists()
        with fails("ENODEV"):
            f.write(b"tdx 1")
        f.seek(0)
        with fails("ENODEV"):
            f.read()
    assert "not empty" in sim.ctl("cgroup", "add", "a/c") + sim.ctl("cgroup", "remove", "a", expect=1)
    sim.ctl("cgroup", "add", "../a", expect=64)


def test_no_harm_in_world_a(tmp_path, images):
    with simulator(tmp_path, images, "--world=A") as s:
        s.ctl("td", "begin", "a", "100")
        assert s.upload("good") == "transferring:device-busy\n"
        s.ctl("td", "finalize", "a")
        assert s.upload("good") == ""
        assert s.ctl("get", "corrupted") == "0\n"
