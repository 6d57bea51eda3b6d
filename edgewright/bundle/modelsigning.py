# SPDX-License-Identifier: Apache-2.0
"""Models signed the OpenSSF way, with the `model-signing` package: its own command line verifies them.

    key = ModelKey(Path("keys"))
    signature = sign_model("label-reader", image["digest"], store, key)
    # model_signing verify key MODEL_DIR --signature model.sig --public_key model.pub

Signed is the directory that the model's image holds (`model.onnx`, `model.yml`, `golden/`, `LICENSE`), so the
signature outlives image and bundle: it fits wherever these files lie. The package's key method takes NIST
curves only, hence a P-256 key of its own beside the release keys; what makes it count is that its public half
is among the bundle's documents, which the release key signs.

ECDSA draws a random number for each signature. So that the same release gives the same bytes again, a
signature is kept once it is made, in `signatures/` beside the key, under the digest of model and key.
"""

from __future__ import annotations

import base64
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.dsse import Envelope

from edgewright.bundle import dsse
from edgewright.bundle.keyfile import passphrase, write_file
from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import say
from edgewright.errors import InputError, IntegrityError
from edgewright.release.ocitar import canonical_json, image_blobs

__all__ = ["PUBLIC_KEY_FILE", "SIGNATURE_FILE", "ModelKey", "extract_model", "sign_model", "verify_model"]

SECRET_KEY_FILE = "model.key.pem"  # noqa: S105 - a file's name
PUBLIC_KEY_FILE = "model.pub"
SIGNATURE_FILE = "model.sig"
SIGNATURES = "signatures"

_NAME = "model"
"""The key's name where a passphrase is asked for."""

_CURVE = ec.SECP256R1()
_MAX_SIGNATURE_BYTES = 4 << 20
"""A file of a model takes about 200 bytes in its signature."""

_LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "r:",
    "application/vnd.oci.image.layer.v1.tar+gzip": "r:gz",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "r:gz",
}
"""Kinds of layers -> how tarfile opens them."""

_UNSIGNED = frozenset({".git", ".gitattributes", ".github", ".gitignore"})
"""What the package leaves out at a model's top: a file of such a name would go unsigned."""


class ModelKey:
    """The key that signs models, in a directory.

    Args:
        directory: Holds `model.key.pem` (PKCS#8, mode 0600) and `model.pub`; made on first use.
        protect: Whether a key that is made gets a passphrase, asked for as the release keys' are.
    """

    def __init__(self, directory: Path, protect: bool = False) -> None:
        self.path = directory / SECRET_KEY_FILE
        self._protect = protect
        self._password: bytes | None = None
        self.signatures = directory / SIGNATURES
        self._public = directory / PUBLIC_KEY_FILE

    def ensure(self) -> bytes:
        """Have a key; one is made when there is none.

        Returns:
            The public key, PEM.

        Raises:
            InputError: The key cannot be read, is of another kind, or others may read it.
        """
        try:
            if not self.path.exists():
                self._make()
            if self.path.stat().st_mode & 0o077:
                raise InputError(
                    f"reading the model key {self.path}: expected mode 0600, got "
                    f"{self.path.stat().st_mode & 0o777:04o}; others could sign with it: chmod 600 it, or "
                    "make a new one if somebody may have read it"
                )
            public = (
                self._load()
                .public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            )
            if not self._public.is_file() or self._public.read_bytes() != public:
                write_file(self._public, public)
        except OSError as error:
            raise InputError(f"reading the model key {self.path}: {error.strerror}") from error
        return public

    def password(self) -> bytes | None:
        """The key's passphrase; None when it has none. Known once the key was read."""
        return self._password

    def _load(self) -> ec.EllipticCurvePrivateKey:
        data = self.path.read_bytes()
        try:
            try:
                key = serialization.load_pem_private_key(data, self._password)
            except TypeError:  # cryptography's sign that it is protected
                self._password = passphrase(_NAME).encode()
                key = serialization.load_pem_private_key(data, self._password)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InputError(
                f"reading the model key {self.path}: {error}; expected a private key in PEM, and its "
                "passphrase where it has one"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != _CURVE.name:
            got = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__
            raise InputError(
                f"reading the model key {self.path}: expected an EC key on {_CURVE.name}, got {got}; make "
                f"one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {self.path}`"
            )
        return key

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._password = passphrase(_NAME, new=True).encode() or None if self._protect else None
        secret = ec.generate_private_key(_CURVE).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._password)
            if self._password
            else serialization.NoEncryption(),
        )
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secret)
            os.fsync(stream.fileno())
        try:
            os.link(part, self.path)  # fails where another process was faster
        except FileExistsError:
            return
        finally:
            part.unlink()
        say(f"NOTICE: made a key for models, {self.path}: keep it where the release keys are kept")


def sign_model(name: str, digest: str, store: BlobStore, key: ModelKey) -> bytes:
    """Sign a model, or find the signature that was made before.

    Args:
        name: The model's name: what the signature speaks of.
        digest: Of its image's manifest, `sha256:...`.
        store: Holds the image.
        key: Signs it.

    Returns:
        The signature: a Sigstore bundle, JSON.

    Raises:
        InputError: The key cannot be used.
        IntegrityError: The store lacks the image, or it holds other things than files.
    """
    public = key.ensure()
    named = sha256(canonical_json(["model", 1, name, digest, sha256(public).hexdigest()])).hexdigest()

    def make() -> bytes:
        import model_signing.hashing  # noqa: PLC0415 - heavy, and most builds find a kept signature
        import model_signing.signing  # noqa: PLC0415

        every_file = model_signing.hashing.Config().set_ignored_paths(paths=(), ignore_git_paths=False)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=store.root) as room:
            directory = Path(room) / name
            extract_model(digest, store, directory)
            place = Path(room) / SIGNATURE_FILE
            password = cast("str | None", key.password())  # annotated as a text, used as bytes
            config = model_signing.signing.Config().use_elliptic_key_signer(
                private_key=key.path, password=password
            )
            config.set_hashing_config(every_file).sign(directory, place)
            signature = place.read_bytes()
            verify_model(directory, signature, public)
        return signature

    return dsse.kept_or_signed(
        key.signatures / f"{named}.sig", lambda data: _speaks_of(data, public) == name, make
    )


