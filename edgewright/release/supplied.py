# SPDX-License-Identifier: Apache-2.0
"""Packages and wheels that a site supplies itself: read, compared with what the release says, by target.

A file of a release with `kind: deb` or `kind: wheel` is part of the release's packages as if
`apt.packages` or `python.requirements` named it: it is resolved with the others, what it needs comes along,
others may need it, and it lies in the depot's apt repository or Python index. This very file
is taken, whatever a source offers under its name. What it is, its own control data or METADATA say;
its name in the release must agree.

    supplied = read_supplied(marked, lock_files(marked, release_dir, store), store)
    supplied.debs("bookworm", "amd64")
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, TypeVar

from packaging.tags import Tag, compatible_tags, cpython_tags, parse_tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from edgewright.depot.blobs import BlobStore
from edgewright.depot.debfile import control_fields
from edgewright.errors import InputError, IntegrityError
from edgewright.release.licences import words_forbid
from edgewright.release.vendorfiles import unsuited
from edgewright.release.yamlmarks import Marked

__all__ = ["SCHEME", "Supplied", "SuppliedDeb", "SuppliedWheel", "check_fit", "is_supplied", "read_supplied"]

SCHEME = "supplied:"
"""Begins the address of what a site supplies; the name of the lock's file follows."""

_DEB_FIELDS = {
    "Package": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "Version": re.compile(r"([0-9]+:)?[0-9][A-Za-z0-9.+~-]*"),
    "Architecture": re.compile(r"[a-z0-9]+(-[a-z0-9]+)*"),
}
"""What a binary package must say, as Debian Policy 5.6 writes it."""

_OURS = ("Filename", "Size", "SHA256")
"""Fields that a repository's index adds; a package that brings them would speak for the index."""

_LIBC = re.compile(r"^(manylinux(_[0-9]+_[0-9]+|[0-9]+)|linux)_")

_T = TypeVar("_T")

_MAX_METADATA = 4 << 20  # bytes


@dataclass(frozen=True)
class SuppliedDeb:
    """A supplied package.

    Attributes:
        file: The lock's entry of the file.
        place: `FILE:LINE` of it in the release.
        name: As its control data says, like the next two.
        version: Debian's version.
        arch: Debian's architecture, or `all`.
        control: Its control data.
    """

    file: Mapping[str, Any]
    place: str
    name: str
    version: str
    arch: str
    control: str

    def fits(self, suite: str, arch: str) -> bool:
        """Whether devices of a target can have it."""
        return self.arch in {"all", arch} and suite in self.file.get("suites", [suite])


@dataclass(frozen=True)
class SuppliedWheel:
    """A supplied wheel: the lock's entry of the file, its `FILE:LINE`, name as indices write it, tags."""

    file: Mapping[str, Any]
    place: str
    name: str
    version: str
    tags: frozenset[Tag]

    def fits(self, python: str, platforms: Sequence[str]) -> bool:
        """Whether a Python such as "3.11" on these wheel platforms takes it."""
        major, minor = (int(part) for part in python.split("."))
        short = f"cp{major}{minor}"
        taken = {*cpython_tags((major, minor), [short], list(platforms))}
        taken |= {*compatible_tags((major, minor), short, list(platforms))}
        return not taken.isdisjoint(self.tags)

    def entry(self) -> dict[str, Any]:
        """The lock's entry among the wheels."""
        found = {"name": self.name, "version": self.version, "filename": self.file["name"]}
        found |= {key: self.file[key] for key in ("size", "sha256", "licence")}
        found |= {"url": f"{SCHEME}{self.file['name']}"}
        return found | {key: self.file[key] for key in ("waiver",) if key in self.file}


@dataclass(frozen=True)
class Supplied:
    """What a release's files hold for apt and pip."""

    packages: tuple[SuppliedDeb, ...] = ()
    wheels: tuple[SuppliedWheel, ...] = ()

    def debs(self, suite: str, arch: str) -> list[SuppliedDeb]:
        """Packages for a target."""
        return [deb for deb in self.packages if deb.fits(suite, arch)]

    def wheels_for(self, python: str, platforms: Sequence[str]) -> list[SuppliedWheel]:
        """Wheels for a Python and its platforms."""
        return [wheel for wheel in self.wheels if wheel.fits(python, platforms)]


