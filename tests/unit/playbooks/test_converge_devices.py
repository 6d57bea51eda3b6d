# SPDX-License-Identifier: Apache-2.0
"""The playbook's plays: for which devices, and at which pace. What they do is tried on devices."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from edgewright.paths import collection_root

PLAYS = yaml.safe_load((collection_root() / "playbooks" / "converge_devices.yml").read_text(encoding="utf-8"))
SITE = {"all": [], "devices": ["a", "b"], "controller": ["localhost"]}
ONE = {**SITE, "edgewright_converging": ["a"], "edgewright_converging_debian": ["a"]}
CORE = {**SITE, "edgewright_converging": ["b"], "edgewright_converging_ubuntu_core": ["b"]}
NOBODY = "localhost:!localhost"
CASES: dict[str, tuple[dict[str, list[str]], str, str]] = {
    "no device drifted": (SITE, NOBODY, "linear"),
    "one OS": (ONE, "edgewright_converging", "linear"),
    "the other alone": (CORE, "edgewright_converging", "linear"),
    "both": ({**ONE, **CORE}, "edgewright_converging", "free"),
    "a group of the site's own that is called alike": ({**SITE, "edgewright": ["a"]}, NOBODY, "linear"),
}


def told(text: str, groups: dict[str, list[str]]) -> Any:
    return Templar(DataLoader(), {"groups": groups}).template(trust_as_template(text))


@pytest.mark.parametrize("case", CASES)
def test_those_that_drifted_converge_and_two_oses_side_by_side(case: str) -> None:
    groups, hosts, strategy = CASES[case]
    _, converge, check = PLAYS
    assert told(converge["hosts"], groups) == told(check["hosts"], groups) == hosts
    assert told(converge["strategy"], groups) == strategy
    assert "strategy" not in check


def test_what_runs_once_for_all_is_not_in_the_play_without_a_common_pace() -> None:
    """Ansible runs such a task for every device there."""
    read, converge, check = PLAYS
    assert not any(task.get("run_once") for task in converge["tasks"])
    assert [list(task)[1] for task in converge["tasks"]] == ["ansible.builtin.include_role"]
    assert any(task.get("run_once") for task in [*read["pre_tasks"], *check["tasks"]])


def test_check_mode_ends_before_anything_is_converged() -> None:
    names = [task["name"] for task in PLAYS[0]["pre_tasks"]]
    grouped = names.index("Group the devices by what they run")
    assert names.index("Leave all devices alone in check mode") < grouped == len(names) - 1
