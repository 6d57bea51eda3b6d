# SPDX-License-Identifier: Apache-2.0
"""What kernel modules are made of: from a release's `modules:` to a lock's entry, with every input by sha256.

While the packages of devices are resolved, the modules' package does not exist yet. So apt is shown a
stand-in as installed, with what the package will provide and conflict with: a driver's user space that asks
for modules finds them, and apt brings no dkms and no compiler to devices. What the modules need there is
asked for by name.

    drafts = draft_modules(room, marked, target)
    closure = room.resolve([*names, *needed(drafts)], [*base, *(draft.stand_in for draft in drafts)])
    entries = order_modules(room, drafts, marked, kernel, closure, {})
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.errors import InputError
from edgewright.modules.parts import wishes_for
from edgewright.release.aptresolve import AptRoom, Deb
from edgewright.release.stack.waiver import parse_waiver
from edgewright.release.targets import Target
from edgewright.release.yamlmarks import Marked

__all__ = ["Draft", "check_rt_waiver", "draft_modules", "needed", "order_modules"]

_TOOLS = (
    *(
        "bash",
        "binutils",
        "coreutils",
        "dash",
        "debianutils",
        "diffutils",
        "dkms",
        "dpkg",
        "findutils",
        "gcc",
    ),
    *("grep", "gzip", "hostname", "kmod", "libc-bin", "make", "mawk", "patch", "perl-base", "sed", "tar"),
    *("util-linux", "xz-utils"),
)
"""What dkms and kbuild run, beyond what the headers depend on."""

_NAME = re.compile(r"^\s*([a-z0-9][a-z0-9+.-]+)(?::\S+)?\s*(?:\(.*\))?\s*$")


@dataclass(frozen=True)
class Draft:
    """A wish for modules, with the source that was found for it.

    Attributes:
        number: Its place in the release's list.
        wanted: The release's words.
        arch: Debian's name of the target's architecture.
        source: The package with the sources for dkms.
        needs: What the modules need on devices: package's name, and the words of the dependency.
        provides: What user space may ask for.
    """

    number: int
    wanted: Mapping[str, Any]
    arch: str
    source: Deb
    needs: tuple[tuple[str, str], ...]
    provides: tuple[str, ...]

    @property
    def stand_in(self) -> Deb:
        """The package to come, as apt shall see it: installed."""
        fields = {
            "Package": f"edgewright-{self.wanted['name']}-modules",
            "Version": str(self.wanted["driver"]),
            "Architecture": self.source.arch,
            "Maintainer": "Edgewright",
            "Provides": ", ".join(self.provides),
            "Conflicts": self.source.name,
            "Description": "stand-in",
        }
        stanza = "\n".join(f"{key}: {value}" for key, value in fields.items() if value)
        return Deb(fields["Package"], fields["Version"], self.source.arch, "", "", 0, "", "", stanza)


def draft_modules(room: AptRoom, marked: Marked, target: Target) -> list[Draft]:
    """Find the sources of a release's modules.

    Args:
        room: An apt with its indices.
        marked: The release.
        target: One of its targets.

    Returns:
        One draft for each entry of `modules` that is for this target.

    Raises:
        InputError: There is no such package, or it is not of the wanted driver.
    """
    found = []
    for number, wanted in wishes_for(marked.content, target.suite, target.arch):
        source = room.newest(wanted["source"])
        upstream = re.sub(r"^\d+:|-[^-]*$", "", source.version)
        if upstream != wanted["driver"]:
            raise InputError(
                f"locking {marked.place('modules', number, 'driver')}: modules {wanted['name']}: expected "
                "driver "
                f"{wanted['driver']}, the sources have {source.name} {source.version}; user space and "
                "modules "
                "must be of one version: correct driver, or choose another source"
            )
        provides = tuple(
            name for name in map(_name, _field(source, "Provides").split(",")) if name and "dkms" not in name
        )
        place = marked.place("modules", number, "source")
        needs = _needs(room, source, place)
        found.append(Draft(number, wanted, target.arch, source, needs, provides))
    return found


def needed(drafts: Sequence[Draft]) -> list[str]:
    """Names of packages that modules need on devices."""
    return sorted({name for draft in drafts for name, _ in draft.needs})


def order_modules(  # noqa: PLR0917 - each is another part of what decides
    room: AptRoom,
    drafts: Sequence[Draft],
    marked: Marked,
    kernel: Mapping[str, str],
    closure: Sequence[Deb],
    held: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Write the lock's entries.

    Args:
        room: An apt with its indices.
        drafts: As `draft_modules` found them.
        marked: The release.
        kernel: The lock's kernel.
        closure: What devices get.
        held: Entries by name that stay as they are where they still fit.

    Returns:
        Entries, with `sha256` "" and `size` 0: the package is not built yet.

    Raises:
        InputError: The kernel is PREEMPT_RT and the release carries no waiver, or inputs do not resolve.
    """
    found = []
    for draft in drafts:
        entry = _entry(draft, marked, kernel, closure)
        was = held.get(entry["name"])
        if was is not None and {**was, **entry} == {**was, **{key: was.get(key) for key in entry}}:
            found.append(dict(was))
            continue
        headers = f"linux-headers-{kernel['release']}"
        debs = room.resolve([*_TOOLS, f"{headers}={kernel['version']}"])
        inputs = [deb.entry() for deb in debs] + [draft.source.entry()]
        found.append(
            {**entry, "size": 0, "sha256": "", "debs": sorted(inputs, key=lambda deb: str(deb["name"]))}
        )
    return sorted(found, key=lambda entry: str(entry["name"]))


