# SPDX-License-Identifier: Apache-2.0
"""The keys and signatures of assertions: one public-key or signature packet of OpenPGP, RSA only.

    key = read_public_key(account_key.body, account_key.source)
    key.id                                  # what `sign-key-sha3-384` names
    verify(assertion, key)

Both are base64 of one version byte (1) and one OpenPGP version 4 packet. A key's id is the SHA3-384 of the
version byte and the packet in one fixed form (new packet header, made on 2016-01-01), so that it depends on
the key's numbers alone. The cryptography is the `cryptography` library's; only the packets are read here.

Sources: snapd 2.57.6, asserts/crypto.go and asserts/digest.go; RFC 4880, 4.2, 5.2.3, 5.2.4 and 5.5.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from edgewright.snaps.assertion import Assertion
from edgewright.snaps.refusal import SnapRefused

__all__ = [
    "MIN_BITS",
    "VERSION",
    "PublicKey",
    "encode_digest",
    "encode_v1",
    "hashed_part",
    "public_key_packet",
    "read_public_key",
    "verify",
    "write_packet",
]

VERSION = 1
"""The version byte of keys and signatures (asserts/crypto.go: v1)."""

MIN_BITS = 2048
"""RSA keys below are refused (NIST SP 800-131A rev. 2, table 2); snapd's own have 4096 and 8192."""

MAX_BITS = 16384
"""RSA keys above only cost time."""

_TAG_SIGNATURE, _TAG_PUBLIC_KEY = 2, 6  # RFC 4880, 4.3
_RSA = 1  # RFC 4880, 9.1
_BINARY = 0  # RFC 4880, 5.2.1: signature of a binary document
_CREATED = 1451606400
"""2016-01-01 00:00 UTC, the fixed time in a key's normal form (asserts/crypto.go: v1FixedTimestamp)."""

_HASHES: dict[int, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    8: hashes.SHA256,
    9: hashes.SHA384,
    10: hashes.SHA512,
}
"""RFC 4880, 9.4; snapd itself signs with SHA-512."""


@dataclass(frozen=True)
class PublicKey:
    """An RSA key: `id` as assertions name it, modulus `n`, exponent `e`."""

    id: str
    n: int
    e: int


