#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Sizes, layers, licence headers, and words that belong to somebody's machine."""

import re

from tap import TOP, main, relative, tracked

# The aim, and how far beyond it is too far. Tests with tables grow long and stay readable.
FILE_LINES, FUNCTION_LINES, HEADER_LINES, PARAMETERS = 500, 60, 120, 5
TOO_FAR = {"daemon": 1.5, "bpf": 1.5, "client": 1.5, "sim": 1.5, "lib": 1.5, "tests": 2.0}

# Folder -> the folders whose headers it may include (CONTRIBUTING.md, "Where code goes").
LAYERS = {
    "daemon/base": {"base"},
    "daemon/core": {"base", "core"},
    "daemon/catalogue": {"base", "core", "catalogue"},
    "daemon/platform": {"base", "core", "platform", "bpf"},
    "daemon/store": {"base", "core", "store"},
    "daemon": {"base", "core", "catalogue", "platform", "store", "daemon"},
    "daemon/bus": {"base", "core", "catalogue", "platform", "store", "daemon", "bus"},
    "bpf": {"base", "core", "platform", "bpf"},
    "client": {"base", "client"},
    "sim": {"base", "core", "sim"},
}
# main builds everything and is included by nobody.
LAYERS_OF_FILE = {"daemon/main.c": LAYERS["daemon/bus"]}
# The bus is one folder's business.
BUS_FOLDERS = {"daemon/bus", "client"}
# Signatures that a library prescribes: sd-bus's property getters and setters, FUSE's readdir.
CALLBACK = re.compile(r"void \*userdata\b|\bfuse_fill_dir_t\b")

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
FUNCTION = re.compile(r"^[A-Za-z_][\w *]*?\b(?P<name>\w+)\((?P<args>[^;{}\"]*)\)\s*\{$",
                      re.MULTILINE)
END = re.compile(r"^\}", re.MULTILINE)

NO_HEADER = (".md", ".json", ".sigstruct", ".MIT", ".pem", ".blob", "LICENSE", ".gitignore",
             ".svg", ".png")

# Split, so that this file does not find itself.
FOREIGN = re.compile("|".join((
    "/wo" + r"rk/", "/ro" + r"ot/", "/ho" + r"me/\w", r"\.\./sha" + "red",
    "py" + r"pi\.org", "npm" + r"js\.(org|com)", "deb\\.de" + r"bian\.org",
    "snapshot\\.de" + r"bian\.org", "proxy\\.go" + r"lang\.org", r"\bartifac" + "tory",
    r"\bnex" + r"us[.-]", r"https?://(localhost|\d+\.\d+\.\d+\.\d+|[\w.-]+):\d+",
)))


def sources(*suffixes):
    return [p for p in tracked(*suffixes) if relative(p).split("/")[0] in TOO_FAR]


def judge(what, size, aim, path):
    if size <= aim:
        return
    hard = aim * TOO_FAR[relative(path).split("/")[0]]
    note = "" if size > hard else "note: "
    yield f"{note}{what}: {size} (aim {aim}, limit {hard:g})"


def count_parameters(text):
    depth, count = 0, 1
    for character in text:
        depth += (character == "(") - (character == ")")
        count += character == "," and depth == 0
    return count


def functions(path):
    """Name, number of lines, number of parameters (0 for callbacks); systemd's brace style
    is assumed."""
    text = path.read_text()
    for match in FUNCTION.finditer(text):
        end = END.search(text, match.end())
        if end:
            lines = text.count("\n", match.start(), end.start()) + 1
            args = match["args"]
            yield match["name"], lines, 0 if CALLBACK.search(args) else count_parameters(args)


def files_are_not_too_long():
    for path in sources(".c", ".h"):
        aim = HEADER_LINES if path.suffix == ".h" else FILE_LINES
        yield from judge(relative(path), len(path.read_text().splitlines()), aim, path)


def functions_are_not_too_long():
    for path in sources(".c"):
        for name, lines, _ in functions(path):
            yield from judge(f"{relative(path)}: {name}()", lines, FUNCTION_LINES, path)


def functions_do_not_take_too_much():
    for path in sources(".c"):
        for name, _, parameters in functions(path):
            yield from judge(f"{relative(path)}: {name}(), parameters", parameters, PARAMETERS,
                             path)


def includes_point_downwards():
    for path in tracked(".c", ".h"):
        name = relative(path)
        folder = name.rpartition("/")[0]
        if folder not in LAYERS:
            continue
        allowed = LAYERS_OF_FILE.get(name, LAYERS[folder])
        for header in INCLUDE.findall(path.read_text()):
            layer = header.partition("/")[0] if "/" in header else folder.rpartition("/")[2]
            if header != "config.h" and layer not in allowed:
                yield f"{name} includes {header}"


def every_daemon_folder_has_its_layer():
    folders = {relative(p).rpartition("/")[0] for p in tracked(".c") if (TOP / "daemon") in p.parents}
    return sorted(f"{folder}: say in LAYERS what it may include" for folder in folders - set(LAYERS))


def only_the_bus_folder_speaks_sd_bus():
    for path in tracked(".c", ".h"):
        folder = relative(path).rpartition("/")[0]
        if folder.startswith(("daemon", "sim")) and folder not in BUS_FOLDERS:
            if "systemd/sd-bus" in path.read_text():
                yield relative(path)


def every_file_names_its_licence():
    for path in tracked():
        if path.name.endswith(NO_HEADER) or not path.stat().st_size:
            continue
        head = "\n".join(path.read_text(errors="replace").splitlines()[:6])
        if "SPDX-License-Identifier:" not in head:
            yield relative(path)


def nothing_names_somebodys_machine():
    for path in tracked():
        if path.suffix == ".sigstruct":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found = FOREIGN.search(line)
            if found:
                yield f"{relative(path)}:{number}: {found.group()}"


main(files_are_not_too_long, functions_are_not_too_long, functions_do_not_take_too_much,
     includes_point_downwards, every_daemon_folder_has_its_layer,
     only_the_bus_folder_speaks_sd_bus, every_file_names_its_licence,
     nothing_names_somebodys_machine)
