# SPDX-License-Identifier: Apache-2.0
"""The as-built record: what a device is and how it measured, as one JSON file per acceptance.

    record = build(host, plan, labels, measurement)     # pure
    path = write(record, Path("records"))               # records/HOST/2026-11-21T054500Z.json
    print(summary(load(path)))

The schema is `edgewright/data/record.schema.json`, with its version in the record's `schema`. A record
states what was observed; it guarantees nothing, and says so.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

import edgewright
from edgewright.errors import InputError
from edgewright.record.statistics import CONFIDENCE, Quantile, Weighted, quantile_weighted
from edgewright.record.verdict import combine, emulation, judge_function, judge_kernel, judge_time

__all__ = ["MEASUREMENT_SCHEMA", "SCHEMA", "build", "check_measurement", "load", "validate", "write"]

SCHEMA = "edgewright.record/v1"
MEASUREMENT_SCHEMA = "edgewright.measurement/v1"
QUANTILES = (0.5, 0.9, 0.99)

_SCHEMA_FILE = Path(edgewright.__file__).parent / "data" / "record.schema.json"
_STATEMENT = (
    "This record states what was observed on this device during this time. It guarantees nothing about"
    " other times; a worst case that was not observed may exist."
)


def check_measurement(raw: object) -> dict[str, Any]:
    """Check what a device's measuring program printed.

    Raises:
        InputError: it is not a whole measurement.
    """
    where = "reading the device's measurement"
    if not isinstance(raw, dict) or raw.get("schema") != MEASUREMENT_SCHEMA:
        got = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise InputError(
            f"{where}: expected schema {MEASUREMENT_SCHEMA}, got {got!r}; run the acceptance again"
        )
    for part in ("requests", "wakeup", "kernel_log", "facts"):
        if not isinstance(raw.get(part), dict):
            raise InputError(f"{where}: {part} is missing, so it was cut short; run the acceptance again")
    return raw


def build(
    host: str,
    accepted_for: str,
    plan: Mapping[str, Any],
    labels: Sequence[str],
    measurement: Mapping[str, Any],
) -> dict[str, Any]:
    """Judge a measurement and make the record of it.

    Args:
        host: the device's name in the inventory.
        accepted_for: digest of what is accepted, from the area's want.
        plan: what was to be measured, from the area's want.
        labels: what the labels say, in the order of the measurement's texts.
        measurement: what the device printed, checked.
    """
    facts, requests = measurement["facts"], measurement["requests"]
    latency, latency_quantiles = _latency(requests, plan["rate_hz"])
    wakeup = _wakeup(measurement["wakeup"], plan)
    emulated = emulation(facts["virtualisation"])
    p99 = next((entry for entry in latency_quantiles if entry.p == 0.99), None)
    judged = {
        "function": judge_function({**plan, "expected": list(labels)}, facts, requests),
        "kernel": judge_kernel(measurement["kernel_log"], emulated),
        "time": judge_time(
            intent=plan["intent"],
            latency=p99,
            samples=latency["n"],
            rate=(plan["rate_hz"], latency["rate_hz"]),
            wakeup=wakeup["error"] or (sorted(int(cpu) for cpu in wakeup["threads"]), wakeup["worst"]),
            emulated=emulated,
        ),
    }
    verdict = combine(judged.values())
    return {
        "schema": SCHEMA,
        "host": host,
        "started": measurement["started"],
        "finished": measurement["finished"],
        "edgewright": edgewright.__version__,
        "accepted_for": accepted_for,
        "release": plan["release"],
        "profile": plan["profile"],
        "waivers": list(plan.get("waivers", [])),
        "device": {key: value for key, value in facts.items() if key != "certificate_sha256"},
        "certificate_sha256": facts["certificate_sha256"],
        "intent": plan["intent"],
        "latency": latency,
        "wakeup": wakeup,
        "labels": [
            {"text": text, "read": read} for text, read in zip(labels, requests["texts"], strict=True)
        ],
        "errors": {"count": requests["errors"], "examples": requests["error_examples"]},
        "kernel_log": measurement["kernel_log"],
        "verdict": verdict,
        "reason": "; ".join(
            reason for part in judged.values() if part.verdict == verdict for reason in part.reasons
        ),
        "judged": {name: part.as_dict() for name, part in judged.items()},
        "method": {
            "confidence": CONFIDENCE,
            "bounds": "one-sided, order statistics of independent samples (David and Nagaraja 2003, 7.1)",
            "latency": "first byte sent to last byte received, one at a time over a kept mTLS connection",
            "wakeup": "cyclictest (rt-tests) inside the slice, at the same time",
        },
        "statement": _STATEMENT,
    }


def _latency(requests: Mapping[str, Any], rate_hz: float) -> tuple[dict[str, Any], list[Quantile]]:
    counts = {int(us) / 1000: int(count) for us, count in requests["latency_us_histogram"].items()}
    n = sum(counts.values())
    found = _quantiles(counts)
    seconds = float(requests["seconds"])
    return {
        "unit": "ms",
        "n": n,
        "duration_s": round(seconds, 3),
        "rate_wanted_hz": rate_hz,
        "rate_hz": round(requests["sent"] / seconds, 4) if seconds else 0.0,
        "late": requests["late"],
        "quantiles": [_as_dict(entry) for entry in found],
        "worst": max(counts, default=None),
        "histogram_us": requests["latency_us_histogram"],
    }, found


def _wakeup(measured: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    threads = measured.get("threads") or {}
    counts: dict[float, int] = {}
    for thread in threads.values():
        for us, count in thread["histogram_us"].items():
            counts[float(us)] = counts.get(float(us), 0) + int(count)
    n = sum(int(thread["cycles"]) for thread in threads.values())
    worst = max((float(thread["worst_us"]) for thread in threads.values()), default=None)
    # What lies beyond the histogram's end is taken for as late as the worst: too late, never too early.
    beyond = max(0, n - sum(counts.values()))
    if worst is not None and beyond:
        counts[worst] = counts.get(worst, 0) + beyond
    return {
        "unit": "us",
        "error": measured.get("error"),
        "cpus": plan["cpus"],
        "slice": plan["slice"],
        "n": n,
        "duration_s": plan["duration_s"],
        "priority": plan["wakeup_priority"],
        "interval_us": plan["wakeup_interval_us"],
        "beyond_histogram": beyond,
        "quantiles": [_as_dict(entry) for entry in _quantiles(counts)],
        "worst": worst,
        "threads": threads,
    }


def _quantiles(counts: Weighted) -> list[Quantile]:
    return [quantile_weighted(counts, p) for p in QUANTILES] if counts else []


def _as_dict(entry: Quantile) -> dict[str, Any]:
    return {"p": entry.p, "value": entry.value, "low": entry.low, "high": entry.high}


def validate(record: object, source: str) -> dict[str, Any]:
    """Check a record against its schema.

    Args:
        record: parsed JSON.
        source: file or place it came from, for messages.

    Raises:
        InputError: it does not fit; names the place in the record.
    """
    schema = json.loads(_SCHEMA_FILE.read_text(encoding="utf-8"))
    fault = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(record))
    if fault is not None:
        place = ".".join(str(step) for step in fault.absolute_path) or "the whole"
        raise InputError(f"record {source}: {place}: {fault.message}; expected schema {SCHEMA}")
    assert isinstance(record, dict)  # noqa: S101 - the schema says so; this tells the type checker
    return record


def load(path: Path) -> dict[str, Any]:
    """Read and check a record.

    Raises:
        InputError: not there, no JSON, or not a record.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"record {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"record {path} is not JSON: {error}") from error
    return validate(raw, str(path))


def write(record: Mapping[str, Any], directory: Path) -> Path:
    """Write a record to `directory/HOST/UTC.json`, whole or not at all; an older one is never replaced.

    Raises:
        InputError: the record does not fit its schema, or the directory cannot be written.
    """
    checked = validate(dict(record), "to be written")
    folder = directory / str(checked["host"])
    stem = str(checked["finished"]).replace(":", "")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=folder, prefix=".record-", delete=False, encoding="utf-8"
        ) as stream:
            json.dump(checked, stream, indent=2, sort_keys=True, ensure_ascii=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary = Path(stream.name)
        temporary.chmod(0o644)
        try:
            return _place(temporary, folder, stem)
        finally:
            temporary.unlink()
    except OSError as error:
        raise InputError(
            f"writing the record of {checked['host']} below {directory}: {error}; set acceptance_records_dir"
            " to a directory that may be written"
        ) from error


def _place(temporary: Path, folder: Path, stem: str) -> Path:
    """Give the file its name by a hard link, which fails where the name is taken."""
    number = 1
    while True:
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            os.link(temporary, path)
        except FileExistsError:
            number += 1
        else:
            return path
