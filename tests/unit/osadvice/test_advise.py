# SPDX-License-Identifier: Apache-2.0
"""What a device needs against what is known: recommended with reasons, refused where no fact says yes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.cli.main import main
from edgewright.errors import InputError
from edgewright.osadvice.advise import Needs, advise
from edgewright.osadvice.facts import (
    DEBIAN,
    SYSTEMS,
    TOPICS,
    UBUNTU_CORE,
    OsFacts,
    carried_os_facts,
    load_os_facts,
)

FACTS = load_os_facts()


def _why(needs: Needs, os: str) -> str:
    return " ".join(next(each for each in advise(needs, FACTS).judged if each.os == os).refused)


@pytest.mark.parametrize(
    ("needs", "recommended"),
    [
        pytest.param(Needs(), DEBIAN, id="nothing asked: equal, the one without an account first"),
        pytest.param(Needs(wakeup_worst_us=100), DEBIAN, id="a bound on wake-up"),
        pytest.param(
            Needs(
                wakeup_worst_us=100,
                surface="minimal",
                rollback="system",
                updates="transactional",
                kernel="brand",
            ),
            UBUNTU_CORE,
            id="a bound and a strict policy",
        ),
        pytest.param(Needs(surface="minimal"), UBUNTU_CORE, id="small surface"),
        pytest.param(Needs(kernel="site"), DEBIAN, id="the site changes kernels"),
        pytest.param(Needs(gpu="nvidia", rollback="system"), UBUNTU_CORE, id="a card, no bound"),
        pytest.param(Needs(gpu="nvidia", wakeup_worst_us=100), None, id="a card and a bound, no waiver"),
        pytest.param(Needs(gpu="nvidia", wakeup_worst_us=100, rt_waiver=True), DEBIAN, id="with a waiver"),
        pytest.param(
            Needs(gpu="nvidia", wakeup_worst_us=100, rt_waiver=True, surface="minimal", rollback="system"),
            DEBIAN,
            id="no wish makes up for a fact that is missing",
        ),
        pytest.param(Needs(gpu="tegra", surface="minimal"), DEBIAN, id="a Jetson"),
        pytest.param(Needs(gpu="tegra", wakeup_worst_us=100), DEBIAN, id="a Jetson with a bound"),
    ],
)
def test_what_is_recommended(needs: Needs, recommended: str | None) -> None:
    advice = advise(needs, FACTS)
    assert advice.recommended == recommended
    assert advice.reasons
    assert all(name in advice.text() for name in SYSTEMS.values())


def test_rt_with_nvidia_on_ubuntu_core_is_refused_even_with_a_waiver() -> None:
    why = _why(Needs(gpu="nvidia", wakeup_worst_us=100, rt_waiver=True), UBUNTU_CORE)
    assert "no verified fact supports it" in why
    assert "24-rt" in why


def test_ubuntu_core_on_a_jetson_is_refused() -> None:
    assert "no verified fact supports it" in _why(Needs(gpu="tegra"), UBUNTU_CORE)


def test_debian_with_nvidia_and_rt_takes_the_waiver() -> None:
    assert "nvidia.rt_waiver" in _why(Needs(gpu="nvidia", wakeup_worst_us=100), DEBIAN)
    with_it = advise(Needs(gpu="nvidia", wakeup_worst_us=100, rt_waiver=True), FACTS)
    assert "only with a waiver" in with_it.text()


def test_a_row_that_nobody_verified_says_no_more() -> None:
    row = dataclasses.replace(FACTS.row("rt_kernel", DEBIAN), verified=False)
    changed = OsFacts({**FACTS.rows, ("rt_kernel", DEBIAN): row})
    advice = advise(Needs(wakeup_worst_us=100), changed)
    assert advice.recommended == UBUNTU_CORE
    assert row.answer == "unknown"


@pytest.mark.parametrize(
    "wrong", [{"gpu": "amd"}, {"wakeup_worst_us": 0}, {"kernel": "nobody"}, {"rollback": "any"}]
)
def test_needs_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Needs(**wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": [{"topic": "rt_kernel"}]}, "is a required property"),
        ({"answer": "perhaps"}, "is not one of"),
        ({"source": "hearsay"}, "is not among sources"),
        ({"date": "2026-13-01"}, "no day of the calendar"),
        ({"os": "ubuntu_core"}, "a second row for rt_kernel on ubuntu_core"),
        ({"os": "ubuntu_core", "topic": "rt_image"}, "no row for rt_kernel on debian"),
        ({"extra": 1}, "Additional properties"),
    ],
)
def test_wrong_facts_are_told_with_their_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    content = yaml.safe_load(carried_os_facts().read_text())
    if "rows" in change:
        content["rows"] = change["rows"]
    else:
        content["rows"][0] |= change
    path = tmp_path / "facts.yml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=words) as told:
        load_os_facts(path)
    assert f"{path}:" in str(told.value)


def test_every_question_has_a_row_for_both() -> None:
    assert set(FACTS.rows) == {(topic, os) for topic in TOPICS for os in SYSTEMS}


def test_the_command_prints_both_and_its_status_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["os", "advise", "--profile", "x86_plain", "--wakeup-worst-us", "100"]) == 0
    told = capsys.readouterr().out
    assert "recommended: Debian RT" in told
    assert "no number is promised" in told
    assert main(["os", "advise", "--profile", "x86_t4", "--wakeup-worst-us", "100", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["recommended"]) == ("edgewright.os-advice/v1", None)


def test_the_command_refuses_an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["os", "advise", "--profile", "nothing"]) == 2
    assert "no such profile" in capsys.readouterr().err


def test_what_was_measured_of_both_is_always_shown_and_weighs_nothing() -> None:
    advice = advise(Needs(), FACTS)
    told = ("drift", "power_cut", "site_updates")
    assert set(told) < set(advice.topics)
    assert not {topic for judged in advice.judged for topic in (*judged.granted, *judged.denied)} & set(told)
    assert all(FACTS.row(topic, os).how == "measured" for topic in (*told, "journey") for os in SYSTEMS)
    assert "yes (measured): power lost during a snap's" in advice.text()


def test_a_bound_on_wakeup_is_an_intent_that_the_device_is_measured_by() -> None:
    topics = advise(Needs(wakeup_worst_us=100), FACTS).topics
    assert {"wakeup", "isolation", "rt_kernel"} <= set(topics)
    assert "wakeup" not in advise(Needs(), FACTS).topics
