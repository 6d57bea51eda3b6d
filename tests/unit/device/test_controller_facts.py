# SPDX-License-Identifier: Apache-2.0
"""Digests of the controller's own files."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgewright.device.controller_facts import fact_path, read_fact
from edgewright.errors import InputError


def _certificate() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site root")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def test_a_certificates_fingerprint_is_that_of_its_der_form(tmp_path: Path) -> None:
    certificate = _certificate()
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    path = tmp_path / "root.crt"
    path.write_bytes(b"some words before\n" + pem + _certificate().public_bytes(serialization.Encoding.PEM))
    assert read_fact("__x", "x509_sha256", path) == certificate.fingerprint(hashes.SHA256()).hex()


def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "key.asc"
    path.write_bytes(b"key")
    assert read_fact("__x", "file_sha256", path) == hashlib.sha256(b"key").hexdigest()


@pytest.mark.parametrize("kind", ["file_sha256", "x509_sha256"])
def test_a_file_that_is_not_there_yet_is_none(tmp_path: Path, kind: str) -> None:
    assert read_fact("__x", kind, tmp_path / "none") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        b"-----BEGIN CERTIFICATE-----\nAA",
        b"-----END CERTIFICATE----- -----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.crt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"root\.crt is not a certificate .* for __x"):
        read_fact("__x", "x509_sha256", path)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_fact("__x", "file_sha256", tmp_path)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown kind of fact 'md5'"):
        read_fact("__x", "md5", tmp_path)


def test_a_path_takes_its_variables() -> None:
    assert (
        fact_path("__x", "{identity_authority_dir}/root.crt", {"identity_authority_dir": "/a"})
        == "/a/root.crt"
    )
    with pytest.raises(InputError, match="the variable identity_authority_dir is not set"):
        fact_path("__x", "{identity_authority_dir}/root.crt", {})
