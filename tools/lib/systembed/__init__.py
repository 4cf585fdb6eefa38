# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The bed of the system tests: a real kernel in QEMU. tests/system/README.md tells what it is."""

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]


class BedError(Exception):
    """Something that should work does not: a failed test."""


class Unavailable(Exception):
    """What the bed is made of cannot be had here: the tests are skipped."""


def run(argv, error=BedError, what=None, cwd=None, stdin=None, timeout=600):
    """The output; an error names the command (or what it was for) and how it ended."""
    argv = [str(a) for a in argv]
    what = what or " ".join(argv)
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", cwd=cwd, timeout=timeout, input=stdin,
                              stdin=None if stdin is not None else subprocess.DEVNULL)
    except FileNotFoundError:
        raise Unavailable(f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise error(f"{what}: not done after {timeout} s") from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise error(f"{what} failed with status {done.returncode}:\n{tail}")
    return done.stdout
