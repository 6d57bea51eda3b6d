# SPDX-License-Identifier: Apache-2.0
"""A store for tests: a root account and key, a publisher, and signed assertions about files of a few bytes.

Assertions are made as snapd makes them (asserts/asserts.go, `assembleAndSign`), with keys of 2048 bits that
are made once a run.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from edgewright.snaps.assertion import PRIMARY_KEYS, Assertion, read_assertions, write_headers
from edgewright.snaps.openpgp import (
    encode_digest,
    encode_v1,
    hashed_part,
    public_key_packet,
    read_public_key,
    write_packet,
)
from edgewright.snaps.trusted import Roots, make_roots

SNAP_ID = "Ab1" * 10 + "Zz"
PUBLISHER = "Pb2" * 10 + "Yy"
STRANGER = "St3" * 10 + "Xx"
FILE = b"hsqs" + bytes(range(256)) * 8
TIME = "2026-01-02T03:04:05Z"


@functools.cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Signer:
    account: str
    number: int

    @property
    def private(self) -> rsa.RSAPrivateKey:
        return private_key(self.number)

    @property
    def body(self) -> bytes:
        numbers = self.private.public_key().public_numbers()
        return encode_v1(public_key_packet(numbers.n, numbers.e))

    @property
    def id(self) -> str:
        return read_public_key(self.body, "a test").id

    def sign(self, kind: str, headers: Mapping[str, Any], body: bytes = b"") -> bytes:
        """One assertion, encoded."""
        told = {"type": kind, "authority-id": self.account, **headers, "sign-key-sha3-384": self.id}
        if body:
            told["body-length"] = str(len(body))
        first = ("type", "authority-id", "revision", *PRIMARY_KEYS[kind])
        written = {name: told.pop(name) for name in ("body-length", "sign-key-sha3-384") if name in told}
        content = write_headers(told, first) + b"\n" + write_headers(written)
        if body:
            content += b"\n\n" + body
        return content + b"\n\n" + self.signature(content) + b"\n"

    def signature(self, content: bytes) -> bytes:
        head = bytes([4, 0, 1, 10, 0, 6, 5, 2]) + (1767323045).to_bytes(4, "big")
        digest = hashes.Hash(hashes.SHA512())
        digest.update(content + hashed_part(head))
        found = digest.finalize()
        value = self.private.sign(found, padding.PKCS1v15(), Prehashed(hashes.SHA512()))
        number = int.from_bytes(value, "big")
        mpi = number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")
        issuer = b"\x09\x10" + bytes(8)
        return encode_v1(write_packet(2, head + len(issuer).to_bytes(2, "big") + issuer + found[:2] + mpi))


ROOT = Signer("testroot", 0)
STORE = Signer("testroot", 1)
BRAND = Signer(PUBLISHER, 2)


def account(name: str, username: str, by: Signer = STORE, **more: str) -> bytes:
    told = {"account-id": name, "display-name": username.title(), "timestamp": TIME}
    return by.sign("account", {**told, "username": username, "validation": "unproven", **more})


def account_key(key: Signer, by: Signer = ROOT, body: bytes | None = None, **more: str) -> bytes:
    told = {"public-key-sha3-384": key.id, "account-id": key.account, "name": "store", "since": TIME}
    return by.sign("account-key", {**told, **more}, key.body if body is None else body)


def declaration(by: Signer = STORE, **more: str) -> bytes:
    told = {"series": "16", "snap-id": SNAP_ID, "publisher-id": PUBLISHER, "snap-name": "reader"}
    return by.sign("snap-declaration", {**told, "timestamp": TIME, **more})


COMPONENT = b"hsqs" + bytes(range(255, -1, -1)) * 4


def resource_revision(data: bytes = COMPONENT, by: Signer = STORE, **more: str) -> bytes:
    """What the store says of a component of `FILE`'s snap."""
    told = {"snap-id": SNAP_ID, "resource-name": "extra", "resource-sha3-384": sha3(data)}
    told |= {"resource-revision": "12", "resource-size": str(len(data)), "developer-id": PUBLISHER}
    return by.sign("snap-resource-revision", {**told, "timestamp": TIME, **more})


def resource_pair(by: Signer = STORE, **more: str) -> bytes:
    told = {"snap-id": SNAP_ID, "resource-name": "extra", "resource-revision": "12", "snap-revision": "7"}
    return by.sign("snap-resource-pair", {**told, "developer-id": PUBLISHER, "timestamp": TIME, **more})


def component_chain(**changed: bytes | None) -> bytes:
    """The file of a snap's assertions with those of its component; a part set to None is left out."""
    both = {"resource": resource_revision(), "pair": resource_pair()}
    return b"\n".join(part for part in {**parts(), **both, **changed}.values() if part is not None)


PIN: dict[str, Any] = {"name": "reader", "id": SNAP_ID, "presence": "required", "revision": "7"}


def validation_set(*pins: dict[str, Any], by: Signer | None = None, **more: Any) -> bytes:
    """A set of the brand: `PIN` where no pins are given."""
    told: dict[str, Any] = {"series": "16", "account-id": PUBLISHER, "name": "edge-set", "sequence": "3"}
    told |= {"timestamp": TIME, "snaps": [dict(pin) for pin in pins or (PIN,)]}
    return (by or BRAND).sign("validation-set", {**told, **more})


def set_parts() -> dict[str, bytes]:
    """The whole chain of a set, by what each assertion is."""
    return {
        "key": account_key(STORE),
        "account": account(PUBLISHER, "brand"),
        "brand": account_key(BRAND),
        "set": validation_set(),
    }


def set_chain(**changed: bytes | None) -> bytes:
    """The file of a set's assertions; a part set to None is left out."""
    return b"\n".join(part for part in {**set_parts(), **changed}.values() if part is not None)


def sha3(data: bytes) -> str:
    return encode_digest(hashlib.sha3_384(data).digest())


def revision(data: bytes = FILE, by: Signer = STORE, **more: str) -> bytes:
    told = {"snap-sha3-384": sha3(data), "snap-id": SNAP_ID, "snap-size": str(len(data))}
    told |= {"snap-revision": "7", "developer-id": PUBLISHER, "timestamp": TIME}
    return by.sign("snap-revision", {**told, **more})


def roots() -> Roots:
    """What tests trust in the place of Canonical's root."""
    own = account("testroot", "testroot", ROOT) + b"\n" + account_key(ROOT, name="root")
    return make_roots(read_assertions(own, "roots.assert"))


def parts() -> dict[str, bytes]:
    """The whole chain of one snap, by what each assertion is."""
    return {
        "key": account_key(STORE),
        "account": account(PUBLISHER, "brand"),
        "declaration": declaration(),
        "revision": revision(),
    }


def chain(**changed: bytes | None) -> bytes:
    """The file of a snap's assertions; a part set to None is left out."""
    return b"\n".join(part for part in {**parts(), **changed}.values() if part is not None)


def read(data: bytes) -> list[Assertion]:
    return read_assertions(data, "reader_7.assert")
