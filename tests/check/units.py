#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""systemd's files, with its own tools. Arguments: a unit, its program, ...; the service first."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from tap import TOP, Skip, main, run

PATHS = [Path(argument).resolve() for argument in sys.argv[1:]]
UNITS = list(zip(PATHS[::2], PATHS[1::2]))
UNIT = PATHS[0]
NAMES = TOP / "daemon" / "base" / "names.h"
CATALOGUE = TOP / "systemd" / "tdx-updated.catalog"
MAX_EXPOSURE = 20  # ten times what systemd-analyze shows


def need(program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")


def units_are_hardened():
    need("systemd-analyze")
    for unit, _ in UNITS:
        status, output = run("systemd-analyze", "--no-pager", "security", "--offline=yes",
                             f"--threshold={MAX_EXPOSURE}", unit)
        last = output.splitlines()[-1]
        yield last if status else f"note: {last}"


def units_are_valid():
    """Mistakes are only warnings with status 0, so the output must be empty too."""
    need("systemd-analyze")
    for unit, program in UNITS:
        if not program.exists():
            raise Skip(f"{program.name} is not built")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / unit.name
            copy.write_text(re.sub(rf"(?m)^(Exec\w+)=\S+/{program.name}(?=\s|$)", rf"\1={program}",
                                   unit.read_text()))
            status, output = run("systemd-analyze", "verify", copy)
        if status or output:
            yield output or f"{unit.name}: status {status}"


def unit_names_the_bus_name_and_the_watchdog():
    text = UNIT.read_text()
    name = re.search(r'#define BUS_NAME\s+"([^"]+)"', NAMES.read_text()).group(1)
    for line in (f"BusName={name}", "Type=notify", "WatchdogSec=5min", "Restart=on-failure",
                 "StateDirectory=tdx-updated", "RuntimeDirectory=tdx-updated"):
        if line not in text.splitlines():
            yield f"missing: {line}"
    if "@" in re.sub(r"@(system-service|privileged|resources)\b", "", text):
        yield "a placeholder was left in the unit"


def every_message_has_an_explanation():
    code = dict((i, n) for n, i in re.findall(r'#define MESSAGE_(\w+)\s+"([0-9a-f]{32})"',
                                              NAMES.read_text()))
    text = CATALOGUE.read_text()
    told = re.findall(r"(?m)^-- ([0-9a-f]{32})$", text)
    for i in sorted(set(code) - set(told)):
        yield f"not in the catalogue: MESSAGE_{code[i]} {i}"
    for i in sorted(set(told) - set(code)):
        yield f"not in {NAMES.name}: {i}"
    for i in sorted({i for i in told if told.count(i) > 1}):
        yield f"twice in the catalogue: {i}"
    known = set(re.findall(r'#define FIELD_\w+\s+"(\w+)"', NAMES.read_text()))
    for field in sorted(set(re.findall(r"@(\w+)@", text)) - known):
        yield f"no journal field: {field}"


def journald_takes_the_catalogue():
    need("journalctl")
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "usr/lib/systemd/catalog"
        folder.mkdir(parents=True)
        shutil.copy(CATALOGUE, folder)
        status, output = run("journalctl", f"--root={root}", "--update-catalog")
        if status or output:
            yield output or f"status {status}"
        _, listed = run("journalctl", f"--root={root}", "--list-catalog")
        entries = re.findall(r"(?m)^[0-9a-f]{32} tdx-updated: ", listed)
        if len(entries) != len(re.findall(r"(?m)^-- [0-9a-f]{32}$", CATALOGUE.read_text())):
            yield f"journalctl sees {len(entries)} entries"


def sysusers_and_tmpfiles_are_valid():
    need("systemd-sysusers")
    need("systemd-tmpfiles")
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "etc").mkdir()
        (Path(root) / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        (Path(root) / "etc" / "group").write_text("root:x:0:\n")
        status, output = run("systemd-sysusers", f"--root={root}",
                             TOP / "systemd" / "tdx-updated.sysusers")
        if status or "tdx-vmm" not in (Path(root) / "etc" / "group").read_text():
            yield f"sysusers: status {status}: {output}"
        status, output = run("systemd-tmpfiles", f"--root={root}", "--create",
                             TOP / "systemd" / "tdx-updated.tmpfiles")
        if status or not (Path(root) / "var/lib/tdx-updated/images").is_dir():
            yield f"tmpfiles: status {status}: {output}"


main(units_are_hardened, units_are_valid, unit_names_the_bus_name_and_the_watchdog,
     every_message_has_an_explanation, journald_takes_the_catalogue,
     sysusers_and_tmpfiles_are_valid)