def is_supplied(entry: Mapping[str, Any]) -> bool:
    """Whether a package or wheel of a lock is one that the site supplies."""
    return str(entry.get("url", "")).startswith(SCHEME)


def read_supplied(marked: Marked, files: Sequence[Mapping[str, Any]], store: BlobStore) -> Supplied:
    """Read a release's files of kind `deb` and `wheel`.

    Args:
        marked: The release.
        files: The lock's entries of its files, all in the store.
        store: Where they are.

    Returns:
        What they are.

    Raises:
        InputError: One is not what the release says, its licence needs a waiver, or it is an installer or an
            archive that no device is given.
        IntegrityError: One is no package, or no wheel.
    """
    numbers = {entry["name"]: number for number, entry in enumerate(marked.content.get("files", []))}
    debs, wheels = [], []
    for entry in files:
        place = marked.place("files", numbers[entry["name"]])
        why = unsuited(store.path(entry["sha256"]), entry["name"])
        if why is not None:
            raise InputError(
                f"reading {place}: {entry['name']}: {why.replace(' FILE ', f' {_given(entry)} ')}"
            )
        if entry.get("kind") == "deb":
            debs.append(_deb(entry, place, store))
        elif entry.get("kind") == "wheel":
            wheels.append(_wheel(entry, place, store))
    return Supplied(tuple(debs), tuple(wheels))


def _given(entry: Mapping[str, Any]) -> str:
    """Where a person finds a file."""
    return str(entry.get("path") or entry["url"])


def check_fit(supplied: Supplied, targets: Sequence[Any]) -> None:
    """Refuse what no target takes, and what two files supply to one target.

    Args:
        supplied: What there is.
        targets: The release's, with `suite`, `arch`, `python` and `platforms`.

    Raises:
        InputError: Naming the file, with its line.
    """
    there = ", ".join(f"{target.suite} on {target.arch}, Python {target.python}" for target in targets)
    every: list[SuppliedDeb | SuppliedWheel] = [*supplied.packages, *supplied.wheels]
    for one in every:
        taking = [target for target in targets if _fits(one, target)]
        if not taking:
            what = f"it is for {one.arch}" if isinstance(one, SuppliedDeb) else f"its tags are {_tags(one)}"
            raise InputError(
                f"reading {one.place}: {one.file['name']}: {what}, which no target of the release takes "
                f"(they are: {there}); supply the file for a target, or take it out"
            )
    for target in targets:
        for kind in (supplied.packages, supplied.wheels):
            _refuse_twice([one for one in kind if _fits(one, target)], target)


def _fits(one: SuppliedDeb | SuppliedWheel, target: Any) -> bool:
    if isinstance(one, SuppliedDeb):
        return one.fits(target.suite, target.arch)
    return one.fits(target.python, target.platforms)


def _refuse_twice(found: Sequence[SuppliedDeb | SuppliedWheel], target: Any) -> None:
    seen: dict[str, str] = {}
    for one in found:
        if one.name in seen:
            raise InputError(
                f"reading {one.place}: {one.file['name']}: {seen[one.name]} supplies {one.name} to "
                f"{target.suite} on {target.arch} already; keep one of them, or say `suites` of both"
            )
        seen[one.name] = one.file["name"]


def _tags(wheel: SuppliedWheel) -> str:
    told = sorted(str(tag) for tag in wheel.tags)
    return ", ".join(told[:3]) + (" and more" if len(told) > 3 else "")


def _deb(entry: Mapping[str, Any], place: str, store: BlobStore) -> SuppliedDeb:
    name = entry["name"]
    control = _at(place, lambda: control_fields(store.path(entry["sha256"]), name)).strip("\n")
    fields: dict[str, str] = {}
    for line in control.splitlines():
        key, colon, value = line.partition(":")
        if not line.startswith((" ", "\t")):
            if not colon or not key or key in fields or any(mark in key for mark in " \t"):
                raise IntegrityError(
                    f"reading {place}: {name}: its control data has the line {line[:60]!r}, expected one "
                    "paragraph of different fields; get the file again from whoever made it"
                )
            fields[key] = value.strip()
    for key, form in _DEB_FIELDS.items():
        if not form.fullmatch(fields.get(key, "")):
            raise IntegrityError(
                f"reading {place}: {name}: its control data says {key} {fields.get(key)!r}, which is none; "
                "get the file again from whoever made it"
            )
    alien = [key for key in fields if key in _OURS]
    if alien:
        raise IntegrityError(
            f"reading {place}: {name}: its control data has {alien[0]}, which only a repository's index has; "
            "get the file again from whoever made it"
        )
    version = fields["Version"]
    wanted = f"{fields['Package']}_{version.rpartition(':')[2]}_{fields['Architecture']}.deb"
    _agree(entry, place, wanted, version)
    return SuppliedDeb(entry, place, fields["Package"], version, fields["Architecture"], control)


