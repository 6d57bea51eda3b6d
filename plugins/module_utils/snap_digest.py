# SPDX-License-Identifier: Apache-2.0
"""Digests of installed snaps, computed once for each state of a file.

A probe must be cheap, and writes nothing: it takes a digest that was kept, as long as the file is the same by
inode, size and times, and computes it where none was kept. What may write (the module that installs, the
device's own watch) keeps it below /run, where it lasts one boot. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from typing import Any, Dict, Iterable, Optional

from ansible_collections.edgewright.factory.plugins.module_utils.system import System

KEPT = "/run/edgewright/snap-digests.json"


def sha3_384(system: System, path: str) -> Optional[str]:
    """SHA3-384 of a file as a snap-revision assertion writes it; None where it cannot be read.

    Args:
        system: the device.
        path: a snap's file, such as /var/lib/snapd/snaps/NAME_1.snap.
    """
    return sha3_kept(system, path) or compute(system, path)


def sha3_kept(system: System, path: str) -> Optional[str]:
    """The digest that was kept of a file as it is now; None where none was."""
    state = system.fingerprint(path)
    entry = _kept(system).get(path)
    if state is not None and isinstance(entry, list) and len(entry) == 4 and entry[:3] == state:
        return str(entry[3])
    return None


def of_chunks(chunks: Iterable[bytes]) -> str:
    """The same of bytes that come piece by piece."""
    digest = hashlib.sha3_384()
    for chunk in chunks:
        digest.update(chunk)
    return _written(digest.digest())


def installed(system: System, path: str) -> Optional[str]:
    """The digest of an installed file, kept for the next one who asks. Not for a probe: this may write.

    What cannot be kept is only slower the next time.
    """
    digest = sha3_384(system, path)
    if digest is not None and sha3_kept(system, path) is None:
        with contextlib.suppress(OSError):
            remember(system, path, digest)
    return digest


def compute(system: System, path: str) -> Optional[str]:
    """The same, of the bytes themselves."""
    digest = hashlib.sha3_384()
    if not system.feed(path, digest.update):
        return None
    return _written(digest.digest())


def _written(digest: bytes) -> str:
    """48 bytes as assertions write them: base64 for addresses, 64 characters."""
    return base64.urlsafe_b64encode(digest).decode()


def remember(system: System, path: str, digest: str) -> None:
    """Keep a digest that was computed of the file as it is now. Not for a probe: this writes.

    Raises:
        OSError: it could not be kept.
    """
    state = system.fingerprint(path)
    if state is None:
        return
    kept = {name: entry for name, entry in _kept(system).items() if system.fingerprint(name) is not None}
    kept[path] = [*state, digest]
    directory = os.path.dirname(KEPT)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".snap-digests-")
    try:
        with os.fdopen(handle, "w") as stream:
            json.dump(kept, stream, sort_keys=True)
        os.rename(temporary, KEPT)
    except BaseException:
        os.unlink(temporary)
        raise


def _kept(system: System) -> Dict[str, Any]:
    try:
        kept = json.loads(system.read(KEPT) or "{}")
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}
