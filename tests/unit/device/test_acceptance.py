# SPDX-License-Identifier: Apache-2.0
"""The acceptance area's want and drift."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.device import acceptance
from edgewright.errors import InputError
from tests.unit.device.runtime_inputs import MODEL_DIGEST, PROFILE, RUNTIME_DIGEST, VARIABLES, lock


def want(variables: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return acceptance.want({**VARIABLES, **(variables or {})}, PROFILE, lock(**changes))


def test_plan() -> None:
    plan = want()["plan"]
    assert plan["images"] == {"runtime": RUNTIME_DIGEST, "label-reader": MODEL_DIGEST}
    assert (plan["model"], plan["cpus"], plan["isolated"], plan["slice"]) == (
        "label-reader",
        "2-3",
        True,
        "edgert.slice",
    )
    assert plan["intent"] == {"latency_p99_ms": 50.0, "wakeup_worst_us": 100.0}
    assert plan["install"] == {"rt-tests": "2.4-1"}


def test_without_isolation_all_cpus_are_measured() -> None:
    plan = want({"isolation_cpus": ""})["plan"]
    assert (plan["cpus"], plan["isolated"]) == ("0-3", False)


NEW_ACCEPTANCE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "release": ({}, {"release": {"name": "label-reader", "version": "1.0.1", "sha256": "0" * 64}}),
    "kernel": ({}, {"kernel": {**lock()["kernel"], "release": "6.1.0-10-rt-amd64"}}),
    "image": ({}, {"images": [{**lock()["images"][0], "digest": "sha256:" + "c" * 64}, lock()["images"][1]]}),
    "model": ({}, {"images": [lock()["images"][0], {**lock()["images"][1], "digest": "sha256:" + "c" * 64}]}),
    "package": (
        {},
        {
            "apt": {
                "packages": [
                    {**entry, "version": "99"} if entry["name"] == "nginx" else entry
                    for entry in lock()["apt"]["packages"]
                ]
            }
        },
    ),
    "CPUs": ({"isolation_cpus": "1-3"}, {}),
    "intent": ({"acceptance_intent": {"latency_p99_ms": 49, "wakeup_worst_us": 100}}, {}),
    "threads": ({"runtime_threads": 1}, {}),
}


@pytest.mark.parametrize(("variables", "changes"), NEW_ACCEPTANCE.values(), ids=NEW_ACCEPTANCE.keys())
def test_asks_for_a_new_acceptance(variables: dict[str, Any], changes: dict[str, Any]) -> None:
    wanted = want(variables, **changes)
    assert wanted["accepted_for"] != want()["accepted_for"]
    found = acceptance.drift({"accepted_for": want()["accepted_for"], "verdict": "pass"}, wanted)
    assert [drift.item for drift in found] == ["accepted_for"]
    assert "another release" in found[0].why


NVIDIA = {
    "profile": PROFILE["name"],
    "target": "bookworm/amd64",
    "chosen": {"arch": "amd64", "gpu": "t4", "driver": "535.309.01"},
    "waiver": {"who": "Ada", "why": "the line", "until": "2027-06-30"},
}
CARD = {**PROFILE, "arch": "amd64", "gpu": "nvidia", "gpu_model": "t4"}


def _with_card(**changes: Any) -> dict[str, Any]:
    content = lock(nvidia=[{**NVIDIA, **changes}], os={"suite": "bookworm", "arch": "amd64"})
    return acceptance.want(VARIABLES, CARD, content)


def test_the_plan_names_the_waiver_that_the_device_leans_on() -> None:
    assert _with_card()["plan"]["waivers"] == [
        {
            "what": "NVIDIA's driver on PREEMPT_RT",
            "who": "Ada",
            "why": "the line",
            "until": "2027-06-30",
        }
    ]
    assert _with_card(waiver=None)["plan"]["waivers"] == want()["plan"]["waivers"] == []


def test_another_stack_or_waiver_asks_for_a_new_acceptance() -> None:
    found = {
        want()["accepted_for"],
        _with_card()["accepted_for"],
        _with_card(waiver=None)["accepted_for"],
        _with_card(waiver={**NVIDIA["waiver"], "until": "2028-06-30"})["accepted_for"],
        _with_card(chosen={**NVIDIA["chosen"], "driver": "535.261.03"})["accepted_for"],
    }
    assert len(found) == 5


def test_where_nothing_shall_use_the_gpu_no_waiver_is_leant_on() -> None:
    content = lock(nvidia=[NVIDIA], os={"suite": "bookworm", "arch": "amd64"})
    plan = acceptance.want({**VARIABLES, "nvidia_managed": False}, CARD, content)["plan"]
    assert plan["waivers"] == []


def test_without_an_nvidia_gpu_the_locked_stack_does_not_count() -> None:
    assert want(nvidia=[NVIDIA]) == want()


def test_how_it_is_measured_asks_for_no_new_acceptance() -> None:
    changes = {
        "acceptance_duration_s": 3600.0,
        "acceptance_rate_hz": 1.0,
        "acceptance_accept_inconclusive": True,
    }
    assert want(changes)["accepted_for"] == want()["accepted_for"]


DRIFT: dict[str, tuple[str | None, bool, list[str]]] = {
    "pass": ("pass", False, []),
    "pass on a twin": ("pass", True, []),
    "inconclusive": ("inconclusive", False, ["verdict"]),
    "inconclusive on a twin": ("inconclusive", True, []),
    "fail on a twin": ("fail", True, ["verdict"]),
    "damaged receipt": (None, True, ["verdict"]),
}


@pytest.mark.parametrize(("verdict", "twin", "items"), DRIFT.values(), ids=DRIFT.keys())
def test_drift(verdict: str | None, twin: bool, items: list[str]) -> None:
    wanted = want({"acceptance_accept_inconclusive": twin})
    have = {"accepted_for": wanted["accepted_for"], "verdict": verdict, "record": "x.json"}
    assert [drift.item for drift in acceptance.drift(have, wanted)] == items


def test_never_accepted() -> None:
    found = acceptance.drift({"accepted_for": None, "verdict": None, "record": None}, want())
    assert [(drift.item, drift.have) for drift in found] == [("accepted_for", None)]
    assert "never accepted" in found[0].why


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no intent": ({"acceptance_intent": None}, "acceptance_intent: expected a mapping"),
    "lacking": ({"acceptance_intent": {"latency_p99_ms": 1}}, "lacks wakeup_worst_us"),
    "misspelt": (
        {"acceptance_intent": {"latency_p99_ms": 1, "wakeup_worst_us": 1, "latency_p999_ms": 1}},
        "does not know latency_p999_ms",
    ),
    "negative": (
        {"acceptance_intent": {"latency_p99_ms": -1, "wakeup_worst_us": 1}},
        "acceptance_intent.latency_p99_ms",
    ),
    "text": ({"acceptance_intent": {"latency_p99_ms": "fast", "wakeup_worst_us": 1}}, "got 'fast'"),
    "rate": ({"acceptance_rate_hz": 0}, "acceptance_rate_hz: expected a number"),
    "duration": ({"acceptance_duration_s": float("nan")}, "acceptance_duration_s"),
    "labels": ({"acceptance_labels": 65}, "acceptance_labels: expected a number from 1 to 64"),
    "priority": ({"acceptance_wakeup_priority": 100}, "acceptance_wakeup_priority"),
    "model": ({"acceptance_model": "other"}, "acceptance_model: expected one of label-reader"),
    "accepts": ({"acceptance_accept_inconclusive": "yes"}, "acceptance_accept_inconclusive"),
}


@pytest.mark.parametrize(("variables", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(variables: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        want(variables)
    assert message in str(caught.value)


def test_cyclictest_must_be_locked() -> None:
    packages = [entry for entry in lock()["apt"]["packages"] if entry["name"] != "rt-tests"]
    with pytest.raises(InputError, match="lacks the package rt-tests"):
        want(apt={"packages": packages})


def test_a_container_is_not_accepted_for_anything() -> None:
    wanted = acceptance.want({}, {"name": "can", "cpus": 1, "boot": "none"}, lock())
    assert wanted == {}
    assert acceptance.drift({}, wanted) == []