def encode_digest(digest: bytes) -> str:
    """A digest as assertions write it: base64 for URLs, without padding (asserts/digest.go)."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def encode_v1(packet: bytes) -> bytes:
    """A packet as assertions write it: version byte, base64, 76 characters a line."""
    flat = base64.b64encode(bytes([VERSION]) + packet)
    return b"\n".join(flat[at : at + 76] for at in range(0, len(flat), 76))


def public_key_packet(n: int, e: int) -> bytes:
    """The normal form of a key, of which its id is the digest."""
    return write_packet(
        _TAG_PUBLIC_KEY, b"\x04" + _CREATED.to_bytes(4, "big") + bytes([_RSA]) + _mpi(n) + _mpi(e)
    )


def read_public_key(data: bytes, here: str) -> PublicKey:
    """Read the body of an account-key.

    Args:
        data: The body.
        here: The assertion, for messages.

    Returns:
        The key with its id.

    Raises:
        SnapRefused: It is no RSA public key in this form.
    """
    body = _packet(data, _TAG_PUBLIC_KEY, here, "public key")
    if body[:1] != b"\x04" or body[5:6] != bytes([_RSA]):
        raise _wrong(here, "public key: expected an OpenPGP version 4 packet with an RSA key")
    n, rest = _read_mpi(body[6:], here)
    e, rest = _read_mpi(rest, here)
    if rest:
        raise _wrong(here, "public key: bytes follow it")
    if not MIN_BITS <= n.bit_length() <= MAX_BITS:
        raise _wrong(here, f"public key: expected {MIN_BITS} to {MAX_BITS} bits, got {n.bit_length()}")
    if e < 3 or e % 2 == 0 or e.bit_length() > 32 or n % 2 == 0:
        raise _wrong(here, "public key: these are not the numbers of an RSA key")
    named = hashlib.sha3_384(bytes([VERSION]) + public_key_packet(n, e)).digest()
    return PublicKey(encode_digest(named), n, e)


def verify(assertion: Assertion, key: PublicKey) -> None:
    """Check that a key signed an assertion.

    Args:
        assertion: The assertion.
        key: The key that its `sign-key-sha3-384` names.

    Raises:
        SnapRefused: The signature is not one of this key over these bytes.
    """
    here = assertion.told
    body = _packet(assertion.signature, _TAG_SIGNATURE, here, "signature")
    if len(body) < 6 or body[0] != 4:
        raise _wrong(here, "signature: expected an OpenPGP version 4 packet")
    kind, algorithm, digest_id = body[1], body[2], body[3]
    digest = _HASHES.get(digest_id)
    if kind != _BINARY or algorithm != _RSA or digest is None:
        raise _wrong(
            here,
            f"signature: expected RSA over SHA-2, got type {kind}, algorithm {algorithm}, hash {digest_id}",
        )
    hashed_end = 6 + int.from_bytes(body[4:6], "big")
    plain_end = hashed_end + 2 + int.from_bytes(body[hashed_end : hashed_end + 2], "big")
    if plain_end + 2 > len(body):
        raise _wrong(here, "signature: it is cut short")
    value, rest = _read_mpi(body[plain_end + 2 :], here)
    if rest:
        raise _wrong(here, "signature: bytes follow it")
    algorithm_of_hash = digest()
    digester = hashes.Hash(algorithm_of_hash)
    digester.update(assertion.content + hashed_part(body[:hashed_end]))
    found = digester.finalize()
    public = rsa.RSAPublicNumbers(key.e, key.n).public_key()
    length = (key.n.bit_length() + 7) // 8
    try:
        if found[:2] != body[plain_end : plain_end + 2] or value >= key.n:
            raise InvalidSignature
        public.verify(value.to_bytes(length, "big"), found, padding.PKCS1v15(), Prehashed(algorithm_of_hash))
    except InvalidSignature as error:
        raise SnapRefused(
            "signature",
            f"checking {here}: it was changed after it was signed, or key {key.id} did not sign it; get the "
            "assertions again with `snap download`, and find out who changed them if it happens twice",
        ) from error


def hashed_part(head: bytes) -> bytes:
    """What a version 4 signature hashes after the content: its beginning, a trailer (RFC 4880, 5.2.4)."""
    return head + b"\x04\xff" + len(head).to_bytes(4, "big")


def write_packet(tag: int, body: bytes) -> bytes:
    """A packet with a new-format header (RFC 4880, 4.2.2)."""
    size = len(body)
    if size < 192:
        length = bytes([size])
    elif size < 8384:
        length = bytes([(size - 192 >> 8) + 192, size - 192 & 0xFF])
    else:
        length = b"\xff" + size.to_bytes(4, "big")
    return bytes([0xC0 | tag]) + length + body


def _mpi(number: int) -> bytes:
    return number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _read_mpi(data: bytes, here: str) -> tuple[int, bytes]:
    bits = int.from_bytes(data[:2], "big")
    size = (bits + 7) // 8
    number = int.from_bytes(data[2 : 2 + size], "big")
    if len(data) < 2 + size or number.bit_length() != bits:
        raise _wrong(here, "a number in its packet is cut short or has another length than it says")
    return number, data[2 + size :]


def _packet(data: bytes, tag: int, here: str, what: str) -> bytes:
    """The body of the one packet in a version 1 text."""
    try:
        raw = base64.b64decode(data.replace(b"\n", b""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(here, f"{what}: it is not base64") from error
    if len(raw) < 3 or raw[0] != VERSION:
        raise _wrong(here, f"{what}: expected version {VERSION} and a packet")
    head, rest = raw[1], raw[2:]
    if head & 0xC0 == 0xC0:
        found = head & 0x3F
        size, used = _new_length(rest, here, what)
    elif head & 0x80:
        found, kind = head >> 2 & 0x0F, head & 0x03
        if kind == 3:
            raise _wrong(here, f"{what}: a packet without length")
        used = 1 << kind
        size = int.from_bytes(rest[:used], "big")
    else:
        raise _wrong(here, f"{what}: it is no OpenPGP packet")
    if found != tag:
        raise _wrong(here, f"{what}: expected an OpenPGP packet with tag {tag}, got {found}")
    if len(rest) != used + size:
        raise _wrong(here, f"{what}: expected a packet of {size} bytes, got {max(len(rest) - used, 0)}")
    return rest[used:]


def _new_length(rest: bytes, here: str, what: str) -> tuple[int, int]:
    first = rest[0]
    if first < 192:
        return first, 1
    if first < 224 and len(rest) > 1:
        return (first - 192 << 8) + rest[1] + 192, 2
    if first == 255 and len(rest) > 4:
        return int.from_bytes(rest[1:5], "big"), 5
    raise _wrong(here, f"{what}: a packet in pieces or cut short")


def _wrong(here: str, what: str) -> SnapRefused:
    return SnapRefused("format", f"checking {here}: {what}; get the assertions again with `snap download`")
