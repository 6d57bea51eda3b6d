# SPDX-License-Identifier: Apache-2.0
"""The documents that a build adds to a bundle: bill of materials, provenance, signatures of models.

    documents = make(release, lock, release_dir, store, keys, signed_at)
    documents["sbom.cdx.json"]

The same lock and keys give the same bytes: what a signature scheme draws at random is kept beside the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.bundle import dsse
from edgewright.bundle.carried import carried
from edgewright.bundle.modelsigning import PUBLIC_KEY_FILE, SIGNATURE_FILE, SIGNATURES, ModelKey, sign_model
from edgewright.bundle.provenance import sign_statement, statement, verify_statement
from edgewright.bundle.sbom import make_sbom
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.errors import InputError, IntegrityError
from edgewright.modules.parts import Shipped
from edgewright.paths import cache_dir
from edgewright.release.documents import LOCK_FILE
from edgewright.release.ocitar import canonical_json

if TYPE_CHECKING:
    from edgewright.bundle.keys import KeySet

__all__ = ["PROVENANCE", "SBOM", "make"]

SBOM = "sbom.cdx.json"
PROVENANCE = "provenance.json"


def make(  # noqa: PLR0917 - what a build has at hand, in its order
    release: Mapping[str, Any],
    lock: Mapping[str, Any],
    release_dir: Path,
    store: BlobStore,
    keys: KeySet,
    signed_at: datetime,
    installer: Mapping[str, bytes | Path] | None = None,
    shipped: Mapping[str, Shipped] | None = None,
) -> dict[str, bytes]:
    """Make a bundle's documents.

    Args:
        release: The release.
        lock: Its lock.
        release_dir: Directory of both files.
        store: Holds what the lock names.
        keys: The release key signs the provenance; the model key lies in the same directory.
        signed_at: The lock's own moment.
        installer: What a bare controller starts with, by name from the stick's top.
        shipped: Packages of kernel modules as devices get them, by file name.

    Returns:
        `sbom.cdx.json`, `provenance.json`, and for each model `models/NAME/model.sig` and `model.pub`.

    Raises:
        InputError: The keys cannot sign.
        IntegrityError: The store lacks something, or it is not what the lock says.
    """
    try:
        lock_sha256 = sha256_bytes((release_dir / LOCK_FILE).read_bytes())
    except OSError as error:
        raise InputError(f"reading {release_dir / LOCK_FILE}: {error.strerror}; lock the release") from error
    models = [image for image in lock["images"] if image["role"] == "model"]
    images = list({image["model"]: image for image in reversed(models)}.values())[::-1]  # on any platform
    key = ModelKey(keys.directory, protect=not keys.development)
    public = key.ensure() if images else b""  # a passphrase is asked for here, not beside other work
    with ThreadPoolExecutor(1) as beside:  # models are read and hashed while the bill is thought out
        signing = beside.submit(_models, images, store, key, public)
        memory = cache_dir() / "bills" / f"{lock['release']['name']}.json"
        parts = carried(installer or {})
        made = make_sbom(
            *(release, lock, lock_sha256, store, signed_at, parts), memory=memory, shipped=shipped
        )
        documents = {SBOM: made}
        documents |= signing.result()
    byproducts = {name: sha256_bytes(data) for name, data in documents.items()}
    return documents | {PROVENANCE: _provenance(statement(lock, lock_sha256, byproducts, shipped), keys)}


def _models(
    images: Sequence[Mapping[str, Any]], store: BlobStore, key: ModelKey, public: bytes
) -> dict[str, bytes]:
    documents = {}
    for image in images:
        here = f"models/{image['model']}"
        documents[f"{here}/{SIGNATURE_FILE}"] = sign_model(image["model"], image["digest"], store, key)
        documents[f"{here}/{PUBLIC_KEY_FILE}"] = public
    return documents


def _provenance(told: Mapping[str, Any], keys: KeySet) -> bytes:
    """The signed statement; the one that was signed before, where it says the same."""
    needed = keys.plan.roles["targets"].threshold
    signers = keys.signers("targets")[:needed]
    public = [signer.public_key for signer in signers]
    named = sha256(canonical_json([told, sorted(key.keyid for key in public)])).hexdigest()

    def same(data: bytes) -> bool:
        try:
            return verify_statement(data, public, threshold=needed) == told
        except IntegrityError:
            return False

    return dsse.kept_or_signed(
        keys.directory / SIGNATURES / f"{named}.dsse", same, lambda: sign_statement(told, signers)
    )
