# SPDX-License-Identifier: Apache-2.0
"""Area `acceptance`: the device has been measured with this release, these settings and this intent.

Pure: no IO. What was measured lies in the record on the controller; the device keeps a receipt that
says for what it was accepted, so that a run without change measures nothing, and any change of the
release, of how the model is run, or of the intent asks for a new acceptance.

Items of `have` and `want`:

    accepted_for  sha256 over release, image digests, kernel, packages, isolated CPUs, runtime's files, intent
    verdict       the verdict of that acceptance; `want` has `pass`, or `inconclusive` where the
                  inventory accepts that (a twin under emulation can't do better on time)

`want` has `plan` more (what to measure and against what) and `at` (where the receipt lies); `have` has
`record` more, the name of the record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from edgewright.device import runtime
from edgewright.device.cpulist import format_cpus
from edgewright.device.drift import Drift, Have, Want
from edgewright.device.nvidia_lock import SUBJECT, nvidia_answer, waiver_of
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError
from edgewright.snaps.grade import recorded as recorded_snaps

__all__ = ["AREA", "PACKAGES", "RECEIPT", "drift", "intent", "want"]

AREA = "acceptance"
RECEIPT = "/var/lib/edgewright/acceptance/receipt.json"
# rt-tests holds cyclictest.
PACKAGES = ("rt-tests",)

INTENT_KEYS = {"latency_p99_ms": "milliseconds", "wakeup_worst_us": "microseconds"}
MAX_DURATION_S = 7 * 24 * 3600
MAX_RATE_HZ = 10000.0
MAX_LABELS = 64


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """What the device shall be accepted for, and how that is measured.

    Args:
        variables: `acceptance_*` of the role and what `edgewright.device.runtime.want` reads.
        profile: the device's hardware profile.
        lock: the release's lock.

    Returns:
        The items of the area; empty where the profile has no kernel of its own (a container).

    Raises:
        InputError: a variable or the lock does not allow an acceptance.
    """
    if profile["boot"] == "none":
        return {}
    serving = runtime.want(variables, profile, lock)
    isolated = chosen_cpus(variables, profile)
    image, models = runtime.locked_images(lock)
    model = variables.get("acceptance_model") or next(iter(models))
    if model not in models:
        raise InputError(
            f"acceptance_model: expected one of {', '.join(models)}, which the lock has, got {model!r}"
        )
    wanted = intent(variables.get("acceptance_intent"))
    recorded = sorted({*runtime.PACKAGES, *PACKAGES, lock["kernel"]["package"]})
    accept_inconclusive = variables.get("acceptance_accept_inconclusive")
    if not isinstance(accept_inconclusive, bool):
        raise InputError(
            f"acceptance_accept_inconclusive: expected true or false, got {accept_inconclusive!r}"
        )
    subject = {
        "release": {"name": lock["release"]["name"], "version": lock["release"]["version"]},
        "images": {"runtime": image["digest"], **{name: entry["digest"] for name, entry in models.items()}},
        "kernel": lock["kernel"]["release"],
        # What the record states of packages must stay true: an update of one is a device to be accepted anew.
        "packages": {
            entry["name"]: entry["version"] for entry in lock["apt"]["packages"] if entry["name"] in recorded
        },
        "cpus": format_cpus(isolated),
        "files": serving["files"],
        "intent": wanted,
        "model": model,
        **recorded_snaps(lock),
    }
    # Where nothing on the device is to use the GPU, no stack is put there.
    answer = None if variables.get("nvidia_managed") is False else nvidia_answer(lock, profile)
    waiver = waiver_of(answer)
    if answer is not None:  # another driver or another waiver is another device
        subject["nvidia"] = {"chosen": dict(answer["chosen"]), "waiver": waiver}
    canonical = json.dumps(subject, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    verdicts = ["pass", "inconclusive"] if accept_inconclusive else ["pass"]
    return {
        "accepted_for": hashlib.sha256(canonical.encode()).hexdigest(),
        "verdict": verdicts,
        "at": {"receipt": RECEIPT},
        "plan": {
            "release": {
                **subject["release"],
                "lock_release_sha256": lock["release"]["sha256"],
                **recorded_snaps(lock),
            },
            "profile": profile["name"],
            "waivers": [{"what": SUBJECT, **waiver}] if waiver else [],
            "model": model,
            "intent": wanted,
            "cpus": format_cpus(isolated or range(profile["cpus"])),
            # What only keeps off or only binds is no isolated partition, and is not measured as one.
            "isolated": bool(isolated) and variables.get("isolation_kind", "isolated") == "isolated",
            "slice": serving["slice"],
            "frontend": serving["at"]["frontend"],
            "container": serving["at"]["container"],
            "identity": serving["at"]["identity"],
            "packages": recorded,
            "images": subject["images"],
            "duration_s": _number(variables, "acceptance_duration_s", 1, MAX_DURATION_S, "seconds"),
            "rate_hz": _number(variables, "acceptance_rate_hz", 0.001, MAX_RATE_HZ, "requests a second"),
            "ready_timeout_s": _number(variables, "runtime_ready_timeout_s", 1, MAX_DURATION_S, "seconds"),
            "labels": int(_number(variables, "acceptance_labels", 1, MAX_LABELS, "labels")),
            "wakeup_interval_us": int(
                _number(variables, "acceptance_wakeup_interval_us", 100, 1_000_000, "microseconds")
            ),
            "wakeup_priority": int(
                _number(variables, "acceptance_wakeup_priority", 1, 99, "SCHED_FIFO priority")
            ),
            "install": runtime.package_versions(lock, PACKAGES),
        },
    }


def drift(have: Have, want: Want) -> list[Drift]:
    """One item when the device was not accepted for this, or not with a verdict that counts."""
    if not want:
        return []
    if have.get("accepted_for") != want["accepted_for"]:
        why = (
            "the device was never accepted"
            if have.get("accepted_for") is None
            else "the device was accepted for another release, kernel, runtime or intent than it has now"
        )
        return [
            Drift(
                AREA, "accepted_for", have.get("accepted_for"), want["accepted_for"], f"{why}; it is measured"
            )
        ]
    if have.get("verdict") not in want["verdict"]:
        why = f"the last acceptance ended as {have.get('verdict')}, which does not count here; it is repeated"
        return [Drift(AREA, "verdict", have.get("verdict"), " or ".join(want["verdict"]), why)]
    return []


def intent(value: object) -> dict[str, float]:
    """What the model must reach, checked.

    Args:
        value: `acceptance_intent`: `latency_p99_ms` and `wakeup_worst_us`, both above 0.

    Raises:
        InputError: another key, a missing one, or a value that is no positive number.
    """
    shape = "{latency_p99_ms: 50, wakeup_worst_us: 100}"
    if not isinstance(value, Mapping):
        raise InputError(f"acceptance_intent: expected a mapping such as {shape}, got {value!r}")
    unknown = sorted(str(key) for key in value if key not in INTENT_KEYS)
    missing = [key for key in INTENT_KEYS if key not in value]
    if unknown or missing:
        said = [f"does not know {', '.join(unknown)}"] if unknown else []
        said += [f"lacks {', '.join(missing)}"] if missing else []
        raise InputError(f"acceptance_intent {' and '.join(said)}: expected a mapping such as {shape}")
    return {
        key: _number({f"acceptance_intent.{key}": value[key]}, f"acceptance_intent.{key}", 1e-6, 1e12, unit)
        for key, unit in INTENT_KEYS.items()
    }


def _number(variables: Mapping[str, Any], name: str, least: float, most: float, unit: str) -> float:
    value = variables.get(name)
    if isinstance(value, str) and re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
        value = float(value)  # as Ansible gives a number that came through a template
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name}: expected a number from {least:g} to {most:g} ({unit}), got {value!r}")
    return float(value)
