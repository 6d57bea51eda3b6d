# SPDX-License-Identifier: Apache-2.0
"""The role runtime's wait for a server: it ends when the server serves, or will not by waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from edgewright.paths import collection_root

TASKS = collection_root() / "roles" / "runtime" / "tasks"
TROUBLE = "systemd has given up on edgewright-runtime-a.service: its last result is exit-code"
READY = {"area": "runtime", "item": "ready"}
HEALTH = {"area": "runtime", "item": "health"}


def read(*drift: dict[str, str], trouble: str | None = None) -> dict[str, Any]:
    """What `device_state` returns."""
    summary = [f"runtime.{each['item']} differs" for each in drift]
    return {"drift": list(drift), "summary": summary, "have": {"runtime": {"trouble": trouble}}}


# Name -> what the probe returned; whether the wait ends, on Debian and on Ubuntu Core.
CASES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "it serves": (read(), True, True),
    "it is loading": (read(READY), False, False),
    "it will not by waiting": (read(READY, trouble=TROUBLE), True, True),
    "only its health was told before": (read(HEALTH), False, True),
    "the probe failed": ({"failed": True, "msg": "no route"}, False, False),
    "a probe of an older version": ({"drift": [READY], "have": {"runtime": {}}}, False, False),
}


def tasks_of(name: str) -> Iterator[dict[str, Any]]:
    stack = list(DataLoader().load_from_file(str(TASKS / name), trusted_as_template=True))
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
@pytest.mark.parametrize("name", ["serve.yml", "ubuntu_core.yml"])
def test_when_the_wait_ends(name: str, case: str) -> None:
    result, debian, core = CASES[case]
    until = the_task(name, "Wait until the same probe")["until"]
    assert holds(until, __runtime_after=result) is (debian if name == "serve.yml" else core)


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
