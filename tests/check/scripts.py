#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""Every script under tools/ explains itself; shell and Python parse."""

import os
import tempfile

from tap import TOP, main, relative, run, tracked


def scripts():
    return [p for p in tracked() if p.parent == TOP / "tools" and os.access(p, os.X_OK)]


def every_tool_answers_help():
    with tempfile.TemporaryDirectory() as empty:
        for path in scripts():
            status, output = run(path, "--help", cwd=empty)
            if status or not output:
                yield f"{relative(path)}: status {status}, {len(output)} characters"
            if os.listdir(empty):
                yield f"{relative(path)} --help leaves files behind"


def every_tool_refuses_an_unknown_option():
    for path in scripts():
        status, output = run(path, "--no-such-option")
        if status == 0 or not output:
            yield f"{relative(path)}: status {status}"


def shell_and_python_parse():
    for path in tracked():
        with path.open("rb") as file:
            first = file.readline()
        if first.startswith(b"#!/bin/bash"):
            status, output = run("bash", "-n", path)
            if status:
                yield output
        elif first.startswith(b"#!/usr/bin/python3") or path.suffix == ".py":
            try:
                compile(path.read_text(), relative(path), "exec")
            except SyntaxError as e:
                yield f"{relative(path)}: {e}"


main(every_tool_answers_help, every_tool_refuses_an_unknown_option, shell_and_python_parse)