def check_rt_waiver(entry: Mapping[str, Any], where: str, today: datetime.date) -> None:
    """Refuse modules for PREEMPT_RT that nobody answers for today.

    Args:
        entry: The lock's entry, or one to come.
        where: Where the release or lock says so, for the message.
        today: The day to judge by.

    Raises:
        InputError: There is no waiver, or it ended.
    """
    if entry["kernel"]["flavour"] != "rt":
        return
    what = f"{where}: modules {entry['name']} for the PREEMPT_RT kernel {entry['kernel']['release']}"
    if entry.get("rt_waiver") is None:
        raise InputError(
            f"{what}: NVIDIA does not support its driver on PREEMPT_RT, and the release carries no waiver; "
            "add nvidia.rt_waiver: {who, why, until} once somebody answers for it "
            "(docs/reference/rt-waiver.md), or choose a kernel of another flavour"
        )
    waiver = parse_waiver(entry["rt_waiver"], f"{what}: rt_waiver")
    if not waiver.counts(today):
        raise InputError(
            f"{what}: the {waiver} has ended, today is {today}; ask again and write the new date, or take "
            "the "
            "modules out"
        )


def _entry(draft: Draft, marked: Marked, kernel: Mapping[str, str], closure: Sequence[Deb]) -> dict[str, Any]:
    wanted, source = draft.wanted, draft.source
    package = f"edgewright-{wanted['name']}-modules-{kernel['release']}"
    version = f"{wanted['driver']}+{kernel['version'].replace('-', '.')}-{wanted.get('revision', 1)}"
    entry: dict[str, Any] = {
        "name": wanted["name"],
        "flavour": wanted["flavour"],
        "driver": wanted["driver"],
        "kernel": dict(kernel),
        "source": {"name": source.name, "version": source.version},
        "needs": [_pinned(name, words, source, closure) for name, words in draft.needs],
        "provides": list(draft.provides),
        "package": package,
        "version": version,
        "arch": draft.arch,
        "filename": f"{package}_{version}_{draft.arch}.deb",
    }
    waiver = (marked.content.get("nvidia") or {}).get("rt_waiver")
    if kernel["flavour"] == "rt" and waiver is not None:
        entry["rt_waiver"] = {key: str(value) for key, value in waiver.items()}
    place = f"locking {marked.place('modules', draft.number)}"
    check_rt_waiver(entry, place, datetime.datetime.now(datetime.UTC).date())
    return entry


def _needs(room: AptRoom, source: Deb, place: str) -> tuple[tuple[str, str], ...]:
    """What the source package depends on, dkms apart: first alternatives that the sources have."""
    found = []
    for group in filter(None, map(str.strip, _field(source, "Depends").split(","))):
        names = [name for name in map(_name, group.split("|")) if name]
        if "dkms" in names:
            continue
        found.append((_chosen(room, names, source, group, place), group))
    return tuple(sorted(found))


def _chosen(room: AptRoom, names: Sequence[str], source: Deb, group: str, place: str) -> str:
    for name in names:
        if room.has(name):
            return name
        makers = room.providers(name)
        own = [deb for deb in makers if _origin(deb) == _origin(source) and deb.version == source.version]
        if own or len(makers) == 1:
            return (own or makers)[0].name
    raise InputError(
        f"locking {place}: {source.name} needs {group!r} on devices, and the sources have no package of that "
        "name and not exactly one that provides it; add the archive that holds it to apt.sources"
    )


def _pinned(name: str, words: str, source: Deb, closure: Sequence[Deb]) -> str:
    """A dependency of the modules: exactly this version for what comes of the same source as they do."""
    for deb in closure:
        if deb.name == name and _origin(deb) == _origin(source):
            return f"{name} (= {deb.version})"
    return words


def _field(deb: Deb, name: str) -> str:
    match = re.search(rf"^{name}: (.*)$", deb.stanza, re.MULTILINE)
    return match[1] if match else ""


def _origin(deb: Deb) -> str:
    """The source package's name; a package without the field is its own source (deb-control(5))."""
    words = _field(deb, "Source").split()
    return words[0] if words else deb.name


def _name(words: str) -> str:
    match = _NAME.match(words)
    return match[1] if match else ""
