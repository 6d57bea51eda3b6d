# SPDX-License-Identifier: Apache-2.0
"""Plans and drift of a fleet of two OSes: one table, one JSON, each device in its own words."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.action import fleet_state

from edgewright.depot.progress import human_bytes
from edgewright.device.areas import drift_all, want_all
from edgewright.device.drift import Drift
from edgewright.fleet.plan import Plan, make_plan
from edgewright.fleet.reading import Reading, readings_of
from edgewright.fleet.runs import Past
from edgewright.fleet.tables import drift_text, plan_text
from edgewright.fleet.ways import by_hand, grade_line, os_of, skipped, skipped_lines
from tests.unit.device.core_inputs import PROFILE, SNAPS, VARIABLES, lock

TODAY = datetime.date(2026, 11, 21)
LOCK = lock()
BOOTED = {**PROFILE, "name": "box", "boot": "snapd"}


def want(profile: dict[str, Any] = PROFILE, **changes: Any) -> dict[str, Any]:
    return want_all({**VARIABLES, **changes}, profile, LOCK)


def bare(wanted: dict[str, Any], host: str = "reader-02") -> Reading:
    """A device with snapd and nothing else, as the probe's answer tells it."""
    have: dict[str, Any] = {area: {} for area in wanted}
    have["identity"]["snapd"] = True
    have["depot_client"]["foreign_snaps"] = []
    have["kernel"]["boot"] = wanted["kernel"]["boot"]
    have["isolation"] |= {"cpuset": True, "topology": wanted["isolation"]["topology"]}
    drift = [item.as_dict() for item in drift_all(have, wanted)]
    result = {"drift": drift, "want": wanted, "have": have, "lock": "/l", "profile": "x86_vm_snapd"}
    (told,) = readings_of({"event": "runner_on_ok", "event_data": {"host": host, "res": result}})
    return told


def test_what_one_worker_tells_of_all_says_the_same() -> None:
    """The OS and what is skipped come through the short form as well."""
    wanted = want(BOOTED | {"boot": "given"})
    short = fleet_state._brief({"drift": [], "want": wanted, "have": {}, "msg": "", "lock": "/l"})
    (told,) = readings_of(
        {"event": "runner_on_ok", "event_data": {"host": "localhost", "res": {"readings": {"r": short}}}}
    )
    assert (told.os, told.skipped) == ("ubuntu_core", skipped(wanted))
    assert told.skipped


def plan_of(reading: Reading, runs: tuple[Past, ...] = ()) -> Plan:
    return make_plan(reading, LOCK, runs, TODAY)


def test_a_bare_device_is_planned_in_the_words_of_its_os() -> None:
    reading = bare(want())
    plan = plan_of(reading)
    assert reading.os == "ubuntu_core"
    assert plan.snaps.names == (f"edgewright-model-label-reader@{'B' * 12}", f"edgewright-runtime@{'A' * 12}")
    assert plan.snaps.least_bytes == plan.snaps.most_bytes == sum(snap["size"] for snap in SNAPS)
    assert (plan.packages.names, plan.images.names, plan.packages.most_bytes) == ((), (), 0)
    assert (plan.reboots, plan.by_hand) == (0, ())
    assert [area for area in plan.areas if area != "nvidia"] == list(plan.areas)
    items = {change.split(":")[0] for change in plan.changes}
    assert items >= {"isolation.quota", "runtime.connections", "runtime.snaps.edgewright-runtime"}
    assert any("certificate is issued" in words for words in plan.irreversible)
    assert plan.grade.startswith(
        "GRADE DANGEROUS: reader-02: edgewright-model-label-reader, edgewright-runtime"
    )
    assert json.loads(json.dumps(plan.as_dict()))["snaps"]["least_bytes"] == plan.snaps.least_bytes


