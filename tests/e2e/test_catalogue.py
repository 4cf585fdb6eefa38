# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The catalogue as it is used: folders, owners, new and removed files, imports."""

import os
import shutil
from pathlib import Path

import pytest

from harness import BusError

TOP = Path(__file__).resolve().parents[2]
MAPPING = TOP / "tests" / "data" / "mapping_file.json"
INTEL = "c8572f548869a0beca19376b81c2dffc2a23b5a5f71da0b87579b43f408daa1a33bad9c149eb56c634f883737968a34c"


def images_of(host, version=None):
    return [i for i in host.call("ListImages") if version in (None, i["version"])]


def only(host, version):
    found = images_of(host, version)
    assert len(found) == 1, found
    return found[0]


def ids(facts):
    return [b["id"] for b in facts["blockers"]]


def refusal(function, *args, **options):
    with pytest.raises(BusError) as error:
        function(*args, **options)
    return error.value


@pytest.fixture
def folder(host):
    """An empty one, which comes first."""
    path = host.dir / "first"
    path.mkdir()
    shutil.copy(MAPPING, path)
    host.catalogues(path, host.state / "images", *host.trees)
    return path


def put(images, folder, version):
    path = folder / f"tdx_module_{version}.blob"
    shutil.copy(images.path(version), path)
    return path


def test_the_whole_release_tree(host, images):
    listed = images_of(host)
    files = sorted(p.name for p in images.tree.rglob("*.blob"))
    assert sorted(Path(i["path"]).name for i in listed) == files
    assert [i["version"] for i in listed] == sorted((i["version"] for i in listed),
                                                    key=lambda v: [int(n) for n in v.split(".")])
    for image in listed:
        assert set(image) >= {"version", "path", "format", "eligible", "blockers", "date", "svn", "seam-hash",
                              "signer", "debug", "cpus", "min-module", "min-seamldr", "features0", "shadowed"}
        assert image["format"] == "0x100" and image["signer"] == images.signer
        assert image["eligible"] == (not any(b["severity"] != "wait" for b in image["blockers"]))
        assert Path(image["path"]).exists()


def test_order_and_shadow(host, folder, images):
    """The first folder that has a version wins; the other one is listed, and never chosen."""
    first = folder / "tdx_module_1.5.16.blob"
    images.make("--version", "1.5.16", "--seed", 7, "--output", first)
    found = images_of(host, "1.5.16")
    assert [i["shadowed"] for i in found] == [False, True]
    assert found[0]["path"] == str(first) and found[1]["path"].startswith(str(host.trees[0]))
    assert found[0]["seam-hash"] != found[1]["seam-hash"]
    assert [i["eligible"] for i in found] == [True, False]

    host.catalogues(*host.trees, folder)
    found = images_of(host, "1.5.16")
    assert found[0]["path"].startswith(str(host.trees[0])) and found[1]["path"] == str(first)

    # A bad one hides a good one too: nobody chooses silently.
    host.catalogues(folder, *host.trees)
    first.write_bytes(first.read_bytes()[:-1])
    assert refusal(host.apply, "1.5.16").id == "ImageInvalid"
    first.unlink()
    assert host.apply("1.5.16").finish() == "success"


def test_the_same_version_twice_in_a_folder(host, folder, images):
    put(images, folder, "1.5.06")
    deeper = folder / "a"
    deeper.mkdir()
    put(images, deeper, "1.5.06")
    found = images_of(host, "1.5.06")
    assert [i["shadowed"] for i in found] == [False, True, True]
    assert found[0]["path"].startswith(str(folder))


def test_depth(host, folder, images):
    path = folder
    for name in "abcdef":
        path = path / name
        path.mkdir()
        put(images, path, "1.5.06")
    mine = [i["path"] for i in images_of(host) if i["path"].startswith(str(folder))]
    assert str(folder / "a" / "tdx_module_1.5.06.blob") in mine
    assert str(path / "tdx_module_1.5.06.blob") not in mine
    assert "too deep" in host.log()


