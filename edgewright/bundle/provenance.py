# SPDX-License-Identifier: Apache-2.0
"""Where a bundle's content comes from: an in-toto statement with SLSA provenance, signed (DSSE).

    envelope = sign_statement(statement(lock, lock_sha256, byproducts={"sbom.cdx.json": digest}), [signer])
    told = verify_statement(envelope, [public_key], subjects={"release.lock.yml": lock_sha256})

Subjects are the lock and the images and models that it names; resolved dependencies are every package, wheel
and file that went in, each by digest. It says nothing that hangs on the hour or the place of the build: the
same lock gives the same statement everywhere, which is what lets anyone build again and compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import (
    BuildDefinition,
    Builder,
    Provenance,
    RunDetails,
)
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement
from securesystemslib.signer import Key, Signer

import edgewright
from edgewright.bundle import dsse
from edgewright.errors import IntegrityError
from edgewright.modules.parts import Shipped, module_entries
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE
from edgewright.release.ocitar import canonical_json
from edgewright.snaps.components import carried

__all__ = ["BUILD_TYPE", "PREDICATE_TYPE", "sign_statement", "statement", "verify_statement"]

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"

_HOME = "https://github.com/edgewright/edgewright"
BUILD_TYPE = f"{_HOME}/blob/main/docs/reference/sbom.md#build-type-v1"
"""What the parameters mean; the page explains them."""

BUILDER = f"{_HOME}#build-host"

_WHAT = "the provenance"


def statement(
    lock: Mapping[str, Any],
    lock_sha256: str,
    byproducts: Mapping[str, str] | None = None,
    shipped: Mapping[str, Shipped] | None = None,
) -> dict[str, Any]:
    """What is stated of a lock's bundle.

    Args:
        lock: The lock.
        lock_sha256: Of its file, in hex.
        byproducts: sha256 in hex of other documents that the build made, by name.
        shipped: Packages of kernel modules as devices get them, by file name; as the lock has them without.

    Returns:
        The statement, as the specification's JSON.
    """
    release = lock["release"]
    definition = BuildDefinition(
        build_type=BUILD_TYPE,
        resolved_dependencies=[found.pb for found in _dependencies(lock, shipped or {})],
    )
    definition.external_parameters.update(
        {
            "release": release["name"],
            "version": release["version"],
            "lock": {"name": LOCK_FILE, "digest": {"sha256": lock_sha256}},
        }
    )
    details = RunDetails(
        builder=Builder(id=BUILDER, version={"edgewright": edgewright.__version__}),
        byproducts=[
            _resource(name=name, sha256=digest).pb for name, digest in sorted((byproducts or {}).items())
        ],
    )
    predicate = Provenance(build_definition=definition, run_details=details)
    made = Statement(
        [found.pb for found in _subjects(lock, lock_sha256, shipped or {})],
        PREDICATE_TYPE,
        json_format.MessageToDict(predicate),
    )
    made.validate()
    told: dict[str, Any] = json_format.MessageToDict(made.pb)
    return told


def sign_statement(told: Mapping[str, Any], signers: Sequence[Signer]) -> bytes:
    """Sign a statement.

    Args:
        told: The statement.
        signers: The release keys.

    Returns:
        A DSSE envelope.

    Raises:
        InputError: There is no signer.
    """
    return dsse.sign(canonical_json(told), signers)


def verify_statement(
    envelope: bytes,
    public_keys: Sequence[Key],
    *,
    threshold: int = 1,
    subjects: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Verify a signed provenance.

    Args:
        envelope: The DSSE envelope, from outside.
        public_keys: The keys whose signatures count.
        threshold: How many different ones must have signed.
        subjects: sha256 in hex of what it must speak of, by name: a true statement about another lock is no
            statement about this one.

    Returns:
        The statement.

    Raises:
        InputError: The threshold cannot be met by these keys.
        IntegrityError: It was changed, is not signed by them, is another kind of statement, or speaks of
            other things than `subjects`.
    """
    payload = dsse.verify(envelope, public_keys, threshold=threshold, what=_WHAT)
    told = dsse.strict_json(payload, _WHAT)
    for name, expected in (("_type", STATEMENT_TYPE_URI), ("predicateType", PREDICATE_TYPE)):
        if told.get(name) != expected:
            raise IntegrityError(
                f"reading {_WHAT}: expected {name} {expected}, got {str(told.get(name))[:80]!r}; it is "
                "another kind of statement"
            )
    try:
        parsed = Statement([], "", {})
        json_format.ParseDict(told, parsed.pb, ignore_unknown_fields=True)
        parsed.validate()
        json_format.ParseDict(told["predicate"], Provenance(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"reading {_WHAT}: it is no SLSA provenance: {error}") from error
    found = {one.name: one.digest.get("sha256", "") for one in parsed.pb.subject}
    for name, digest in (subjects or {}).items():
        if found.get(name) != digest:
            raise IntegrityError(
                f"checking {_WHAT}: it must speak of {name} with sha256 {digest}, it speaks of "
                f"{found.get(name) or 'no such thing'}; it belongs to another bundle"
            )
    return told


def _subjects(
    lock: Mapping[str, Any], lock_sha256: str, shipped: Mapping[str, Shipped]
) -> Iterator[ResourceDescriptor]:
    yield _resource(name=LOCK_FILE, sha256=lock_sha256)
    for image in lock["images"]:
        here = image["platform"] == f"linux/{lock['os']['arch']}"
        name = image["name"] if here else f"{image['name']} for {image['platform']}"
        yield _resource(name=name, sha256=image["digest"].removeprefix("sha256:"))
    for entry in module_entries(lock):
        found = shipped.get(entry["filename"])
        yield _resource(name=entry["filename"], sha256=found.sha256 if found else entry["sha256"])
        for path, digest in found.modules.items() if found else []:
            yield _resource(name=path, sha256=digest)


def _dependencies(lock: Mapping[str, Any], shipped: Mapping[str, Shipped]) -> list[ResourceDescriptor]:
    """Everything that went in, once each, in order of name."""
    found = {
        (RELEASE_FILE, lock["release"]["sha256"]): _resource(
            name=RELEASE_FILE, sha256=lock["release"]["sha256"]
        )
    }
    targets = [lock, *lock.get("targets", [])]
    debs = [deb for part in targets for deb in part["apt"]["packages"]]
    debs += [deb for image in lock["images"] for deb in image.get("debs", [])]
    debs += [deb for entry in module_entries(lock) for deb in entry["debs"]]
    wheels = [wheel for part in targets for wheel in part["python"]["wheels"]]
    wheels += [image["wheel"] for image in lock["images"] if "wheel" in image]
    snaps = list(carried(lock))
    snaps = [*snaps, *(snap["assertions"] for snap in snaps if "assertions" in snap)]
    snaps += [each["assertions"] for each in lock.get("validation_sets", [])]
    for entry in [*debs, *wheels, *lock.get("files", []), *snaps]:
        name = entry.get("filename") or entry["name"]
        found[name, entry["sha256"]] = _resource(name, entry["sha256"], entry.get("url", ""))
    for filename, package in shipped.items():
        if package.signer:  # what was signed is made of the package that the lock names
            name, digest = f"{filename} before signing", package.unsigned_sha256
            found[name, digest] = _resource(name, digest)
    for image in lock["images"]:
        origin = image.get("from", {})
        digest = origin.get("sha256") or origin.get("digest") or origin.get("id")
        if digest:  # of an image that others built: the archive, the registry's manifest, the engine's image
            name = origin.get("path") or origin.get("reference") or image["name"]
            found[name, digest] = _resource(name, digest.removeprefix("sha256:"))
    return [found[key] for key in sorted(found)]


def _resource(name: str, sha256: str, uri: str = "") -> ResourceDescriptor:
    made = ResourceDescriptor(name=name, uri=uri, digest={"sha256": sha256})
    made.validate()
    return made
