# SPDX-License-Identifier: Apache-2.0
"""What was signed with a set of keys: it gives each content its version.

    KEYS/repository/history.json            {"schema": ..., "roles": {"targets": {DIGEST: VERSION}, ...}}
    KEYS/repository/ROLE/VERSION.json       the signed file

A content that was signed before keeps its version and its very bytes; another gets the next number. So
building the same bundle twice gives the same bytes, also with keys whose signatures differ each time (ECDSA,
tokens), and controllers see versions that only grow. Losing this directory would start again at 1, which
controllers that know more refuse as older: keep it with the keys.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed
from tuf.api.serialization.json import JSONSerializer

from edgewright.bundle.keyfile import sign_with, write_file
from edgewright.bundle.layout import canonical
from edgewright.errors import InputError

__all__ = ["History"]

SCHEMA = "edgewright.signed/v1"


class History:
    """The history of a set of keys; use it inside `open`.

    Args:
        directory: `repository` in the set's directory.
        roles: Versions by role and content digest.
    """

    def __init__(self, directory: Path, roles: dict[str, dict[str, int]]) -> None:
        self._directory = directory
        self._roles = roles
        self._new: dict[Path, bytes] = {}

    @classmethod
    @contextmanager
    def open(cls, directory: Path) -> Iterator[History]:
        """Open it, alone: a second signer waits. What was signed within is on the disk at the end.

        Nothing that was signed counts before that: who is killed within has used no version.

        Raises:
            InputError: It is damaged.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            history = cls(directory, _load(directory / "history.json"))
            yield history
            history._save()
        finally:
            os.close(descriptor)

    def _save(self) -> None:
        """Write the signed files, then who has which version."""
        if not self._new:
            return
        with ThreadPoolExecutor(len(self._new)) as pool:  # one flush of the disk serves all
            list(pool.map(write_file, self._new, self._new.values()))
        write_file(self._directory / "history.json", canonical({"schema": SCHEMA, "roles": self._roles}))

    def sign(self, signed: Signed, signers: Sequence[Signer], root: Root) -> bytes:
        """Give a content its version, and sign it if that was not done before.

        Args:
            signed: The content; its version is set here.
            signers: Who signs.
            root: The root that says whose signatures count.

        Returns:
            The signed file.

        Raises:
            InputError: The signatures do not count.
        """
        role = signed.type
        versions = self._roles.setdefault(role, {})
        signed.version = 1
        digest = sha256(canonical(signed.to_dict())).hexdigest()
        known = versions.get(digest)
        signed.version = known or max(versions.values(), default=0) + 1
        file = self._directory / role / f"{signed.version}.json"
        if known:
            kept = _kept(file, signed, root)
            if kept is not None:
                return kept
        metadata: Metadata[Any] = Metadata(cast(Any, signed))
        for signer in signers:
            sign_with(metadata, signer)
        try:
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            raise InputError(
                f"signing {role}: the keys at hand do not count by root {root.version}: {error}"
            ) from error
        data = metadata.to_bytes(JSONSerializer(compact=True))
        file.parent.mkdir(exist_ok=True)
        self._new[file] = data
        versions[digest] = signed.version
        return data


def _kept(file: Path, signed: Signed, root: Root) -> bytes | None:
    """What was signed before, if it is whole and still counts."""
    try:
        data = file.read_bytes()
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        root.verify_delegate(signed.type, metadata.signed_bytes, metadata.signatures)
    except (OSError, RepositoryError):
        return None
    return data if metadata.signed == signed else None


def _load(path: Path) -> dict[str, dict[str, int]]:
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {content['schema']!r}")
        return {
            str(role): {str(digest): int(version) for digest, version in versions.items()}
            for role, versions in content["roles"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"reading the history of signatures {path}: {error}; restore it from the backup of the keys: "
            "controllers "
            "refuse versions that they have seen already"
        ) from error
