# SPDX-License-Identifier: Apache-2.0
"""Envelopes: what was signed comes back, and nothing else does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgewright.bundle import dsse
from edgewright.errors import InputError, IntegrityError

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
ALICE, BOB, EVE = (CryptoSigner.generate_ed25519() for _ in range(3))


def _changed(envelope: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    raw = json.loads(envelope)
    change(raw)
    return json.dumps(raw).encode()


def test_what_was_signed_comes_back() -> None:
    envelope = dsse.sign(PAYLOAD, [ALICE])
    assert dsse.verify(envelope, [ALICE.public_key]) == PAYLOAD
    assert json.loads(envelope)["payloadType"] == "application/vnd.in-toto+json"


def test_the_envelope_is_the_one_of_the_specification() -> None:
    raw = json.loads(dsse.sign(b"hello world", [ALICE], "http://example.com/HelloWorld"))
    assert base64.b64decode(raw["payload"]) == b"hello world"
    # the encoding as the protocol page of github.com/secure-systems-lab/dsse shows it
    signed = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    ALICE._private_key.public_key().verify(base64.b64decode(raw["signatures"][0]["sig"]), signed)


def test_the_same_key_and_payload_give_the_same_bytes() -> None:
    assert dsse.sign(PAYLOAD, [ALICE]) == dsse.sign(PAYLOAD, [ALICE])


@pytest.mark.parametrize("scheme", ["ecdsa", "rsa"])
def test_other_kinds_of_keys_work_too(scheme: str) -> None:
    signer = CryptoSigner.generate_ecdsa() if scheme == "ecdsa" else CryptoSigner.generate_rsa(size=2048)
    assert dsse.verify(dsse.sign(PAYLOAD, [signer]), [signer.public_key]) == PAYLOAD


def test_two_of_two_keys_are_asked_for_and_found() -> None:
    envelope = dsse.sign(PAYLOAD, [ALICE, BOB])
    keys = [ALICE.public_key, BOB.public_key]
    assert dsse.verify(envelope, keys, threshold=2) == PAYLOAD


def _flip(raw: dict[str, Any]) -> None:
    raw["payload"] = base64.b64encode(PAYLOAD.replace(b"v1", b"v2")).decode()


def _wrong_signature(raw: dict[str, Any]) -> None:
    sig = bytearray(base64.b64decode(raw["signatures"][0]["sig"]))
    sig[0] ^= 1
    raw["signatures"][0]["sig"] = base64.b64encode(bytes(sig)).decode()


def _relabelled(raw: dict[str, Any]) -> None:
    raw["signatures"][0]["keyid"] = BOB.public_key.keyid


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "payload changed": (_flip, "too few are valid"),
    "signature changed": (_wrong_signature, "too few are valid"),
    "signature under another name": (_relabelled, "expected valid signatures by 1"),
    "other payload type": (lambda raw: raw.update(payloadType="text/plain"), "expected a payload of type"),
    "no signature": (lambda raw: raw.update(signatures=[]), "it has none"),
    "signatures no list": (lambda raw: raw.update(signatures="x"), "it has none"),
    "signature no object": (lambda raw: raw.update(signatures=["x"]), "keyid and sig as texts"),
    "signature without key": (lambda raw: raw["signatures"][0].pop("keyid"), "keyid and sig as texts"),
    "signature twice": (lambda raw: raw["signatures"].append(dict(raw["signatures"][0])), "no DSSE envelope"),
    "signature no base64": (lambda raw: raw["signatures"][0].update(sig="*"), "no DSSE envelope"),
    "signature too short": (lambda raw: raw["signatures"][0].update(sig="AAAA"), "too few are valid"),
    "payload no base64": (lambda raw: raw.update(payload="*"), "no DSSE envelope"),
    "payload missing": (lambda raw: raw.pop("payload"), "with payload and payloadType"),
    "payload no text": (lambda raw: raw.update(payload=7), "with payload and payloadType"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_envelope_is_refused(name: str) -> None:
    change, told = CHANGES[name]
    changed = _changed(dsse.sign(PAYLOAD, [ALICE]), change)
    with pytest.raises(IntegrityError, match=told):
        dsse.verify(changed, [ALICE.public_key, BOB.public_key], what="provenance.json")


def test_the_type_is_part_of_what_is_signed() -> None:
    envelope = _changed(
        dsse.sign(PAYLOAD, [ALICE], "text/plain"), lambda raw: raw.update(payloadType=dsse.IN_TOTO)
    )
    with pytest.raises(IntegrityError, match="too few are valid"):
        dsse.verify(envelope, [ALICE.public_key])


def test_a_wrong_key_is_refused_and_named() -> None:
    with pytest.raises(IntegrityError, match=f"none by them, and signatures by {EVE.public_key.keyid[:16]}"):
        dsse.verify(dsse.sign(PAYLOAD, [EVE]), [ALICE.public_key])


def test_a_foreign_key_under_a_known_name_is_refused() -> None:
    impostor = CryptoSigner.generate_ed25519(keyid=ALICE.public_key.keyid)
    with pytest.raises(IntegrityError, match="too few are valid"):
        dsse.verify(dsse.sign(PAYLOAD, [impostor]), [ALICE.public_key])


@pytest.mark.parametrize("signers", [[ALICE], [ALICE, EVE]], ids=["one of two", "one of two, and a stranger"])
def test_below_the_threshold_is_refused(signers: list[CryptoSigner]) -> None:
    with pytest.raises(IntegrityError, match="expected valid signatures by 2"):
        dsse.verify(dsse.sign(PAYLOAD, signers), [ALICE.public_key, BOB.public_key], threshold=2)


def test_one_key_under_two_names_counts_once() -> None:
    twin = SSlibKey("f" * 64, *(getattr(ALICE.public_key, name) for name in ("keytype", "scheme", "keyval")))
    signed = json.loads(dsse.sign(PAYLOAD, [ALICE]))
    signed["signatures"].append({**signed["signatures"][0], "keyid": twin.keyid})
    envelope = json.dumps(signed).encode()
    with pytest.raises(InputError, match=r"number of different keys \(1\), got 2"):
        dsse.verify(envelope, [ALICE.public_key, twin], threshold=2)
    with pytest.raises(IntegrityError, match="expected valid signatures by 2"):
        dsse.verify(envelope, [ALICE.public_key, twin, BOB.public_key], threshold=2)


@pytest.mark.parametrize("threshold", [0, -1, 2])
def test_a_threshold_that_proves_nothing_or_cannot_be_met_is_an_input_error(threshold: int) -> None:
    with pytest.raises(InputError, match="expected a threshold"):
        dsse.verify(dsse.sign(PAYLOAD, [ALICE]), [ALICE.public_key], threshold=threshold)


def test_no_keys_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"different keys \(0\)"):
        dsse.verify(dsse.sign(PAYLOAD, [ALICE]), [])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected a JSON object, got a list"),
        (b'{"payload":"a","payload":"b"}', "'payload' is written twice"),
        (b'{"payload":NaN}', "NaN is no number"),
        (b'{"payload":' + b"9" * 10_000 + b"}", "not JSON"),
        (b"[" * 500_000, "nested too deep"),
        (b'{"a":' * 500_000, "nested too deep"),
        (b'"' + b"a" * dsse.MAX_ENVELOPE_BYTES + b'"', "expected at most"),
    ],
    ids=["empty", "no text", "list", "twice", "nan", "huge number", "deep list", "deep object", "too large"],
)
def test_what_is_no_envelope_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(IntegrityError, match=told):
        dsse.verify(data, [ALICE.public_key])


@pytest.mark.parametrize(("signers", "told"), [([], "no key"), ([ALICE, ALICE], "given twice")])
def test_signing_without_a_key_or_twice_is_an_input_error(signers: list[CryptoSigner], told: str) -> None:
    with pytest.raises(InputError, match=told):
        dsse.sign(PAYLOAD, signers)


def test_a_random_signature_is_kept_once_made(tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ecdsa()
    place = tmp_path / "signatures" / "one.json"

    def valid(data: bytes) -> bool:
        try:
            return dsse.verify(data, [signer.public_key]) == PAYLOAD
        except IntegrityError:
            return False

    def make() -> bytes:
        return dsse.sign(PAYLOAD, [signer])

    first = dsse.kept_or_signed(place, valid, make)
    assert make() != first  # the scheme is random, or this test shows nothing
    assert dsse.kept_or_signed(place, valid, make) == first == place.read_bytes()
    place.write_bytes(first[:-1])
    mended = dsse.kept_or_signed(place, valid, make)
    assert valid(mended)
    assert place.read_bytes() == mended
    assert [path.name for path in place.parent.iterdir()] == ["one.json"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "signatures").write_text("a file")
    with pytest.raises(InputError, match="must be writable"):
        dsse.kept_or_signed(tmp_path / "signatures" / "one", lambda _data: True, lambda: b"x")
