# SPDX-License-Identifier: Apache-2.0
"""A chain of assertions: the right one is believed, every wrong one is refused for its own reason."""

from __future__ import annotations

import dataclasses
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.snaps.assertion import read_assertions
from edgewright.snaps.chain import Asserted, Claim, believe, match
from edgewright.snaps.refusal import REASONS, SnapRefused
from edgewright.snaps.trusted import CANONICAL_ROOT_KEY, canonical_roots, make_roots
from tests.unit.snaps import asserting as a

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "snaps"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
CLAIM = Claim("reader", "reader_7.snap", a.sha3(a.FILE), len(a.FILE), 7, "brand")
OTHER = a.Signer("testroot", 5)
THIRD = a.Signer(a.STRANGER, 4)


def check(data: bytes, claim: Claim = CLAIM) -> Asserted:
    return match(claim, believe(a.read(data), a.roots(), NOW))


def test_the_root_key_is_canonicals_and_signs_itself() -> None:
    roots = canonical_roots()
    assert roots.accounts == {"canonical"}
    assert list(roots.keys) == [CANONICAL_ROOT_KEY]
    assert roots.keys[CANONICAL_ROOT_KEY][1].n.bit_length() == 8192


def test_assertions_that_canonical_published_are_believed() -> None:
    data = (FIXTURES / "generic.assert").read_bytes()
    believed = believe(read_assertions(data, "generic.assert"), canonical_roots(), NOW)
    assert [each.text("model") for each in believed.of_type("model")] == ["generic-classic"]


@pytest.mark.parametrize("at", [40, 300, 1100, -40])
def test_a_published_assertion_with_one_bit_changed_is_refused(at: int) -> None:
    data = bytearray((FIXTURES / "generic.assert").read_bytes())
    data[at] ^= 1
    with pytest.raises(SnapRefused):
        believe(read_assertions(bytes(data), "generic.assert"), canonical_roots(), NOW)


def test_a_whole_chain_is_believed_by_account_id_and_by_username() -> None:
    expected = Asserted(a.SNAP_ID, a.PUBLISHER, a.PUBLISHER)
    assert check(a.chain()) == expected
    assert check(a.chain(), dataclasses.replace(CLAIM, publisher=a.PUBLISHER)) == expected


def test_the_order_of_the_file_does_not_matter_and_a_newer_revision_of_an_assertion_stands() -> None:
    parts = list(a.parts().values())
    newer = a.declaration(revision="3", **{"snap-name": "reader-two"})
    data = b"\n".join([*reversed(parts), newer])
    assert check(data, dataclasses.replace(CLAIM, name="reader-two"))


def test_a_developer_who_is_not_the_publisher_counts_only_when_the_release_names_it() -> None:
    uploaded = a.revision(**{"developer-id": a.STRANGER})
    data = a.chain(revision=uploaded) + b"\n" + a.account(a.STRANGER, "stranger")
    with pytest.raises(SnapRefused, match="was uploaded by stranger") as refused:
        check(data)
    assert refused.value.why == "developer"
    assert check(data, dataclasses.replace(CLAIM, developer="stranger")).developer_id == a.STRANGER
    with pytest.raises(SnapRefused, match="says its developer is brand"):
        check(data, dataclasses.replace(CLAIM, developer="brand"))


