# SPDX-License-Identifier: Apache-2.0
"""One worker for many hosts: what counts as wanted, and that nothing is lost where it can't be done."""

from __future__ import annotations

import subprocess
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.plugin_utils import side_by_side
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import (
    Together,
    as_wanted,
    waiting,
)

from edgewright.errors import EdgewrightError

TOLD: dict[str, tuple[dict[str, Any], bool]] = {
    "no drift": ({"msg": "well", "drifted": []}, True),
    "drift": ({"msg": "1 item differs", "drifted": ["kernel"]}, False),
    "failed": ({"msg": "no python", "failed": True}, False),
    "unreachable": ({"msg": "no route", "unreachable": True}, False),
    "failed, with an old list": ({"msg": "x", "failed": True, "drifted": []}, False),
    "another task's result": ({"msg": "x"}, False),
}


@pytest.mark.parametrize("name", TOLD)
def test_only_a_device_that_was_read_and_has_no_drift_is_as_wanted(name: str) -> None:
    result, counts = TOLD[name]
    assert as_wanted({"reader-01": result}) == ({"reader-01": "well"} if counts else {})


class Manager:
    """Variables of hosts, by name."""

    def __init__(self, **hosts: dict[str, Any]) -> None:
        self.hosts = hosts

    def get_vars(self, *, play: Any, host: str, task: Any) -> dict[str, Any]:  # noqa: ARG002 - Ansible's
        return self.hosts[host]


class Task:
    """As much of a task as is asked for."""

    def __init__(self, timeout: int = 0) -> None:
        self.timeout, self.connection, self.play, self.action = timeout, "ssh", None, "fleet_state"
        self.args: dict[str, Any] = {"lock": "/computed/for/one"}

    _parent = None

    def copy(self, *, exclude_parent: bool) -> Task:  # noqa: ARG002 - Ansible's
        return Task(self.timeout)


def together(manager: Manager, timeout: int = 0, task: Task | None = None) -> Together:
    context = SimpleNamespace(password=None, become_pass=None, connection_lockfd=None)
    action: Any = SimpleNamespace(
        _task=task or Task(timeout), _play_context=context, _loader=None, _shared_loader_obj=None
    )
    hostvars = SimpleNamespace(
        _variable_manager=manager, _inventory=SimpleNamespace(get_host=lambda name: name)
    )
    return Together(action, {"hostvars": hostvars})


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ansible's executor replaced by one that names its host; hosts wait for each other, as for devices."""
    ran: list[str] = []
    barrier = threading.Barrier(2)

    class Executor:
        def __init__(self, host: str, task: Any, *_: Any) -> None:
            self.host, self.task = host, task

        def run(self) -> dict[str, Any]:
            with waiting():
                barrier.wait(10)
            ran.append(self.host)
            return {"msg": self.host, "action": self.task.action, **self.task.args}

    monkeypatch.setattr(side_by_side, "TaskExecutor", Executor)
    monkeypatch.setattr(side_by_side, "TaskContext", None)
    monkeypatch.setattr(side_by_side, "PlayContext", lambda **_: None)
    monkeypatch.setattr(side_by_side.context, "CLIARGS", {"forks": 5})
    return ran


def test_hosts_wait_for_their_devices_side_by_side_and_answer_in_their_order(executor: list[str]) -> None:
    manager = Manager(a={}, b={"ansible_connection": "ssh"})
    results = together(manager).run("device_state", {"lock": "l"}, ["a", "b"])
    assert list(results) == ["a", "b"]
    assert results["b"] == {"msg": "b", "action": "device_state", "lock": "l"}
    assert sorted(executor) == ["a", "b"]


def test_a_host_that_is_not_reached_by_ssh_is_left_to_its_own_task(executor: list[str]) -> None:
    assert together(Manager(a={"ansible_connection": "local"})).run("device_state", {}, ["a"]) == {}
    assert executor == []


def test_a_time_limit_is_left_to_processes_that_can_keep_it(executor: list[str]) -> None:
    assert together(Manager(a={}, b={}), timeout=5).run("device_state", {}, ["a", "b"]) == {}
    assert executor == []


def test_an_ansible_that_is_made_otherwise_inside_costs_time_only(
    executor: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(side_by_side, "TaskExecutor", lambda *_: _no_such("run"))
    monkeypatch.setattr(side_by_side.display, "Display", lambda: SimpleNamespace(warning=warned.append))
    assert together(Manager(a={}, b={})).run("device_state", {}, ["a", "b"]) == {}
    assert len(warned) == 1
    assert "does not let one worker speak for many devices (TypeError: run)" in warned[0]
    assert executor == []


def _no_such(name: str) -> Any:
    raise TypeError(name)


def test_waiting_does_nothing_in_a_worker_of_one_host() -> None:
    with waiting():
        pass  # a lock that nobody holds would be given back, which raises


SCRIPTS = {"slow": "exec sleep 60", "quick": "exit 3", "twice": "exec sleep 0.4"}


def test_a_device_without_an_answer_in_time_is_given_up_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With real processes: one that would go on for a minute, one that ends, one that is asked twice."""

    class Executor:
        def __init__(self, host: str, *_: Any) -> None:
            self.host = host

        def run(self) -> dict[str, Any]:
            try:
                for _ in range(2 if self.host == "twice" else 1):
                    with waiting():
                        argv = ["/bin/sh", "-c", SCRIPTS[self.host]]
                        status = subprocess.run(argv, check=False).returncode
            except EdgewrightError as error:
                return {"failed": True, "msg": str(error)}
            return {"status": status}

    monkeypatch.setattr(side_by_side, "TaskExecutor", Executor)
    monkeypatch.setattr(side_by_side, "TaskContext", None)
    monkeypatch.setattr(side_by_side, "PlayContext", lambda **_: None)
    monkeypatch.setattr(side_by_side.context, "CLIARGS", {"forks": 1})
    made = together(Manager(slow={}, quick={}, twice={}))
    results = made.run("device_state", {}, ["slow", "quick", "twice"], limit_s=0.6)
    assert results["slow"]["failed"]
    assert "slow: it gave no answer within 0.6 seconds, and was given up" in results["slow"]["msg"]
    assert results["quick"] == {"status": 3}  # in the same thread, after the one that was given up
    assert results["twice"]["failed"]  # the limit is for all that a device is asked


def test_each_host_computes_the_options_of_its_own_variables() -> None:
    task = Task()
    task._ds = {"name": "Read", "fleet_state": {"lock": "{{ dir }}/lock.yml"}}  # type: ignore[attr-defined]
    made = together(Manager(), task=task)
    assert made.given("lock", "areas") == {"lock": "{{ dir }}/lock.yml"}
    task._ds = {"name": "Read", "action": "fleet_state"}  # type: ignore[attr-defined]
    assert together(Manager(), task=task).given("lock") == {"lock": "/computed/for/one"}
