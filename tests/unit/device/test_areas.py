# SPDX-License-Identifier: Apache-2.0
"""The table of areas: choice, order, sentences, before and after."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import yaml

from edgewright.device import areas as table
from edgewright.device.areas import (
    AREA_NAMES,
    AREAS,
    Area,
    before_after,
    choose,
    drift_all,
    sentence,
    want_all,
)
from edgewright.device.controller_facts import KINDS
from edgewright.device.drift import Drift, compare
from edgewright.errors import InputError


def _toy(name: str) -> Area:
    def want(variables: Any, profile: Any, lock: Any) -> dict[str, Any]:
        if variables.get("broken") == name:
            raise InputError(f"{name} is impossible")
        return {"value": variables["value"], "cpus": profile["cpus"], "kernel": lock["kernel"]}

    def drift(have: Any, want: Any) -> list[Drift]:
        why = {"value": "the value differs", "cpus": "CPUs differ", "kernel": "another kernel runs"}
        return compare(name, have, want, why, frozenset({"kernel"}))

    return Area(name, want, drift, {})


TOYS = (_toy("first"), _toy("second"))
INPUTS = ({"value": 1}, {"cpus": 4}, {"kernel": "rt"})


@pytest.fixture(autouse=False)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small real areas in place of the table's, to test what the table does with any."""
    monkeypatch.setattr(table, "AREAS", TOYS)
    monkeypatch.setattr(table, "AREA_NAMES", ("first", "second"))


def test_the_table_is_whole_and_in_order() -> None:
    assert AREA_NAMES == (
        "identity",
        "depot_client",
        "kernel",
        "nvidia",
        "isolation",
        "runtime",
        "acceptance",
        "drift_watch",
    )
    assert tuple(area.name for area in AREAS) == AREA_NAMES


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_an_areas_parts_share_its_name(area: Area) -> None:
    pure = importlib.import_module(f"edgewright.device.{area.name}")
    assert area.want is pure.want
    assert area.drift is pure.drift
    for variable, (kind, expression) in area.controller_facts.items():
        assert variable.startswith(f"__{area.name}_")
        assert kind in KINDS
        assert f"{{{area.name}_" in expression


@pytest.mark.parametrize("names", [None, [], ()])
def test_no_names_mean_all(names: Any) -> None:
    assert choose(names) == AREAS


def test_areas_come_in_the_tables_order() -> None:
    assert [area.name for area in choose(["kernel", "identity"])] == ["identity", "kernel"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("kernal", "did you mean kernel?"),
        ("nvidia_gpu_all", "Areas are identity"),
        ("", "Areas are identity"),
    ],
)
def test_an_unknown_area_is_refused(name: str, part: str) -> None:
    with pytest.raises(InputError, match="there is no area") as caught:
        choose(["kernel", name])
    assert part in str(caught.value)


@pytest.mark.usefixtures("toys")
def test_want_and_drift_cover_the_chosen_areas_only() -> None:
    want = want_all(*INPUTS)
    assert want == {name: {"value": 1, "cpus": 4, "kernel": "rt"} for name in ("first", "second")}
    assert drift_all(want, want) == []
    have = {"first": {**want["first"], "value": 2}, "second": {"cpus": 4}}
    assert [
        (drift.area, drift.item, drift.have, drift.want, drift.reboot) for drift in drift_all(have, want)
    ] == [
        ("first", "value", 2, 1, False),
        ("second", "value", None, 1, False),
        ("second", "kernel", None, "rt", True),
    ]
    assert [drift.item for drift in drift_all(have, want, ["first"])] == ["value"]
    assert list(want_all(*INPUTS, names=["second"])) == ["second"]


@pytest.mark.usefixtures("toys")
def test_an_areas_refusal_comes_out() -> None:
    with pytest.raises(InputError, match="second is impossible"):
        want_all({"value": 1, "broken": "second"}, *INPUTS[1:])


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(("have", "want", "side"), [({}, {"first": {}}, "have"), ({"first": {}}, {}, "want")])
def test_an_area_that_was_not_read_is_no_area_without_drift(have: Any, want: Any, side: str) -> None:
    with pytest.raises(InputError, match=f"area first: its {side} is missing"):
        drift_all(have, want, ["first"])


SENTENCES = {
    "texts": (
        Drift("kernel", "release", "6.1.0-cloud", "6.1.0-rt", "another kernel runs", True),
        "kernel.release: have 6.1.0-cloud, want 6.1.0-rt: another kernel runs (needs a reboot)",
    ),
    "nothing": (Drift("a", "b", None, True, "why"), "a.b: have nothing, want true: why"),
    "empty text": (Drift("a", "b", "", [], "why"), 'a.b: have "", want []: why'),
    "mapping": (Drift("a", "b", {"k": 1}, {"k": 2}, "why"), 'a.b: have {"k": 1}, want {"k": 2}: why'),
    "lines": (Drift("a", "b", "x\ny\n", None, "why"), "a.b: have 2 lines from 'x' on, want nothing: why"),
    "long": (Drift("a", "b", "x" * 500, "y", "why"), f"a.b: have {'x' * 117}..., want y: why"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_drift_is_told_in_a_sentence(case: str) -> None:
    drift, text = SENTENCES[case]
    assert sentence(drift) == text


def test_before_and_after_show_the_drifted_items_only() -> None:
    drifts = [
        Drift("kernel", "release", "a", "b", "why"),
        Drift("kernel", "sysctl", {"x": "1"}, {"x": "2"}, "why"),
        Drift("runtime", "unit", None, {"active": True}, "why"),
    ]
    before, after = before_after(drifts)
    assert yaml.safe_load(before) == {
        "kernel": {"release": "a", "sysctl": {"x": "1"}},
        "runtime": {"unit": None},
    }
    assert yaml.safe_load(after) == {
        "kernel": {"release": "b", "sysctl": {"x": "2"}},
        "runtime": {"unit": {"active": True}},
    }
    assert before_after([]) == ("", "")


def test_a_text_of_several_lines_stands_as_such() -> None:
    before, after = before_after([Drift("kernel", "file", None, "one\n  two: 2\n", "why")])
    assert before == "kernel:\n  file: null\n"
    assert after == "kernel:\n  file: |\n    one\n      two: 2\n"


@pytest.mark.parametrize(
    ("have", "want"),
    [("one \ntwo\n", "one\ntwo\n"), ("\tone\n", "one\n"), ("one\n\n\n", "one\n"), ("a\r\nb\n", "a\nb\n")],
)
def test_a_difference_in_blanks_is_seen(have: str, want: str) -> None:
    before, after = before_after([Drift("kernel", "file", have, want, "why")])
    assert before != after
    assert yaml.safe_load(before) == {"kernel": {"file": have}}
    assert yaml.safe_load(after) == {"kernel": {"file": want}}
