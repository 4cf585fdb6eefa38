# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The tree of test images: every known release, signed with a throw-away key.

Made once and kept in the build folder; the name holds a digest of what it is made from.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import TOP, SandboxError

MAKER = TOP / "tools" / "make-image"
SOURCES = (MAKER, TOP / "tests" / "data" / "module-releases.json",
           TOP / "tests" / "data" / "mapping_file.json")


class Images:
    def __init__(self, build):
        digest = hashlib.sha256(b"".join(p.read_bytes() for p in SOURCES)).hexdigest()[:12]
        self.key = Path(build) / "sandbox" / "key.pem"
        self.tree = Path(build) / "sandbox" / f"images-{digest}"
        if not self.tree.exists():
            self._make()
        self.signer = (self.tree / "signer.txt").read_text().strip()

    def _make(self):
        self.tree.parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp makes it 0700; the daemon only wants that nobody else can write.
        unfinished = tempfile.mkdtemp(dir=self.tree.parent, prefix=".images-")
        os.chmod(unfinished, 0o755)
        self.make("--tree", unfinished)
        try:
            os.rename(unfinished, self.tree)
        except OSError:  # somebody else was faster
            shutil.rmtree(unfinished)

    def make(self, *arguments):
        """Run make-image with this tree's key."""
        done = subprocess.run([MAKER, "--key", self.key, *map(str, arguments)],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise SandboxError(f"make-image failed:\n{done.stderr.strip()}")
        return done.stdout

    def path(self, version):
        return next(self.tree.glob(f"**/tdx_module_{version}.blob"))
