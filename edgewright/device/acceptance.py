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
from dataclasses import dataclass
from typing import Any

from edgewright.device import runtime
from edgewright.device.cpulist import format_cpus
from edgewright.device.drift import Drift, Have, Want
from edgewright.device.nvidia_lock import SUBJECT, nvidia_answer, waiver_of
from edgewright.device.places import DEBIAN, places
from edgewright.device.topology import chosen_cpus
from edgewright.errors import InputError

__all__ = ["AREA", "PACKAGES", "RECEIPT", "Subject", "assemble", "drift", "intent", "want"]

AREA = "acceptance"
RECEIPT = places(DEBIAN).receipt
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
    image, models = runtime.locked_images(lock)
    recorded = sorted({*runtime.PACKAGES, *PACKAGES, lock["kernel"]["package"]})
    images = {"runtime": image["digest"], **{name: entry["digest"] for name, entry in models.items()}}
    return assemble(
        variables,
        profile,
        lock,
        Subject(
            serving=serving,
            models=list(models),
            kernel=lock["kernel"]["release"],
            parts={
                "images": images,
                # What the record states of packages must stay true: an update of one is a device to be
                # accepted anew.
                "packages": {
                    entry["name"]: entry["version"]
                    for entry in lock["apt"]["packages"]
                    if entry["name"] in recorded
                },
            },
            plan={
                "container": serving["at"]["container"],
                "packages": recorded,
                "images": images,
                "install": runtime.package_versions(lock, PACKAGES),
            },
            receipt=RECEIPT,
        ),
    )


@dataclass(frozen=True)
class Subject:
    """What is accepted, as one OS has it.

    Attributes:
        serving: want of the area `runtime`.
        models: names of the models that are served.
        kernel: the kernel that shall run, by its release; empty where the machine's own is given.
        parts: further parts of what is accepted: a change of one asks for a new acceptance.
        plan: further parts of the plan: what the measuring program reads of the device.
        receipt: where the receipt lies.
    """

    serving: Mapping[str, Any]
    models: list[str]
    kernel: str
    parts: Mapping[str, Any]
    plan: Mapping[str, Any]
    receipt: str


def assemble(
    variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any], accepted: Subject
) -> dict[str, Any]:
    """The want of the area, for any OS.

    Raises:
        InputError: a variable does not allow an acceptance.
    """
    isolated = chosen_cpus(variables, profile)
    model = variables.get("acceptance_model") or accepted.models[0]
    if model not in accepted.models:
        raise InputError(
            f"acceptance_model: expected one of {', '.join(accepted.models)}, which the lock has, got"
            f" {model!r}"
        )
    wanted = intent(variables.get("acceptance_intent"))
    accept_inconclusive = variables.get("acceptance_accept_inconclusive")
    if not isinstance(accept_inconclusive, bool):
        raise InputError(
            f"acceptance_accept_inconclusive: expected true or false, got {accept_inconclusive!r}"
        )
    release = {"name": lock["release"]["name"], "version": lock["release"]["version"]}
    subject = {
        "release": release,
        "kernel": accepted.kernel,
        "cpus": format_cpus(isolated),
        "files": accepted.serving["files"],
        "intent": wanted,
        "model": model,
        **accepted.parts,
    }
    # Where nothing on the device is to use the GPU, no stack is put there.
    answer = None if variables.get("nvidia_managed") is False else nvidia_answer(lock, profile)
    waiver = waiver_of(answer)
    if answer is not None:  # another driver or another waiver is another device
        subject["nvidia"] = {"chosen": dict(answer["chosen"]), "waiver": waiver}
    canonical = json.dumps(subject, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    verdicts = ["pass", "inconclusive"] if accept_inconclusive else ["pass"]
    serving = accepted.serving
    return {
        "accepted_for": hashlib.sha256(canonical.encode()).hexdigest(),
        "verdict": verdicts,
        "at": {"receipt": accepted.receipt},
        "plan": {
            "release": {**release, "lock_release_sha256": lock["release"]["sha256"]},
            "profile": profile["name"],
            "waivers": [{"what": SUBJECT, **waiver}] if waiver else [],
            "model": model,
            "intent": wanted,
            "cpus": format_cpus(isolated or range(profile["cpus"])),
            # What only keeps off or only binds is no isolated partition, and is not measured as one.
            "isolated": bool(isolated) and variables.get("isolation_kind", "isolated") == "isolated",
            "slice": serving["slice"],
            "frontend": serving["at"]["frontend"],
            "identity": serving["at"]["identity"],
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
            **accepted.plan,
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
