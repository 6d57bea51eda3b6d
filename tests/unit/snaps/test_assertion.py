# SPDX-License-Identifier: Apache-2.0
"""Assertions read as snapd reads them, and what is misshapen refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.snaps.assertion import read_assertions, read_headers, write_headers
from edgewright.snaps.openpgp import encode_v1, public_key_packet, read_public_key
from edgewright.snaps.refusal import SnapRefused
from tests.unit.snaps import asserting as a

NESTED: dict[str, Any] = {
    "type": "snap-declaration",
    "plugs": {
        "content": {"allow-connection": [{"plug-attributes": {"content": "x"}}, "true"]},
        "home": "false",
    },
    "text": "one\ntwo\n\nthree",
    "list": ["a", "b", ["c", "d"]],
}


def test_headers_are_written_and_read_again() -> None:
    written = write_headers(NESTED, ("type",))
    assert read_headers(written, "x") == NESTED
    assert written.startswith(b"type: snap-declaration\nlist:\n  - a\n  - b\n  -\n    - c\n")
    assert b"text:\n    one\n    two\n    \n    three" in written


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("name", "line 1: expected NAME: VALUE"),
        ("Name: x", "expected NAME: VALUE"),
        ("a: 1\na: 2", "line 2: a is written twice"),
        ("a:1", "expected a blank"),
        ("a:", "expected a text, list or map"),
        ("a:\n  b: 1\n  b: 2", "b is written twice"),
        ("\n".join("  " * depth + "a:" for depth in range(30)), "nested deeper"),
    ],
)
def test_misshapen_headers_are_refused_with_their_line(head: str, words: str) -> None:
    with pytest.raises(SnapRefused, match=words):
        read_headers(head.encode(), "x.assert, assertion 1")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"type: account", "ends within its headers"),
        (b"type: account\n\n", "has no signature"),
        (b"\xff: 1\n\nAc", "not UTF-8"),
        (b"type: nothing\nauthority-id: x\n\nAc", "expected one of account"),
        (b"type: account\nbody-length: 9999999999\n\nAc", "body-length: expected at most"),
        (b"type: account\nbody-length: -1\n\nAc", "body-length: expected"),
        (b"type: account\nbody-length: 5\n\nabc\n\nAc", "does not end after body-length"),
        (b"type: account\nsign-key-sha3-384: short\n\nAc", "expected 64 letters"),
        (b"a: " + b"x" * 200_000 + b"\n\nAc", "longer than 131072"),
        (b"x" * (17 << 20), "expected at most 16777216 bytes"),
    ],
)
def test_misshapen_files_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(SnapRefused, match=words) as refused:
        read_assertions(data, "x.assert")
    assert refused.value.why == "format"


def test_a_signature_in_another_accounts_name_is_not_supported() -> None:
    data = a.STORE.sign("snap-revision", {"snap-sha3-384": "x", "signatory-id": "another"})
    with pytest.raises(SnapRefused, match="another account signs"):
        a.read(data)


def test_an_assertion_is_given_back_as_it_was() -> None:
    data = a.chain()
    assert b"\n".join(each.encoded() for each in a.read(data)) == data


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"!!!", "not base64"),
        (b"AA==", "expected version 1"),
        (encode_v1(b"\x00\x01\x02"), "no OpenPGP packet"),
        (encode_v1(b"\xc2\x01\x02"), "expected an OpenPGP packet with tag 6"),
        (encode_v1(b"\xc6\x05\x04"), "expected a packet of 5 bytes"),
        (encode_v1(public_key_packet((1 << 1023) + 1, 65537)), "expected 2048 to 16384 bits"),
        (encode_v1(public_key_packet((1 << 2047) + 1, 4)), "not the numbers of an RSA key"),
        (encode_v1(public_key_packet((1 << 2047) + 1, 65537) + b"x"), "expected a packet of"),
    ],
)
def test_what_is_no_public_key_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(SnapRefused, match=words):
        read_public_key(body, "x")
