#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""compare.py PROGRAM FILE: is FILE what PROGRAM prints? Shows the difference and fails if not."""
import difflib
import subprocess
import sys

program, path = sys.argv[1:]
printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines(True)
with open(path, encoding="utf-8") as file:
    written = file.readlines()

difference = list(difflib.unified_diff(written, printed, path, program))
sys.stdout.writelines(difference)
if difference:
    sys.exit(f"{path} is not what the code says; draw it again: {program} > {path}")
