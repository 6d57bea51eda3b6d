# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel area: what runs, and what GRUB and sysctl would make of the next boot.

What is configured is read where the boot reads it: the default entry and its command line from
`/boot/grub/grub.cfg` (not from `/etc/default/grub`, which changes nothing until update-grub has run),
the persistent sysctl values from all of `sysctl.d` with its rules of precedence. Standard library
only, Python 3.9 and later; nothing here writes.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

GRUB_CFG = "/boot/grub/grub.cfg"
GRUB_ENV = "/boot/grub/grubenv"
# Precedence of sysctl.d(5): of files with one name, the first directory's counts.
SYSCTL_DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")

_ENTRY = re.compile(r"^(menuentry|submenu)\s+(?:'([^']*)'|\"([^\"]*)\")")
_ENTRY_ID = re.compile(r"(?:\$menuentry_id_option|--id)\s+(?:'([^']*)'|\"([^\"]*)\"|([^\s{'\"]+))")
_SET_DEFAULT = re.compile(r"^set\s+default=(?:\"([^\"]*)\"|'([^']*)'|(\S+))\s*$")
_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*"?)+')


class Entry(NamedTuple):
    """A GRUB menu entry, or a submenu with its children."""

    title: str
    ident: str
    linux: str
    children: List[Entry]


def split_cmdline(text: str) -> List[str]:
    """Parameters of a kernel command line; a space inside double quotes does not part them."""
    return _TOKEN.findall(text)


def parameter_key(parameter: str) -> str:
    """Name of a parameter; the kernel takes `-` and `_` in it for the same."""
    return parameter.split("=", 1)[0].replace("-", "_")


def wanted_parameters(present: List[str], wanted: List[str]) -> List[str]:
    """The parameters of a command line that bear on the wanted ones.

    Args:
        present: the whole command line, in its order.
        wanted: the parameters that are asked for; only their names matter here.

    Returns:
        For each name, in the order asked for: what the kernel takes. That is the last value for a
        name asked for once, and the last n for one asked for n times, such as `console=`.
    """
    keys = [parameter_key(parameter) for parameter in wanted]
    found: List[str] = []
    for key in dict.fromkeys(keys):
        found += [parameter for parameter in present if parameter_key(parameter) == key][-keys.count(key) :]
    return found


def parse_grub(text: str) -> Tuple[List[Entry], List[str]]:
    """Menu entries of a grub.cfg, nested as in the file, and the values it may give to `default`."""
    top: List[Entry] = []
    stack: List[Tuple[List[Entry], int]] = []
    entries = top
    defaults: List[str] = []
    depth = 0
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("#"):
            continue
        match = _ENTRY.match(line)
        if match and line.endswith("{"):
            ident = _ENTRY_ID.search(line, match.end())
            entry = Entry(
                match.group(2) or match.group(3) or "",
                next((g for g in ident.groups() if g), "") if ident else "",
                "",
                [],
            )
            entries.append(entry)
            stack.append((entries, depth))
            entries = entry.children
            depth += 1
            continue
        default = _SET_DEFAULT.match(line)
        if default:
            defaults.append(next((g for g in default.groups() if g is not None), ""))
        elif line.startswith(("linux ", "linux\t", "linuxefi ")) and stack:
            siblings = stack[-1][0]
            siblings[-1] = siblings[-1]._replace(linux=line.split(None, 1)[1])
        elif line.endswith("{") and not line.endswith("${"):
            depth += 1
        elif line == "}":
            depth -= 1
            if stack and stack[-1][1] == depth:
                entries = stack.pop()[0]
    return top, defaults