def test_loop_of_links(host, folder, images):
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to("self")
    put(images, folder, "1.5.06")
    assert len([i for i in images_of(host, "1.5.06") if i["path"].startswith(str(folder))]) == 1


OWNERS = {
    "file-of-nobody": lambda folder, file: shutil.chown(file, "nobody"),
    "file-group-writable": lambda folder, file: file.chmod(0o664),
    "file-world-writable": lambda folder, file: file.chmod(0o646),
    "folder-of-nobody": lambda folder, file: shutil.chown(folder, "nobody"),
    "folder-group-writable": lambda folder, file: folder.chmod(0o775),
    "folder-world-writable": lambda folder, file: folder.chmod(0o1777),
}


@pytest.mark.parametrize("name", OWNERS)
def test_what_others_can_write_is_left_out(host, folder, images, name):
    file = put(images, folder, "1.5.06")
    assert images_of(host, "1.5.06")[0]["path"] == str(file)
    OWNERS[name](folder, file)
    facts = only(host, "1.5.06")
    assert facts["path"].startswith(str(host.trees[0]))
    path = folder if name.startswith("folder") else file
    lines = [line for line in host.log().splitlines() if line.startswith(f"<4>{path}: ")]
    assert len(lines) == 1 and ("chown" in lines[0] or "chmod" in lines[0])
    # Set right again: it is there again.
    for p in (folder, file):
        shutil.chown(p, "root", "root")
        p.chmod(0o755)
    assert images_of(host, "1.5.06")[0]["path"] == str(file)


def test_mapping_that_others_can_write(host, folder, images):
    """It must not decide, and no other may stand in for it."""
    put(images, folder, "1.5.06")
    (folder / MAPPING.name).chmod(0o666)
    assert "incompatible-module" in ids(images_of(host, "1.5.06")[0])
    assert only(host, "1.5.13")["eligible"]
    assert host.log().count(f"<4>{folder / MAPPING.name}: ") == 1


def test_folder_in_a_folder_of_others(host, folder, images):
    inner = folder / "inner"
    inner.mkdir()
    put(images, inner, "1.5.06")
    inner.chmod(0o777)
    assert only(host, "1.5.06")["path"].startswith(str(host.trees[0]))
    assert f"<4>{inner}: " in host.log()


def test_folders_that_are_not_there(host, tmp_path):
    (tmp_path / "file").touch()
    host.catalogues(tmp_path / "nothing", tmp_path / "file", *host.trees)
    assert only(host, "1.5.06")["eligible"]
    assert f"<4>{tmp_path / 'file'}: " in host.log()
    assert f"{tmp_path / 'nothing'}" not in host.log()      # an empty default is no problem
    assert host.daemon.failures() == []


def test_empty_catalogue(host, tmp_path):
    host.catalogues(tmp_path)
    assert images_of(host) == []
    assert refusal(host.apply, "").id == "NoSuchVersion"
    assert refusal(host.call, "Plan", "1.5.06", {}).id == "NoSuchVersion"
    assert refusal(host.call, "Plan", "", {}).id == "NoSuchVersion"
    assert host.ctl("update").status == 66
    assert host.ctl("list").status == 0
    assert host.ctl("--json=short", "list").json == []
    assert host.get("State") != ""


# It is looked at when somebody asks.

