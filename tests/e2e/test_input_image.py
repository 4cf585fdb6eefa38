# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Bad images: by tdxctl inspect and import, over the bus, and in a catalogue folder."""

import importlib.machinery
import importlib.util
import os
import shutil
import socket
import struct
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import BusError

TOP = Path(__file__).resolve().parents[2]
PAGE = 4096
SIG = PAGE          # where the signature structure begins
MODULE = 2 * PAGE   # where the module begins
LARGEST = PAGE * (1 + 1 + 496)
VERSION = "1.5.06"
# What a text must tell: what to do, or what it is instead.
ADVICE = ("download it again", "get it from Intel", "cannot load it", "is no TDX module image")


def load_make_image():
    loader = importlib.machinery.SourceFileLoader("make_image", str(TOP / "tools" / "make-image"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_image", loader))
    loader.exec_module(module)
    return module


maker = load_make_image()


@contextmanager
def memfd(data):
    fd = os.memfd_create("test")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture(scope="session")
def good(images):
    return images.path(VERSION).read_bytes()


def inspect(host, data):
    with memfd(data) as fd:
        return host.call("InspectImage", 0, fds=[fd])


def blocking(facts):
    return [b["id"] for b in facts["blockers"] if b["severity"] == "hard"]


def refusal(host, member, *args, **options):
    with pytest.raises(BusError) as error:
        host.call(member, *args, **options)
    return error.value


# Over the bus, byte by byte.

def test_truncated(host, good):
    before = host.snapshot()
    for length in (1, 2, 19, 20, PAGE - 1, PAGE, PAGE + 1, PAGE + 2047, PAGE + 2048, MODULE - 1, MODULE,
                   MODULE + 1, MODULE + PAGE, -PAGE, -2, -1):
        data = good[:length]
        facts = inspect(host, data)
        assert blocking(facts)[0] == "image-invalid" and not facts["eligible"], length
        assert "cut off" in facts["blockers"][0]["text"], length
        with memfd(data) as fd:
            error = refusal(host, "ImportImage", 0, {"version": VERSION}, fds=[fd])
        assert error.id == "ImageInvalid" and "cut off" in error.message, length
    assert host.snapshot() == before


def test_empty_and_oversized(host, good):
    before = host.snapshot()
    for data, word in ((b"", "empty"), (good + b"\0", "follows"), (good + bytes(PAGE), "follows"),
                       (good + bytes(LARGEST + 1 - len(good)), "more than any")):
        facts = inspect(host, data)
        assert blocking(facts)[0] == "image-invalid"
        assert word in facts["blockers"][0]["text"]
        with memfd(data) as fd:
            assert refusal(host, "ImportImage", 0, {}, fds=[fd]).id == "ImageInvalid"
    assert host.snapshot() == before


# Every field, with the byte that is changed. The checksum is repaired but where it is the point.
FIELDS = {
    "header-version": (0, "image-invalid", True),
    "header-version-high": (1, "image-invalid", True),
    "checksum": (2, "image-invalid", False),
    "module-offset": (5, "image-invalid", True),
    "module-offset-low": (4, "image-invalid", True),
    "magic": (8, "image-invalid", True),
    "length": (16, "image-invalid", True),
    "length-high": (18, "image-invalid", True),
    "header-reserved-first": (20, "image-invalid", True),
    "header-reserved-last": (PAGE - 1, "image-invalid", True),
    "sig-type": (SIG, "image-invalid", True),
    "sig-length": (SIG + 4, "image-invalid", True),
    "sig-version": (SIG + 8, "image-invalid", True),
    "sig-module-type": (SIG + 12, "image-untrusted", True),
    "sig-module-type-debug": (SIG + 15, "image-untrusted", True),
    "sig-vendor": (SIG + 16, "image-invalid", True),
    "sig-date": (SIG + 20, "image-untrusted", True),
    "sig-size": (SIG + 24, "image-invalid", True),
    "sig-key-size": (SIG + 28, "image-invalid", True),
    "sig-modulus-size": (SIG + 32, "image-invalid", True),
    "sig-exponent-size": (SIG + 36, "image-invalid", True),
    "sig-reserved": (SIG + 40, "image-untrusted", True),
    "sig-reserved-last": (SIG + 127, "image-untrusted", True),
    "modulus-first": (SIG + 128, "image-untrusted", True),
    "modulus-last": (SIG + 511, "image-untrusted", True),
    "exponent": (SIG + 512, "image-invalid", True),
    "exponent-high": (SIG + 515, "image-invalid", True),
    "signature-first": (SIG + 516, "image-untrusted", True),
    "signature-last": (SIG + 899, "image-untrusted", True),
    "seam-hash-first": (SIG + 900, "image-invalid", True),
    "seam-hash-last": (SIG + 947, "image-invalid", True),
    "svn": (SIG + 948, "image-untrusted", True),
    "svn-high": (SIG + 949, "image-untrusted", True),
    "attributes": (SIG + 950, "image-untrusted", True),
    "version-bytes": (SIG + 1000, "image-untrusted", True),
    "n-cpus": (SIG + 1024, "image-untrusted", True),
    "n-cpus-too-many": (SIG + 1026, "image-invalid", True),
    "cpu-first": (SIG + 1028, "image-untrusted", True),
    "cpu-last": (SIG + 2047, "image-untrusted", True),
    "padding-first": (SIG + 2048, "image-invalid", True),
    "padding-last": (MODULE - 1, "image-invalid", True),
    "module-first": (MODULE, "image-invalid", True),
    "module-middle": (MODULE + 5 * PAGE + 123, "image-invalid", True),
    "module-last": (-1, "image-invalid", True),
    "module-unrepaired": (MODULE + 77, "image-invalid", False),
}


def damage(good, name, bit):
    offset, verdict, repair = FIELDS[name]
    data = bytearray(good)
    data[offset] ^= 1 << bit
    if repair:
        maker.set_checksum(data)
    return bytes(data), verdict


def test_flipped_bit_in_each_field(host, good):
    before = host.snapshot()
    wrong = []
    for name in FIELDS:
        for bit in (0, 3, 7):
            data, verdict = damage(good, name, bit)
            facts = inspect(host, data)
            texts = [b["text"] for b in facts["blockers"] if b["id"] == verdict]
            # That its version is not known is no answer here: that comes last.
            if facts["eligible"] or len(texts) != 1 or "version is not known" in texts[0] \
                    or not any(word in texts[0] for word in ADVICE):
                wrong.append((name, bit, facts["blockers"]))
    assert wrong == []
    assert host.snapshot() == before


def test_flipped_bit_is_not_imported(host, good):
    before = host.snapshot()
    for name in FIELDS:
        data, verdict = damage(good, name, 2)
        with memfd(data) as fd:
            error = refusal(host, "ImportImage", 0, {"version": VERSION}, fds=[fd])
        assert error.id == ("ImageInvalid" if verdict == "image-invalid" else "ImageUntrusted"), name
        assert "version is not known" not in error.message, name
    assert host.snapshot() == before


FIELDS_200 = {"sig-pages": 12, "sig-pages-high": 15, "module-pages": 16, "module-pages-high": 19,
              "magic": 4, "reserved": 20, "checksum": 2}


def test_flipped_bit_of_format_200(host, images, tmp_path):
    path = tmp_path / "image"
    images.make("--version", VERSION, "--format", 200, "--output", path)
    before = host.snapshot()
    for name, offset in FIELDS_200.items():
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        if name != "checksum":
            maker.set_checksum(data)
        assert blocking(inspect(host, bytes(data)))[0] == "image-invalid", name
    assert host.snapshot() == before


def header_100(offset, length, total):
    data = bytearray(total)
    struct.pack_into("<HHI8sI", data, 0, 0x100, 0, offset, b"TDX-BLOB", length)
    maker.set_checksum(data)
    return bytes(data)


def test_header_that_does_not_fit(host):
    before = host.snapshot()
    for offset, length, total in (
            (0, 3 * PAGE, 3 * PAGE), (PAGE, 3 * PAGE, 3 * PAGE), (3 * PAGE, 3 * PAGE, 3 * PAGE),
            (4 * PAGE, 3 * PAGE, 3 * PAGE), (0xfffff000, 3 * PAGE, 3 * PAGE), (MODULE, 0, 3 * PAGE),
            (MODULE, 0xffffffff, 3 * PAGE), (MODULE, 0xfffff000, 3 * PAGE), (MODULE, PAGE, PAGE),
            (MODULE, MODULE, MODULE), (MODULE, 3 * PAGE - 2, 3 * PAGE - 2),
            (MODULE + 1, 3 * PAGE, 3 * PAGE), (3 * PAGE, 4 * PAGE, 4 * PAGE)):
        facts = inspect(host, header_100(offset, length, total))
        assert blocking(facts)[0] == "image-invalid", (offset, length, total)
    assert host.snapshot() == before


def test_format_200_page_counts(host, good):
    for sig, module in ((0, 101), (2, 99), (0xffffffff, 1), (1, 0xffffffff), (0x80000000, 0x80000000), (1, 0)):
        data = bytearray(good)
        data[:PAGE] = bytes(PAGE)
        struct.pack_into("<HH8sII", data, 0, 0x200, 0, b"TDX-BLOB", sig, module)
        maker.set_checksum(data)
        assert blocking(inspect(host, bytes(data)))[0] == "image-invalid", (sig, module)


# What is no file, and tdxctl.

@pytest.fixture
def odd(tmp_path):
    """Things that are not images, each also behind a symbolic link."""
    things = {"directory": tmp_path / "directory", "fifo": tmp_path / "fifo",
              "socket": tmp_path / "socket", "zero": Path("/dev/zero"), "null": Path("/dev/null"),
              "empty": tmp_path / "empty", "text": tmp_path / "text"}
    things["directory"].mkdir()
    os.mkfifo(things["fifo"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(things["socket"]))
    things["empty"].touch()
    things["text"].write_text("#!/bin/sh\necho this is no image\n")
    for name, target in list(things.items()):
        link = tmp_path / f"link-to-{name}"
        link.symlink_to(target)
        things[link.name] = link
    yield things
    listener.close()


ODD = ["directory", "fifo", "socket", "zero", "null", "empty", "text"]
ODD += [f"link-to-{name}" for name in ODD]


def test_tdxctl_refuses_odd_files(host, odd):
    before = host.snapshot()
    for name in ODD:
        path = odd[name]
        result = host.ctl("import", path, "--version", VERSION)
        assert result.status == 65, (name, result.stderr)
        assert result.stdout == "" and result.stderr.startswith("tdxctl: ")
        assert any(w in result.stderr for w in ("regular file", "empty", "cut off")), result.stderr
        result = host.ctl("--json=short", "inspect", path)
        assert result.status == 65, name
        if "error" in result.json:
            assert result.json["error"]["name"] == "ImageInvalid"
            assert result.json["error"]["exit-status"] == 65
        else:
            assert "image-invalid" in [b["id"] for b in result.json["blockers"]]
    assert host.snapshot() == before


def test_odd_descriptors_over_the_bus(host, odd):
    """Root may send any descriptor; the daemon neither waits nor reads from it."""
    before = host.snapshot()
    kinds = {kind: os.open(odd[kind], os.O_RDONLY | os.O_NONBLOCK)
             for kind in ("directory", "fifo", "zero", "null")}
    kinds["socket"] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
    kinds["pipe"], other_end = os.pipe()
    kinds["path"] = os.open(odd["text"], os.O_PATH)
    try:
        for kind, fd in kinds.items():
            for member, more in (("InspectImage", ()), ("ImportImage", ({},))):
                error = refusal(host, member, 0, *more, fds=[fd])
                assert error.id == "ImageInvalid" or kind == "path", (kind, error)
        with memfd(b"") as empty:
            error = refusal(host, "ImportImage", 0, {"mapping": 1}, fds=[empty, kinds["directory"]])
            assert error.id == "ImageInvalid"
    finally:
        for fd in (*kinds.values(), other_end):
            os.close(fd)
    assert host.snapshot() == before


def test_write_only_descriptor(host, tmp_path, good):
    path = tmp_path / "image"
    path.write_bytes(good)
    fd = os.open(path, os.O_WRONLY)
    try:
        refusal(host, "InspectImage", 0, fds=[fd])
    finally:
        os.close(fd)
    assert host.get("ModuleVersion") == "1.5.05"


def test_missing_and_unreadable(host, tmp_path, good):
    result = host.ctl("--json=short", "import", tmp_path / "nothing")
    assert result.status == 66 and result.json["error"]["exit-status"] == 66
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    assert host.ctl("inspect", dangling).status == 66
    private = host.dir / "private"
    private.write_bytes(good)
    private.chmod(0o600)
    assert host.ctl("inspect", private, user="nobody").status == 77


def test_huge_file(host, tmp_path):
    """100 GB, sparse: nobody reads it."""
    path = tmp_path / "huge"
    with open(path, "wb") as file:
        file.truncate(100 << 30)
    before = host.snapshot()
    result = host.ctl("import", path, timeout=10)
    assert result.status == 65 and str(100 << 30) in result.stderr
    assert host.ctl("inspect", path, timeout=10).status == 65
    with opened(path) as fd:
        assert refusal(host, "ImportImage", 0, {}, fds=[fd]).id == "ImageInvalid"
    assert host.snapshot() == before


def test_file_on_fuse(host):
    """Served by the simulator: files of size 4096 or none, and one that is gone."""
    before = host.snapshot()
    faux = host.mount / "sys/devices/faux/tdx_host"
    for path in (faux / "version", host.mount / "proc/cpuinfo", faux / "firmware/tdx_module/data"):
        assert host.ctl("import", path).status == 65
        assert host.ctl("inspect", path).status == 65
    host.sim.set(read_error="sys/devices/faux/tdx_host/version:EIO")
    result = host.ctl("--json=short", "import", faux / "version")
    assert result.status == 1 and result.json["error"]["name"] == "IOError"
    host.sim.set(read_error="")
    assert host.snapshot() == before


def test_strange_regular_files(host):
    for name in ("/proc/self/mem", "/proc/kmsg", "/proc/self/pagemap", "/sys/kernel/notes"):
        if os.path.exists(name):
            assert host.ctl("import", name, timeout=10).status in (1, 65, 77), name
    assert host.get("ModuleVersion") == "1.5.05"


# Who signed.

def test_unknown_signer(host, tmp_path, images):
    """Right in every respect, by a key that is not trusted."""
    path = tmp_path / f"tdx_module_{VERSION}.blob"
    host.run(TOP / "tools" / "make-image", "--key", tmp_path / "other.pem", "--version", VERSION,
             "--output", path)
    before = host.snapshot()
    for verb in (("import", path, "--version", VERSION), ("inspect", path)):
        result = host.ctl(*verb)
        assert result.status == 65
    result = host.ctl("--json=short", "import", path, "--version", VERSION)
    assert result.json["error"]["name"] == "ImageUntrusted"
    assert "key" in result.json["error"]["message"] and "Intel" in result.json["error"]["message"]
    assert host.snapshot() == before


def test_debug_image(host, tmp_path, images):
    """A matter of policy: it can be looked at and kept, but not installed."""
    path = tmp_path / "image"
    images.make("--version", "1.5.20", "--debug", "--svn", 0x114, "--cpus", "0x806f8", "--date", "2026-01-01",
                "--output", path)
    facts = host.ctl("--json=short", "inspect", path).json
    assert facts["debug"] is True
    shutil.copy(path, host.state / "images" / "tdx_module_1.5.20.blob")
    found = next(i for i in host.call("ListImages") if i["version"] == "1.5.20")
    assert [b["severity"] for b in found["blockers"] if b["id"] == "debug-image"] == ["policy"]
    before = host.snapshot()
    assert "debug-image" in [b["id"] for b in host.call("Plan", "1.5.20", {})["blockers"]]
    with pytest.raises(BusError) as error:
        host.apply("1.5.20")
    assert error.value.id in ("DebugImage", "IncompatibleModule")
    assert host.ctl("update", "1.5.20").status == 76
    assert host.snapshot() == before


# In a catalogue folder, beside good ones.

def test_bad_files_in_a_folder(host, odd, good, tmp_path):
    folder = host.state / "images"
    good_ones = [i["version"] for i in host.call("ListImages")]
    (folder / "tdx_module_1.5.30.blob").write_bytes(good[:-7])
    (folder / "tdx_module_1.5.31.blob").write_bytes(b"")
    (folder / "tdx_module_1.5.32.blob").mkdir()
    os.mkfifo(folder / "tdx_module_1.5.33.blob")
    for number, name in enumerate(("fifo", "socket", "zero", "null", "directory"), 34):
        (folder / f"tdx_module_1.5.{number}.blob").symlink_to(odd[name])
    (folder / "tdx_module_1.5.39.blob").symlink_to(tmp_path / "nothing")
    with open(folder / "tdx_module_1.5.40.blob", "wb") as file:
        file.truncate(100 << 20)
    (folder / "tdx_module_next.blob").write_bytes(good)
    (folder / "README").write_text("not an image")

    listed = {i["version"]: i for i in host.call("ListImages")}
    assert set(good_ones) <= set(listed)
    for version in ("1.5.30", "1.5.31", "1.5.40"):
        assert "image-invalid" in blocking(listed[version])
    left_out = ["1.5.33", "1.5.34", "1.5.35", "1.5.36", "1.5.37", "1.5.38", "1.5.39", "next"]
    log = host.log()
    for version in left_out:
        assert version not in listed
        assert log.count(f"tdx_module_{version}.blob: ") == 1, version
    assert "1.5.32" not in listed

    # Named once, not with each request.
    host.call("ListImages")
    host.call("Plan", "", {})
    assert host.log().count("tdx_module_1.5.33.blob: ") == 1
    assert host.ctl("list").status == 0
    assert host.apply(VERSION).finish() == "success"
    with pytest.raises(BusError) as error:
        host.apply("1.5.30")
    assert error.value.id == "ImageInvalid"


def test_folder_of_fuse(make_host):
    """A catalogue folder whose files cannot be read costs only that folder."""
    host = make_host()
    tree = host.dir / "tree"
    tree.mkdir()
    (tree / "tdx_module_1.5.50.blob").symlink_to(host.mount / "proc/cpuinfo")
    host.daemon.argv.append(f"--catalogue={tree}")
    host.daemon.restart()
    listed = {i["version"]: i for i in host.call("ListImages")}
    assert "1.5.06" in listed
    assert "image-invalid" in blocking(listed["1.5.50"])


# Users other than root.

def test_nobody_inspects(host, images):
    """A release that carries its version, so that nothing has to be given with it."""
    path = host.dir / "image.blob"
    shutil.copy(images.path("2.0.05"), path)
    path.chmod(0o644)
    result = host.ctl("--json=short", "inspect", path, user="nobody")
    assert result.status == 0, result.stdout
    assert result.json["version"] == "2.0.05" and result.json["signer"] == images.signer
    assert result.json == host.ctl("--json=short", "inspect", path).json
    assert host.ctl("import", path, user="nobody").status == 77


def test_only_memory_from_others(host, images, polkit_rule, good):
    """A file of one's own file system could stop the daemon for good."""
    nobody = host.connect("nobody")
    before = host.snapshot()
    with opened(images.path(VERSION)) as file, memfd(good) as memory:
        error = refusal(host, "InspectImage", 0, fds=[file], bus=nobody)
        assert error.name == "org.freedesktop.DBus.Error.InvalidArgs" and "memfd" in error.message
        assert host.call("InspectImage", 0, fds=[memory], bus=nobody)["signer"] == images.signer

        polkit_rule('if (action.id == "org.tdx.update1.manage-images" && subject.user == "nobody")'
                    ' return polkit.Result.YES;')

        def allowed():
            error = refusal(host, "ImportImage", 0, {}, fds=[file], bus=nobody)
            return error.name == "org.freedesktop.DBus.Error.InvalidArgs"
        host.wait(allowed, "polkitd takes the rule", interval=0.1)
        error = refusal(host, "ImportImage", 0, {"version": VERSION, "mapping": 1}, fds=[memory, file],
                        bus=nobody)
        assert error.name == "org.freedesktop.DBus.Error.InvalidArgs"
        assert host.snapshot() == before
        assert host.call("ImportImage", 0, {"version": VERSION}, fds=[memory], bus=nobody) == VERSION
    nobody.close_sync(None)


def test_memory_that_changes(host, good):
    """A memfd is not sealed by its owner; the daemon works on its own copy."""
    with memfd(good) as fd:
        assert host.call("ImportImage", 0, {"version": VERSION}, fds=[fd]) == VERSION
        os.pwrite(fd, bytes(PAGE), 0)
        os.ftruncate(fd, 0)
    copy = host.state / "images" / f"tdx_module_{VERSION}.blob"
    assert copy.read_bytes() == good
    assert host.apply(VERSION).finish() == "success"