def _wheel(entry: Mapping[str, Any], place: str, store: BlobStore) -> SuppliedWheel:
    filename = entry["name"]
    try:
        name, version, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise InputError(
            f"reading {place}: {filename}: it is no wheel's file name: {error}; write the name that the "
            "wheel was published under"
        ) from error
    metadata, wheel = _at(place, lambda: _told(store.path(entry["sha256"]), filename))
    told = str(metadata["Name"] or "")
    inner = str(metadata["Version"] or "")
    if re.sub(r"[-_.]+", "-", told).lower() != name or inner != str(version):
        raise InputError(
            f"reading {place}: {filename}: expected METADATA of {name} {version}, it is that of "
            f"{told or 'no name'} {inner or 'without a version'}; correct the name, or get the file again"
        )
    inside = frozenset(tag for line in wheel.get_all("Tag", []) for tag in parse_tag(line.strip()))
    if _plain(inside) != _plain(tags):
        raise InputError(
            f"reading {place}: {filename}: its name says the tags {_listed(tags)}, the wheel itself "
            f"{_listed(inside)}; write the name that the wheel was published under"
        )
    _agree(entry, place, filename, inner)
    licence = str(metadata["License-Expression"] or metadata["License"] or "").strip()
    why = words_forbid(licence) if licence and len(licence) < 200 else None
    if why and "waiver" not in entry:
        raise InputError(
            f"reading {place}: {filename}: the release says the licence {entry['licence']!r}, the wheel "
            f"itself {licence!r}, which does not let it be handed on: {why}; write that licence, and a "
            "waiver once somebody answers for it"
        )
    return SuppliedWheel(entry, place, str(name), inner, tags)


def _plain(tags: frozenset[Tag]) -> set[tuple[str, str, str]]:
    """Tags without the C library that a platform names: a wheel is often renamed once that is known."""
    return {(tag.interpreter, tag.abi, _LIBC.sub("", tag.platform)) for tag in tags}


def _listed(tags: frozenset[Tag]) -> str:
    return ", ".join(sorted(str(tag) for tag in tags)) or "none"


def _agree(entry: Mapping[str, Any], place: str, name: str, version: str) -> None:
    """Refuse a file whose name or version in the release is not its own."""
    if entry["name"] != name:
        raise InputError(
            f"reading {place}: expected the name {name}, as the package's own control data says, got "
            f"{entry['name']}; correct files[].name"
        )
    if "version" in entry and entry["version"] != version:
        raise InputError(
            f"reading {place}: {name}: the release says version {entry['version']}, the file itself "
            f"{version}; correct the version, or supply the file that is meant"
        )


def _told(path: Path, filename: str) -> tuple[Any, Any]:
    """A wheel's METADATA and WHEEL."""
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for part in ("METADATA", "WHEEL"):
                names = [
                    name
                    for name in archive.namelist()
                    if name.count("/") == 1 and name.endswith(f".dist-info/{part}")
                ]
                if len(names) != 1:
                    raise ValueError(f"it has {len(names)} {part} files, expected one")
                if archive.getinfo(names[0]).file_size > _MAX_METADATA:
                    raise ValueError(f"its {part} is larger than {_MAX_METADATA} bytes")
                found.append(HeaderParser().parsestr(archive.read(names[0]).decode("utf-8", "replace")))
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, NotImplementedError) as error:
        raise IntegrityError(f"reading {filename}: it is no wheel: {error}") from error
    return found[0], found[1]


def _at(place: str, read: Callable[[], _T]) -> _T:
    """Read with the release's line before a complaint."""
    try:
        return read()
    except IntegrityError as error:
        words = str(error).removeprefix("reading ")
        raise IntegrityError(f"reading {place}: {words}; supply the file that is meant") from error