@pytest.mark.parametrize(
    ("why", "words", "changed", "claim"),
    [
        pytest.param("changed", "got Q", {}, {"sha3_384": "Q" * 64}, id="another file"),
        pytest.param("revision", "release says revision 8", {}, {"revision": 8}, id="another revision"),
        pytest.param("name", "snap-declaration is of reader", {}, {"name": "writer"}, id="another name"),
        pytest.param(
            "publisher", "assertions say brand \\(Pb2", {}, {"publisher": "else"}, id="another publisher"
        ),
        pytest.param("size", "the file has 5", {}, {"size": 5}, id="another size"),
        pytest.param("missing", "no snap-revision", {"revision": None}, {}, id="no revision"),
        pytest.param("cut", "snap-declaration of", {"declaration": None}, {}, id="no declaration"),
        pytest.param("cut", "no account-key of the key", {"key": None}, {}, id="no key"),
        pytest.param("cut", f"account of {a.PUBLISHER}", {"account": None}, {}, id="no account"),
        pytest.param(
            "authority",
            "only testroot may",
            {"revision": a.revision(by=a.BRAND), "more": a.account_key(a.BRAND, name="brand")},
            {},
            id="a brand signs a revision",
        ),
        pytest.param(
            "authority",
            "is a key of",
            {
                "revision": dataclasses.replace(a.BRAND, account="testroot").sign(
                    "snap-revision",
                    {name: value for name, value in a.read(a.revision())[0].headers.items() if "-" in name}
                    | {"timestamp": a.TIME},
                ),
                "more": a.account_key(a.BRAND, name="brand"),
            },
            {},
            id="a brand signs in the store's name",
        ),
        pytest.param(
            "cut",
            "no account-key",
            {"key": a.account_key(a.STORE, by=OTHER)},
            {},
            id="a key that no root signed",
        ),
        pytest.param(
            "authority",
            "only testroot may",
            {"account": a.account(a.PUBLISHER, "brand", by=THIRD)},
            {},
            id="an account that a stranger signed",
        ),
        pytest.param(
            "key",
            "its body is the key",
            {"key": a.account_key(a.STORE, body=OTHER.body)},
            {},
            id="another body",
        ),
        pytest.param(
            "expired",
            "counted until",
            {"key": a.account_key(a.STORE, until="2026-06-01T00:00:00Z")},
            {},
            id="old key",
        ),
        pytest.param(
            "expired",
            "outside the time",
            {"key": a.account_key(a.STORE, since="2026-05-01T00:00:00+02:00")},
            {},
            id="signed before the key counted",
        ),
        pytest.param(
            "authority",
            "delegates",
            {"revision": a.revision(provenance="factory")},
            {},
            id="delegated revision",
        ),
        pytest.param(
            "format", "expected series 16", {"declaration": a.declaration(series="15")}, {}, id="series"
        ),
        pytest.param(
            "format",
            "about the same",
            {"more": a.declaration(**{"snap-name": "writer"})},
            {},
            id="two declarations",
        ),
        pytest.param(
            "format",
            "snap-size: expected a whole",
            {"revision": a.revision(**{"snap-size": "0x9"})},
            {},
            id="a size",
        ),
        pytest.param(
            "format",
            "timestamp: expected a time",
            {"revision": a.revision(timestamp="yesterday")},
            {},
            id="a time",
        ),
    ],
)
def test_what_is_wrong_is_refused_for_its_own_reason(
    why: str, words: str, changed: dict[str, bytes | None], claim: dict[str, object]
) -> None:
    with pytest.raises(SnapRefused, match=words) as refused:
        check(a.chain(**changed), dataclasses.replace(CLAIM, **claim))  # type: ignore[arg-type]
    assert refused.value.why == why
    assert why in REASONS
    assert ";" in str(refused.value)  # what to do next


@pytest.mark.parametrize("part", ["key", "account", "declaration", "revision"])
def test_a_signature_of_another_assertion_is_refused(part: str) -> None:
    own = a.parts()
    other = "revision" if part != "revision" else "declaration"
    swapped = own[part].rpartition(b"\n\n")[0] + b"\n\n" + own[other].rpartition(b"\n\n")[2]
    with pytest.raises(SnapRefused, match="did not sign it") as refused:
        check(a.chain(**{part: swapped}))
    assert refused.value.why == "signature"


def test_an_assertion_that_is_not_needed_is_checked_too() -> None:
    forged = re.sub(rb"username: stranger", b"username: canonical", a.account(a.STRANGER, "stranger"))
    with pytest.raises(SnapRefused) as refused:
        check(a.chain() + b"\n" + forged)
    assert refused.value.why == "signature"


def test_a_root_that_is_not_signed_by_itself_is_none() -> None:
    with pytest.raises(SnapRefused, match="no part of a root"):
        make_roots(a.read(a.chain()))


def test_no_mutation_of_a_chain_is_believed() -> None:
    """Single bits, bytes, cuts and doublings all over the file: refused, or the same statements as before."""
    source = random.Random(20261121)  # noqa: S311 - the same faults each run
    good = a.chain()
    said = {each.content for each in a.read(good)}
    refused = 0
    for _ in range(1500):
        data = bytearray(good)
        at, kind = source.randrange(len(data)), source.randrange(4)
        if kind == 0:
            data[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            del data[at : at + source.randrange(1, 40)]
        elif kind == 2:
            data[at:at] = data[at : at + source.randrange(1, 40)]
        else:
            data[at] = source.choice(b"\n :-\x00\xff")
        if bytes(data) == good:
            continue
        try:
            found = a.read(bytes(data))
            match(CLAIM, believe(found, a.roots(), NOW))
        except SnapRefused:
            refused += 1
            continue
        assert {each.content for each in found} == said  # line ends or bits that a signature does not cover
    assert refused > 1200
