# SPDX-License-Identifier: Apache-2.0
"""A record states that its release has snaps without assertions, and a person reads it first."""

from __future__ import annotations

from typing import Any

from edgewright.device import acceptance
from edgewright.record import record as records
from edgewright.record.summary import summary
from tests.unit.device.runtime_inputs import PROFILE, VARIABLES, lock
from tests.unit.record.test_record import LABELS, measurement

SNAP = {"name": "own-tool", "grade": "dangerous"}


def _record(given: dict[str, Any]) -> dict[str, Any]:
    want = acceptance.want({**VARIABLES, "acceptance_labels": 2}, PROFILE, given)
    made = records.build("reader-01", want["accepted_for"], want["plan"], LABELS, measurement())
    return records.validate(made, "a test")


def test_a_record_says_dangerous_and_its_summary_says_it_loudly() -> None:
    made = _record({**lock(), "snaps": [SNAP, {"name": "reader", "grade": "signed"}]})
    assert made["release"]["snaps"] == {"grade": "dangerous", "without_assertions": ["own-tool"]}
    assert "GRADE        DANGEROUS: snaps without assertions: own-tool" in summary(made)


def test_a_release_with_asserted_snaps_only_says_nothing_of_it() -> None:
    made = _record({**lock(), "snaps": [{"name": "reader", "grade": "signed"}]})
    assert "snaps" not in made["release"]
    assert "GRADE" not in summary(made)


def test_another_grade_is_another_thing_to_accept() -> None:
    plain, marked = _record(lock()), _record({**lock(), "snaps": [SNAP]})
    assert plain["accepted_for"] != marked["accepted_for"]