def test_new_file_is_seen(host, tmp_path, images):
    """By each of ListImages, Plan and Apply, without a Refresh."""
    for number, (version, ask) in enumerate({
            "1.5.06": lambda v: images_of(host, v)[0]["eligible"],
            "1.5.13": lambda v: host.call("Plan", v, {})["allowed"],
            "1.5.16": lambda v: host.apply(v).finish() == "success"}.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(MAPPING, folder)
        host.catalogues(folder)
        assert images_of(host) == []
        put(images, folder, version)
        assert ask(version), version
    assert host.running_version() == "1.5.16"


def test_newest_follows_the_catalogue(host, folder, images):
    host.catalogues(folder)
    for version in ("1.5.06", "1.5.13", "1.5.16"):
        put(images, folder, version)
        assert host.call("Plan", "", {})["to"] == version
    (folder / "tdx_module_1.5.16.blob").unlink()
    assert host.call("Plan", "", {})["to"] == "1.5.13"
    assert host.apply("").finish() == "success"
    assert host.running_version() == "1.5.13"


def test_removed_image(host, folder, images):
    file = put(images, folder, "1.5.06")
    host.catalogues(folder)
    assert only(host, "1.5.06")["eligible"]
    file.unlink()
    assert images_of(host) == []
    assert refusal(host.apply, "1.5.06").id == "NoSuchVersion"


@pytest.mark.host(set=["misc-tdx=1"])
def test_changed_while_a_job_waits(host, folder, images):
    """A job updates to the image that it was made for, or not at all."""
    file = put(images, folder, "1.5.06")
    host.catalogues(folder)
    job = host.apply("1.5.06")
    job.wait_state("waiting")
    images.make("--version", "1.5.06", "--seed", 3, "--output", folder / ".new")
    os.rename(folder / ".new", file)
    images_of(host)
    host.sim.set(misc_tdx=0)
    assert job.finish() == "failed"
    assert job.get("Error")[0].endswith(".PlanStale")
    assert host.running_version() == "1.5.05" and host.sim.number("uploads") == 0


def test_plan_token_covers_the_image(host, folder, images):
    file = put(images, folder, "1.5.06")
    token = host.call("Plan", "1.5.06", {})["token"]
    assert host.call("Plan", "1.5.06", {"plan": token})["token"] == token
    images.make("--version", "1.5.06", "--seed", 3, "--output", file)
    before = host.snapshot()
    assert refusal(host.apply, "1.5.06", plan=token).id == "PlanStale"
    assert host.ctl("update", "1.5.06", "--plan", token).status == 75
    assert host.snapshot() == before
    token = host.call("Plan", "1.5.06", {})["token"]
    host.sim.set(remaining=5)
    assert host.call("Plan", "1.5.06", {})["token"] == token    # no part of it


# Formats and signers.

def test_both_formats(host, folder, images):
    images.make("--version", "1.5.06", "--format", 100, "--output", folder / "tdx_module_1.5.06.blob")
    images.make("--version", "1.5.13", "--format", 200, "--output", folder / "tdx_module_1.5.13.blob")
    assert images_of(host, "1.5.06")[0]["format"] == "0x100"
    assert images_of(host, "1.5.13")[0]["format"] == "0x200"
    assert host.apply("1.5.06").finish() == "success"
    assert host.apply("1.5.13").finish() == "success"
    assert host.running_version() == "1.5.13" and host.sim.number("installs") == 2


def test_signer_that_is_not_trusted(make_host, images):
    """A tree that looks like Intel's, without TrustedSigner=."""
    host = make_host(test_images=False, images=[str(images.tree)])
    listed = images_of(host)
    assert len(listed) > 5
    for image in listed:
        assert "image-untrusted" in ids(image) and not image["eligible"]
        assert image["signer"] == images.signer != INTEL
    assert refusal(host.apply, "1.5.06").id == "ImageUntrusted"
    assert host.ctl("update", "1.5.06").status == 65
    before = host.snapshot()
    result = host.ctl("update")
    assert result.status in (65, 66, 76), result.stderr
    assert host.snapshot() == before
    assert host.daemon.failures() == []


# Imports.

def test_import_and_update(host, images):
    """It lands in the state directory and lives on."""
    host.catalogues(host.state / "images")
    assert images_of(host) == []
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", MAPPING)
    assert result.status == 0 and result.stdout == "1.5.06 is in the catalogue now.\n"
    file = host.state / "images" / "tdx_module_1.5.06.blob"
    assert file.read_bytes() == images.path("1.5.06").read_bytes()
    assert only(host, "1.5.06")["path"] == str(file)
    host.daemon.restart()
    assert only(host, "1.5.06")["eligible"]
    host.daemon.crash()
    assert host.ctl("update").status == 0
    assert host.running_version() == "1.5.06"


def test_import_of_format_200(host, images, tmp_path):
    host.catalogues(host.state / "images")
    images.make("--version", "2.0.05", "--format", 200, "--output", tmp_path / "image")
    result = host.ctl("--json=short", "import", tmp_path / "image")
    assert result.status == 0 and result.json == {"version": "2.0.05"}
    assert only(host, "2.0.05")["format"] == "0x200"


def test_import_twice(host, images):
    command = ("import", images.path("1.5.06"), "--version", "1.5.06")
    assert host.ctl(*command).status == 0
    before = host.snapshot()
    assert host.ctl(*command).status == 0
    assert host.snapshot() == before


def test_import_does_not_replace(host, images, tmp_path):
    assert host.ctl("import", images.path("1.5.06"), "--version", "1.5.06").status == 0
    images.make("--version", "1.5.06", "--seed", 9, "--output", tmp_path / "other")
    before = host.snapshot()
    result = host.ctl("import", tmp_path / "other", "--version", "1.5.06")
    assert result.status != 0 and "remove" in result.stderr
    assert host.snapshot() == before


def test_import_needs_a_version(host, images, tmp_path):
    """Its SEAM hash is no known release's, a 1.5 image does not say, and neither does this name."""
    path = tmp_path / "image.blob"
    shutil.copy(images.path("1.5.06"), path)
    before = host.snapshot()
    result = host.ctl("import", path)
    assert result.status == 65 and "give the version" in result.stderr
    assert host.snapshot() == before
    # The name of a release is as good as the option, and does not win against it.
    shutil.copy(path, tmp_path / "tdx_module_1.5.06.blob")
    assert host.ctl("import", tmp_path / "tdx_module_1.5.06.blob").stdout == "1.5.06 is in the catalogue now.\n"


def test_import_where_nothing_can_be_written(host, images):
    """A folder that is none: an error of its own, no half file, no crash."""
    folder = host.state / "images"
    folder.rmdir()
    folder.touch()
    result = host.ctl("--json=short", "import", images.path("1.5.06"), "--version", "1.5.06")
    assert result.status == 1 and result.json["error"]["name"] == "IOError"
    folder.unlink()
    assert host.ctl("import", images.path("1.5.06"), "--version", "1.5.06").status == 0
    assert folder.stat().st_mode & 0o777 == 0o755


def test_leftovers_of_a_crash(host, images):
    """Half files of an import that was killed are neither listed nor in the way."""
    folder = host.state / "images"
    (folder / ".tdx_module_1.5.06.blob.new").write_bytes(b"half")
    (folder / ".mapping_file.json.new").write_bytes(b"{")
    assert only(host, "1.5.06")["path"].startswith(str(host.trees[0]))
    result = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", MAPPING)
    assert result.status == 0
    assert sorted(p.name for p in folder.iterdir()) == ["mapping_file.json", "tdx_module_1.5.06.blob"]


def test_import_wakes_a_waiting_user(host, images):
    """What was asked for and was not there can be asked for right after the import."""
    host.catalogues(host.state / "images")
    assert host.ctl("update", "1.5.06").status == 66
    host.ctl("import", images.path("1.5.06"), "--version", "1.5.06", "--mapping", MAPPING)
    assert host.ctl("update", "1.5.06").status == 0


def test_many_images(host, folder, images):
    """More than are taken: named, and the rest of the catalogue still works."""
    small = folder / "tdx_module_1.5.06.blob"
    images.make("--version", "1.5.06", "--module-pages", 1, "--output", small)
    for number in range(600):
        os.link(small, folder / f"tdx_module_3.0.{number:02}.blob")
    listed = images_of(host)
    assert len(listed) == 512
    assert "more than 512 images" in host.log()
    assert host.daemon.failures() == []


def test_import_over_a_file_that_is_not_roots(host, images):
    """It would be left out of the catalogue, so it is not said to be in it."""
    mine = host.state / "images" / images.path("1.5.06").name
    shutil.copy(images.path("1.5.06"), mine)
    os.chown(mine, 1000, 1000)
    refused = host.ctl("import", images.path("1.5.06"), "--version", "1.5.06")
    assert refused.status != 0 and "root" in refused.stderr
    assert mine.stat().st_uid == 1000
