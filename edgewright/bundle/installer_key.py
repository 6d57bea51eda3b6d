# SPDX-License-Identifier: Apache-2.0
"""The OpenPGP certificate that signs a bundle's installer, and its pin in the root.

A bare Debian machine can verify OpenPGP signatures (apt's gpgv or sqv) and no others. So `1.root.json`,
which a person checks by its fingerprint, names the SHA-256 of one certificate: the one that signs the apt
repository. TUF keeps fields that it does not know and signs them with the rest; the pin is such a field.

    "x-edgewright-installer": {"keyring_sha256": HEX}      # of installer/keyring.pgp: the certificate, binary
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edgewright.depot.keys import PUBLIC_KEY_FILE, ReleaseKey
from edgewright.errors import InputError

__all__ = ["INSTALLER_FIELD", "installer_pin", "keyring", "make_pin"]

INSTALLER_FIELD = "x-edgewright-installer"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


def installer_pin(root: bytes) -> str | None:
    """The SHA-256 that a root names; None where it names none.

    Args:
        root: A signed root.
    """
    field = Metadata[Root].from_bytes(root).signed.unrecognized_fields.get(INSTALLER_FIELD)
    told = field.get("keyring_sha256") if isinstance(field, dict) else None
    return told if isinstance(told, str) and _DIGEST.match(told) else None


def make_pin(directory: Path) -> str:
    """The SHA-256 of a set's certificate, for its first root; its key is made where there is none.

    Args:
        directory: The set: `release.key.asc` and `release.pub.asc` lie in it.
    """
    key = ReleaseKey(directory)
    key.ensure()
    return sha256(key.certificate()).hexdigest()


def keyring(directory: Path, first_root: bytes) -> bytes:
    """The certificate as it lies on a stick.

    Args:
        directory: The set of keys.
        first_root: Its `1.root.json`.

    Raises:
        InputError: The root names none, or another.
    """
    pinned = installer_pin(first_root)
    if pinned is None:
        raise InputError(
            f"making the installer: root 1 of the keys {directory} names no OpenPGP certificate, so a bare "
            "controller could not verify an installer; build with --no-installer for controllers that hold "
            "Edgewright, or make a new set with `edgewright keys ceremony` in another directory"
        )
    found = ReleaseKey(directory).certificate()
    digest = sha256(found).hexdigest()
    if digest != pinned:
        raise InputError(
            f"making the installer: root 1 names the OpenPGP certificate with sha256 {pinned}, but "
            f"{directory / PUBLIC_KEY_FILE} has {digest}; restore that file and {directory}/release.key.asc "
            "from the backup of the keys, or build with --no-installer"
        )
    return found
