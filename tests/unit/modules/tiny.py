# SPDX-License-Identifier: Apache-2.0
"""To test with: an ELF file with a `.modinfo`, an entry of a lock, a key with its certificate."""

from __future__ import annotations

import datetime
import struct
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

__all__ = ["RELEASE", "entry", "make_mok", "tiny_module"]

RELEASE = "6.1.0-56-rt-amd64"


def tiny_module(*told: str, section: bytes = b".modinfo") -> bytes:
    """An ELF file of 64 bits that holds one section beside the table of names."""
    names = b"\0" + section + b"\0.shstrtab\0"
    info = b"".join(text.encode() + b"\0" for text in told)
    start = 64 + len(info)
    table = start + len(names)
    header = struct.pack(
        *("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    )
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(info), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", len(section) + 2, 3, 0, 0, start, len(names), 0, 0, 1, 0)
    return header + info + names + sections


def entry(**changes: Any) -> dict[str, Any]:
    """A lock's entry of modules."""
    deb = {
        "name": f"linux-headers-{RELEASE}",
        "version": "6.1.192-2",
        "arch": "amd64",
        "filename": "headers.deb",
        "url": "archive:debian/pool/headers.deb",
        "size": 7,
        "sha256": "a" * 64,
        "source": "bookworm",
    }
    package = f"edgewright-nvidia-modules-{RELEASE}"
    return {
        "name": "nvidia",
        "flavour": "proprietary",
        "driver": "535.309.01",
        "kernel": {
            "package": f"linux-image-{RELEASE}",
            "version": "6.1.192-2",
            "release": RELEASE,
            "flavour": "rt",
        },
        "source": {"name": "nvidia-kernel-dkms", "version": "535.309.01-0+deb12u1"},
        "needs": ["nvidia-kernel-support (= 535.309.01-0+deb12u1)"],
        "provides": ["nvidia-kernel-535.309.01"],
        "package": package,
        "version": "535.309.01+6.1.192.2-1",
        "arch": "amd64",
        "filename": f"{package}_535.309.01+6.1.192.2-1_amd64.deb",
        "rt_waiver": {"who": "Ada", "why": "tests", "until": "2099-01-01"},
        "size": 1,
        "sha256": "b" * 64,
        "debs": [deb],
    } | changes


def make_mok(
    folder: Path, passphrase: str = "", kind: str = "rsa", days: int = 30, name: str = "mok"
) -> tuple[Path, Path]:
    """Write a key and its certificate. Returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    private: Any = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(65537, 1024 if kind == "weak" else 2048)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test site modules")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(4711)
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(private, hashes.SHA256())
    )
    key, told = folder / f"{name}.key", folder / f"{name}.crt"
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    told.write_bytes(certificate.public_bytes(Encoding.PEM))
    return key, told
