# SPDX-License-Identifier: Apache-2.0
"""The closure certificate: what a rehearsal did, simulated, skipped and refused, signed (in-toto, DSSE).

    envelope = sign_certificate(Rehearsed(...), subjects, keys.signers("targets"))
    told = verify_certificate(envelope, [public_key], subjects)

It speaks of one very bundle: its subjects are the bundle's timestamp, on which everything else on the stick
hangs, its index and its lock, each by sha256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf import json_format
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement
from securesystemslib.signer import Key, Signer

from edgewright.bundle import dsse
from edgewright.bundle.rehearsal.egress import Attempt
from edgewright.errors import IntegrityError
from edgewright.release.ocitar import canonical_json

__all__ = [
    "PREDICATE_TYPE",
    "RESULTS",
    "SCHEMA",
    "Rehearsed",
    "Step",
    "sign_certificate",
    "summary",
    "verify_certificate",
]

SCHEMA = "edgewright.closure/v1"
PREDICATE_TYPE = "https://github.com/edgewright/edgewright/blob/main/docs/reference/rehearsal.md#closure-v1"
RESULTS = ("rehearsed", "failed", "simulated", "skipped")

_WHAT = "the closure certificate"


@dataclass(frozen=True)
class Step:
    """One part of a site's procedure.

    Attributes:
        name: what it is.
        result: one of `RESULTS`: done for real, tried and failed, replaced by a stand-in, or left out.
        told: what was seen, or why it was replaced or left out.
        seconds: how long it took; 0 for what was not done.
    """

    name: str
    result: str
    told: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Rehearsed:
    """A rehearsal that ended, well or not.

    Attributes:
        release: its name and version.
        development: whether the bundle was signed with keys for development.
        fingerprint: of the bundle's first root.
        started, finished: UTC, as `2026-11-19T02:12:54Z`.
        edgewright: version of the Edgewright that rehearsed.
        controller, device: what stood in for them.
        steps: what was done, in order, then what was simulated, then what was skipped.
        refused: what was wanted from elsewhere.
        acceptance: verdict and reason of the device's record; empty where there is none.
    """

    release: str
    development: bool
    fingerprint: str
    started: str
    finished: str
    edgewright: str
    controller: str
    device: str
    steps: tuple[Step, ...]
    refused: tuple[Attempt, ...]
    acceptance: Mapping[str, str]

    @property
    def failed(self) -> Step | None:
        """The step that ended it, if one did."""
        return next((step for step in self.steps if step.result == "failed"), None)

    @property
    def verdict(self) -> str:
        """`closed`: everything that the procedure needs is in the bundle; else `not closed`."""
        return "not closed" if self.failed else "closed"

    def predicate(self) -> dict[str, Any]:
        """As the certificate says it."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            **asdict(self),
            "acceptance": dict(self.acceptance),
        }


def sign_certificate(done: Rehearsed, subjects: Mapping[str, str], signers: Sequence[Signer]) -> bytes:
    """Sign what a rehearsal found.

    Args:
        done: the rehearsal.
        subjects: sha256 in hexadecimal of the bundle's files that it speaks of, by name.
        signers: the release keys.

    Returns:
        A DSSE envelope.
    """
    named = [ResourceDescriptor(name=name, digest={"sha256": digest}).pb for name, digest in subjects.items()]
    statement = Statement(named, PREDICATE_TYPE, json_format.ParseDict(done.predicate(), _struct()))
    statement.validate()
    return dsse.sign(canonical_json(json_format.MessageToDict(statement.pb)), signers)


def _struct() -> Any:
    from google.protobuf.struct_pb2 import Struct  # noqa: PLC0415 - protobuf's own type of free JSON

    return Struct()


def verify_certificate(
    envelope: bytes, public_keys: Sequence[Key], subjects: Mapping[str, str], threshold: int = 1
) -> dict[str, Any]:
    """Verify a certificate against a bundle.

    Args:
        envelope: from outside.
        public_keys: whose signatures count.
        subjects: the bundle's files, as for `sign_certificate`.
        threshold: how many keys must have signed.

    Returns:
        The predicate.

    Raises:
        IntegrityError: it was changed, not signed by these keys, or speaks of another bundle.
    """
    told = dsse.strict_json(dsse.verify(envelope, public_keys, threshold=threshold, what=_WHAT), _WHAT)
    for name, expected in (("_type", STATEMENT_TYPE_URI), ("predicateType", PREDICATE_TYPE)):
        if told.get(name) != expected:
            raise IntegrityError(
                f"reading {_WHAT}: expected {name} {expected}, got {str(told.get(name))[:80]!r}; it is "
                "another kind of statement"
            )
    predicate = told.get("predicate")
    listed = told.get("subject")
    if not isinstance(predicate, dict) or not isinstance(listed, list) or predicate.get("schema") != SCHEMA:
        raise IntegrityError(f"reading {_WHAT}: expected subjects and a predicate of schema {SCHEMA}")
    found = {
        one.get("name"): one.get("digest", {}).get("sha256")
        for one in listed
        if isinstance(one, dict) and isinstance(one.get("digest", {}), dict)
    }
    for name, digest in subjects.items():
        if found.get(name) != digest:
            raise IntegrityError(
                f"checking {_WHAT}: this bundle's {name} has sha256 {digest}, the certificate speaks of "
                f"{found.get(name) or 'no such file'}; it was given for another bundle: rehearse this one"
            )
    return predicate


def summary(predicate: Mapping[str, Any]) -> str:
    """A certificate for a person.

    Args:
        predicate: of a certificate that was verified or is about to be signed.
    """
    lines = [
        f"{predicate['release']}: {str(predicate['verdict']).upper()}",
        f"  rehearsed {predicate['started']} to {predicate['finished']}",
        f"  by Edgewright {predicate['edgewright']}",
        f"  controller: {predicate['controller']}",
        f"  device:     {predicate['device']}",
    ]
    if predicate["development"]:
        lines.append("  signed with DEVELOPMENT keys: for trials only")
    for step in predicate["steps"]:
        took = f" ({step['seconds']:.0f} s)" if step["seconds"] else ""
        lines.append(f"  {step['result']:<9}  {step['name']}{took}: {step['told']}")
    if predicate["acceptance"]:
        accepted = predicate["acceptance"]
        lines.append(f"  acceptance on the twin: {accepted['verdict']}: {accepted['reason']}")
    refused = [Attempt(**{**one, "port": int(one["port"])}) for one in predicate["refused"]]
    lines.append(f"  connections elsewhere, refused: {len(refused) or 'none was tried'}")
    lines += [f"    {one.told()}" for one in refused]
    return "\n".join(lines)
