# SPDX-License-Identifier: Apache-2.0
"""The wait for a server of models: it ends when the server serves, or will not by waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from edgewright.paths import collection_root

ROLES = collection_root() / "roles"
TASKS = ROLES / "runtime" / "tasks"
TROUBLE = "systemd has given up on edgewright-runtime-a.service: its last result is exit-code"
READY = {"area": "runtime", "item": "ready"}
HEALTH = {"area": "runtime", "item": "health"}


def read(*drift: dict[str, str], trouble: str | None = None) -> dict[str, Any]:
    """What `device_state` returns."""
    summary = [f"runtime.{each['item']} differs" for each in drift]
    return {"drift": list(drift), "summary": summary, "have": {"runtime": {"trouble": trouble}}}


# Name -> what the probe returned, and whether the wait ends.
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "it serves": (read(), True),
    "it is loading": (read(READY), False),
    "it will not by waiting": (read(READY, trouble=TROUBLE), True),
    "only its health was told before": (read(HEALTH), True),
    "it is loading, and its health was told before": (read(READY, HEALTH), False),
    "the probe failed": ({"failed": True, "msg": "no route"}, False),
    "a probe of an older version": ({"drift": [READY], "have": {"runtime": {}}}, False),
}


def tasks_of(name: str, place: Path = TASKS) -> Iterator[dict[str, Any]]:
    stack = list(DataLoader().load_from_file(str(place / name), trusted_as_template=True))
    while stack:
        task = stack.pop(0)
        yield task
        for part in ("block", "rescue"):
            stack += task.get(part, [])


def the_task(name: str, words: str) -> dict[str, Any]:
    (found,) = [task for task in tasks_of(name) if words in str(task.get("name"))]
    return found


def holds(expression: str, **variables: Any) -> bool:
    return bool(
        Templar(DataLoader(), variables=variables).evaluate_conditional(trust_as_template(expression))
    )


@pytest.mark.parametrize("case", CASES)
def test_when_the_wait_ends(case: str) -> None:
    result, ends = CASES[case]
    (wait,) = tasks_of("wait.yml")
    assert holds(wait["until"], __runtime_after=result) is ends


@pytest.mark.parametrize(
    ("role", "name"), [("runtime", "serve.yml"), ("runtime", "ubuntu_core.yml"), ("kernel", "reboot.yml")]
)
def test_all_wait_alike(role: str, name: str) -> None:
    """Static imports: those tags and conditions hold that hold where the wait is asked for."""
    (wait,) = [
        task
        for task in tasks_of(name, ROLES / role / "tasks")
        if str(task.get("name")).partition("| ")[2].startswith("Wait until")
    ]
    if role == "runtime":
        assert wait["ansible.builtin.import_tasks"] == "wait.yml"
    else:
        told = {"name": "edgewright.factory.runtime", "tasks_from": "wait.yml"}
        assert wait["ansible.builtin.import_role"] == told


@pytest.mark.parametrize("name", ["serve.yml", "ubuntu_core.yml"])
def test_a_wait_that_ended_in_trouble_is_no_success(name: str) -> None:
    words = "Check that nothing differs" if name == "serve.yml" else "Check that nothing but the health"
    that = the_task(name, words)["ansible.builtin.assert"]["that"]
    assert not holds(that, __runtime_after=read(READY, trouble=TROUBLE))
    assert holds(that, __runtime_after=read())


@pytest.mark.parametrize("name", ["serve.yml", "ubuntu_core.yml"])
@pytest.mark.parametrize(
    ("after", "begins"),
    [
        (read(READY, trouble=TROUBLE), f"{TROUBLE}; runtime.ready differs."),
        (read(READY), "runtime.ready differs."),
        ({"failed": True, "msg": "no route"}, "the task's own words."),
    ],
    ids=["trouble", "drift", "no reading"],
)
def test_the_cause_comes_first_then_the_log(name: str, after: dict[str, Any], begins: str) -> None:
    message = the_task(name, "Say what does not serve")["ansible.builtin.fail"]["msg"]
    variables = {
        "inventory_hostname": "reader-01",
        "__runtime_after": after,
        "__runtime_want": {"at": {"unit": "edgewright-runtime-a.service", "snap": "edgewright-runtime"}},
        "__runtime_journal": {"stdout": "OSError: no model"},
        "ansible_failed_result": {"msg": "the task's own words"},
    }
    told = str(Templar(DataLoader(), variables=variables).template(message))
    assert f"is not served as wanted. {begins}" in " ".join(told.split())
    assert told.rstrip().endswith("said last: OSError: no model")
