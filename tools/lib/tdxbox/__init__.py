# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""A private host for tdx-updated: bus, polkitd, simulated kernel and the daemon.

tools/sandbox, tools/demo and the end-to-end tests stand on this package.

    isolate      namespaces
    process      child processes
    world        what all hosts of one namespace share: /run, the bus, polkitd
    host         one simulated kernel and one daemon
    service      the daemon as systemd runs it: notifications, fd store, restarts
    images       the tree of test images
"""

from pathlib import Path

TOP = Path(__file__).resolve().parents[3]


class SandboxError(Exception):
    """The environment could not be made; the text is meant for people."""
