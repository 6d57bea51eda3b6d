# SPDX-License-Identifier: Apache-2.0
"""The ssh keys of a site's twins: made on the controller, known before anything boots.

The controller's key lies in STATE/ssh, each twin's host key in STATE/twins/NAME, and the public half
of the latter in STATE/known_hosts, so that host key checking stays on from the first connection.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewright.errors import InputError
from edgewright.twin.spec import TwinSpec

__all__ = [
    "controller_key",
    "forget_host_key",
    "host_key",
    "host_name_in_known_hosts",
    "locked",
    "merge_known_hosts",
    "remember_host_key",
]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file (made when missing) against other threads and processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
    temporary.replace(path)


def _public_line(private: Ed25519PrivateKey, comment: str) -> str:
    line = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return f"{line.decode('ascii')} {comment}"


def _key_pair(path: Path, comment: str) -> str:
    """Make an Ed25519 pair at `path` and `path`.pub unless there is one. Returns the public line."""
    with locked(path.with_name(f".{path.name}.lock")):
        path.parent.chmod(0o700)
        if path.exists():
            try:
                private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
            except ValueError as error:
                raise InputError(
                    f"reading the ssh key {path}: not an unencrypted OpenSSH private key ({error}); "
                    f"remove it and run again, then a new one is made"
                ) from error
            if not isinstance(private, Ed25519PrivateKey):
                raise InputError(
                    f"reading the ssh key {path}: expected an Ed25519 key, got {type(private).__name__}; "
                    f"remove it and run again, then a new one is made"
                )
        else:
            private = Ed25519PrivateKey.generate()
            _write(
                path,
                private.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.OpenSSH,
                    serialization.NoEncryption(),
                ),
                0o600,
            )
        line = _public_line(private, comment)
        _write(path.with_name(f"{path.name}.pub"), f"{line}\n".encode(), 0o644)
    return line


def controller_key(spec: TwinSpec) -> str:
    """Make the site's own ssh key on first use. Returns its public line, for `authorized_keys`."""
    return _key_pair(spec.private_key, "edgewright-controller")


def host_key(spec: TwinSpec) -> str:
    """Make the twin's ssh host key on first use. Returns its public line."""
    return _key_pair(spec.directory / "ssh_host_ed25519_key", f"root@{spec.name}")


def host_name_in_known_hosts(address: str, port: int) -> str:
    """How OpenSSH writes a host in known_hosts: `ADDRESS`, or `[ADDRESS]:PORT` off port 22."""
    return address if port == 22 else f"[{address}]:{port}"


def merge_known_hosts(text: str, host: str, key: str | None) -> str:
    """Put one host's only key into the text of a known_hosts file.

    Args:
        text: the file as it is.
        host: as `host_name_in_known_hosts` writes it.
        key: the public line (`ssh-ed25519 AAAA... comment`); None takes the host out.

    Returns:
        The text with every other line as it was, and the host's line last.
    """
    kept = [line for line in text.splitlines() if not line.strip() or line.split()[0] != host]
    if key is not None:
        kept.append(f"{host} {' '.join(key.split()[:2])}")
    return "".join(f"{line}\n" for line in kept)


def _update(spec: TwinSpec, key: str | None) -> None:
    path = spec.known_hosts
    with locked(path.with_name(".known_hosts.lock")):
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = merge_known_hosts(old, host_name_in_known_hosts(spec.address, spec.port), key)
        if new != old:
            _write(path, new.encode(), 0o644)


def remember_host_key(spec: TwinSpec) -> None:
    """Write the twin's host key into the site's known_hosts, in place of any older one."""
    _update(spec, host_key(spec))


def forget_host_key(spec: TwinSpec) -> None:
    """Take the twin's host key out of the site's known_hosts."""
    _update(spec, None)
