# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""What takes long to make is kept in the build folder, under a name that holds a digest of
its recipe: another recipe makes it anew, and the old one goes."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path


class Cache:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self):
        """One run at a time makes things here."""
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def path(self, name, recipe):
        text = json.dumps(recipe, sort_keys=True)
        return self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def get(self, name, recipe, make):
        """The folder `name`; make(folder) fills an empty one. recipe: whatever decides what
        comes out, as JSON has it; for files their digests."""
        final = self.path(name, recipe)
        if final.exists():
            return final
        for old in (*self.folder.glob(f"{name}-????????????"), *self.folder.glob(f".{name}-*")):
            shutil.rmtree(old)
        unfinished = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{name}-"))
        try:
            make(unfinished)
            os.rename(unfinished, final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return final


def digest(*paths):
    """Of files, or of all files in folders."""
    result = hashlib.sha256()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                result.update(f"{file.name}\0".encode() + file.read_bytes())
    return result.hexdigest()