def verify_model(directory: Path, signature: bytes, public_key: bytes) -> None:
    """Verify a model's directory, as `model_signing verify key` does; here no file may be left out.

    Args:
        directory: The model's files.
        signature: Its signature, from outside.
        public_key: The key that must have made it, PEM.

    Raises:
        IntegrityError: The signature is not by this key, or a file differs, is missing or is too many.
    """
    import model_signing.hashing  # noqa: PLC0415 - heavy
    import model_signing.verifying  # noqa: PLC0415

    what = f"the model in {directory}"
    if _speaks_of(signature, public_key) is None:
        raise IntegrityError(
            f"verifying {what}: expected a signature by the key {sha256(public_key).hexdigest()[:16]} "
            "(sha256 of its PEM), this is none; take signature and key from the same bundle"
        )
    with tempfile.TemporaryDirectory(prefix="ew-model-") as room:
        (Path(room) / SIGNATURE_FILE).write_bytes(signature)
        (Path(room) / PUBLIC_KEY_FILE).write_bytes(public_key)
        every_file = model_signing.hashing.Config().set_ignored_paths(paths=(), ignore_git_paths=False)
        try:
            model_signing.verifying.Config().use_elliptic_key_verifier(
                public_key=Path(room) / PUBLIC_KEY_FILE
            ).set_hashing_config(every_file).verify(directory, Path(room) / SIGNATURE_FILE)
        except (ValueError, LookupError, TypeError, AttributeError, OSError, InvalidSignature) as error:
            raise IntegrityError(f"verifying {what}: {error or 'the signature is wrong'}") from error


def extract_model(digest: str, store: BlobStore, target: Path) -> None:
    """Write a model image's files into a directory.

    Args:
        digest: Of the image's manifest, `sha256:...`.
        store: Holds the image.
        target: The directory; made here.

    Raises:
        IntegrityError: The store lacks the image, or it holds links, devices or names that leave it.
    """
    blobs = image_blobs(digest, store)
    what = f"unpacking the model image {digest}"
    if blobs is None:
        raise IntegrityError(f"{what}: the cache does not hold it whole; build the bundle again")
    manifest = dsse.strict_json(store.path(blobs[0]).read_bytes(), f"the manifest {digest}")
    target.mkdir(parents=True)
    for layer in manifest["layers"]:
        mode = _LAYERS.get(layer["mediaType"])
        if mode is None:
            raise IntegrityError(
                f"{what}: expected layers of type {', '.join(_LAYERS)}, got {layer['mediaType']}"
            )
        try:
            with tarfile.open(store.path(layer["digest"].removeprefix("sha256:")), mode) as tar:  # type: ignore[call-overload]
                for member in tar:
                    _unpack(tar, member, target, what)
        except tarfile.TarError as error:
            raise IntegrityError(f"{what}: layer {layer['digest']} is no tar: {error}") from error
    if not any(path.is_file() for path in target.rglob("*")):
        raise IntegrityError(f"{what}: it holds no files")


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, what: str) -> None:
    path = PurePosixPath(member.name)
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or any(part.startswith(".wh.") for part in parts):
        raise IntegrityError(f"{what}: {member.name!r} is no name of a model's file")
    if parts and parts[0] in _UNSIGNED:
        raise IntegrityError(f"{what}: {member.name!r} would go unsigned; take it out of the model")
    place = target.joinpath(*parts)
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif member.isreg() and parts:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tar.extractfile(member) as source, place.open("wb") as stream:  # type: ignore[union-attr]
            shutil.copyfileobj(source, stream, 1 << 20)
    else:
        raise IntegrityError(f"{what}: {member.name!r} is no plain file; a model holds files only")


def _speaks_of(signature: bytes, public_key: bytes) -> str | None:
    """Name of the model that a signature by this key speaks of; None when it is not by this key.

    Looks at the signature alone: whether a directory fits it is the package's own business.
    """
    try:
        raw = dsse.strict_json(signature, "a model's signature", _MAX_SIGNATURE_BYTES)
        sealed: Mapping[str, Any] = raw["dsseEnvelope"]
        payload = base64.b64decode(sealed["payload"], validate=True)
        envelope = Envelope(payload, sealed["payloadType"], {})
        if envelope.payload_type != dsse.IN_TOTO or len(sealed["signatures"]) != 1:
            return None
        key = serialization.load_pem_public_key(public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return None
        signed = base64.b64decode(sealed["signatures"][0]["sig"], validate=True)
        key.verify(signed, envelope.pae(), ec.ECDSA(hashes.SHA256()))
        told = dsse.strict_json(payload, "a model's signature", _MAX_SIGNATURE_BYTES)
        return str(told["subject"][0]["name"])
    except (IntegrityError, InvalidSignature, UnsupportedAlgorithm, ValueError, LookupError, TypeError):
        return None
