# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Bad mapping files: in a catalogue folder, and given with an import."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import BusError

DATA = Path(__file__).resolve().parents[1] / "data" / "mapping_file.json"
NAME = "mapping_file.json"
GOOD = json.loads(DATA.read_text())
RELEASES = "tdx_module_releases"


def entry(version="1.5.06", **changes):
    found = dict(next(e for e in GOOD[RELEASES] if e["version"] == version))
    found.update(changes)
    return {k: v for k, v in found.items() if v is not None}


def document(*entries):
    return json.dumps({RELEASES: list(entries)})


BAD = {
    "empty": "",
    "not-json": "tdx_module_releases: 1.5.06",
    "cut-off": DATA.read_text()[:-20],
    "binary": b"\x00\x01\x02\xff",
    "nul-in-text": DATA.read_bytes().replace(b"1.5.06", b"1.5\x0006"),
    "no-utf8": DATA.read_bytes().replace(b"1.5.06", b"1.5.\xff6"),
    "two-documents": DATA.read_text() * 2,
    "list": "[]",
    "number": "7",
    "null": "null",
    "no-releases": "{}",
    "releases-object": json.dumps({RELEASES: {}}),
    "releases-text": json.dumps({RELEASES: "1.5.06"}),
    "releases-null": json.dumps({RELEASES: None}),
    "entry-number": document(1),
    "entry-null": document(None),
    "entry-list": document([]),
    "no-version": document({k: v for k, v in entry().items() if k != "version"}),
    "version-number": document({**entry(), "version": 1.5}),
    "version-list": document({**entry(), "version": ["1.5.06"]}),
    "version-bad": document({**entry(), "version": "1.5"}),
    "version-negative": document({**entry(), "version": "1.-5.06"}),
    "version-huge": document({**entry(), "version": "1.5.99999999999999999999"}),
    "version-long": document({**entry(), "version": "1.5." + "6" * 100000}),
    "minimum-missing": document(entry(min_module_version_for_td_preserving=None)),
    "minimum-number": document(entry(min_module_version_for_td_preserving=15)),
    "minimum-bad": document(entry(min_module_version_for_td_preserving="latest")),
    "features-number": document(entry(tdx_feature0=2)),
    "features-bad": document(entry(tdx_feature0="0xzz")),
    "features-too-large": document(entry(tdx_feature0="0x10000000000000000")),
    "seamldr-text": document(entry(min_seamldr_versions="1.5.00")),
    "seamldr-empty": document(entry(min_seamldr_versions=[])),
    "seamldr-number": document(entry(min_seamldr_versions=[1.5])),
    "seamldr-bad": document(entry(min_seamldr_versions=["1.5.00", "x"])),
    "seamldr-many": document(entry(min_seamldr_versions=["1.5.00"] * 10000)),
    "duplicate": document(entry(), entry()),
    "duplicate-differs": document(entry(), entry(min_seamldr_versions=["2.0.00"])),
    "deep": "[" * 100000 + "]" * 100000,
    "deep-objects": '{"a":' * 100000 + "1" + "}" * 100000,
    "deep-inside": '{"' + RELEASES + '": [], "x": ' + "[" * 1000 + "]" * 1000 + "}",
    "many": json.dumps({RELEASES: [{**entry(), "version": f"1.5.{i}"} for i in range(5000)]}),
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextmanager
def memfd(content):
    fd = os.memfd_create("test")
    try:
        os.write(fd, content if isinstance(content, bytes) else content.encode())
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def tree(host, images):
    """A folder with one good image, which comes before the others."""
    folder = host.dir / "tree"
    folder.mkdir()
    shutil.copy(images.path("1.5.06"), folder / "tdx_module_1.5.06.blob")
    host.catalogues(folder, host.state / "images", *host.trees)
    return folder


def image(host, version, shadowed=False):
    return next(i for i in host.call("ListImages")
                if i["version"] == version and i["shadowed"] == shadowed)


def ids(facts):
    return [b["id"] for b in facts["blockers"]]


def test_bad_mapping_files(host, tree):
    """Named in the log; its folder's images cannot be chosen; the others stay as they were."""
    write(tree / NAME, DATA.read_bytes())
    assert image(host, "1.5.06")["eligible"]
    wrong = []
    for name, content in BAD.items():
        write(tree / NAME, content)
        seen = len(host.log())
        facts, other = image(host, "1.5.06"), image(host, "1.5.13")
        lines = [line for line in host.log()[seen:].splitlines() if f"{tree}/{NAME}: " in line]
        if (ids(facts) != ["incompatible-module"] or not other["eligible"] or len(lines) != 1
                or not lines[0].startswith("<4>") or len(lines[0]) > 1000):
            wrong.append((name, ids(facts), other["eligible"], lines))
    assert wrong == []
    with pytest.raises(BusError) as error:
        host.apply("1.5.06")
    assert error.value.id == "IncompatibleModule"
    assert host.ctl("update", "1.5.06").status == 76
    assert host.daemon.failures() == []

    write(tree / NAME, DATA.read_bytes())
    assert host.apply("1.5.06").finish() == "success"


def test_mapping_that_is_no_file(host, tree):
    path = tree / NAME
    for make in (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"),
                 lambda: path.symlink_to(tree / "nowhere")):
        make()
        assert ids(image(host, "1.5.06")) == ["incompatible-module"]
        assert image(host, "1.5.13")["eligible"]
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    # None at all: another folder's answers for it.
    assert image(host, "1.5.06")["eligible"]


def test_huge_mapping_file(host, tree, images):
    with open(tree / NAME, "wb") as file:
        file.truncate(100 << 20)
    assert ids(image(host, "1.5.06")) == ["incompatible-module"]
    assert image(host, "1.5.13")["eligible"]
    line = next(line for line in host.log().splitlines() if f"{tree}/{NAME}: " in line)
    assert str(100 << 20) in line
    before = host.snapshot()
    with memfd(images.path("1.5.06").read_bytes()) as blob, open(tree / NAME, "rb") as mapping:
        with pytest.raises(BusError) as error:
            host.call("ImportImage", 0, {"version": "1.5.06", "mapping": 1}, fds=[blob, mapping.fileno()])
        assert error.value.id == "ImageInvalid"
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", tree / NAME)
    assert result.status == 65 and "mapping" in result.stderr
    assert host.snapshot() == before


def test_what_is_not_known_is_kept(host, tree):
    """Keys of a later Intel, a key twice, and a byte order of its own are no reason to refuse."""
    write(tree / NAME, json.dumps({"later": {"x": [1]}, RELEASES: [entry(more="yes")]}, indent=8))
    assert image(host, "1.5.06")["eligible"]


# With an import.

def test_import_with_mapping(make_host, images):
    """Where no folder knows the version: it comes with its mapping and can be installed."""
    host = make_host(test_images=False, config_text=f"TrustedSigner={images.signer}",
                     images=[])
    with memfd(images.path("1.5.06").read_bytes()) as blob:
        assert host.call("ImportImage", 0, {"version": "1.5.06"}, fds=[blob]) == "1.5.06"
    assert ids(image(host, "1.5.06")) == ["incompatible-module"]
    # Again, with what was missing.
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", DATA)
    assert result.status == 0, result.stderr
    facts = image(host, "1.5.06")
    assert facts["eligible"] and facts["min-module"] == entry()["min_module_version_for_td_preserving"]
    folder = host.state / "images"
    assert sorted(p.name for p in folder.iterdir()) == [NAME, "tdx_module_1.5.06.blob"]
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644 and path.stat().st_uid == 0


@pytest.mark.parametrize("name", ["empty", "not-json", "duplicate", "deep", "releases-object"])
def test_import_with_bad_mapping(host, images, tmp_path, name):
    before = host.snapshot()
    path = tmp_path / "mapping"
    write(path, BAD[name])
    result = host.ctl("--json=short", "import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", path)
    assert result.status == 65, result.stderr
    assert result.json["error"]["name"] == "ImageInvalid"
    assert "mapping file" in result.json["error"]["message"]
    assert host.snapshot() == before


def test_import_with_the_wrong_mapping(host, images, tmp_path):
    before = host.snapshot()
    path = tmp_path / "mapping"
    write(path, document(entry("1.5.13")))
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", path)
    assert result.status == 65 and "1.5.06" in result.stderr
    assert host.ctl("import", images.path("1.5.06"), "--mapping", tmp_path / "none").status == 66
    assert host.snapshot() == before


def test_conflicting_mapping(host, images, tmp_path):
    """Neither of two that contradict each other is lost, and the image is not taken."""
    path = tmp_path / "mapping"
    write(path, document(entry("1.5.13"), entry("1.5.06", more="kept")))
    assert host.ctl("import", images.path("1.5.13"), "--version", "1.5.13", "--mapping", path).status == 0
    before = host.snapshot()
    write(path, document(entry("1.5.06"), entry("1.5.13", min_seamldr_versions=["9.9.99"])))
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", path)
    assert result.status != 0 and "1.5.13" in result.stderr
    assert host.snapshot() == before

    # What agrees is added to what is there.
    write(path, document(entry("1.5.16"), entry("1.5.13")))
    assert host.ctl("import", images.path("1.5.16"), "--version", "1.5.16", "--mapping", path).status == 0
    kept = json.loads((host.state / "images" / NAME).read_text())[RELEASES]
    assert [e["version"] for e in kept] == ["1.5.13", "1.5.06", "1.5.16"]
    assert kept[1]["more"] == "kept"


def test_own_mapping_is_broken(host, images, tmp_path):
    """An import does not write over what it cannot read."""
    own = host.state / "images" / NAME
    write(own, "{ half")
    before = host.snapshot()
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", DATA)
    assert result.status == 65 and str(own) in result.stderr
    assert host.snapshot() == before
    own.unlink()
    assert host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", DATA).status == 0
