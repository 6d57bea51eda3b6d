# SPDX-License-Identifier: Apache-2.0
"""A served depot with a small authority of its own, for tests of its clients."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["RELEASE", "Authority", "DepotSite", "edgewright", "run", "served"]

RELEASE = Path(__file__).resolve().parents[2] / "releases" / "label-reader"


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a client; its words end up in the assertion's message."""
    words = [str(word) for word in command]
    whole = {**os.environ, **(env or {})}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=whole, timeout=300)
    print(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done


def edgewright(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "edgewright.cli.main", *words)


class Authority:
    """A root, an issuing CA below it, and leaves: what role `authority` makes for a site."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._site = secrets.token_hex(4)  # as with real sites, no two authorities have one name
        self._root = self._issue("root", None, 1)
        self._issuing = self._issue("issuing", self._root, 0)
        self.root = self._write("root", self._root)[0]

    def leaf(self, name: str) -> tuple[Path, Path]:
        """Chain and key of a new leaf."""
        return self._write(name, self._issue(name, self._issuing, None), self._issuing)

    def _issue(self, name: str, issuer: Any, path_length: int | None) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {self._site}")])
        now = datetime.datetime.now(datetime.UTC)
        # The second is where a twin's network finds the depot.
        names = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "10.0.2.100")]
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder(subject_name=subject)
            .issuer_name(issuer[1].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(path_length is not None, path_length), critical=True)
        )
        if path_length is None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())

    def _write(self, name: str, *pairs: Any) -> tuple[Path, Path]:
        chain, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        pem = serialization.Encoding.PEM
        chain.write_bytes(b"".join(pair[1].public_bytes(pem) for pair in pairs))
        plain = serialization.NoEncryption()
        key.write_bytes(pairs[0][0].private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return chain, key


@dataclass(frozen=True)
class DepotSite:
    """A served depot and a device's certificate for it."""

    depot: Path
    address: str
    authority: Authority
    certificate: Path
    key: Path
    options: tuple[str, ...]

    @contextmanager
    def changed(self, path: str, flip: bool = True) -> Iterator[Path]:
        """One byte of a served file flipped, or the file gone; the cache's copy stays as it is."""
        file = self.depot / path
        kept = file.with_name(f"{file.name}.kept")
        file.rename(kept)
        if flip:
            data = bytearray(kept.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
            file.chmod(0o644)
        try:
            yield file
        finally:
            kept.replace(file)


@contextmanager
def served(depot: Path, folder: Path) -> Iterator[DepotSite]:
    """Serve a depot by nginx on a free port of this host, with an authority made in `folder`."""
    authority = Authority(folder / "authority")
    server, server_key = authority.leaf("controller")
    certificate, key = authority.leaf("device")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    if os.geteuid() == 0:  # nginx's workers read below pytest's directory, which is root's alone
        for path in (folder, *folder.parents):
            if path.stat().st_uid == 0 and path.stat().st_mode & 0o007 == 0:
                path.chmod(0o755)
    options = ("--dir", depot, "--cert", server, "--key", server_key, "--client-ca", authority.root)
    words = tuple(str(word) for word in (*options, "--listen", address))
    up = edgewright("depot", "up", *words)
    assert up.returncode == 0, up.stderr
    try:
        yield DepotSite(depot, address, authority, certificate, key, words)
    finally:
        edgewright("depot", "down", "--dir", depot)
