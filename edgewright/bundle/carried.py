# SPDX-License-Identifier: Apache-2.0
"""What the installer on a stick is made of: its wheels and collections, read from the files themselves.

    for item in carried(installer_files(...)):
        item.name, item.version, item.licence

The bill of materials lists them. Only what is in the files counts, not what a lock says should be there.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from edgewright.bundle.installer import COLLECTIONS, PINS
from edgewright.bundle.layout import INSTALLER
from edgewright.depot.blobs import sha256_bytes, sha256_file
from edgewright.errors import IntegrityError
from edgewright.release.wheels import normal_name, wheel_licence

__all__ = ["Carried", "carried"]

Files = Mapping[str, bytes | Path]


@dataclass(frozen=True)
class Carried:
    """One part of an installer.

    Attributes:
        kind: `wheel`, or `collection`: one of several in one archive.
        name: Of the project, as indices write it, or of the collection, such as `community.crypto`.
        version: Empty where the part says none.
        filename: The file's name, for a collection that of the archive.
        sha256: Of that file.
        licence: As the part says it; None where it says none.
    """

    kind: str
    name: str
    version: str
    filename: str
    sha256: str
    licence: str | None


def carried(installer: Files) -> list[Carried]:
    """Read an installer's wheels and collections.

    Args:
        installer: Its files by name from the stick's top.

    Returns:
        Its parts, by file name and name; none where there is no installer.

    Raises:
        IntegrityError: A file is no wheel, or no archive of collections.
    """
    digests = _pinned(installer)
    found = []
    for path, content in sorted(installer.items()):
        name = PurePosixPath(path).name
        digest = digests.get(path) or _digest(content)
        try:
            if path.endswith(".whl"):
                found.append(_wheel(name, content, digest))
            elif path == f"{INSTALLER}/{COLLECTIONS}":
                found += _collections(name, content, digest)
        except (zipfile.BadZipFile, StopIteration, ValueError, KeyError, AttributeError) as error:
            raise IntegrityError(
                f"listing the installer's parts: {path} cannot be read: {error!r}; build the bundle again, "
                "with a whole copy of Edgewright"
            ) from error
    return sorted(found, key=lambda part: (part.filename, part.name))


def _pinned(installer: Files) -> dict[str, str]:
    """Digests that the installer has counted already."""
    pins = installer.get(f"{INSTALLER}/{PINS}")
    if not isinstance(pins, bytes):
        return {}
    try:
        return {f"{INSTALLER}/{name}": pin["sha256"] for name, pin in json.loads(pins)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _digest(content: bytes | Path) -> str:
    return sha256_file(content) if isinstance(content, Path) else sha256_bytes(content)


def _open(content: bytes | Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content)


def _wheel(filename: str, content: bytes | Path, digest: str) -> Carried:
    with _open(content) as archive:
        listed = archive.namelist()
        name = next(each for each in listed if each.count("/") == 1 and each.endswith(".dist-info/METADATA"))
        head: Message = HeaderParser().parsestr(archive.read(name).decode("utf-8", "replace"))
    return Carried(
        *("wheel", normal_name(str(head["Name"])), str(head["Version"] or "")),
        *(filename, digest, wheel_licence(head)),
    )


def _collections(filename: str, content: bytes | Path, digest: str) -> list[Carried]:
    found = []
    with _open(content) as archive:
        for member in sorted(archive.namelist()):
            steps = member.split("/")
            if len(steps) != 4 or steps[0] != "ansible_collections" or steps[3] != "MANIFEST.json":
                continue
            told = json.loads(archive.read(member)).get("collection_info", {})
            licences = [str(each) for each in told.get("license") or []]
            licence = " AND ".join(f"({each})" if " " in each else each for each in licences) or None
            name, version = ".".join(steps[1:3]), str(told.get("version") or "")
            found.append(Carried("collection", name, version, filename, digest, licence))
    return found
