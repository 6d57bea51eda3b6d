# SPDX-License-Identifier: Apache-2.0
"""Validation sets on a device: what is wanted, what the probe reads, and what differs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import probe, runtime_core
from ansible_collections.edgewright.factory.plugins.module_utils.runtime import Answer
from ansible_collections.edgewright.factory.plugins.module_utils.validation_sets import address

from edgewright.device.areas import drift_all, want_all
from tests.unit.device.core_inputs import PROFILE, VARIABLES, lock
from tests.unit.plugins.made_system import MadeSystem

KEY = "Pb2/edge-set=3"
SET: dict[str, Any] = {
    "account": "Pb2",
    "name": "edge-set",
    "sequence": 3,
    "revision": 1,
    "snaps": [
        {"name": "pc-kernel", "snap_id": "a", "presence": "required", "revision": 2011},
        {"name": "core24", "snap_id": "b", "presence": "required"},
        {"name": "console-conf", "snap_id": "c", "presence": "invalid"},
        {"name": "tool", "snap_id": "d", "presence": "optional", "revision": 5},
    ],
    "assertions": {"filename": "validation-set-edge-set_3.assert", "path": "p", "size": 9, "sha256": "ab"},
}
INSTALLED = [
    {"name": "pc-kernel", "type": "kernel", "status": "active", "revision": "2011"},
    {"name": "core24", "type": "base", "status": "active", "revision": "x1"},
    {"name": "tool", "type": "app", "status": "installed", "revision": "4"},
]


def _want() -> dict[str, Any]:
    return want_all(VARIABLES, PROFILE, lock(validation_sets=[SET]))


def _read(snaps: list[dict[str, Any]] = INSTALLED, **answers: Any) -> dict[str, Any]:
    known = [{"headers": {"type": "validation-set", "revision": "1"}}]
    system = MadeSystem({}, {}, {"/v2/snaps": snaps, address(KEY): known, **answers})
    have = runtime_core.read(system, _want()["runtime"], lambda _where, _identity: Answer(None, {}, None))
    json.dumps(have)
    return have


def _told(have: dict[str, Any]) -> list[str]:
    """Sentences on sets only."""
    want = {"runtime": _want()["runtime"]}
    found = drift_all({"runtime": have}, want, ["runtime"])
    return [drift.why for drift in found if drift.item.startswith("validation_sets.")]


def test_a_release_without_sets_wants_none_and_reads_none() -> None:
    want = want_all(VARIABLES, PROFILE, lock())["runtime"]
    assert "validation_sets" not in want
    assert want["at"]["validation_sets"] == []
    assert "validation_sets" not in probe.probe(MadeSystem({}), {"runtime": want})["runtime"]


def test_what_the_role_has_acknowledged() -> None:
    (wanted,) = _want()["runtime"]["at"]["validation_sets"]
    assert wanted == {
        "account": "Pb2",
        "name": "edge-set",
        "sequence": 3,
        "revision": 1,
        "filename": "validation-set-edge-set_3.assert",
        "sha256": "ab",
    }


def test_a_set_is_asked_for_in_snapds_own_database() -> None:
    """Never `remote=true`, and never the address that reaches for the store where a set is not tracked."""
    assert address(KEY) == (
        "/v2/assertions/validation-set?series=16&account-id=Pb2&name=edge-set&sequence=3&json=headers"
    )


def test_a_set_that_is_kept_has_no_drift() -> None:
    have = _read()
    assert have["validation_sets"][KEY] == {
        "assertion": 1,
        "installed": {"pc-kernel": 2011, "core24": "x1"},
        "mode": None,
    }
    assert _told(have) == []


def test_a_set_that_snapd_enforces_is_told_as_such() -> None:
    tracked = [{"account-id": "Pb2", "name": "edge-set", "mode": "enforce", "sequence": 3, "valid": True}]
    have = _read(**{"/v2/validation-sets": tracked})
    assert have["validation_sets"][KEY]["mode"] == "enforce"
    assert _told(have) == []


NONE_KNOWN: list[Any] = []


@pytest.mark.parametrize(
    ("snaps", "answers", "words"),
    [
        pytest.param(
            INSTALLED, {address(KEY): NONE_KNOWN}, ["does not know the validation set"], id="unknown"
        ),
        pytest.param(INSTALLED, {address(KEY): None}, ["does not know the validation set"], id="no answer"),
        pytest.param(
            INSTALLED,
            {address(KEY): [{"headers": {"revision": "4"}}]},
            ["in revision 4 of its assertion, the release has 1"],
            id="another revision of it",
        ),
        pytest.param(
            [{**INSTALLED[0], "revision": "2009"}, *INSTALLED[1:]],
            {},
            ["pc-kernel is installed in revision 2009, the set pins 2011"],
            id="another revision",
        ),
        pytest.param(
            [{**INSTALLED[0], "revision": "x1"}, *INSTALLED[1:]],
            {},
            ["pc-kernel is installed in revision x1, the set pins 2011"],
            id="an unasserted one",
        ),
        pytest.param(INSTALLED[:1], {}, ["core24 is required and not installed"], id="missing"),
        pytest.param(
            [*INSTALLED, {"name": "console-conf", "status": "active", "revision": "3"}],
            {},
            ["console-conf is installed, and the set calls it invalid"],
            id="invalid",
        ),
        pytest.param(
            [*INSTALLED[:2], {**INSTALLED[2], "status": "active"}],
            {},
            ["tool is installed in revision 4, the set pins 5"],
            id="optional",
        ),
    ],
)
def test_what_contradicts_a_set_is_named(
    snaps: list[dict[str, Any]], answers: dict[str, Any], words: list[str]
) -> None:
    told = _told(_read(snaps, **answers))
    assert len(told) == 1
    assert all(word in told[0] for word in words)


def test_a_device_that_answers_nothing_has_every_fault_of_the_set() -> None:
    have = probe.probe(MadeSystem({}), {"runtime": _want()["runtime"]})["runtime"]
    (told,) = _told(have)
    assert "does not know the validation set" in told
    assert "pc-kernel is required and not installed" in told