def parse_grubenv(text: Optional[str]) -> Dict[str, str]:
    """Variables of a GRUB environment block."""
    lines = [line for line in (text or "").splitlines() if "=" in line and not line.startswith("#")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def chosen_entry(text: str, environment: Dict[str, str]) -> Optional[Entry]:
    """The entry that GRUB boots when nobody touches the menu.

    Args:
        text: grub.cfg.
        environment: the GRUB environment block.

    Returns:
        The entry; None when the file has none. As GRUB does, a one-shot `next_entry` comes first, and a
        default that names nothing means the first entry.
    """
    top, defaults = parse_grub(text)
    default = environment.get("next_entry") or ""
    if not default:
        # The other assignment, `set default="${next_entry}"`, counts only when next_entry is set.
        fixed = [value for value in defaults if value not in ("${next_entry}", "$next_entry")]
        default = fixed[-1] if fixed else ""
        if default in ("${saved_entry}", "$saved_entry"):
            default = environment.get("saved_entry") or ""
    entries, entry = top, None
    for step in default.split(">"):
        entry = _pick(entries, step.strip())
        if entry is None:
            break
        entries = entry.children
    if entry is None:
        entry = top[0] if top else None
    while entry is not None and entry.children:
        entry = entry.children[0]
    return entry


def _pick(entries: List[Entry], name: str) -> Optional[Entry]:
    if name.isdigit():
        return entries[int(name)] if int(name) < len(entries) else None
    return next((entry for entry in entries if name and name in (entry.ident, entry.title)), None)


def entry_release(entry: Optional[Entry]) -> Optional[str]:
    """Kernel release that an entry boots, from the name of its image; None when it boots no Linux."""
    image = entry.linux.split(None, 1)[0] if entry and entry.linux else ""
    name = image.rsplit("/", 1)[-1]
    return name[len("vmlinuz-") :] if name.startswith("vmlinuz-") else None


def sysctl_path(key: str) -> str:
    """File of a sysctl key. As sysctl.d(5): the first separator tells which of `.` and `/` parts names."""
    dot, slash = key.find("."), key.find("/")
    if slash == -1 or (dot != -1 and dot < slash):
        key = key.translate({ord("."): "/", ord("/"): "."})
    return "/proc/sys/" + key


def parse_sysctl(text: str) -> Dict[str, str]:
    """Settings of a sysctl.d file by the path of their key; the last one of a key counts."""
    settings = {}
    for raw in text.splitlines():
        line = raw.strip()
        if line and line[0] not in "#;" and "=" in line:
            key, _, value = line.partition("=")
            settings[sysctl_path(key.strip().lstrip("-"))] = " ".join(value.split())
    return settings


def read(system: System, scope: Dict[str, Any]) -> Dict[str, Any]:
    """Read the area.

    Args:
        system: the device.
        scope: the area's want: says which package, parameters and sysctl keys to look at. Empty: none.

    Returns:
        The items that docs/reference/kernel.md lists.
    """
    if not scope:
        return {}
    grub = system.read(GRUB_CFG)
    entry = chosen_entry(grub, parse_grubenv(system.read(GRUB_ENV))) if grub is not None else None
    wanted = scope["cmdline"]
    configured = split_cmdline(entry.linux)[1:] if entry else []
    running = split_cmdline((system.read("/proc/cmdline") or "").strip())
    release = (system.read("/proc/sys/kernel/osrelease") or "").strip() or None
    return {
        "boot": "grub" if grub is not None else None,
        "packages_settled": not system.listdir("/var/lib/dpkg/updates"),
        "package": _package(system, scope["package"].partition("=")[0]),
        "initramfs": _has_bytes(system, "/boot/initrd.img-" + scope["release"]),
        "default_entry": entry_release(entry),
        "configured_cmdline": wanted_parameters(configured, wanted),
        "configured_sysctl": _configured_sysctl(system, list(scope["sysctl"])),
        "sysctl": {key: _value(system.read(sysctl_path(key))) for key in scope["sysctl"]},
        "release": release,
        "realtime": (system.read("/sys/kernel/realtime") or "").strip() == "1",
        "cmdline": wanted_parameters(running, wanted),
    }


def _package(system: System, name: str) -> Optional[str]:
    asked = system.run(["dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", name])
    version, _, status = asked.out.strip().partition(" ")
    if asked.rc != 0 or not version or status in ("not-installed", "config-files"):
        return None
    return "%s=%s" % (name, version) + ("" if status == "installed" else " (%s)" % status)


def _has_bytes(system: System, path: str) -> bool:
    info = system.stat(path)
    return bool(info and info["size"])


def _value(text: Optional[str]) -> Optional[str]:
    return None if text is None else " ".join(text.split())


def _configured_sysctl(system: System, keys: List[str]) -> Dict[str, Optional[str]]:
    files: Dict[str, str] = {}
    for directory in SYSCTL_DIRECTORIES:
        for name in system.listdir(directory):
            if name.endswith(".conf"):
                files.setdefault(name, directory + "/" + name)
    settings: Dict[str, str] = {}
    for name in sorted(files):
        settings.update(parse_sysctl(system.read(files[name]) or ""))
    return {key: settings.get(sysctl_path(key)) for key in keys}
