# SPDX-License-Identifier: Apache-2.0
"""The record: built from a measurement, checked, written once, shown, and the command line to it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli.main import main
from edgewright.device import acceptance
from edgewright.errors import InputError
from edgewright.record import record as records
from edgewright.record.summary import loud, summary
from tests.unit.device.runtime_inputs import MODEL_DIGEST, PROFILE, RUNTIME_DIGEST, VARIABLES, lock

LABELS = ["SN 4711-0815", "LOT B2026-11"]
WANT = acceptance.want({**VARIABLES, "acceptance_labels": 2}, PROFILE, lock())


def measurement(**facts: Any) -> dict[str, Any]:
    """What a device prints that keeps the intent."""
    thread = {
        "cycles": 1000,
        "worst_us": 60,
        "least_us": 3,
        "mean_us": 8.5,
        "histogram_us": {"8": 990, "60": 9},
    }
    return {
        "schema": "edgewright.measurement/v1",
        "started": "2026-11-21T05:44:00Z",
        "finished": "2026-11-21T05:45:00Z",
        "requests": {
            "sent": 600,
            "late": 1,
            "seconds": 60.0,
            "latency_us_histogram": {"20000": 590, "30000": 10},
            "texts": [{"SN 4711-0815": 300}, {"LOT B2026-11": 300}],
            "errors": 0,
            "error_examples": [],
        },
        "wakeup": {"version": "2.40", "threads": {"2": thread, "3": {**thread, "worst_us": 75}}},
        "kernel_log": {
            "lines": 0,
            "found": {"lockup": 0, "stall": 0, "bug": 0, "warning": 0},
            "examples": [],
            "complete": True,
            "error": None,
        },
        "facts": {
            "uname": "Linux reader-01 6.1.0-9-rt-amd64 #1 SMP PREEMPT_RT x86_64",
            "kernel": "6.1.0-9-rt-amd64",
            "realtime": True,
            "cmdline": "root=LABEL=root quiet",
            "cpus": 4,
            "memory_kib": 2000000,
            "partition": "isolated",
            "slice_cpus": "2-3",
            "packages": {"podman": "4.3.1"},
            "images": {"runtime": RUNTIME_DIGEST, "label-reader": MODEL_DIGEST},
            "container_memory": {"current_bytes": 90000000, "peak_bytes": None},
            "certificate_sha256": "d" * 64,
            "virtualisation": "none",
            "clocksource": "tsc",
            "clock_synchronised": "no",
            **facts,
        },
    }


def build(**facts: Any) -> dict[str, Any]:
    return records.build("reader-01", WANT["accepted_for"], WANT["plan"], LABELS, measurement(**facts))


def test_a_device_that_keeps_its_intent_passes() -> None:
    made = records.validate(build(), "test")
    assert made["verdict"] == "pass"
    assert made["latency"]["n"] == 600
    assert made["latency"]["worst"] == 30.0
    assert made["latency"]["quantiles"][2] == {"p": 0.99, "value": 30.0, "low": 20.0, "high": 30.0}
    assert (made["wakeup"]["n"], made["wakeup"]["worst"], made["wakeup"]["beyond_histogram"]) == (2000, 75, 2)
    assert made["certificate_sha256"] == "d" * 64


def test_emulation_is_inconclusive_and_says_why() -> None:
    made = records.validate(build(virtualisation="qemu"), "test")
    assert made["verdict"] == "inconclusive"
    assert "emulated by QEMU" in made["reason"]
    assert made["judged"]["function"]["verdict"] == "pass"


def test_a_lost_partition_fails_even_under_emulation() -> None:
    made = build(virtualisation="qemu", partition="isolated invalid (Cpu list in cpuset.cpus not exclusive)")
    assert made["verdict"] == "fail"
    assert "isolated invalid" in made["reason"]


def test_without_wakeups_or_answers_there_is_still_a_record() -> None:
    raw = measurement()
    raw["wakeup"] = {"error": "cyclictest ended with status 1"}
    raw["requests"].update(
        latency_us_histogram={}, texts=[{}, {}], errors=20, error_examples=["refused"], sent=20
    )
    made = records.validate(records.build("r", WANT["accepted_for"], WANT["plan"], LABELS, raw), "test")
    assert made["verdict"] == "fail"
    assert made["latency"]["worst"] is None
    assert "not measured: cyclictest" in summary(made)


def test_summary_says_what_a_person_asks() -> None:
    text = summary(records.validate(build(), "test"))
    for words in (
        "reader-01: PASS",
        "p99 observed 30 ms, bounds 20 to 30",
        "worst observed 75 us",
        "partition reads isolated",
        "guarantees nothing",
        RUNTIME_DIGEST,
    ):
        assert words in text


def test_a_waiver_stands_in_the_record_and_on_its_page(tmp_path: Path) -> None:
    waiver = {"what": "NVIDIA's driver on PREEMPT_RT", "who": "Ada", "why": "the line", "until": "2027-06-30"}
    plan = {**WANT["plan"], "waivers": [waiver]}
    made = records.build("reader-01", WANT["accepted_for"], plan, LABELS, measurement())
    again = records.load(records.write(made, tmp_path))
    assert again["waivers"] == [waiver]
    lines = summary(again).splitlines()
    told = "WAIVER       NVIDIA's driver on PREEMPT_RT: Ada answers for it until 2027-06-30: the line"
    assert lines.index(told) < next(number for number, line in enumerate(lines) if line.startswith("kernel "))


def test_a_record_of_before_waivers_is_still_one(tmp_path: Path) -> None:
    made = records.build("reader-01", WANT["accepted_for"], WANT["plan"], LABELS, measurement())
    assert made.pop("waivers") == []
    assert "WAIVER" not in summary(records.load(records.write(made, tmp_path)))


def test_written_once_and_never_replaced(tmp_path: Path) -> None:
    first = records.write(build(), tmp_path)
    second = records.write(build(), tmp_path)
    assert first == tmp_path / "reader-01" / "2026-11-21T054500Z.json"
    assert second.name == "2026-11-21T054500Z-2.json"
    assert sorted(path.name for path in first.parent.iterdir()) == sorted([first.name, second.name])
    assert records.load(first) == build()


FAULTS: dict[str, tuple[Any, str]] = {
    "unknown field": ({"extra": 1}, "Additional properties are not allowed ('extra' was unexpected)"),
    "verdict": ({"verdict": "good"}, "verdict: 'good' is not one of"),
    "host that is a path": ({"host": "../x"}, "host: "),
    "schema": ({"schema": "edgewright.record/v2"}, "schema: 'edgewright.record/v1' was expected"),
    "certificate": ({"certificate_sha256": None}, "certificate_sha256: None is not of type 'string'"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        records.write({**build(), **changes}, tmp_path)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "raw", [None, [], {"schema": "x"}, {"schema": "edgewright.measurement/v1", "requests": {}}]
)
def test_half_a_measurement_is_refused(raw: object) -> None:
    with pytest.raises(InputError, match="reading the device's measurement"):
        records.check_measurement(raw)


def _stdin(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(value)))


def test_prepare_judge_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, kept = tmp_path / "work", tmp_path / "records"
    _stdin(monkeypatch, WANT)
    assert main(["acceptance", "prepare", "--work", str(work)]) == 0
    prepared = json.loads(capsys.readouterr().out)
    assert len(set(prepared["labels"])) == 2
    assert Path(prepared["program"]).read_bytes().startswith(b"#!/usr/bin/python3\nPK")
    raw = measurement(virtualisation="qemu")
    raw["requests"]["texts"] = [{text: 300} for text in prepared["labels"]]
    _stdin(monkeypatch, {"want": WANT, "measurement": raw})
    assert (
        main(["acceptance", "judge", "--work", str(work), "--records", str(kept), "--host", "reader-01"]) == 0
    )
    judged = json.loads(capsys.readouterr().out)
    assert (judged["verdict"], judged["accepted"]) == ("inconclusive", False)
    assert judged["receipt"]["accepted_for"] == WANT["accepted_for"]
    assert not work.exists()
    assert main(["record", "show", judged["record"]]) == 0
    assert "reader-01: INCONCLUSIVE" in capsys.readouterr().out


def test_show_refuses_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text("{")
    assert main(["record", "show", str(tmp_path / "x.json")]) == 2
    assert "is not JSON" in capsys.readouterr().err
    assert main(["record", "show", str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_judge_without_labels_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _stdin(monkeypatch, {"want": WANT, "measurement": measurement()})
    assert (
        main(
            ["acceptance", "judge", "--work", str(tmp_path / "w"), "--records", str(tmp_path), "--host", "r"]
        )
        == 2
    )
    assert "run the acceptance again" in capsys.readouterr().err


DANGEROUS = {"snaps": {"grade": "dangerous", "without_assertions": ["edgewright-runtime"]}}
SNAPS = {
    "core24": {"version": "12-standin", "revision": "x1", "sha3_384": None, "stand_in": True},
    "edgewright-runtime": {"version": "1", "revision": "x1", "sha3_384": "A", "stand_in": False},
}
LOUD: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "Debian": ({}, {}, []),
    "asserted snaps": ({}, {"snaps": {"edgewright-runtime": SNAPS["edgewright-runtime"]}}, []),
    "snaps without assertions": (
        DANGEROUS,
        {},
        ["GRADE        DANGEROUS: snaps without assertions: edgewright-runtime"],
    ),
    "both": (
        DANGEROUS,
        {"snaps": SNAPS},
        [
            "GRADE        DANGEROUS: snaps without assertions: edgewright-runtime",
            "STAND-INS    core24: not Canonical's; this is a twin, no Ubuntu Core",
        ],
    ),
}


@pytest.mark.parametrize("case", LOUD)
def test_what_nobody_vouches_for_is_told_wherever_a_record_is_named(case: str) -> None:
    release, device, lines = LOUD[case]
    assert loud({"release": release, "device": device}) == lines
