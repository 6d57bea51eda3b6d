# SPDX-License-Identifier: Apache-2.0
"""The drift_watch area: what is wanted, what differs, and the file that a device compares itself with."""

from __future__ import annotations

import json
from collections import ChainMap
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import drift_watch as on_device

from edgewright.device import areas as table
from edgewright.device import drift_watch
from edgewright.device.areas import AREAS, Area
from edgewright.device.drift_watch import AREA, kept_want, want, want_digest
from edgewright.device.probe_program import kept_path, probe_program
from edgewright.errors import InputError

VARIABLES = {
    "drift_watch_period_s": 600,
    "drift_watch_textfile_directory": "/var/lib/prometheus/node-exporter",
    "isolation_cpus": "2-3",
}
PROFILE = {"name": "x86_vm", "cpus": 4, "boot": "grub"}
LOCK: dict[str, Any] = {"release": {"name": "label-reader", "version": "1.0.0"}}


def _toy_want(variables: Any, *_: Any) -> dict[str, Any]:
    return {"a": variables.get("a", 1)}


def _toy_drift(*_: Any) -> list[Any]:
    return []


@pytest.fixture(autouse=True)
def one_other_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small area beside the watch's own, in place of all the others."""
    toy = Area("toy", _toy_want, _toy_drift, {}, why={"a": "the toy broke", "b": "not wanted here"})
    watch = next(area for area in table.AREAS if area.name == AREA)
    monkeypatch.setattr(table, "AREAS", (toy, watch))


def make(**changes: Any) -> dict[str, Any]:
    return want(ChainMap(changes, VARIABLES), PROFILE, LOCK)


def matching(wanted: dict[str, Any]) -> dict[str, Any]:
    """What a device reads that is as wanted."""
    return {item: wanted[item] for item in ("program", "wanted", "files", "timer", "fresh", "findings")}


def test_the_program_is_kept_by_its_digest() -> None:
    wanted = make()
    assert wanted["program"] == probe_program().sha256
    assert wanted["at"]["program"] == kept_path(probe_program().sha256)
    service, timer = wanted["files"].values()
    assert f'echo "{wanted["program"]}  {wanted["at"]["program"]}" | sha256sum --check --status' in service
    assert "CPUAffinity=0-1\n" in service
    assert "OnUnitActiveSec=600s\n" in timer


@pytest.mark.parametrize(("chosen", "rest"), [("all but 1", "0"), ("all but 2", "0-1"), ("1,3", "0,2")])
def test_it_runs_where_the_system_does_however_the_cpus_are_chosen(chosen: str, rest: str) -> None:
    assert f"CPUAffinity={rest}\n" in "".join(make(isolation_cpus=chosen)["files"].values())


def test_without_isolation_it_runs_anywhere() -> None:
    assert "CPUAffinity" not in "".join(make(isolation_cpus="")["files"].values())


def test_a_container_needs_no_list_of_cpus() -> None:
    wanted = want({**VARIABLES, "isolation_cpus": None}, {**PROFILE, "boot": "none"}, LOCK)
    assert "CPUAffinity" not in "".join(wanted["files"].values())


def test_what_is_wanted_of_other_areas_is_part_of_it() -> None:
    assert make()["wanted"] == want_digest({"toy": {"a": 1}})
    assert make(a=2)["wanted"] != make()["wanted"]


@pytest.mark.parametrize("value", [{}, {"toy": {"b": [1, 2.5, None, True], "a": "ü"}}])
def test_controller_and_device_digest_alike(value: Any) -> None:
    assert want_digest(value) == on_device.want_digest(json.loads(json.dumps(value)))


@pytest.mark.parametrize("value", [0, "0"])
def test_with_no_period_the_program_alone_is_wanted(value: Any) -> None:
    wanted = make(drift_watch_period_s=value)
    assert wanted["period_s"] == 0
    none = dict.fromkeys(wanted["files"])
    assert drift_watch.drift({"program": wanted["program"], "files": none}, wanted) == []
    (gone,) = drift_watch.drift({"program": None, "files": none}, wanted)
    assert gone.item == "program"
    (left, _) = drift_watch.drift({"program": wanted["program"], "files": make()["files"]}, wanted)
    assert "shall have no watch" in left.why


@pytest.mark.parametrize("value", [None, True, -1, 9, 86401, "often", 1.5, [], "00000600000"])
def test_a_period_that_cannot_be_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="drift_watch_period_s: expected a whole number of seconds"):
        make(drift_watch_period_s=value)


@pytest.mark.parametrize(
    "value", [None, "", "relative", "/a/", "/a b", "/a/../b", "/a\n", "/a;b", "/a/%h", 1]
)
def test_a_directory_that_cannot_be_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="drift_watch_textfile_directory: expected an absolute path"):
        make(drift_watch_textfile_directory=value)


def test_a_device_that_watches_itself_has_no_drift() -> None:
    assert drift_watch.drift(matching(make()), make()) == []


CHANGES = {
    "no program": ({"program": None}, ["program"]),
    "other wants": ({"wanted": "0" * 64}, ["wanted"]),
    "no wants": ({"wanted": None}, ["wanted"]),
    "a unit changed": ({"files": {}}, ["files./etc/systemd/system/edgewright-drift-watch.service"] * 1),
    "timer stopped": ({"timer": {"enabled": True, "active": False, "stale": False}}, ["timer"]),
    "old report": ({"fresh": False}, ["fresh"]),
    "the device found something": ({"findings": ["kernel.cmdline"]}, ["findings"]),
    "no report": ({"fresh": False}, ["fresh"]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_differs_is_named(case: str) -> None:
    changes, items = CHANGES[case]
    found = drift_watch.drift({**matching(make()), **changes}, make())
    if case == "a unit changed":
        assert len(found) == 2
        found = found[:1]
    assert [drift.item for drift in found] == items
    assert all(drift.area == AREA and drift.why for drift in found)


def test_nothing_read_is_all_missing() -> None:
    found = drift_watch.drift({}, make())
    assert {drift.item.split(".")[0] for drift in found} == {
        *("program", "files", "wanted", "timer", "fresh", "findings")
    }
    assert drift_watch.drift({}, {}) == []


def test_an_area_with_drift_has_no_accepted_state() -> None:
    wants = {"toy": {"a": 1}, "other": {"b": 1}, AREA: make()}
    haves = {"toy": {"a": 1}, "other": {"b": 2}, AREA: {}}
    kept = json.loads(kept_want(haves, wants, ["other"], LOCK["release"]))
    assert kept["accepted"] == {"toy": {"a": 1}}
    assert kept["want"] == {"toy": {"a": 1}, "other": {"b": 1}}
    assert kept["release"] == {"name": "label-reader", "version": "1.0.0"}
    assert set(kept["at"]) == {"report", "metrics"}
    assert kept["why"] == {"toy": {"a": "the toy broke"}}


def test_what_items_of_all_areas_mean_is_known() -> None:
    for area in AREAS:
        if area.name not in ("drift_watch", "acceptance"):
            assert all(isinstance(text, str) and text for text in area.why.values())
    assert "nouveau" in next(area.why for area in AREAS if area.name == "nvidia")
    assert "partition" in next(area.why for area in AREAS if area.name == "isolation")


@pytest.mark.parametrize(("period", "first"), [(600, 300), (300, 300), (30, 30)])
def test_the_first_look_after_a_boot_comes_within_a_period(period: int, first: int) -> None:
    _, timer = make(drift_watch_period_s=period)["files"].values()
    assert f"OnBootSec={first}s\nOnUnitActiveSec={period}s\n" in timer
