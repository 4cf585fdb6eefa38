# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Checks that find offenders, reported in the Test Anything Protocol."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


class Skip(Exception):
    """The check cannot be made here; the text says why."""


def tracked(*suffixes):
    """The project's own files, relative to TOP; also where there is no git."""
    names = []
    if shutil.which("git") and (TOP / ".git").exists():
        listed = subprocess.run(["git", "-C", TOP, "ls-files", "-z"], capture_output=True, text=True)
        names = [name for name in listed.stdout.split("\0") if name]
    if not names:  # no repository, or not this user's
        for folder, folders, files in os.walk(TOP):
            folders[:] = [f for f in folders if not f.startswith((".git", ".pytest", "build", "__"))]
            names += [os.path.relpath(os.path.join(folder, file), TOP) for file in files]
    paths = [TOP / name for name in sorted(names) if not suffixes or name.endswith(suffixes)]
    return [path for path in paths if path.is_file()]


def relative(path):
    return str(path.relative_to(TOP))


def run(*argv, **options):
    """A program's status and everything that it said."""
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    return done.returncode, done.stdout.strip()


def main(*checks):
    """A check returns or yields offenders, one line each; none means that all is well.
    Lines that start with "note:" are only shown."""
    print(f"1..{len(checks)}")
    bad = False
    for number, check in enumerate(checks, 1):
        name = check.__name__.replace("_", " ")
        try:
            found = [line for text in check() or () for line in str(text).splitlines()]
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}")
            continue
        failed = any(not line.startswith("note:") for line in found)
        print(f"{'not ok' if failed else 'ok'} {number} - {name}")
        for line in found:
            print(f"# {line}")
        bad |= failed
    sys.exit(1 if bad else 0)
