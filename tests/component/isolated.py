#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""isolated.py PROGRAM [ARGUMENT...]: run PROGRAM where what it mounts is seen by nobody else."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "lib"))

from tdxbox import SandboxError, isolate  # noqa: E402

if os.geteuid() != 0:
    print("skipped: only root can make a mount namespace", file=sys.stderr)
    sys.exit(77)
try:
    isolate.private_mounts()
except SandboxError as e:
    sys.exit(f"isolated.py: {e}")
os.execv(sys.argv[1], sys.argv[1:])
