# SPDX-License-Identifier: Apache-2.0
"""Validation sets: the right one is believed, each wrong one is refused by name, and snaps are held to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from edgewright.snaps.chain import believe
from edgewright.snaps.refusal import REASONS, SnapRefused
from edgewright.snaps.validation import (
    Named,
    Pin,
    ValidationSet,
    contradictions,
    find_set,
    known_sets,
    refuse_contradictions,
)
from tests.unit.snaps import asserting as a

NOW = datetime(2026, 11, 21, tzinfo=UTC)
WANTED = Named(a.PUBLISHER, "edge-set", 3)
OTHER_ID = "Qq9" * 10 + "Rr"
READER = {"name": "reader", "grade": "signed", "snap_id": a.SNAP_ID, "revision": 7}
OWN = {"name": "own-tool", "grade": "dangerous"}


def find(data: bytes, wanted: Named = WANTED) -> ValidationSet:
    return find_set(wanted, believe(a.read(data), a.roots(), NOW), "set.assert")


def test_a_set_is_read_with_its_pins() -> None:
    more = {"name": "old-thing", "id": OTHER_ID, "presence": "invalid"}
    found = find(a.set_chain(set=a.validation_set(a.PIN, more, revision="2")))
    assert (found.named, found.revision) == (WANTED, 2)
    assert found.pins == (
        Pin("reader", a.SNAP_ID, "required", 7),
        Pin("old-thing", OTHER_ID, "invalid", None),
    )
    assert found.pins[0].as_dict()["revision"] == 7
    assert "revision" not in found.pins[1].as_dict()
    assert WANTED.key == f"{a.PUBLISHER}/edge-set=3"


def test_what_a_set_does_not_say_of_a_snap_is_required_in_any_revision() -> None:
    found = find(a.set_chain(set=a.validation_set({"name": "reader", "id": a.SNAP_ID})))
    assert found.pins == (Pin("reader", a.SNAP_ID, "required", None),)


def _pin(**changed: Any) -> bytes:
    return a.validation_set({key: value for key, value in {**a.PIN, **changed}.items() if value is not None})


@pytest.mark.parametrize(
    ("why", "words", "changed"),
    [
        pytest.param("missing", "hold no validation-set", {"set": None}, id="no set"),
        pytest.param("cut", "no account-key of the key", {"brand": None}, id="no key"),
        pytest.param("cut", "the account of", {"account": None}, id="no account"),
        pytest.param(
            "authority",
            "it is of account",
            {"set": a.validation_set(**{"account-id": a.STRANGER})},
            id="in another's name",
        ),
        pytest.param(
            "authority",
            "speaks for",
            {"set": a.validation_set(by=a.Signer(a.STRANGER, 2), **{"account-id": a.STRANGER})},
            id="another's key",
        ),
        pytest.param(
            "signature",
            "",
            {"set": a.validation_set().replace(b"revision: 7", b"revision: 8")},
            id="a revision changed",
        ),
        pytest.param(
            "expired",
            "outside the time",
            {"set": a.validation_set(timestamp="2020-01-01T00:00:00Z")},
            id="before its key",
        ),
        pytest.param("format", "series", {"set": a.validation_set(series="17")}, id="series"),
        pytest.param("format", "name", {"set": a.validation_set(name="Edge")}, id="name"),
        pytest.param("format", "from 1 on", {"set": a.validation_set(sequence="0")}, id="sequence 0"),
        pytest.param("format", "whole number", {"set": a.validation_set(sequence="-1")}, id="sequence -1"),
        pytest.param("format", "timestamp", {"set": a.validation_set(timestamp="today")}, id="time"),
        pytest.param("format", "snaps: expected", {"set": a.validation_set(snaps="reader")}, id="no list"),
        pytest.param("format", "snaps: expected", {"set": a.validation_set(snaps=[])}, id="empty"),
        pytest.param("format", "snaps: expected", {"set": a.validation_set(snaps=["a"])}, id="no maps"),
        pytest.param("format", "a snap's name", {"set": _pin(name=None)}, id="snap without name"),
        pytest.param("format", "a snap's name", {"set": _pin(name="1" * 40)}, id="digits only"),
        pytest.param("format", "32 letters", {"set": _pin(id=None)}, id="no id"),
        pytest.param("format", "32 letters", {"set": _pin(id="short")}, id="odd id"),
        pytest.param("format", "presence", {"set": _pin(presence="maybe")}, id="presence"),
        pytest.param("format", "from 1 on", {"set": _pin(revision="0")}, id="revision 0"),
        pytest.param("format", "from 1 on", {"set": _pin(revision="x3")}, id="revision x3"),
        pytest.param("format", "calls invalid", {"set": _pin(presence="invalid")}, id="invalid and pinned"),
        pytest.param(
            "format",
            "name reader is listed twice",
            {"set": a.validation_set(a.PIN, {**a.PIN, "id": OTHER_ID})},
            id="name twice",
        ),
        pytest.param(
            "format",
            "is listed twice",
            {"set": a.validation_set(a.PIN, {**a.PIN, "name": "writer"})},
            id="id twice",
        ),
        pytest.param("sequence", "sequence 4", {"set": a.validation_set(sequence="4")}, id="sequence 4"),
        pytest.param("name", "edge-two=3", {"set": a.validation_set(name="edge-two")}, id="another set"),
    ],
)
def test_a_wrong_set_is_refused_for_its_own_reason(
    why: str, words: str, changed: dict[str, bytes | None]
) -> None:
    with pytest.raises(SnapRefused) as refused:
        find(a.set_chain(**changed))
    assert refused.value.why == why
    assert words in str(refused.value)
    assert why in REASONS


def test_of_two_sequences_the_named_one_counts() -> None:
    both = a.set_chain() + b"\n" + a.validation_set({**a.PIN, "revision": "9"}, sequence="4")
    assert find(both).pins[0].revision == 7
    assert find(both, Named(a.PUBLISHER, "edge-set", 4)).pins[0].revision == 9
    assert len(known_sets(believe(a.read(both), a.roots(), NOW))) == 2


@pytest.mark.parametrize(
    ("pins", "snaps", "words"),
    [
        pytest.param([a.PIN], [READER], [], id="as pinned"),
        pytest.param([a.PIN], [READER, OWN], [], id="a snap it does not speak of"),
        pytest.param([{**a.PIN, "revision": None}], [{**READER, "revision": 99}], [], id="any revision"),
        pytest.param([{**a.PIN, "presence": "optional"}], [OWN], [], id="optional, not there"),
        pytest.param(
            [a.PIN],
            [{**READER, "revision": 8}],
            ["reader: the set pins revision 7, the release has 8"],
            id="8",
        ),
        pytest.param(
            [{**a.PIN, "presence": "optional"}],
            [{**READER, "revision": 8}],
            ["pins revision 7"],
            id="optional, 8",
        ),
        pytest.param([a.PIN], [OWN], ["reader: the set requires it in revision 7"], id="required, not there"),
        pytest.param(
            [{**a.PIN, "presence": "invalid", "revision": None}], [READER], ["calls it invalid"], id="invalid"
        ),
        pytest.param(
            [{**a.PIN, "presence": "invalid", "revision": None}], [OWN], [], id="invalid, not there"
        ),
        pytest.param(
            [a.PIN], [{"name": "reader", "grade": "dangerous"}], ["without assertions"], id="dangerous"
        ),
        pytest.param([a.PIN], [{**READER, "snap_id": OTHER_ID}], ["means the snap of id"], id="another id"),
        pytest.param([a.PIN], [{**READER, "name": "writer"}], ["calls the snap of id"], id="renamed"),
    ],
)
def test_a_releases_snaps_are_held_against_a_set(
    pins: list[dict[str, Any]], snaps: list[dict[str, Any]], words: list[str]
) -> None:
    written = [{key: value for key, value in pin.items() if value is not None} for pin in pins]
    found = find(a.set_chain(set=a.validation_set(*written)))
    told = list(contradictions(found, snaps))
    assert len(told) == len(words)
    assert all(word in sentence for word, sentence in zip(words, told, strict=True))
    if words:
        with pytest.raises(SnapRefused, match=r"edge-set=3 \(release.yml:9\)") as refused:
            refuse_contradictions(found, snaps, "release.yml:9")
        assert refused.value.why == "set"
    else:
        refuse_contradictions(found, snaps, "release.yml:9")
