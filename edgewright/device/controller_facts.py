# SPDX-License-Identifier: Apache-2.0
"""What a `want` must know of the controller's own files: their digests, read here, handed in as data.

A `want` is pure, yet "signed by this site's authority" depends on a file that the controller holds.
An area therefore declares `CONTROLLER_FACTS`: variable name to (kind, path with variables in braces);
whoever computes `want` reads them with `read_fact` and adds them to the variables. A file that is not
there yet (a dry run on a fresh site) gives None, and the area says what that means.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.errors import InputError

__all__ = ["KINDS", "fact_path", "read_fact"]

# file_sha256: hex digest of the file's bytes. x509_sha256: hex digest of the DER form of the first
# certificate in a PEM file, which is what `openssl x509 -fingerprint -sha256` prints without colons.
KINDS = ("file_sha256", "x509_sha256")


def fact_path(name: str, expression: str, variables: Mapping[str, Any]) -> str:
    """The path that an expression such as `{identity_authority_dir}/root.crt` means for a host.

    Raises:
        InputError: a variable in it is not set.
    """
    try:
        return expression.format_map(_Strict(variables))
    except KeyError as error:
        raise InputError(
            f"{name} is read from {expression}, and the variable {error.args[0]} is not set:"
            " set it in the inventory"
        ) from error


def read_fact(name: str, kind: str, path: Path) -> str | None:
    """Read one fact.

    Args:
        name: the variable it becomes, for messages.
        kind: one of `KINDS`.
        path: the file.

    Returns:
        The digest in small hex digits; None when the file does not exist.

    Raises:
        InputError: the file is there and can't be read, or holds no certificate.
    """
    if kind not in KINDS:
        raise InputError(f"{name}: unknown kind of fact {kind!r}, expected one of {', '.join(KINDS)}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path} for {name}: {error}; look at its owner and mode") from error
    if kind == "file_sha256":
        return hashlib.sha256(data).hexdigest()
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    start, stop = data.find(begin), data.find(end)
    try:
        if start < 0 or stop < start:
            raise ValueError("no PEM certificate in it")
        der = base64.b64decode(data[start + len(begin) : stop].decode("ascii"))
    except ValueError as error:
        raise InputError(f"{path} is not a certificate ({error}): expected PEM, for {name}") from error
    return hashlib.sha256(der).hexdigest()


class _Strict(dict[str, Any]):
    """A view for `format_map` that asks the mapping behind it, however that makes its values."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        super().__init__()
        self._variables = variables

    def __missing__(self, key: str) -> Any:
        return self._variables[key]
