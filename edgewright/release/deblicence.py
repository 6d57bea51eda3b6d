# SPDX-License-Identifier: Apache-2.0
"""A Debian package's licence, as its own copyright file says it, where a program can read that.

Most packages carry Debian's machine-readable copyright format
(https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/); its short names are given as they are
(`Expat` is SPDX's MIT). Free text is not guessed at: such a package has no licence in the lock.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.errors import IntegrityError
from edgewright.paths import cache_dir
from edgewright.release.supplied import is_supplied

__all__ = ["licence_of", "parse_copyright", "with_licences"]

_FORMAT = re.compile(r"^Format(-Specification)?:\s*\S*(copyright-format|dep5)", re.I | re.M)
_VERSION = 1
"""Raised when the same package would be read otherwise, so that notes of the cache are made anew."""


def with_licences(
    debs: Sequence[Mapping[str, Any]], known: Mapping[str, str | None], store: BlobStore
) -> list[dict[str, Any]]:
    """The lock's entries of packages, with `licence` where it can be read.

    Args:
        debs: The entries.
        known: Licences by sha256, None for what was found to have none: these are not read again.
        store: Holds the packages; what it lacks gets no licence.
    """

    def licence(deb: Mapping[str, Any]) -> str | None:
        if is_supplied(deb):  # its licence is what the release says of the file
            return deb.get("licence")
        if deb["sha256"] in known:
            return known[deb["sha256"]]
        return licence_of(deb, store) if store.has(deb["sha256"], deb["size"]) else None

    last = ("licence", "bootstrap")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [
            {key: value for key, value in deb.items() if key not in last}
            | ({"licence": found} if found else {})
            | {key: deb[key] for key in ("bootstrap",) if key in deb}
            for deb, found in zip(debs, pool.map(licence, debs), strict=True)
        ]


def licence_of(deb: Mapping[str, Any], store: BlobStore) -> str | None:
    """The licence of one package in the store; None where it cannot be read. Read once per sha256.

    Raises:
        IntegrityError: The file is no Debian package.
    """
    note: Path = cache_dir() / "licence" / f"{deb['sha256']}.{_VERSION}"
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_suffix(f".{os.getpid()}.{deb['name']}")
        part.write_text(parse_copyright(_copyright(deb, store)) or "", encoding="utf-8")
        part.replace(note)
    return note.read_text(encoding="utf-8") or None


def parse_copyright(text: str) -> str | None:
    """Short names of the licences of a package's files.

    Args:
        text: A copyright file.

    Returns:
        The names, sorted, joined by `AND`; None when the file is not machine-readable.
    """
    if not _FORMAT.search(text[:2000]):
        return None
    names = set()
    for paragraph in re.split(r"\n\s*\n", text):
        if re.search(r"^Files:", paragraph, re.M | re.I):
            found = re.search(r"^License:[ \t]*(\S[^\n]*)$", paragraph, re.M | re.I)
            if found:
                names.add(" ".join(found.group(1).split()))
    parts = [f"({name})" if re.search(r"\b(or|and)\b|,", name, re.I) else name for name in sorted(names)]
    return (names.pop() if len(names) == 1 else " AND ".join(parts)) or None


def _copyright(deb: Mapping[str, Any], store: BlobStore) -> str:
    """The copyright file; empty where it is a link into another package, or missing."""
    command = ["dpkg-deb", "--fsys-tarfile", str(store.path(deb["sha256"]))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wanted, text = f"usr/share/doc/{deb['name']}/copyright", None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    if member.name.removeprefix("./") == wanted:
                        stream = tar.extractfile(member) if member.isreg() else None
                        text = stream.read().decode("utf-8", "replace") if stream else ""
                        break
        except tarfile.TarError as error:
            told = process.communicate()[1].decode("utf-8", "replace").strip()
            raise IntegrityError(
                f"reading {deb['filename']}: it is not a Debian package: {told or error}"
            ) from error
        if text is not None:
            process.kill()  # the rest is of no interest
        process.communicate()
    return text or ""
