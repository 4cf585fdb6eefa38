# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The exact evidence (tier T1) on a real kernel: probes on functions with the names of its SEAM
call wrappers, processes that call them, and the daemon's own reader.

What must come out is doc/architecture.md's and bpf/README.md's: a build is counted from before
tdh_mng_init() until tdh_mr_finalize() returns 0, or until the TD is gone.
"""

import subprocess
import threading
import time

import pytest

from guest import PINS, Refused, only_capabilities, probe

BUILDING, FINALIZED = "building", "finalized"


def boottime():
    """In usec."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@pytest.fixture
def reader(probes, make_reader):
    made = make_reader()
    picture = made.read()
    assert picture.unavailable is None and picture.doubt is None
    assert picture.complete and picture.builds == ()
    assert abs(picture.attached / 1e6 - time.time()) < 60
    return made


def test_life_of_a_td(reader, maker):
    before, boot_before = time.time(), boottime()
    maker.td("begin", "a")
    boot_after = boottime()
    picture = reader.wait()
    assert picture.told and picture.complete and picture.doubt is None
    build = picture.builds[0]
    assert picture.states() == [(maker.pid, BUILDING)] and build.name == "vm-maker"
    # The kernel's clock ticks while the guest's may be set: a second is far more than both.
    assert before - 1 <= build.since / 1e6 <= time.time() + 1
    assert boot_before <= build.began <= boot_after

    with pytest.raises(Refused, match="busy"):
        maker.td("finalize", "a", "busy")
    assert reader.read().states() == [(maker.pid, BUILDING)]
    maker.td("finalize", "a")
    picture = reader.wait()
    assert picture.states() == [(maker.pid, FINALIZED)] and picture.told
    assert picture.builds[0].td == build.td
    maker.td("free", "a")
    picture = reader.wait()
    assert picture.builds == () and picture.told
    assert picture.complete and picture.doubt is None


def test_a_begin_that_fails(reader, maker):
    """It is counted while it runs, and undone by its result alone."""
    maker.td("begin", "a")
    with pytest.raises(Refused, match="Input/output"):
        maker.td("begin", "b", "fail")
    picture = reader.wait()
    assert picture.states() == [(maker.pid, BUILDING)] and picture.told
    # KVM frees what it had begun; nothing is counted twice.
    maker.td("free", "b")
    assert reader.read().states() == [(maker.pid, BUILDING)]
    maker.td("free", "a")
    assert reader.read().builds == ()


def test_counted_before_the_call_and_until_its_result(reader, make_maker):
    """A call that takes long: the build is there while it is inside of tdh_mng_init(), and still
    while it is inside of tdh_mr_finalize()."""
    maker, helper = make_maker(), make_maker()
    maker.send("td begin slow wait")
    assert reader.wait().states() == [(maker.pid, BUILDING)]
    helper.td("go", "slow")
    maker.answer()
    assert reader.read().states() == [(maker.pid, BUILDING)]

    maker.send("td finalize slow wait")
    with pytest.raises(Refused, match="File exists"):   # the answer comes: the helper is not stuck
        helper.td("begin", "slow")
    assert reader.read().states() == [(maker.pid, BUILDING)]
    helper.td("go", "slow")
    maker.answer()
    assert reader.read().states() == [(maker.pid, FINALIZED)]


def test_a_build_whose_process_dies_in_the_first_call(reader, make_maker):
    """A signal takes it out of the call, which then fails; the TD goes with the file."""
    maker = make_maker()
    maker.send("td begin slow wait")
    assert reader.wait().states() == [(maker.pid, BUILDING)]
    maker.kill()
    assert reader.read().builds == ()


def test_several_vmms_are_told_apart(reader, make_maker):
    one, other = make_maker(), make_maker()
    one.td("begin", "a")
    one.td("begin", "b")
    other.td("begin", "c")
    one.td("finalize", "a")
    picture = reader.read()
    assert picture.states(one.pid) == [BUILDING, FINALIZED] and picture.states(other.pid) == [BUILDING]
    assert len({b.td for b in picture.builds}) == 3


def test_a_reader_that_was_away_misses_nothing(reader, make_reader, maker):
    """Killed in the middle of two builds; one ends and another one begins meanwhile."""
    maker.td("begin", "stays")
    maker.td("begin", "ends")
    before = {b.td: b for b in reader.read().builds}
    reader.kill()
    maker.td("finalize", "ends")
    maker.td("begin", "new")
    again = make_reader()
    picture = again.read()
    assert picture.complete and picture.doubt is None
    assert sorted(b.state for b in picture.builds) == [BUILDING, BUILDING, FINALIZED]
    for build in picture.builds:
        if build.td in before:
            assert build.began == before[build.td].began
    # It is told of what comes from then on, too; what came before may have waited for it.
    while again.wait(timeout=1).told:
        pass
    maker.td("finalize", "stays")
    picture = again.wait()
    assert picture.told and sorted(b.state for b in picture.builds) == [BUILDING, FINALIZED, FINALIZED]


@pytest.mark.parametrize("leaked", [False, True], ids=["freed", "leaked"])
def test_a_vmm_killed_in_its_build_leaves_nothing(reader, make_maker, leaked):
    """KVM frees the key of a TD whose VMM dies. leaked: that fails (TDH.MNG.VPFLUSHDONE), and the
    record of the probes stays; but its process is gone."""
    maker, other = make_maker(), make_maker()
    maker.td("begin", "a")
    other.td("begin", "b")
    if leaked:
        maker.td("leak", "a")
    assert len(reader.read().builds) == 2
    maker.kill()
    assert reader.read().states() == [(other.pid, BUILDING)]
    records = probe("--check")
    assert f"TDs: {2 if leaked else 1}," in records


