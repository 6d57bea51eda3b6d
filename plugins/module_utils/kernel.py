# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel area: what runs, and what the boot loader and sysctl would make of the next boot.

What is configured is read where the boot reads it: the default entry and its command line from
`/boot/grub/grub.cfg` (not from `/etc/default/grub`, which changes nothing until update-grub has run) or
from the file of another boot loader (`bootloader.py`), the persistent sysctl values from all of
`sysctl.d` with its rules of precedence. Standard library only, Python 3.9 and later; nothing here writes.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils import bootloader, topology
from ansible_collections.edgewright.factory.plugins.module_utils.bootloader import (
    split_cmdline,
    wanted_parameters,
)
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

GRUB_CFG = "/boot/grub/grub.cfg"
GRUB_ENV = "/boot/grub/grubenv"
# Files that GRUB's command line comes from, where a conflicting parameter is looked for.
GRUB_SETTINGS = ("/etc/default/grub", "/etc/default/grub.d")
BOOT_GOOD = "/etc/systemd/system/multi-user.target.wants/edgewright-boot-good.service"
# Precedence of sysctl.d(5): of files with one name, the first directory's counts.
SYSCTL_DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")

_ENTRY = re.compile(r"^(menuentry|submenu)\s+(?:'([^']*)'|\"([^\"]*)\")")
_ENTRY_ID = re.compile(r"(?:\$menuentry_id_option|--id)\s+(?:'([^']*)'|\"([^\"]*)\"|([^\s{'\"]+))")
_SET_DEFAULT = re.compile(r"^set\s+default=(?:\"([^\"]*)\"|'([^']*)'|(\S+))\s*$")
# What the role's own script in /etc/grub.d leaves in grub.cfg; see roles/kernel/templates/06_edgewright.j2.
_FALLBACK = re.compile(r'^\s*set edgewright_fallback="([^"]*)"\s*$', re.MULTILINE)
_TRIES = re.compile(r'^\s*set edgewright_tries="(\d+)"\s*$', re.MULTILINE)


class Entry(NamedTuple):
    """A GRUB menu entry, or a submenu with its children."""

    title: str
    ident: str
    linux: str
    children: List[Entry]


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
        The entry; None when the file has none. As GRUB does, a one-shot `next_entry` comes first, then the
        fallback once the default has failed as often as it may; a default that names nothing means the
        first entry.
    """
    top, defaults = parse_grub(text)
    default = environment.get("next_entry") or ""
    fallback, tries = _FALLBACK.search(text), _TRIES.search(text)
    if not default and fallback and tries and boot_failures(environment) >= int(tries.group(1)):
        default = fallback.group(1)
    if not default:
        # The other assignments, such as `set default="${next_entry}"`, count only in their own cases.
        others = ("${next_entry}", "$next_entry", "${edgewright_fallback}")
        fixed = [value for value in defaults if value not in others]
        default = fixed[-1] if fixed else ""
        if default in ("${saved_entry}", "$saved_entry"):
            default = environment.get("saved_entry") or ""
    entry = _find(top, default)
    if entry is None:
        entry = top[0] if top else None
    while entry is not None and entry.children:
        entry = entry.children[0]
    return entry


def boot_failures(environment: Dict[str, str]) -> int:
    """Boots of the locked kernel that were begun and not confirmed, in a row."""
    text = environment.get("edgewright_failures") or ""
    return int(text) if text.isdigit() else 0


def _find(top: List[Entry], path: str) -> Optional[Entry]:
    """The entry that a path of titles, identifiers or numbers names."""
    entries: List[Entry] = top
    entry = None
    for step in path.split(">"):
        entry = _pick(entries, step.strip())
        if entry is None:
            return None
        entries = entry.children
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
        scope: the area's want: says which boot loader, package, parameters and sysctl keys to look at. Only
            its items are read. Empty: none.

    Returns:
        The items that docs/reference/kernel.md lists.
    """
    if not scope:
        return {}
    device = _Device(system, scope)
    return {item: read_item() for item, read_item in device.readers().items() if item in scope}


class _Boot(NamedTuple):
    """What the boot loader would do: which kernel, with which parameters, set where."""

    entry: Optional[str]
    cmdline: List[str]
    files: List[str]


