# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What a run boots: the kernel, an initial file system that mounts two disks, and the disk
with the tests. (The other disk is the root, see packages.py.)"""

import lzma
import os
import shutil
from pathlib import Path

from . import TOP, BedError, run
from .cache import digest
from .packages import make_image

TESTS = TOP / "tests" / "system"
# To reach the disks; and what the tests use: KVM for AMD, which QEMU emulates.
BOOT_MODULES = ("virtio_blk", "ext4")
TEST_MODULES = ("kvm_amd",)
TEST_MODULE_SOURCES = (TESTS / "tdx-test.c", TESTS / "Kbuild")
BUSYBOX = Path("/bin/busybox")

# Of the source tree: what the programs and the tests read at run time.
SOURCES = ("dbus", "polkit", "tests/data", "tests/e2e", "tests/system", "tools", "systemd")
# Of the build folder; a missing one that is optional skips its tests.
PROGRAMS = ("daemon/tdx-updated", "client/tdxctl", "sim/tdx-sim", "tests/system/vm-maker")
OPTIONAL_PROGRAMS = ("bpf/tdx-updated-probe", "tests/system/builds-reader")
WORK_SLACK_MIB = 64

INIT = """#!/bin/busybox sh
# The disks: the root, never written to (the changes are QEMU's), and the tests at /src.
set -e
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
    /bin/busybox insmod "$module"
done
for disk in vda vdb; do
    n=0
    until [ -b "/dev/$disk" ]; do
        n=$((n + 1))
        [ "$n" -lt 100 ] || { echo "there is no /dev/$disk"; exit 1; }
        /bin/busybox usleep 50000
    done
done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox mkdir -p /new/src
/bin/busybox mount -t ext4 /dev/vdb /new/src
/bin/busybox umount /proc
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /src/tests/system/init
"""


def initrd_recipe(kernel):
    return [kernel.version, kernel.folder.name, BOOT_MODULES, INIT]


def make_initrd(kernel, folder):
    """initrd.img; the modules are unpacked here, which is faster than in the guest."""
    if not BUSYBOX.exists():
        raise BedError("busybox-static is not installed")
    tree = folder / "tree"
    for name in ("bin", "dev", "modules", "proc", "new"):
        (tree / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin")
    for number, file in enumerate(kernel.files_of(BOOT_MODULES)):
        data = file.read_bytes()
        name = f"{number:02}-{file.name.removesuffix('.xz')}"
        (tree / "modules" / name).write_bytes(lzma.decompress(data) if file.suffix == ".xz" else data)
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    names = "".join(f"{p.relative_to(tree)}\n" for p in sorted(tree.rglob("*")))
    run(["cpio", "--quiet", "-o", "-H", "newc", "-O", folder / "initrd.img"], cwd=tree, stdin=names)
    shutil.rmtree(tree)


def module_recipe(kernel):
    return [kernel.folder.name, digest(*TEST_MODULE_SOURCES)]


def make_work_image(kernel, module, args, folder):
    """work.img: what is /src in the guest. Made for each run: it holds the build.
    args: build and pattern (pytest's -k)."""
    build = args.build
    tree = folder / "src"
    for name in SOURCES:
        shutil.copytree(TOP / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*PROGRAMS, *OPTIONAL_PROGRAMS):
        source, target = build / name, tree / "build" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            shutil.copy(source, target)
        elif name in PROGRAMS:
            raise BedError(f"{source} is not built")
    (tree / "pattern").write_text(args.pattern)
    copy_images(build, tree / "build")
    copy_modules(kernel, module, tree / "modules")
    make_image(folder / "work.img", tree, WORK_SLACK_MIB)
    shutil.rmtree(tree)
    return folder / "work.img"


def copy_images(build, target):
    """The test images, made here: the guest has no program for it, and is slow."""
    from tdxbox.images import Images
    images = Images(build)
    shutil.copytree(images.tree, target / "sandbox" / images.tree.name)


def copy_modules(kernel, module, target):
    """Those that the tests load, so that they are /lib/modules there."""
    folder = target / kernel.version
    for file in kernel.files_of((*BOOT_MODULES, *TEST_MODULES)):
        copy = folder / file.relative_to(kernel.modules)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    (folder / "extra").mkdir()
    for file in module.glob("*.ko"):
        shutil.copy(file, folder / "extra")
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(kernel.modules / name, folder)
    # depmod wants lib/modules below its base.
    base = target.parent / "depmod"
    (base / "lib").mkdir(parents=True)
    os.symlink(target, base / "lib" / "modules")
    run(["depmod", "-b", base, kernel.version])
    shutil.rmtree(base)