def test_memory_of_a_lost_td_is_used_again(reader, make_maker):
    """Without its end (drop) the record stays; a new TD at the same address takes its place, and
    nothing is counted twice."""
    maker = make_maker()
    for number in range(200):
        maker.td("begin", f"n{number}")
        maker.td("drop", f"n{number}")
    # The allocator gives the same memory again soon, not always at once.
    records = reader.read().builds
    assert 0 < len(records) < 200, "no address was used twice, so this showed nothing"
    assert {b.state for b in records} == {BUILDING}
    assert f"in their build: {len(records)}\n" in probe("--check")
    maker.kill()
    assert reader.read().builds == ()


def test_many_builds_at_once(reader, maker):
    count = 32
    for _ in range(5):
        maker.ask("crowd", "begin", count)
        assert reader.read().states() == [(maker.pid, BUILDING)] * count
        maker.ask("crowd", "finalize", count)
        assert reader.read().states() == [(maker.pid, FINALIZED)] * count
        maker.ask("crowd", "free", count)
        picture = reader.read()
        assert picture.builds == () and picture.doubt is None
    assert f"TDs: 0, in their build: 0\nOlder TDs: none\nChanges: {5 * 3 * count}, lost: 0" in probe("--check")


def test_a_reader_that_reads_while_they_change(reader, make_maker):
    """No picture is torn: of the two TDs of a VMM that always begins the second one before it
    ends the first, there is never none."""
    maker = make_maker()
    maker.td("begin", "x0")
    stop, pictures = threading.Event(), []

    def change():
        number = 0
        while not stop.is_set():
            maker.td("begin", f"x{number + 1}")
            maker.td("free", f"x{number}")
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            pictures.append(reader.read())
    finally:
        stop.set()
        thread.join()
    # A reader that cannot keep up says so, and that is no picture; it must come seldom enough.
    good = [p for p in pictures if p.doubt is None]
    assert len(good) > 20 and len(good) > len(pictures) // 2
    assert {p.doubt for p in pictures} <= {None, "TDs begin and end faster than they can be counted"}
    for picture in good:
        assert len(picture.builds) in (1, 2) and {b.state for b in picture.builds} == {BUILDING}


def test_a_td_older_than_the_probes(make_reader, maker, probes):
    """KVM counts one when they are attached: they do not say that they know all. They know what
    comes, and when none is left they are replaced by some that know all."""
    probe("--remove")
    maker.td("begin", "old")
    (probes / "misc.current").write_text("tdx 1\n")
    assert "may be older" in probe(f"--cgroup={probes}")
    reader = make_reader()
    picture = reader.read()
    assert not picture.complete and picture.unavailable is None and picture.builds == ()

    # The rest of the old one's life is none of a TD that is known.
    maker.td("begin", "new")
    maker.td("finalize", "old")
    maker.td("free", "old")
    picture = reader.read()
    assert picture.states() == [(maker.pid, BUILDING)] and not picture.complete
    assert picture.doubt is None

    # Not while a TD is there; then yes, and the reader sees the new ones.
    probe(f"--cgroup={probes}")
    assert not reader.read().complete
    maker.td("free", "new")
    (probes / "misc.current").write_text("tdx 0\n")
    probe(f"--cgroup={probes}")
    assert reader.read().complete
    maker.td("begin", "newer")
    assert reader.read().states() == [(maker.pid, BUILDING)]


def test_unknown_whether_a_td_is_older(make_reader, probes):
    """No count is no proof."""
    probe("--remove")
    (probes / "misc.current").unlink()
    probe(f"--cgroup={probes}")
    assert not make_reader().read().complete


def test_a_second_start_changes_nothing(reader, maker, probes):
    maker.td("begin", "a")
    before = reader.wait().states()
    assert "already" in probe(f"--cgroup={probes}")
    assert reader.read().states() == before
    maker.td("finalize", "a")
    assert reader.wait().states() == [(maker.pid, FINALIZED)]


def test_a_reader_needs_no_capability(reader, make_reader, maker):
    """But root's uid: as the daemon's unit runs it, with CAP_SYS_RAWIO alone."""
    small = make_reader(*only_capabilities("sys_rawio"))
    maker.td("begin", "a")
    picture = small.wait()
    assert picture.unavailable is None and picture.complete
    assert picture.states() == [(maker.pid, BUILDING)]
    maker.td("free", "a")
    assert small.read().builds == ()


def test_a_loader_needs_two_capabilities(probes, make_reader, maker):
    probe("--remove")
    few = ("bpf", "perfmon")
    for missing in few:
        rest = [name for name in few if name != missing]
        probe(f"--cgroup={probes}", prefix=only_capabilities(*rest), status=1)
        assert "not loaded" in probe("--check", status=1)
    probe(f"--cgroup={probes}", prefix=only_capabilities(*few))
    maker.td("begin", "a")
    assert make_reader().read().states() == [(maker.pid, BUILDING)]


def test_without_probes(probes, make_reader, maker):
    """No picture is not an empty picture; and they may come later."""
    probe("--remove")
    reader = make_reader()
    picture = reader.read()
    assert picture.unavailable and not picture.complete and picture.builds == ()
    maker.td("begin", "a")
    probe(f"--cgroup={probes}")
    maker.td("begin", "b")
    assert reader.read().states() == [(maker.pid, BUILDING)]
    probe("--remove")
    assert reader.read().unavailable


def test_other_users_cannot_read_the_pins(probes):
    """The directory is root's; what it tells of other users' VMs is not everybody's."""
    done = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--",
                           "ls", PINS], capture_output=True, text=True)
    assert done.returncode != 0 and "Permission denied" in done.stderr
