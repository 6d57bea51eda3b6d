# SPDX-License-Identifier: Apache-2.0
"""Signed statements: DSSE envelopes (https://github.com/secure-systems-lab/dsse) by securesystemslib.

    envelope = sign(payload, [signer])
    payload = verify(envelope, [public_key])

What `verify` returns was signed, as the type that was asked for, by as many different keys as the threshold
asks: nothing is read out of a payload before that. Its input is not believed in any way: size, nesting and
names written twice are refused before a signature is looked at. The same payload and key give the same bytes
where the signature scheme is deterministic (Ed25519); for others `kept_or_signed` keeps what was signed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, Signer

from edgewright.bundle.keyfile import write_file
from edgewright.errors import InputError, IntegrityError
from edgewright.release.ocitar import canonical_json

__all__ = ["IN_TOTO", "MAX_ENVELOPE_BYTES", "kept_or_signed", "sign", "strict_json", "verify"]

IN_TOTO = "application/vnd.in-toto+json"
"""Payload type of in-toto statements (https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md)."""

MAX_ENVELOPE_BYTES = 16 << 20
"""More than any statement of a release needs: one artefact takes about 400 bytes."""


def sign(payload: bytes, signers: Sequence[Signer], payload_type: str = IN_TOTO) -> bytes:
    """Sign a payload.

    Args:
        payload: What is signed, byte for byte.
        signers: Who signs; each once.
        payload_type: What the payload is.

    Returns:
        The envelope, as canonical JSON.

    Raises:
        InputError: There is no signer, or two have the same key.
    """
    if not signers:
        raise InputError(f"signing a statement ({payload_type}): there is no key to sign it with")
    envelope = Envelope(payload, payload_type, {})
    for signer in signers:
        if signer.public_key.keyid in envelope.signatures:
            raise InputError(
                f"signing a statement ({payload_type}): key {signer.public_key.keyid} is given twice"
            )
        envelope.sign(signer)
    return canonical_json(envelope.to_dict())


def verify(
    envelope: bytes,
    public_keys: Sequence[Key],
    payload_type: str = IN_TOTO,
    threshold: int = 1,
    what: str = "a signed statement",
) -> bytes:
    """Verify an envelope.

    Args:
        envelope: The envelope, from outside.
        public_keys: Whose signatures count. Two entries with one key's value count once.
        payload_type: What the payload must be.
        threshold: How many different keys must have signed.
        what: The envelope's name, for messages.

    Returns:
        The payload.

    Raises:
        InputError: The threshold is below one, or above what the keys can reach.
        IntegrityError: It is no envelope, of another type, or not signed by enough of the keys.
    """
    keys = _different(public_keys)
    if not 1 <= threshold <= len(keys):
        raise InputError(
            f"verifying {what}: expected a threshold from 1 to the number of different keys ({len(keys)}), "
            f"got {threshold}"
        )
    opened = _open(envelope, what)
    if opened.payload_type != payload_type:
        raise IntegrityError(
            f"verifying {what}: expected a payload of type {payload_type}, got {opened.payload_type[:80]!r}; "
            "it was made for something else"
        )
    try:
        opened.verify(keys, threshold)
    except VerificationError as error:
        known = {key.keyid for key in keys}
        by_them = sum(1 for keyid in opened.signatures if keyid in known)
        raise IntegrityError(
            f"verifying {what}: expected valid signatures by {threshold} of the keys "
            f"{', '.join(sorted(keyid[:16] for keyid in known))}, got {_told(opened, known, by_them)}; it "
            "was changed after it was signed, or signed by someone else"
        ) from error
    return opened.payload


def kept_or_signed(place: Path, valid: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
    """A signature that was made before, or a new one that is kept from now on.

    Schemes such as ECDSA draw a random number for each signature. Bundles must be the same bytes when they
    are built again, so the first signature over some content stays the one.

    Args:
        place: Its file. The name must stand for content and key.
        valid: Whether a file's bytes are that signature; a damaged file is made anew.
        make: Signs.

    Returns:
        The signature's bytes.

    Raises:
        InputError: The place cannot be read or written.
    """
    try:
        if place.is_file():
            data = place.read_bytes()
            if valid(data):
                return data
        made = make()
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"keeping the signature {place}: {error.strerror}; the directory of the keys must be writable, "
            "so that the same release gives the same bytes again"
        ) from error
    write_file(place, made)
    return made


def strict_json(data: bytes, what: str, max_bytes: int = MAX_ENVELOPE_BYTES) -> dict[str, Any]:
    """Read a JSON object from outside.

    Args:
        data: Its bytes.
        what: Its name, for messages.
        max_bytes: The most that it may be.

    Returns:
        The object.

    Raises:
        IntegrityError: It is too large or too deep, not UTF-8 or not JSON, no object, or has a name
            twice or a number that JSON does not know.
    """
    if len(data) > max_bytes:
        raise IntegrityError(f"reading {what}: expected at most {max_bytes} bytes, got {len(data)}")

    def refuse(token: str) -> None:
        raise ValueError(f"{token} is no number")

    try:
        loaded = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=refuse)
    except RecursionError as error:
        raise IntegrityError(f"reading {what}: it is nested too deep") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise IntegrityError(f"reading {what}: it is not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise IntegrityError(f"reading {what}: expected a JSON object, got a {type(loaded).__name__}")
    return loaded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is written twice")
    return found


def _different(keys: Sequence[Key]) -> list[Key]:
    """Keys without those that have another's value under another name: one person must not count twice."""
    found: dict[str, Key] = {}
    for key in keys:
        told = key.to_dict()
        value = json.dumps(told.get("keyval", told), sort_keys=True)
        found.setdefault(value, key)
    return list(found.values())


def _open(data: bytes, what: str) -> Envelope:
    raw = strict_json(data, what)
    if not isinstance(raw.get("payload"), str) or not isinstance(raw.get("payloadType"), str):
        raise IntegrityError(f"reading {what}: expected a DSSE envelope with payload and payloadType")
    listed = raw.get("signatures")
    if not isinstance(listed, list) or not listed:
        raise IntegrityError(f"reading {what}: expected a DSSE envelope with signatures, it has none")
    for one in listed:
        if not isinstance(one, dict) or not all(isinstance(one.get(name), str) for name in ("keyid", "sig")):
            raise IntegrityError(f"reading {what}: expected each signature to have keyid and sig as texts")
    try:
        return Envelope.from_dict(raw)
    except (ValueError, KeyError) as error:  # wrong base64, or one key that signs twice
        raise IntegrityError(f"reading {what}: it is no DSSE envelope: {error}") from error


def _told(opened: Envelope, known: set[str], by_them: int) -> str:
    others = sorted(repr(keyid[:16])[1:-1] for keyid in opened.signatures if keyid not in known)[:4]
    told = f"{by_them} under their names of which too few are valid" if by_them else "none by them"
    return told + (f", and signatures by {', '.join(others)}" if others else "")
