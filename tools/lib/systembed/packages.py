# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What Debian has: the kernel with a compiler for its modules, and the guest's root.

Everything is found by its name, in the suites of the mirror that the machine's own apt uses.
"""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import Unavailable, run

# The first Debian release whose backports have a kernel with the TDX host driver's interface.
KERNEL_SUITE = "trixie"
BACKPORTS = f"{KERNEL_SUITE}-backports"
KERNEL_PACKAGES = ("linux-image-amd64", "linux-headers-amd64")
# What the kernel's build system calls; gcc 14 is what that kernel was built with.
TOOL_PACKAGES = ("gcc-14", "libc6-dev", "make", "bash", "coreutils", "dash", "findutils", "grep",
                 "mawk", "sed")

ROOT_PACKAGES = (
    "dbus", "polkitd", "libglib2.0-bin",                        # the bus of the tests
    "libfuse3-3", "libglib2.0-0", "libgnutls30", "libjson-glib-1.0-0", "libsqlite3-0",
    "libsystemd0", "libbpf1",                                   # what the programs are linked with
    "python3", "python3-gi", "gir1.2-glib-2.0", "python3-pytest",
    "kmod", "procps", "util-linux",
)
# Nobody reads there.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
ROOT_SLACK_MIB = 128


class Packages:
    """Works out once what the machine's apt says."""

    def __init__(self):
        self.suite = self._own_suite()
        self.mirror = self._own_mirror(self.suite)

    @staticmethod
    def _own_suite():
        """The programs run in the guest as they were built here: it has to be the same release."""
        try:
            text = Path("/etc/os-release").read_text()
        except OSError:
            text = ""
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if values.get("ID") != "debian" or "VERSION_CODENAME" not in values:
            raise Unavailable("the guest is made of the machine's own Debian release, and this is "
                              "none")
        return values["VERSION_CODENAME"]

    @staticmethod
    def _own_mirror(suite):
        listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                      "Created-By: Packages"], Unavailable)
        for line in listed.splitlines():
            uri, release, component = line.split()
            if (release, component) == (suite, "main"):
                return uri
        raise Unavailable(f"apt knows no mirror for {suite}")

    @staticmethod
    def _network_settings():
        """Proxies and the like: what the machine's apt needs to reach its mirror."""
        dump = run(["apt-config", "dump", "--no-empty", "Acquire"])
        wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries")
        return [line for line in dump.splitlines(keepends=True) if line.startswith(wanted)]

    def _mmdebstrap(self, folder, suite, packages, *options, more_suites=()):
        """Quiet; without the network the answer is that it cannot be had."""
        sources = [f"deb {self.mirror} {name} main" for name in (suite, *more_suites)]
        with tempfile.TemporaryDirectory() as temporary:
            settings = Path(temporary) / "apt.conf"
            settings.write_text("".join(self._network_settings()))
            run(["mmdebstrap", "--quiet", "--mode=root", f"--aptopt={settings}",
                 f"--include={','.join(packages)}", *options, suite, folder, *sources],
                Unavailable, f"fetching Debian's packages of {suite}")

    def kernel_recipe(self):
        return [KERNEL_SUITE, KERNEL_PACKAGES, TOOL_PACKAGES, self.mirror]

    def make_kernel(self, folder):
        """Only unpacked: nothing of it is ever booted but the kernel, and unpacking is ten times
        as fast. What the packages' scripts would have done is done here."""
        packages = [*(f"{name}/{BACKPORTS}" for name in KERNEL_PACKAGES), *TOOL_PACKAGES]
        self._mmdebstrap(folder, KERNEL_SUITE, packages, "--variant=extract",
                         more_suites=(BACKPORTS,))
        awk = folder / "usr/bin/awk"
        if not awk.exists():
            awk.symlink_to("mawk")
        (folder / "module").mkdir()
        run(["depmod", "-b", folder, Kernel(folder).version])

    def root_recipe(self):
        return [self.suite, ROOT_PACKAGES, LEFT_OUT, ROOT_SLACK_MIB, self.mirror]

    def make_root(self, folder):
        """root.img: an ext4 file system that is never written to."""
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            tree = Path(temporary) / "root"
            self._mmdebstrap(tree, self.suite, ROOT_PACKAGES, "--variant=minbase",
                             *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT))
            make_image(folder / "root.img", tree, ROOT_SLACK_MIB)

    def get_all(self, cache):
        """(kernel folder, root folder), made at the same time: one waits for the network
        while the other unpacks."""
        with ThreadPoolExecutor() as pool:
            kernel = pool.submit(cache.get, "kernel", self.kernel_recipe(), self.make_kernel)
            root = pool.submit(cache.get, "root", self.root_recipe(), self.make_root)
            return Kernel(kernel.result()), root.result() / "root.img"


class Kernel:
    """An unpacked tree with one kernel, its modules, headers and compiler."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        versions = [p.parent for p in self.folder.glob("usr/lib/modules/*/vmlinuz")]
        if len(versions) != 1:
            raise Unavailable(f"{BACKPORTS} has no kernel in the shape that is known here")
        self.modules = versions[0]
        self.version = self.modules.name
        self.image = self.modules / "vmlinuz"

    def files_of(self, names):
        """The files of these modules and all that they need, in the order of loading."""
        files = []
        for name in names:
            listed = run(["modprobe", "-d", self.folder, "-S", self.version, "--show-depends", name])
            for line in listed.splitlines():
                kind, _, path = line.strip().partition(" ")
                if kind == "insmod" and path.split()[0] not in files:
                    files.append(path.split()[0])
        return [Path(file).resolve() for file in files]

    def build_module(self, sources, folder):
        """Compile a module with the kernel's own compiler; returns the finished files."""
        # The bind mounts are this process's alone, and end with it.
        script = """set -e
            mount -t proc proc "$1/proc"
            mount --bind "$2" "$1/module"
            exec chroot "$1" make -C "/usr/lib/modules/$3/build" M=/module \
                CONFIG_DEBUG_INFO_BTF_MODULES= KCFLAGS=-Werror modules"""
        for source in sources:
            shutil.copy(source, folder)
        run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh",
             self.folder, folder, self.version], what="building the test module")
        return list(folder.glob("*.ko"))


def make_image(file, tree, slack_mib):
    """An ext4 file system with what is in the folder tree. No mount is needed."""
    used = int(run(["du", "--summarize", "--block-size=1M", "--apparent-size", tree]).split()[0])
    # Blocks and inodes need a tenth, roughly; what is not written takes no room.
    size = used + used // 10 + slack_mib
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-L", "bed", "-d", tree, file,
         f"{size}M"])
    os.chmod(file, 0o644)
