# SPDX-License-Identifier: Apache-2.0
"""One key: a PEM file with a passphrase, or a key in a PKCS#11 token, as a signer of securesystemslib.

A private key is a PKCS#8 PEM file with mode 0600; its passphrase comes from a file that the environment names
(`EDGEWRIGHT_PASSPHRASE_<NAME>_FILE`, then `EDGEWRIGHT_PASSPHRASE_FILE`) or is asked for on a terminal. A
token is named by securesystemslib's address, `hsm:2?label=LABEL`, with its library in `PYKCS11LIB`; its PIN
comes the same way as a passphrase. Neither a passphrase nor a PIN is ever an argument, which every process
could read.
"""

from __future__ import annotations

import getpass
import os
import re
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, HSMSigner, Key, Signature, Signer, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from edgewright.errors import EdgewrightError, InputError

__all__ = [
    "NAME_FIELD",
    "PASSPHRASE_FILE",
    "is_token",
    "key_name",
    "load_own",
    "load_public",
    "load_signer",
    "make_key",
    "passphrase",
    "public_pem",
    "sign_with",
    "token_public",
    "write_file",
]

PASSPHRASE_FILE = "EDGEWRIGHT_PASSPHRASE_FILE"  # noqa: S105 - a variable's name
"""Environment variable that names a file whose first line is the passphrase."""

NAME_FIELD = "x-edgewright-name"
"""Field of a key in root.json with the name that people know it by (TUF allows fields of one's own)."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z", re.ASCII)
_MAX_PEM = 64 << 10
_RSA_BITS = 3072
_SHARED = stat.S_IRWXG | stat.S_IRWXO


def key_name(text: str) -> str:
    """A key's name, checked: small letters, digits and dashes, 40 at most.

    Raises:
        InputError: It is none.
    """
    if not _NAME.match(text):
        raise InputError(
            f"naming a key {text[:60]!r}: expected small letters, digits and dashes, 40 at most, such as "
            "`alice`"
        )
    return text


def is_token(reference: str) -> bool:
    """Whether a key is named by the address of a PKCS#11 token."""
    return reference.startswith("hsm:")


def passphrase(name: str, what: str = "passphrase", new: bool = False) -> str:
    """A passphrase or PIN.

    Args:
        name: The key's name.
        what: What it is, for the question.
        new: Whether it is being chosen, which asks twice.

    Returns:
        It; empty only when the file that the environment names is empty.

    Raises:
        InputError: The file cannot be used, or there is neither file nor terminal.
    """
    own = f"EDGEWRIGHT_PASSPHRASE_{name.upper().replace('-', '_')}_FILE"
    for variable in (own, PASSPHRASE_FILE):
        if os.environ.get(variable):
            found = _from_file(variable, Path(os.environ[variable]))
            if new and not found:
                raise InputError(
                    f"choosing the {what} of key {name}: the file that {variable} names is empty"
                )
            return found
    if not sys.stdin.isatty():
        raise InputError(
            f"asking for the {what} of key {name}: there is no terminal; name a file that holds it (mode "
            "0600) in "
            f"{own} or {PASSPHRASE_FILE}"
        )
    while True:
        given = getpass.getpass(f"{what} of key {name}: ")
        if not new or (given and given == getpass.getpass("the same once more: ")):
            return given
        print("empty, or not the same: once again", file=sys.stderr)


def _from_file(variable: str, path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"reading the passphrase file {path} that {variable} names: {error}") from error
    if mode & _SHARED:
        raise InputError(
            f"reading the passphrase file {path} that {variable} names: others may read it; run `chmod 600 "
            f"{path}`"
        )
    return text.split("\n", 1)[0]


def make_key(path: Path, secret: str) -> Key:
    """Make an Ed25519 key.

    Args:
        path: Where the private key shall be; must not exist. The public key gets the suffix `.pub.pem`.
        secret: Its passphrase; empty leaves it unprotected.

    Returns:
        The public key.

    Raises:
        InputError: The file exists.
    """
    if path.exists():
        raise InputError(f"making the key {path}: it exists already, and a key is never overwritten")
    private = ed25519.Ed25519PrivateKey.generate()
    protection = BestAvailableEncryption(secret.encode()) if secret else NoEncryption()
    key = SSlibKey.from_crypto(private.public_key())
    write_file(path.with_suffix(".pub.pem"), public_pem(key))
    write_file(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), 0o600)
    return key


def public_pem(key: Key) -> bytes:
    """A public key as PEM."""
    if not isinstance(key, SSlibKey):
        raise InputError(
            f"writing the public key {key.keyid}: expected a key in PEM, got {type(key).__name__}"
        )
    value = key.keyval["public"]
    if key.keytype == "ed25519":
        public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(value))
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(value).encode("ascii")