PAYLOADS: dict[str, tuple[tuple[Drift, ...], list[str], int]] = {
    "the runtime is another": (
        (Drift("runtime", "snaps.edgewright-runtime", {"revision": "x1"}, {}, "another"),),
        ["edgewright-runtime"],
        10,
    ),
    "the model is missing": (
        (Drift("runtime", "snaps.edgewright-model-label-reader", None, {}, "missing"),),
        ["edgewright-model-label-reader"],
        20,
    ),
    "only a setting": ((Drift("runtime", "settings", {}, {"EDGEWRIGHT_THREADS": "2"}, "old"),), [], 0),
    "an area that has an item of that name": (
        (Drift("kernel", "snaps.edgewright-runtime", 1, 2, ""),),
        [],
        0,
    ),
    "a snap that the lock does not have": ((Drift("runtime", "snaps.other", None, {}, "missing"),), [], 0),
    "nothing": ((), [], 0),
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_snaps_and_their_bytes_are_those_that_differ(case: str) -> None:
    drift, names, size = PAYLOADS[case]
    snaps = plan_of(Reading("r", "read", drift, os="ubuntu_core")).snaps
    assert [name.partition("@")[0] for name in snaps.names] == names
    assert (snaps.least_bytes, snaps.most_bytes) == (size, size)


def test_a_machine_that_snapd_boots_is_told_its_reboot() -> None:
    reading = bare(want(BOOTED))
    plan = plan_of(reading)
    assert plan.reboots == 1
    assert set(plan.reboot_for) == {"kernel.cmdline", "kernel.tickless"}
    assert any("restarts once" in words for words in plan.irreversible)
    assert "kernel.realtime" in plan.by_hand, "the kernel snap is the model's: no run exchanges it"
    text = plan_text([reading], {"reader-02": plan})
    assert "a run stops at kernel.realtime, which a person has to mend first" in text


BY_HAND: dict[str, tuple[Drift, bool]] = {
    "no snapd": (Drift("identity", "snapd", False, True, ""), True),
    "snaps of others": (Drift("depot_client", "foreign_snaps", ["htop"], [], ""), True),
    "another kernel snap": (Drift("kernel", "kernel_snap", {}, {}, ""), True),
    "Ubuntu Core's kernel without RT": (Drift("kernel", "realtime", False, True, ""), True),
    "Debian's, which a reboot mends": (Drift("kernel", "realtime", False, True, "", reboot=True), False),
    "other CPUs than the profile's": (Drift("isolation", "topology", {}, {}, ""), True),
    "a quota group": (Drift("isolation", "quota", None, {}, ""), False),
    "a snap": (Drift("runtime", "snaps.edgewright-runtime", None, {}, ""), False),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_what_no_run_mends_is_named(case: str) -> None:
    drift, named = BY_HAND[case]
    assert by_hand([drift]) == ((f"{drift.area}.{drift.item}",) if named else ())


def test_what_a_twin_cannot_show_is_named_with_the_reason() -> None:
    items = skipped(want())
    assert {"kernel.cmdline", "kernel.realtime", "kernel.tickless"} <= set(items)
    assert skipped(want(BOOTED)) == {
        "kernel.kernel_snap": "the release names no kernel snap: the image's is kept"
    }
    assert skipped({"kernel": {"release": "6.1"}, "nvidia": {}}) == {}


SKIPPING = {"kernel.cmdline": "given", "kernel.realtime": "given"}
LINES: dict[str, tuple[dict[str, dict[str, str]], list[str]]] = {
    "nobody": ({"a": {}, "b": {}}, []),
    "one": ({"a": {}, "b": SKIPPING}, ["skipped on b: kernel.cmdline, kernel.realtime: given"]),
    "two alike": (
        {"a": SKIPPING, "b": SKIPPING},
        ["skipped on a, b: kernel.cmdline, kernel.realtime: given"],
    ),
    "two that differ": (
        {"a": SKIPPING, "b": {"kernel.kernel_snap": "none"}},
        ["skipped on a: kernel.cmdline, kernel.realtime: given", "skipped on b: kernel.kernel_snap: none"],
    ),
    "many": (
        {f"r{number}": {"kernel.cmdline": "given"} for number in range(10)},
        ["skipped on r0, r1, r2, r3, r4, r5, r6, r7 and 2 more: kernel.cmdline: given"],
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_what_is_skipped_is_one_line_for_all_that_skip_it(case: str) -> None:
    devices, lines = LINES[case]
    assert skipped_lines(devices) == lines


GRADES: dict[str, tuple[str, dict[str, Any], str]] = {
    "Debian holds no snap": ("debian", LOCK, ""),
    "two": ("ubuntu_core", LOCK, "r: edgewright-model-label-reader, edgewright-runtime have no assertions"),
    "one": ("ubuntu_core", lock(snaps=SNAPS[1:]), "r: edgewright-runtime has no assertion"),
    "all are asserted": ("ubuntu_core", lock(snaps=[{**SNAPS[0], "grade": "signed"}]), ""),
}


@pytest.mark.parametrize("case", GRADES)
def test_snaps_without_assertions_are_told_loudly(case: str) -> None:
    system, given, words = GRADES[case]
    line = grade_line("r", system, given)
    assert (words in line and line.startswith("GRADE DANGEROUS")) if words else not line


def test_minutes_are_those_of_the_same_profile() -> None:
    runs = (
        Past("a", "x86_vm", {"isolation": 6000.0}),
        Past("b", "x86_vm_snapd", {"isolation": 60.0}),
    )
    reading = Reading("r", "read", (Drift("isolation", "quota", None, {}, ""),), profile="x86_vm_snapd")
    assert plan_of(reading, runs).expected.minutes == 1.0


DEBIAN = Reading("reader-01", "read", (Drift("kernel", "sysctl", {}, {}, "other"),), os="debian")
GONE = Reading("reader-03", "unreachable", message="gone")


def test_both_kinds_stand_in_one_table() -> None:
    readings = [DEBIAN, bare(want()), GONE]
    plans = {each.host: plan_of(each) for each in readings if each.outcome == "read"}
    text = plan_text(readings, plans)
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["DEVICE", "OS", "STATE", "ITEMS", "PACKAGES", "IMAGES", "SNAPS", "REBOOTS", "MINUTES"]
    assert rows[1] == ["reader-01", "debian", "drift", "1", "0", "0", "0", "0", "?"]
    assert rows[2][:3] == ["reader-02", "ubuntu_core", "drift"]
    assert rows[2][4:] == ["0", "0", "2", *f"({human_bytes(30)})".split(), "0", "?"]
    assert rows[3] == ["reader-03", "?", "unreachable", *"??????"]
    assert "GRADE DANGEROUS: reader-02" in text
    assert "GRADE DANGEROUS: reader-01" not in text
    assert text.count("skipped on reader-02: kernel.cmdline_append, ") == 1
    told = drift_text(readings)
    assert [line.split()[:2] for line in told.splitlines()[:4]] == [
        ["DEVICE", "OS"],
        ["reader-01", "debian"],
        ["reader-02", "ubuntu_core"],
        ["reader-03", "?"],
    ]
    assert "skipped on reader-02: kernel.cmdline_append, " in told


def test_json_has_the_same_keys_for_both() -> None:
    readings = [DEBIAN, bare(want()), GONE]
    rows = [json.loads(json.dumps(each.as_dict())) for each in readings]
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert [row["os"] for row in rows] == ["debian", "ubuntu_core", ""]
    assert "kernel.cmdline" in rows[1]["skipped"]
    assert rows[0]["skipped"] == rows[2]["skipped"] == {}
    plans = [plan_of(each).as_dict() for each in readings[:2]]
    assert list(plans[0]) == list(plans[1])


def test_an_os_is_read_of_the_want() -> None:
    assert os_of(want()) == "ubuntu_core"
    assert os_of({"identity": {}, "nvidia": {}}) == "debian"
    (older,) = readings_of({"event": "runner_on_ok", "event_data": {"host": "r", "res": {"drift": []}}})
    assert older.os == ""
