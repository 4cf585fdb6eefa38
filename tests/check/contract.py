#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# SPDX-FileCopyrightText: The tdx-updated authors
"""The D-Bus contract, the bus policy and the polkit actions, as files."""

import re
import shutil
import xml.etree.ElementTree as ElementTree
from xml.dom import Node, minidom

from tap import TOP, Skip, main, relative, run

DBUS = TOP / "dbus"
POLICY = TOP / "polkit" / "org.tdx.update1.policy"
NAMES = TOP / "daemon" / "base" / "names.h"
BLOCKERS = TOP / "daemon" / "core" / "blocker.c"
BLOCKERS_DOCUMENT = TOP / "doc" / "blockers.md"
POLKIT_DTD = "/usr/share/polkit-1/policyconfig-1.dtd"
DOCUMENTED = ("interface", "method", "signal", "property")

# any, inactive, active.
KEEP = ("auth_admin", "auth_admin", "auth_admin_keep")
NEVER_KEPT = ("auth_admin",) * 3
DEFAULTS = {
    "apply": KEEP, "apply-unsafe": NEVER_KEPT, "cancel": KEEP, "hold": NEVER_KEPT,
    "inspect-guests": ("auth_admin_keep",) * 3, "manage-images": KEEP, "set-desired": KEEP,
    "refresh": KEEP,
}


def comment_before(element):
    node = element.previousSibling
    while node is not None and node.nodeType == Node.TEXT_NODE:
        node = node.previousSibling
    return node.data if node is not None and node.nodeType == Node.COMMENT_NODE else ""


def every_member_is_documented():
    for path in sorted(DBUS.glob("*.xml")):
        document = minidom.parse(str(path))
        for kind in DOCUMENTED:
            for element in document.getElementsByTagName(kind):
                name, comment = element.getAttribute("name"), comment_before(element)
                if not comment.strip().startswith(f"{name}:"):
                    yield f"{relative(path)}: {kind} {name} has no comment that starts with it"
                for arg in element.getElementsByTagName("arg") if kind != "interface" else ():
                    if f"@{arg.getAttribute('name')}:" not in comment:
                        yield f"{relative(path)}: {name}: @{arg.getAttribute('name')} is not told"


def every_argument_has_a_name_and_every_property_is_read_only():
    for path in sorted(DBUS.glob("*.xml")):
        for element in ElementTree.parse(path).getroot().iter():
            if element.tag == "arg" and not element.get("name"):
                yield f"{relative(path)}: an argument without a name"
            if element.tag == "property" and element.get("access") != "read":
                yield f"{relative(path)}: {element.get('name')} is not read-only"


def blockers_are_documented():
    """doc/blockers.md and the table in the code say the same of each id."""
    table = re.findall(r'\[BLOCKER_\w+\] = \{ "([a-z-]+)", SEVERITY_(\w+), ERROR_(\w+) \}', BLOCKERS.read_text())
    coded = {i: (severity.lower(), error.replace("_", "").lower()) for i, severity, error in table}
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|.*\| (\w+) \|$", BLOCKERS_DOCUMENT.read_text(), re.M)
    written = {i: (severity, error.lower()) for i, severity, error in rows}
    if not coded:
        yield f"{relative(BLOCKERS)}: its table was not found"
    for i in sorted(coded.keys() | written.keys()):
        if coded.get(i) != written.get(i):
            yield f"{i}: the code says {coded.get(i)}, {relative(BLOCKERS_DOCUMENT)} says {written.get(i)}"


def handles_carry_the_generators_annotation():
    for path in sorted(DBUS.glob("*.xml")):
        for method in ElementTree.parse(path).getroot().iter("method"):
            has_handle = any("h" in arg.get("type") for arg in method.iter("arg"))
            marks = {a.get("name") for a in method.iter("annotation")}
            if has_handle != ("org.gtk.GDBus.C.UnixFD" in marks):
                yield f"{relative(path)}: {method.get('name')}"


def bus_policy_covers_the_interfaces():
    root = ElementTree.parse(DBUS / "org.tdx.Update1.conf").getroot()
    default = next(p for p in root.iter("policy") if p.get("context") == "default")
    allowed = {rule.get("send_interface") for rule in default.iter("allow")}
    for path in sorted(DBUS.glob("*.xml")):
        for interface in ElementTree.parse(path).getroot().iter("interface"):
            if interface.get("name") not in allowed:
                yield f"nobody but root may call {interface.get('name')}"


def actions():
    return {a.get("id"): a for a in ElementTree.parse(POLICY).getroot().iter("action")}


def actions_are_those_of_the_code():
    code = set(re.findall(r'#define ACTION_\w+\s+"([^"]+)"', NAMES.read_text()))
    return [f"only in one of {NAMES.name} and {POLICY.name}: {action}"
            for action in sorted(code ^ set(actions()))]


def actions_have_the_designed_defaults():
    for action, element in actions().items():
        found = tuple(element.findtext(f"defaults/allow_{who}")
                      for who in ("any", "inactive", "active"))
        wanted = DEFAULTS.get(action.rpartition(".")[2])
        if found != wanted:
            yield f"{action}: {found}, but {wanted} is wanted"
        for text in ("description", "message"):
            if not element.findtext(text):
                yield f"{action}: no {text}"


def polkit_accepts_the_policy():
    if not shutil.which("xmllint"):
        raise Skip("xmllint (libxml2-utils) is not installed")
    if not (TOP / POLKIT_DTD).exists():
        raise Skip("polkit's DTD is not installed")
    status, output = run("xmllint", "--nonet", "--noout", "--dtdvalid", POLKIT_DTD, POLICY)
    return [output or f"xmllint: status {status}"] if status else []


main(every_member_is_documented, every_argument_has_a_name_and_every_property_is_read_only,
     blockers_are_documented, handles_carry_the_generators_annotation, bus_policy_covers_the_interfaces,
     actions_are_those_of_the_code, actions_have_the_designed_defaults, polkit_accepts_the_policy)
