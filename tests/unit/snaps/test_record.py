# SPDX-License-Identifier: Apache-2.0
"""A record states that its release has snaps without assertions, and a person reads it first."""

from __future__ import annotations

from typing import Any

from edgewright.device import acceptance, acceptance_core
from edgewright.record import record as records
from edgewright.record.summary import summary
from tests.unit.device import core_inputs
from tests.unit.device.runtime_inputs import PROFILE, VARIABLES, lock
from tests.unit.record.test_record import LABELS, measurement

OWN = {"name": "own-tool", "grade": "dangerous"}


def _measured() -> dict[str, Any]:
    made = measurement()
    made["facts"] |= {
        "os": {"id": "debian", "version_id": "12"},
        "snapd": "2.57.6",
        "images": {},
        "snaps": {
            "core24": {"revision": "x1", "version": "1", "type": "base", "stand_in": True, "sha3_384": None},
            **{
                snap["name"]: {
                    "revision": "x2",
                    "version": "1.0.0",
                    "type": "app",
                    "stand_in": False,
                    "sha3_384": snap["sha3_384"],
                }
                for snap in core_inputs.SNAPS
            },
        },
    }
    return made


def _record(given: dict[str, Any], measured: dict[str, Any] | None = None) -> dict[str, Any]:
    variables = {**core_inputs.VARIABLES, "acceptance_labels": 2}
    want = acceptance_core.want(variables, core_inputs.PROFILE, given)
    made = records.build("reader-02", want["accepted_for"], want["plan"], LABELS, measured or _measured())
    return records.validate(made, "a test")


def test_a_record_says_dangerous_and_its_summary_says_it_loudly() -> None:
    made = _record(core_inputs.lock())
    names = ["edgewright-model-label-reader", "edgewright-runtime"]
    assert made["release"]["snaps"] == {"grade": "dangerous", "without_assertions": sorted(names)}
    assert "GRADE        DANGEROUS: snaps without assertions: edgewright-" in summary(made)


def test_a_record_states_the_system_its_snaps_and_what_stands_in() -> None:
    made = _record(core_inputs.lock())
    assert made["judged"]["function"]["verdict"] == "pass"
    text = summary(made)
    assert "system       debian 12, snapd 2.57.6" in text
    assert "STAND-INS    core24: not Canonical's" in text
    assert f"snap         edgewright-runtime 1.0.0 (x2) sha3-384 {core_inputs.RUNTIME_SHA3}" in text


def test_a_snap_of_other_bytes_fails_the_device() -> None:
    measured = _measured()
    measured["facts"]["snaps"]["edgewright-runtime"]["sha3_384"] = "C" * 64
    judged = _record(core_inputs.lock(), measured)["judged"]["function"]
    assert judged["verdict"] == "fail"
    assert "snap edgewright-runtime: the device has CCC" in judged["reasons"][0]


def test_a_release_with_asserted_snaps_only_says_nothing_of_it() -> None:
    snaps = [{**snap, "grade": "signed", "revision": 7} for snap in core_inputs.SNAPS]
    made = _record(core_inputs.lock(snaps=snaps))
    assert "snaps" not in made["release"]
    assert "GRADE" not in summary(made)


def test_a_record_names_the_validation_sets_and_another_set_is_another_thing_to_accept() -> None:
    pins = [{"name": snap["name"], "presence": "required"} for snap in core_inputs.SNAPS]
    kept = {"account": "site", "name": "line-4", "sequence": 3, "revision": 1, "snaps": pins}
    kept["assertions"] = {"filename": "site_line-4_3.assert", "sha256": "a" * 64}
    made = _record(core_inputs.lock(validation_sets=[kept]))
    assert made["release"]["validation_sets"] == {"site/line-4=3": 1}
    assert "sets         site/line-4=3, revision 1 of its assertion" in summary(made)
    plain = _record(core_inputs.lock())
    later = _record(core_inputs.lock(validation_sets=[{**kept, "sequence": 4}]))
    assert "validation_sets" not in plain["release"]
    assert len({each["accepted_for"] for each in (made, plain, later)}) == 3


def test_another_grade_is_another_thing_to_accept() -> None:
    plain, marked = _record(core_inputs.lock()), _record(core_inputs.lock(snaps=[*core_inputs.SNAPS, OWN]))
    assert plain["accepted_for"] != marked["accepted_for"]


def test_snaps_of_the_release_are_nothing_to_a_debian_device() -> None:
    plain = acceptance.want(VARIABLES, PROFILE, lock())
    assert acceptance.want(VARIABLES, PROFILE, {**lock(), "snaps": [OWN]}) == plain