def load_public(path: Path, name: str | None = None) -> SSlibKey:
    """Read a public key.

    Args:
        path: A PEM file.
        name: What people call it; put beside it in root.json.

    Returns:
        The key.

    Raises:
        InputError: It is no public key of a kind that signs bundles.
    """
    data = _pem(path, "public key")
    try:
        public = load_pem_public_key(data)
        if not isinstance(public, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise ValueError(f"{type(public).__name__} does not sign bundles")
        if isinstance(public, rsa.RSAPublicKey) and public.key_size < _RSA_BITS:
            raise ValueError(f"RSA keys need {_RSA_BITS} bits, this one has {public.key_size}")
        key = SSlibKey.from_crypto(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"reading the public key {path}: {error}; expected a PEM file with an Ed25519, ECDSA or RSA "
            "public key"
        ) from error
    if name is not None:
        key.unrecognized_fields[NAME_FIELD] = name
    return key


def token_public(reference: str, name: str) -> SSlibKey:
    """The public key of a key in a token.

    Args:
        reference: `hsm:KEYID?label=LABEL`.
        name: What people call it.

    Raises:
        InputError: The token or the key is not there.
    """
    match = re.fullmatch(r"hsm:(\d*)(?:\?label=(.+))?", reference)
    if match is None:
        raise InputError(
            f"reading the key {reference}: expected hsm:KEYID?label=LABEL, such as hsm:2?label=release"
        )
    label = unquote_plus(match[2]) if match[2] else None
    try:
        _, key = HSMSigner.import_(
            int(match[1]) if match[1] else None, label, lambda what: passphrase(name, what.upper())
        )
    except (ValueError, UnsupportedLibraryError) as error:
        raise InputError(_token_said(reference, error)) from error
    except Exception as error:  # python-pkcs11's errors share no base but Exception's
        if type(error).__module__.startswith("pkcs11"):
            raise InputError(_token_said(reference, error)) from error
        raise
    key.unrecognized_fields[NAME_FIELD] = name
    return key


def load_signer(reference: str, name: str, public: SSlibKey) -> Signer:
    """A private key, ready to sign.

    Args:
        reference: The path of a PEM file, or `hsm:KEYID?label=LABEL`.
        name: The key's name.
        public: Its public key.

    Returns:
        The signer.

    Raises:
        InputError: The key cannot be read, or does not belong to the public key.
    """
    if is_token(reference):
        return _token(reference, name, public)
    path = Path(reference)
    data = _private_pem(path)
    try:
        private = _decrypted(data, path, name)
        return CryptoSigner(private, public)  # type: ignore[arg-type]
    except InputError:
        raise
    except Exception as error:  # a wrong passphrase, kind or pair has no common base in the two libraries
        raise InputError(
            f"reading the private key {path}: {str(error) or type(error).__name__}; expected the private "
            "part of key "
            f"{public.keyid} as a PKCS#8 PEM file"
        ) from error


def load_own(reference: str, name: str) -> Signer:
    """A private key of which nothing else is at hand: its public key is taken from itself.

    Args:
        reference: The path of a PEM file, or `hsm:KEYID?label=LABEL`.
        name: The key's name, for questions and messages.

    Returns:
        The signer.

    Raises:
        InputError: The key cannot be read.
    """
    if is_token(reference):
        return _token(reference, name, token_public(reference, name))
    path = Path(reference)
    private = _decrypted(_private_pem(path), path, name)
    if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise InputError(f"reading the private key {path}: {type(private).__name__} does not sign bundles")
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))


def sign_with(metadata: Metadata[Any], signer: Signer) -> None:
    """Add a signature.

    Raises:
        InputError: The key cannot sign, because a PIN is wrong for example.
    """
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        told = error.__cause__
        if isinstance(told, InputError):  # ours, which python-tuf has wrapped
            raise told from error
        raise InputError(f"signing with key {signer.public_key.keyid}: {error}") from error


def _private_pem(path: Path) -> bytes:
    data = _pem(path, "private key")
    if path.stat().st_mode & _SHARED:
        raise InputError(f"reading the private key {path}: others may read it; run `chmod 600 {path}`")
    return data


def _decrypted(data: bytes, path: Path, name: str) -> object:
    try:
        return load_pem_private_key(data, None)
    except TypeError:  # cryptography's sign that it is protected
        secret = passphrase(name)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"reading the private key {path}: it is no PKCS#8 PEM file: {error}") from error
    try:
        return load_pem_private_key(data, secret.encode())
    except (ValueError, TypeError) as error:
        raise InputError(f"reading the private key {path}: the passphrase of key {name} is wrong") from error


class _Token(HSMSigner):
    """A key in a token, whose failures are told in sentences."""

    reference: str = ""

    def sign(self, payload: bytes) -> Signature:
        """Sign in the token."""
        try:
            return super().sign(payload)
        except InputError:
            raise
        except Exception as error:  # python-pkcs11's errors share no base but Exception's
            raise InputError(_token_said(self.reference, error)) from error


def _token(reference: str, name: str, public: SSlibKey) -> Signer:
    asked: list[str] = []

    def pin(what: str) -> str:
        if not asked:
            asked.append(passphrase(name, what.upper()))
        return asked[0]

    try:
        signer = _Token.from_priv_key_uri(reference, public, pin)
    except (ValueError, UnsupportedLibraryError) as error:
        raise InputError(_token_said(reference, error)) from error
    if isinstance(signer, _Token):
        signer.reference = reference
    return signer


def _token_said(reference: str, error: Exception) -> str:
    return (
        f"using the key {reference}: {str(error) or type(error).__name__}; check that the token is plugged "
        "in, that "
        "PYKCS11LIB names its PKCS#11 library, and that label, key id and PIN are right (`pkcs11-tool "
        "--list-objects`)"
    )


def _pem(path: Path, what: str) -> bytes:
    try:
        if path.stat().st_size > _MAX_PEM:
            raise InputError(
                f"reading the {what} {path}: expected a PEM file, got more than {_MAX_PEM} bytes"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"reading the {what} {path}: {error.strerror}") from error


def _set_mode(descriptor: int, mode: int) -> None:
    try:
        os.fchmod(descriptor, mode)
    except PermissionError:
        if not mode & _SHARED:  # FAT has no modes: fine for what everybody may read, not for a private key
            raise


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all, last over a power cut.

    Args:
        path: The file; replaced when there is one.
        data: Its bytes.
        mode: Its mode.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                _set_mode(stream.fileno(), mode)
                os.fsync(stream.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EdgewrightError(f"writing {path}: {error.strerror}") from error
