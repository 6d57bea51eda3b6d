# SPDX-License-Identifier: Apache-2.0
"""Readings from a run's events, plans from drift, past runs, tables and exit codes: all without a device."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.drift import Drift
from edgewright.errors import InputError
from edgewright.fleet import reading as reading_module
from edgewright.fleet.plan import make_plan, no_way_back
from edgewright.fleet.reading import Reading, cause, exit_code, read_devices, readings_of
from edgewright.fleet.runs import SCHEMA, Past, expect, load_runs
from edgewright.fleet.tables import drift_text, plan_text, summary

DIGEST = "sha256:" + "1" * 64
MODEL = "sha256:" + "2" * 64
TODAY = datetime.date(2026, 11, 21)
LOCK: dict[str, Any] = {
    "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
    "release": {"name": "label-reader", "version": "1.0.0", "sha256": "x"},
    "apt": {
        "packages": [
            {"name": "linux-image-rt", "version": "6.1-2", "size": 60_000_000},
            {"name": "podman", "version": "4.3", "size": 10_000_000},
            {"name": "conmon", "version": "2.1", "size": 30_000},
        ]
    },
    "images": [
        {"role": "runtime", "name": "edgewright/runtime", "digest": DIGEST, "size": 140_000_000},
        {"role": "model", "name": "edgewright/models/m", "digest": MODEL, "size": 11_000_000},
    ],
}
KERNEL = (
    Drift("kernel", "package", None, "linux-image-rt=6.1-2", "not installed"),
    Drift("kernel", "release", "6.1-1", "6.1-2", "another kernel runs", reboot=True),
)
RUNTIME = (
    Drift("runtime", "packages", {"podman": "4.2"}, {"podman": "4.3"}, "too old"),
    Drift("runtime", "image", None, DIGEST, "none runs"),
    Drift("runtime", "models", {"old": "x"}, {"m": MODEL}, "others"),
)


def reading(*drift: Drift, host: str = "reader-01", **more: Any) -> Reading:
    return Reading(host, "read", drift, lock="/l", profile="x86_vm", **more)


def event(kind: str, result: dict[str, Any] | None = None, host: str = "reader-01") -> dict[str, Any]:
    return {"event": kind, "event_data": {"host": host, "res": result or {}}}


EVENTS = {
    "read": (
        event("runner_on_ok", {"drift": [KERNEL[1].as_dict()], "lock": "/l", "profile": "x86_vm"}),
        Reading("reader-01", "read", (KERNEL[1],), "", "/l", "x86_vm"),
    ),
    "as wanted": (event("runner_on_ok", {"drift": []}), Reading("reader-01", "read")),
    "stored images": (
        event("runner_on_ok", {"drift": [], "have": {"runtime": {"stored": [f"depot:8443/a@{DIGEST}"]}}}),
        Reading("reader-01", "read", stored=(DIGEST,)),
    ),
    "failed": (
        event("runner_on_failed", {"msg": "no\n lock"}),
        Reading("reader-01", "failed", message="no lock"),
    ),
    "no message": (event("runner_on_failed"), Reading("reader-01", "failed", message="it said nothing")),
    "another task": (event("runner_on_ok", {"msg": "x"}), None),
    "no host": ({"event": "playbook_on_stats", "event_data": {}}, None),
    "no data": ({"event": "verbose"}, None),
}


@pytest.mark.parametrize("case", EVENTS)
def test_a_reading_is_what_an_event_says(case: str) -> None:
    given, expected = EVENTS[case]
    assert readings_of(given) == ([expected] if expected else [])


def test_the_readings_of_all_devices_come_in_one_event() -> None:
    told = {
        "reader-01": {
            "drift": [KERNEL[1].as_dict()],
            "lock": "/l",
            "profile": "x86_vm",
            "stored": [f"a@{DIGEST}"],
        },
        "reader-02": {"unreachable": True, "msg": "ssh: connect to host 10.0.0.2: Connection refused"},
        "reader-03": {"failed": True, "msg": "it has no\n Python"},
        "reader-04": {"msg": "said nothing of drift"},
    }
    found = {each.host: each for each in readings_of(event("runner_on_ok", {"readings": told}))}
    assert list(found) == list(told)
    assert found["reader-01"] == Reading("reader-01", "read", (KERNEL[1],), "", "/l", "x86_vm", (DIGEST,))
    assert (found["reader-02"].state, "nothing listens there" in found["reader-02"].message) == (
        "unreachable",
        True,
    )
    assert (found["reader-03"].state, found["reader-03"].message) == ("failed", "it has no Python")
    assert found["reader-04"].state == "failed"  # what tells no drift is never taken for none


CAUSES = {
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!": "another host key",
    "Host key verification failed.": "another host key",
    "root@1.2.3.4: Permission denied (publickey).": "refuses the login",
    "ssh: connect to host 127.0.0.1 port 1: Connection refused": "nothing listens there",
    "ssh: connect to host 192.0.2.1 port 22: Connection timed out": "nothing answers at its address",
    "Timeout, server 127.0.0.1 not responding.": "nothing answers at its address",
    "Could not resolve hostname nowhere": "its name has no address",
    "client_loop: send disconnect: Broken pipe": "ended in the middle",
    'Data could not be sent to remote host "10.0.0.1". Make sure this host': "ended in the middle",
    "something new": "",
}


@pytest.mark.parametrize("said", CAUSES)
def test_what_ssh_says_is_explained(said: str) -> None:
    words = CAUSES[said]
    assert (words in cause(said)) if words else not cause(said)
    told = readings_of(event("runner_on_unreachable", {"msg": said}))[0]
    assert told is not None
    assert told.outcome == "unreachable"
    assert said in told.message


def test_ansible_is_found_where_edgewright_is_called_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its environment's programs are not on PATH; the run gets as far as the device's variables."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "hosts.yml").write_text("devices: {hosts: {reader-01: }}\n", encoding="utf-8")
    (told,) = read_devices(tmp_path / "hosts.yml")
    assert (told.host, told.outcome) == ("reader-01", "failed")
    assert "'edgewright_release_dir' is undefined" in told.message


GONE = Reading("reader-02", "unreachable", message="gone")
BAD = Reading("reader-03", "failed", message="bad")
SILENT = Reading("reader-04", "unanswered", message="ended")
CODES = {
    "nothing drifted": ((reading(),), 0),
    "drift": ((reading(), reading(*KERNEL)), 10),
    "out of reach": ((reading(), GONE), 4),
    "out of reach hides no drift, and drift does not hide it": ((reading(*KERNEL), GONE), 4),
    "never asked": ((reading(), SILENT), 4),
    "failed": ((reading(*KERNEL), GONE, BAD), 1),
}


@pytest.mark.parametrize("case", CODES)
def test_the_exit_code_is_zero_only_where_all_is_known(case: str) -> None:
    readings, code = CODES[case]
    assert exit_code(readings) == code
    assert exit_code(readings, drift_code=0) == (0 if code == 10 else code)


def test_a_plan_names_packages_bytes_reboot_and_the_rest() -> None:
    plan = make_plan(reading(*KERNEL, *RUNTIME), LOCK, [], TODAY)
    assert plan.release == "label-reader 1.0.0"
    assert plan.areas == ("kernel", "runtime")
    assert plan.packages.names == ("linux-image-rt=6.1-2", "podman=4.3")
    assert (plan.packages.least_bytes, plan.packages.most_bytes) == (70_000_000, 70_030_000)
    assert plan.images.least_bytes == plan.images.most_bytes == 151_000_000
    assert (plan.reboots, plan.reboot_for) == (1, ("kernel.release",))
    assert plan.expected.minutes is None
    assert plan.expected.unknown == ("kernel", "runtime", "reboot")
    assert any("restarts once" in words for words in plan.irreversible)
    assert json.loads(json.dumps(plan.as_dict()))["packages"]["least_bytes"] == 70_000_000


def test_what_the_device_holds_does_not_travel() -> None:
    plan = make_plan(reading(*RUNTIME, stored=(DIGEST,)), LOCK, [], TODAY)
    assert plan.images.names == (f"edgewright/models/m@{MODEL[:19]}",)
    assert plan.images.least_bytes == 11_000_000


@pytest.mark.parametrize(("until", "ended"), [("2027-06-30", ""), ("2026-11-20", " (ENDED)")])
def test_a_waiver_is_told_also_where_nothing_would_change(until: str, ended: str) -> None:
    waiver = {"who": "Ada", "why": "line 3", "until": until}
    answer = {"profile": "x86_vm", "target": "bookworm/amd64", "chosen": {}, "waiver": waiver}
    plan = make_plan(reading(), {**LOCK, "nvidia": [answer]}, [], TODAY)
    told = (
        f"WAIVER: reader-01: NVIDIA's driver on PREEMPT_RT: Ada answers for it until {until}{ended}: line 3"
    )
    assert plan.waiver == told == plan.as_dict()["waiver"]
    assert told in plan_text([reading()], {"reader-01": plan})
    assert make_plan(reading(), LOCK, [], TODAY).waiver == ""


def test_a_device_without_drift_has_an_empty_plan() -> None:
    plan = make_plan(reading(), LOCK, [Past("a", "x86_vm", {"kernel": 60.0})], TODAY)
    assert (plan.changes, plan.packages.names, plan.packages.most_bytes, plan.images.names) == ((), (), 0, ())
    assert (plan.reboots, plan.irreversible, plan.expected.minutes) == (0, (), None)


NO_WAY_BACK = {
    "a first key takes nothing away": (Drift("identity", "key", None, {}, ""), []),
    "another key": (Drift("identity", "key.kind", "rsa", "ec-p256", ""), ["private key is replaced"]),
    "a first certificate stays valid": (Drift("identity", "certificate", None, {}, ""), ["stays valid"]),
    "another site": (Drift("identity", "site_root", "a", "b", ""), ["leaves the site"]),
    "a setting can be set back": (Drift("kernel", "sysctl", {}, {}, ""), []),
    "a reboot": (Drift("kernel", "cmdline", [], [], "", reboot=True), ["restarts once"]),
    "a first acceptance": (Drift("acceptance", "accepted_for", None, "x", ""), []),
    "another acceptance": (Drift("acceptance", "accepted_for", "y", "x", ""), ["receipt is replaced"]),
}


@pytest.mark.parametrize("case", NO_WAY_BACK)
def test_what_cannot_be_undone_is_told(case: str) -> None:
    drift, words = NO_WAY_BACK[case]
    found = no_way_back([drift])
    assert len(found) == len(words)
    for part, sentence in zip(words, found, strict=True):
        assert part in sentence


PASTS = [
    Past("a", "x86_vm", {"kernel": 60.0, "reboot": 30.0}),
    Past("b", "x86_vm", {"kernel": 120.0}),
    Past("c", "x86_t4", {"kernel": 600.0, "runtime": 240.0}),
]
EXPECTATIONS = {
    "median of the same profile": (["kernel"], False, "x86_vm", 1.5, 2, (), True),
    "with its reboot": (["kernel"], True, "x86_vm", 2.0, 1, (), True),
    "other profiles where the own has none": (["kernel", "runtime"], False, "x86_vm", 5.5, 1, (), False),
    "what nobody knows is named": (["kernel", "nvidia"], False, "x86_vm", 1.5, 2, ("nvidia",), True),
    "nothing known": (["nvidia"], False, "x86_vm", None, 0, ("nvidia",), True),
}


@pytest.mark.parametrize("case", EXPECTATIONS)
def test_minutes_come_from_past_runs(case: str) -> None:
    areas, reboot, profile, minutes, runs, unknown, same = EXPECTATIONS[case]
    found = expect(PASTS, areas, reboot, profile)
    assert (found.minutes, found.runs, found.unknown, found.same_profile) == (minutes, runs, unknown, same)


def test_past_runs_are_read_in_order(tmp_path: Path) -> None:
    assert load_runs(tmp_path / "none") == []
    for number in (2, 1):
        content = {
            "schema": SCHEMA,
            "devices": {f"r{number}": {"profile": "p", "seconds": {"kernel": number}}},
        }
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    assert [past.host for past in load_runs(tmp_path)] == ["r1", "r2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "edgewright.run/v2"}',
        json.dumps({"schema": SCHEMA, "devices": {"a": {"seconds": {"kernel": "long"}}}}),
        json.dumps({"schema": SCHEMA, "devices": {"a": {"seconds": {"kernel": -1}}}}),
        json.dumps({"schema": SCHEMA, "devices": {"a": []}}),
    ],
)
def test_a_damaged_record_of_a_run_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.json").write_text(text)
    with pytest.raises(InputError, match=r"1\.json is no record of a run"):
        load_runs(tmp_path)


def test_each_device_has_its_row() -> None:
    readings = [reading(), reading(*KERNEL, host="reader-05"), GONE, BAD, SILENT]
    text = drift_text(readings)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        *("DEVICE", "reader-01", "reader-05", "reader-02", "reader-03", "reader-04")
    ]
    assert lines[1].split() == ["reader-01", "?", "as", "wanted", "0"]
    assert lines[2].split() == ["reader-05", "?", "drift", "2", "kernel"]
    assert lines[3].split() == ["reader-02", "?", "unreachable", "?"]
    assert "kernel.release: have 6.1-1, want 6.1-2: another kernel runs (needs a reboot)" in text
    assert lines[-1] == "5 devices: 1 as wanted, 1 drift, 1 unreachable, 1 failed, 1 unanswered"
    assert summary([reading()]) == "1 device: 1 as wanted"


def test_a_plan_is_told_with_what_is_not_known() -> None:
    readings = [reading(*KERNEL, *RUNTIME), GONE, reading(host="reader-06")]
    plans = {each.host: make_plan(each, LOCK, PASTS, TODAY) for each in readings if each.outcome == "read"}
    text = plan_text(readings, plans)
    rows = text.splitlines()
    assert rows[1].split()[:4] == ["reader-01", "?", "drift", "5"]
    assert "2+ (70.0 MB to 70.0 MB)" in rows[1]
    assert rows[2].split() == ["reader-02", "?", "unreachable", *"??????"]
    assert rows[3].split() == ["reader-06", "?", "as", "wanted", *"000000"]
    assert "reader-02:\n  not planned: gone" in text
    assert "one reboot, for kernel.release" in text
    assert "cannot be undone: the device restarts once" in text
    assert "about 6.0 minutes, the median of 1 or more past runs of other profiles too" in text


def test_an_inventory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no inventory"):
        read_devices(tmp_path / "none")


def test_a_run_that_ended_early_has_a_row_for_each_device_all_the_same(tmp_path: Path) -> None:
    """The one worker that asks all was killed: Ansible itself says which devices there are."""
    (tmp_path / "hosts.yml").write_text(
        "devices: {hosts: {reader-02: {}, reader-01: {}, reader-03: {}}}\ncontroller: {hosts: {here: {}}}\n"
    )
    collector = reading_module._Collector()
    collector({"event": "runner_on_start", "event_data": {"host": "reader-02"}})
    collector(event("runner_on_failed", {"msg": "a worker was found dead"}, host="reader-02"))
    found = reading_module._all_of(collector, tmp_path / "hosts.yml", "reader-02,reader-03")
    assert [(each.host, each.state) for each in found] == [
        ("reader-02", "failed"),
        ("reader-03", "unanswered"),
    ]
