# SPDX-License-Identifier: Apache-2.0
"""Signatures of kernel modules for Secure Boot: a machine owner's key (MOK) signs, the kernel checks.

    mok = Mok.find(keys)            # keys/mok.key and keys/mok.crt; None where there are none
    data = mok.sign(module)

The format is the kernel's (Documentation/admin-guide/module-signing.rst, scripts/sign-file.c): behind the
module a detached PKCS#7 signature of it without certificates and without attributes, then twelve bytes that
tell its length, then a line of text. RSA with PKCS#1 v1.5 gives the same bytes each time.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from edgewright.errors import InputError, IntegrityError, MissingToolError

__all__ = ["CERTIFICATE_FILE", "KEY_FILE", "Mok", "check_signature", "is_signed", "split_signature"]

KEY_FILE = "mok.key"
CERTIFICATE_FILE = "mok.crt"
_MARK = b"~Module signature appended~\n"
_TAIL = struct.Struct(">BBBBB3xI")
"""struct module_signature: algorithm, hash, kind, lengths of signer and key, padding, signature's length."""

_PKCS7 = 2
"""PKEY_ID_PKCS7 of include/linux/module_signature.h."""

_RSA_BITS = 2048
"""shim and the kernel's keyring take RSA from 2048 bits on; less is no protection."""


@dataclass(frozen=True)
class Mok:
    """A key and its certificate. Make one with `find` or `load`."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def find(cls, keys: Path) -> Mok | None:
        """The key in a directory of keys; None where it holds neither file.

        Its passphrase comes as that of any other key, under the name `mok` (see edgewright.bundle.keyfile).

        Raises:
            InputError: One of the files is missing, or they cannot be used.
        """
        key, certificate = keys / KEY_FILE, keys / CERTIFICATE_FILE
        if not key.exists() and not certificate.exists():
            return None
        missing = next((path for path in (key, certificate) if not path.is_file()), None)
        if missing is not None:
            raise InputError(
                f"reading the key for kernel modules in {keys}: {missing.name} is missing beside "
                f"{(certificate if missing == key else key).name}; put both there, or neither "
                "(docs/how-to/secure-boot.md)"
            )
        return cls.load(key, certificate)

    @classmethod
    def load(cls, key: Path, certificate: Path) -> Mok:
        """Read a key and its certificate, both PEM.

        Raises:
            InputError: They cannot be read, the passphrase is wrong, or they do not belong together.
        """
        private = _private(key)
        try:
            told = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"reading the certificate {certificate}: expected X.509 in PEM: {error}"
            ) from error
        public = told.public_key()
        if not isinstance(public, rsa.RSAPublicKey) or (
            public.public_numbers() != private.public_key().public_numbers()
        ):
            raise InputError(
                f"reading the key for kernel modules: {certificate} is not the certificate of {key}; name "
                "the "
                "two that were made together"
            )
        if told.not_valid_after_utc < datetime.now(UTC):
            raise InputError(
                f"reading the certificate {certificate}: it ended on {told.not_valid_after_utc.date()}; "
                "make a "
                "new key and enrol it (docs/how-to/secure-boot.md)"
            )
        return cls(private, told)

    @property
    def fingerprint(self) -> str:
        """sha256 of the certificate, in hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def der(self) -> bytes:
        """The certificate as mokutil takes it."""
        return self.certificate.public_bytes(Encoding.DER)

    def sign(self, module: bytes) -> bytes:
        """Append a signature.

        Args:
            module: A module without one.

        Raises:
            InputError: It has one already.
        """
        if is_signed(module):
            raise InputError("signing a kernel module: it carries a signature already; sign the unsigned one")
        options = [PKCS7Options.DetachedSignature, PKCS7Options.Binary]
        options += [PKCS7Options.NoAttributes, PKCS7Options.NoCerts]
        builder = PKCS7SignatureBuilder().set_data(module)
        made = builder.add_signer(self.certificate, self.key, hashes.SHA256()).sign(Encoding.DER, options)
        return module + made + _TAIL.pack(0, 0, _PKCS7, 0, 0, len(made)) + _MARK


def is_signed(module: bytes) -> bool:
    """Whether a module ends as a signed one does."""
    return module.endswith(_MARK)


def split_signature(module: bytes, name: str) -> tuple[bytes, bytes]:
    """A signed module as the module and its PKCS#7 signature.

    Raises:
        IntegrityError: It is not signed, or its last bytes contradict each other.
    """
    body = module.removesuffix(_MARK)
    if body == module or len(body) < _TAIL.size:
        raise IntegrityError(f"checking the signature of {name}: it carries none")
    algorithm, digest, kind, signer, key, length = _TAIL.unpack(body[-_TAIL.size :])
    body = body[: -_TAIL.size]
    if (algorithm, digest, kind, signer, key) != (0, 0, _PKCS7, 0, 0) or not 0 < length < len(body):
        raise IntegrityError(
            f"checking the signature of {name}: its trailer is not what the kernel accepts (PKCS#7, no other "
            f"fields), got kind {kind} and {length} bytes"
        )
    return body[:-length], body[-length:]


def check_signature(module: bytes, certificate: Path, name: str) -> None:
    """Check a module's signature with OpenSSL, which did not make it.

    Args:
        module: The module with its signature.
        certificate: The signer's, PEM.
        name: What the module is called in messages.

    Raises:
        IntegrityError: There is none, or it is not of this certificate, or the module was changed.
        MissingToolError: openssl is not installed.
    """
    payload, signature = split_signature(module, name)
    if shutil.which("openssl") is None:
        raise MissingToolError(f"checking the signature of {name}: openssl is not installed; install openssl")
    with tempfile.TemporaryDirectory(prefix="edgewright-mok-") as room:
        (Path(room) / "module").write_bytes(payload)
        (Path(room) / "signature").write_bytes(signature)
        command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-nointern"]
        command += ["-in", f"{room}/signature", "-content", f"{room}/module", "-out", "/dev/null"]
        done = subprocess.run(
            [*command, "-certfile", str(certificate)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        said = " ".join(line for line in done.stderr.splitlines() if "error" in line.lower())[-300:]
        raise IntegrityError(
            f"checking the signature of {name} against {certificate}: it is not this key's, or the module "
            "was "
            f"changed; openssl says: {said}"
        )


def _private(path: Path) -> rsa.RSAPrivateKey:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"reading the key {path}: {error.strerror}") from error
    try:
        key = _open(data, path)
    except ValueError as error:
        raise InputError(
            f"reading the key {path}: its passphrase is wrong, or it is no private key in PEM; the file that "
            "EDGEWRIGHT_PASSPHRASE_MOK_FILE names holds the passphrase in its first line"
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _RSA_BITS:
        got = f"RSA of {key.key_size} bits" if isinstance(key, rsa.RSAPrivateKey) else type(key).__name__
        raise InputError(
            f"reading the key {path}: expected RSA of {_RSA_BITS} bits or more, which shim and the kernel "
            "take, "
            f"got {got}; make one as docs/how-to/secure-boot.md shows"
        )
    return key


def _open(data: bytes, path: Path) -> object:
    try:
        return load_pem_private_key(data, None)
    except TypeError:  # cryptography's word for a key that has a passphrase
        from edgewright.bundle.keyfile import passphrase  # noqa: PLC0415 - it loads all of TUF

        secret = passphrase("mok")
    if not secret:
        raise InputError(f"reading the key {path}: it has a passphrase, and an empty one was given")
    return load_pem_private_key(data, secret.encode())