class _Device:
    """One reading: the boot loader's files once, and a reader for each item."""

    def __init__(self, system: System, scope: Dict[str, Any]) -> None:
        self.system = system
        self.scope = scope
        self.wanted: List[str] = scope["cmdline"]
        self.grub: Optional[str] = None
        self.environment: Dict[str, str] = {}
        self.found = self.loader()
        self.boot = self.next_boot()

    def readers(self) -> Dict[str, Callable[[], Any]]:
        """Items by name, in the order of the page."""
        system, scope = self.system, self.scope
        return {
            "boot": lambda: self.found,
            "conflicts": self.conflicts,
            "packages_settled": lambda: not system.listdir("/var/lib/dpkg/updates"),
            "package": lambda: _package(system, scope["package"].partition("=")[0]),
            "initramfs": lambda: _has_bytes(system, "/boot/initrd.img-" + scope["release"]),
            "default_entry": lambda: self.boot.entry,
            "configured_cmdline": lambda: wanted_parameters(self.boot.cmdline, self.wanted),
            "fallback": self.fallback,
            "boot_confirmed": self.boot_confirmed,
            "boot_failures": lambda: boot_failures(self.environment),
            "cmdline_append": self.cmdline_append,
            "configured_sysctl": lambda: _configured_sysctl(system, list(scope["sysctl"])),
            "sysctl": lambda: {key: _value(system.read(sysctl_path(key))) for key in scope["sysctl"]},
            "release": lambda: (system.read("/proc/sys/kernel/osrelease") or "").strip() or None,
            "realtime": self.realtime,
            "cmdline": lambda: wanted_parameters(
                split_cmdline((system.read("/proc/cmdline") or "").strip()), self.wanted
            ),
            "tickless": self.tickless,
        }

    def loader(self) -> Optional[str]:
        """The boot loader that shows itself: the wanted one where it is there, else another."""
        signs = sorted(bootloader.SIGNS, key=lambda sign: sign[0] != self.scope["boot"])
        for name, path in signs:
            text = self.system.read(path)
            if text is not None:
                if name == "grub":
                    self.grub = text
                return name
        return None

    def next_boot(self) -> _Boot:
        """What the boot loader would start by itself."""
        if self.found == "grub" and self.grub is not None:
            self.environment = parse_grubenv(self.system.read(GRUB_ENV))
            entry = chosen_entry(self.grub, self.environment)
            cmdline = split_cmdline(entry.linux)[1:] if entry else []
            return _Boot(entry_release(entry), cmdline, [])
        if self.found == "extlinux":
            parsed = bootloader.parse_extlinux(self.system.read(bootloader.EXTLINUX) or "")
            words = parsed.entries.get(parsed.default or "", {})
            return _Boot(words.get("LINUX"), split_cmdline(words.get("APPEND", "")), [bootloader.EXTLINUX])
        if self.found == "firmware":
            line = (self.system.read(bootloader.CMDLINE_TXT) or "").strip()
            kernel = bootloader.firmware_kernel(self.system.read(bootloader.CONFIG_TXT) or "")
            return _Boot(kernel, split_cmdline(line), [bootloader.CMDLINE_TXT])
        return _Boot(None, [], [])

    def conflicts(self) -> List[str]:
        """Parameters that undo the wanted ones, each with the file that it stands in."""
        isolated = (self.scope.get("at") or {}).get("isolated") or ""
        found = bootloader.conflicts(self.boot.cmdline, self.wanted, isolated)
        if not found:
            return []
        files = list(self.boot.files)
        if self.found == "grub":
            files = [GRUB_SETTINGS[0]]
            files += [
                "%s/%s" % (GRUB_SETTINGS[1], name)
                for name in self.system.listdir(GRUB_SETTINGS[1])
                if name.endswith(".cfg")
            ]
        told = []
        for parameter in found:
            where = [path for path in files if parameter in (self.system.read(path) or "")]
            told.append("%s (set by %s)" % (parameter, " and ".join(where) or "no file of the boot loader's"))
        return told

    def fallback(self) -> Optional[str]:
        """Release of the kernel that GRUB falls back to; `no other kernel` where there is none to choose."""
        named = _FALLBACK.search(self.grub or "")
        if named:
            entry = _find(parse_grub(self.grub or "")[0], named.group(1))
            release = entry_release(entry)
            if release:
                return release
        images = [name for name in self.system.listdir("/boot") if name.startswith("vmlinuz-")]
        others = [name for name in images if name != "vmlinuz-" + self.scope["release"]]
        return None if others else "no other kernel"

    def boot_confirmed(self) -> Optional[str]:
        """Release whose boots are confirmed once they came up, by the unit that does it; None without it."""
        for line in (self.system.read(BOOT_GOOD) or "").splitlines():
            if line.startswith("ConditionKernelVersion="):
                return line.partition("=")[2].strip()
        return None

    def cmdline_append(self) -> Optional[List[str]]:
        """What snapd appends to the command line (`system.kernel.cmdline-append`)."""
        asked = self.system.run(["snap", "get", "system", "system.kernel.cmdline-append"])
        return split_cmdline(asked.out.strip()) if asked.rc == 0 else None

    def realtime(self) -> bool:
        # Not every 6.12 has /sys/kernel/realtime; the version names it in all.
        if (self.system.read("/sys/kernel/realtime") or "").strip() == "1":
            return True
        return "PREEMPT_RT" in (self.system.read("/proc/sys/kernel/version") or "")

    def tickless(self) -> Optional[str]:
        """CPUs on which the running kernel can stop its tick: what became of `nohz_full=`."""
        text = (self.system.read(topology.CPUS + "/nohz_full") or "").strip()
        return text if text[:1].isdigit() else None


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
