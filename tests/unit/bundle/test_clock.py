# SPDX-License-Identifier: Apache-2.0
"""Clocks in an air gap are wrong: behind is mended by what was signed, ahead is refused with a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edgewright.bundle.keys import KeySet
from edgewright.bundle.refusal import BundleRefused
from edgewright.bundle.trust import Clock
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import EXPIRES, NOW, SIGNED_AT, Made

START = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_expired(made: Made) -> None:
    made.open(now=EXPIRES - SECOND).close()
    for now in (EXPIRES, EXPIRES + SECOND):
        with pytest.raises(BundleRefused) as caught:
            made.open(now=now)
        assert caught.value.why == "expired"
        said = str(caught.value)
        assert "the bundle was good until 2027-11-19T02:12:54Z" in said
        assert f"this machine's clock says {now:%Y-%m-%dT%H:%M:%SZ}" in said
        assert "if the clock is wrong, set it (`date -u --set" in said
        assert "build and sign it anew" in said


def test_clock_at_1970(made: Made) -> None:
    """The first bundle: nothing was accepted, so its own moment is the earliest that it can be."""
    with made.open(now=START) as bundle:
        assert bundle.clock.now == SIGNED_AT
        assert bundle.clock_note is not None
        assert "clock says 1970-01-01T00:00:00Z, but it is at least 2026-11-19T02:12:54Z" in bundle.clock_note
        bundle.check_all()
        bundle.accept()
    with made.open(now=START) as again:
        assert again.clock == Clock(START, SIGNED_AT)


def test_clock_set_back(made: Made) -> None:
    """An expired bundle and a battery that died: the floor knows better."""
    late = sticks.make(made.stick.parent, made.keys, "late", {"x": b"late"}, days=400)
    with made.open(now=START) as bundle:
        bundle.accept()
    with late.open(now=START) as bundle:
        assert bundle.clock.now == SIGNED_AT + timedelta(days=400)
        bundle.accept()
    # Signed anew with an end that is over: versions grow, but the time is known to be later.
    short = sticks.Made(made.stick.parent / "short", made.keys, made.trust)
    sticks.write_stick(short.stick, {"x": b"short"})
    sticks.sign_bundle(short.stick, made.keys, signed_at=SIGNED_AT, expires=EXPIRES)
    for now in (START, SIGNED_AT + SECOND, NOW):
        with pytest.raises(BundleRefused) as caught:
            short.open(now=now)
        assert caught.value.why == "expired"
        assert "a bundle signed at 2027-12-24T02:12:54Z was accepted here" in str(caught.value)
    late.open(now=START).close()


def test_floor_never_falls(made: Made) -> None:
    """A newer version with an older moment is taken, and the floor stays."""
    late = sticks.make(made.stick.parent, made.keys, "late", {"x": b"late"}, days=20)
    late.accept()
    older = sticks.make(made.stick.parent, made.keys, "older", {"x": b"older lock, signed later"}, days=5)
    older.accept()
    with older.open(now=START) as bundle:
        assert bundle.clock.floor == SIGNED_AT + timedelta(days=20)


@pytest.mark.parametrize(
    "now",
    [
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        SIGNED_AT + timedelta(days=20 * 365),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
    ids=["2038", "plus twenty years", "9999"],
)
@pytest.mark.parametrize("accepted", [False, True], ids=["first use", "accepted before"])
def test_clock_ahead(made: Made, now: datetime, accepted: bool) -> None:
    if accepted:
        made.accept()
    with pytest.raises(BundleRefused) as caught:
        made.open(now=now)
    assert caught.value.why == "expired"
    assert f"{now:%Y-%m-%dT%H:%M:%SZ}" in str(caught.value)
    assert "if the clock is wrong, set it" in str(caught.value)


def test_root_past_its_end(made: Made) -> None:
    """The holders' own end: another sentence, for another person to act."""
    end = made.keys.root.expires
    with pytest.raises(BundleRefused) as caught:
        made.open(now=end)
    assert caught.value.why == "expired"
    assert "root 1 was good until" in str(caught.value)
    assert "edgewright keys rotate root" in str(caught.value)


def test_frozen_past_its_end(made: Made) -> None:
    """Somebody hands out the same good bundle for ever: it ends."""
    made.accept()
    made.open(now=EXPIRES - SECOND).close()
    with pytest.raises(BundleRefused) as caught:
        made.open(now=EXPIRES)
    assert caught.value.why == "expired"


def test_the_machines_own_clock_counts(keys: KeySet, tmp_path: Path) -> None:
    """Without `now`, as in real use: python-tuf must take our time, and ours must be this machine's."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    index = sticks.write_stick(tmp_path / "old", signed_at=long_ago, expires=long_ago + timedelta(days=1))
    sticks.sign_bundle(tmp_path / "old", keys, signed_at=index.signed_at, expires=index.expires)
    old = Made(tmp_path / "old", keys, tmp_path / "trust")
    with pytest.raises(BundleRefused) as caught:
        sticks.open_bundle(old.stick, old.trust, fingerprint=keys.fingerprint)
    assert caught.value.why == "expired"
    old.open(now=long_ago).close()


def test_time_zones_do_not_matter(made: Made) -> None:
    made.open(now=(EXPIRES - SECOND).astimezone(ZoneInfo("Asia/Tokyo"))).close()
    with pytest.raises(BundleRefused):
        made.open(now=EXPIRES.astimezone(ZoneInfo("America/New_York")))
