# SPDX-License-Identifier: Apache-2.0
"""Digests of a stick's files that a build has hashed already: the next build need not read them again.

    known = Known(stick)
    known.find("targets/blobs/ab12...", path)      # its sha256 as it was hashed, None when it may differ now
    known.note("targets/blobs/ab12...", path, sha256)
    known.save()

The record lies in the cache, never on the stick, and says for each file its size, time of change, device and
inode when it was hashed. A file that differs in one of them is hashed. What cannot be told from that (a stick
that fails, a change that put the old time back) makes no wrong bundle pass: a build signs the digest that the
lock names, not the one of the file, so `edgewright bundle verify` and every controller, which hash all and
never read this record, refuse that file.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path

from edgewright.bundle.layout import canonical
from edgewright.paths import cache_dir

__all__ = ["Known"]

_SCHEMA = "edgewright.known/v1"
_FINE_NS = 20_000_000
"""Two ticks of the clock that file systems take their times from."""

_COARSE_NS = 2_000_000_000
"""FAT keeps times in steps of two seconds."""


@dataclass(frozen=True)
class _Seen:
    """What `stat` said of a file when it was hashed: bytes, nanoseconds, numbers; and its digest."""

    size: int
    mtime_ns: int
    device: int
    inode: int
    sha256: str


class Known:
    """The record of one stick.

    Args:
        stick: The directory; a record belongs to its absolute path.
    """

    def __init__(self, stick: Path) -> None:
        place = sha256(os.fsencode(stick.absolute())).hexdigest()
        self._path = cache_dir() / "sticks" / f"{place}.json"
        self._old = _read(self._path)
        self._new: dict[str, _Seen] = {}

    def find(self, name: str, path: Path) -> str | None:
        """The digest of a file; None when it was never noted, or is not as it was then."""
        seen = self._old.get(name)
        if seen is None or _look(path, seen.sha256) != seen:
            return None
        return seen.sha256

    def note(self, name: str, path: Path, digest: str) -> None:
        """Note a file that was hashed by this very build, or found here; several threads may.

        Raises:
            OSError: It is not there.
        """
        self._new[name] = _look(path, digest)

    def save(self) -> None:
        """Write what was noted; files that the next change could leave with the same time are left out."""
        now = time.time_ns()
        old_enough = {
            name: astuple(seen)
            for name, seen in self._new.items()
            if now - seen.mtime_ns > (_FINE_NS if seen.mtime_ns % 1_000_000_000 else _COARSE_NS)
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(f".{os.getpid()}")
        new.write_bytes(canonical({"schema": _SCHEMA, "files": old_enough}))
        new.replace(self._path)
        self._old = dict(self._new)


def _look(path: Path, digest: str) -> _Seen:
    found = path.stat(follow_symlinks=False)
    return _Seen(found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino, digest)


def _read(path: Path) -> dict[str, _Seen]:
    """The record; an empty one where there is none or it cannot be understood: then all is hashed."""
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != _SCHEMA:
            return {}
        return {str(name): _Seen(*seen) for name, seen in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
