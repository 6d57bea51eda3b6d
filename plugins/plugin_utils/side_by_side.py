# SPDX-License-Identifier: Apache-2.0
"""One task for many hosts in one process: what Ansible's workers do one by one, done side by side.

Ansible forks a worker for each host and task. A fork of the controller costs more than what a probe does in
it, and a fleet pays it for each device. Here one worker goes through the hosts of its play itself: each gets
the variables, the connection and the words for an error that its own worker would have given it, because the
same `TaskExecutor` does it. Only one thread at a time works; the others wait for their devices.

    together = Together(self, task_vars)
    results = together.run("edgewright.factory.device_state", together.given("lock"), hosts)
    rows = as_wanted(results)

What is asked for here is inside of ansible-core and may change with it. A host that it can't be done for is
left out of the result, and has its own task, as without this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible import context
from ansible.executor.task_executor import TaskExecutor
from ansible.playbook.play_context import PlayContext
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils import display

from edgewright.errors import EdgewrightError

try:  # ansible-core 2.19 tells templates and warnings apart by the task that they belong to
    from ansible._internal._task import TaskContext
except ImportError:
    TaskContext = None

# Held by the thread that works. One that waits for its device gives it away meanwhile: see `waiting`.
_BATON = threading.RLock()
_RUNNING = threading.local()
# Threads that wait for a device with a limit, by the kernel's number: when it is over. Those where it was.
_DEADLINES: dict[int, float] = {}
_OVER: set[int] = set()
_LIMITS = threading.Lock()
_LOOK_S = 0.1
# Connections that are programs of their own, which any number of threads may wait for.
_CONNECTIONS = ("ssh", "ansible.builtin.ssh")


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Let the other hosts go on while this one's device is waited for; nothing in a worker of one host.

    Raises:
        EdgewrightError: the device gave no answer within the limit of the run, and is waited for no longer.
    """
    if not getattr(_RUNNING, "beside", False):
        yield
        return
    thread, limit_s = threading.get_native_id(), _RUNNING.limit_s
    if limit_s:
        # Counted from the first wait: what a device is asked for later, it has the rest of the time for.
        _RUNNING.deadline = _RUNNING.deadline or time.monotonic() + limit_s
        with _LIMITS:
            _DEADLINES[thread] = _RUNNING.deadline
    _BATON.release()
    try:
        yield
    finally:
        _BATON.acquire()
        with _LIMITS:
            _DEADLINES.pop(thread, None)
            over = thread in _OVER
            _OVER.discard(thread)
        if over:
            raise EdgewrightError(
                f"reading the state of {_RUNNING.host}: it gave no answer within {limit_s:g} seconds, and was"
                " given up; nothing was changed. Look at its load and its disk, or give it longer with"
                " --timeout"
            )


def _end_late(done: threading.Event) -> None:
    """End the connections' programs of those that are beyond their limit, until all is done."""
    while not done.wait(_LOOK_S):
        with _LIMITS:
            for thread, deadline in _DEADLINES.items():
                if time.monotonic() < deadline:
                    continue
                _OVER.add(thread)
                with contextlib.suppress(OSError):
                    for pid in _children(thread).split():
                        os.kill(int(pid), signal.SIGKILL)


def _children(thread: int) -> str:
    """Numbers of the processes that a thread of this process has started and that run.

    Raises:
        OSError: the thread is gone, or this kernel does not tell.
    """
    return Path(f"/proc/self/task/{thread}/children").read_text(encoding="ascii")


def as_wanted(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The hosts that were read and have no drift, each with what there is to say of it."""
    return {
        name: str(told["msg"])
        for name, told in results.items()
        if not told.get("failed") and not told.get("unreachable") and told.get("drifted") == []
    }


class Together:
    """The hosts of a play, for an action that speaks for all of them."""

    def __init__(self, action: ActionBase, task_vars: Mapping[str, Any]) -> None:
        """Take over from an action.

        Args:
            action: the one that runs.
            task_vars: its variables.
        """
        self._action = action
        self._task = action._task
        self._play = action._task.play
        self._hostvars = task_vars["hostvars"]
        self._manager = self._hostvars._variable_manager
        # As it stands in the playbook: what the action has was computed for the one host that it runs for.
        written = getattr(self._task, "_ds", None)
        said = written.get(self._task.action) if isinstance(written, Mapping) else None
        self._written: Mapping[str, Any] = said if isinstance(said, Mapping) else {}

    def given(self, *names: str) -> dict[str, Any]:
        """Options of the task as they are written, for each host to compute its own values from."""
        mine = self._task.args
        return {name: self._written.get(name, mine[name]) for name in names if name in mine}

    def computed(self, name: str, variables: Mapping[str, Any]) -> Any:
        """An option of the task as a host's own task would have it; None where it is not given.

        Args:
            name: the option.
            variables: of the host, see `variables`.

        Raises:
            AnsibleError: it cannot be computed of these variables.
        """
        value = self.given(name).get(name)
        if not isinstance(value, str) or "{" not in value:
            return value
        return Templar(self._action._loader, variables=variables).template(value)

    def variables(self, name: str) -> dict[str, Any]:
        """A host's variables as its own task would have them; templates are not resolved."""
        host = self._hostvars._inventory.get_host(name)
        found: dict[str, Any] = self._manager.get_vars(play=self._play, host=host, task=self._task)
        return found

    def run(
        self, module: str, arguments: Mapping[str, Any], names: Iterable[str], limit_s: float = 0
    ) -> dict[str, dict[str, Any]]:
        """Run an action on each host.

        Args:
            module: its full name.
            arguments: its options.
            names: hosts; as many devices as there are forks are waited for at the same time.
            limit_s: seconds after which a device that is waited for is given up; 0 for none.

        Returns:
            Host to result, as its own worker would have given it, in the hosts' order; without the hosts that
            are reached by other means than ssh.
        """
        # A limit on a task's time is kept by a signal, which only a process of its own can have.
        if self._task.timeout:
            return {}
        done = threading.Event()
        try:
            if limit_s:
                _children(threading.get_native_id())
                threading.Thread(target=_end_late, args=(done,), daemon=True).start()
            with ThreadPoolExecutor(max_workers=int(context.CLIARGS.get("forks") or 5)) as pool:
                asked = {name: pool.submit(self._one, module, arguments, name, limit_s) for name in names}
                results = {name: future.result() for name, future in asked.items()}
        except (AttributeError, ImportError, LookupError, OSError, TypeError) as error:
            display.Display().warning(
                f"{self._task.action}: this ansible-core, or kernel, does not let one worker speak for many"
                f" devices ({type(error).__name__}: {error}); each has a worker of its own, which takes more"
            )
            return {}
        finally:
            done.set()
        return {name: result for name, result in results.items() if result is not None}

    def _one(
        self, module: str, arguments: Mapping[str, Any], name: str, limit_s: float
    ) -> dict[str, Any] | None:
        with _BATON:
            _RUNNING.beside, _RUNNING.host, _RUNNING.limit_s, _RUNNING.deadline = True, name, limit_s, 0.0
            try:
                return self._executed(module, arguments, name)
            finally:
                _RUNNING.beside = False

    def _executed(self, module: str, arguments: Mapping[str, Any], name: str) -> dict[str, Any] | None:
        variables = self.variables(name)
        # Where the task stands is shared; only what it says is a copy.
        task = self._task.copy(exclude_parent=True)
        task._parent = self._task._parent
        task.action = module
        task.args, task.run_once, task.register, task.when = dict(arguments), False, None, []
        kind = variables.get("ansible_connection")
        if (task.connection if kind is None else str(kind)) not in _CONNECTIONS:
            return None
        mine = self._action._play_context
        own_context = PlayContext(
            play=self._play,
            passwords={"conn_pass": mine.password, "become_pass": mine.become_pass},
            connection_lockfd=mine.connection_lockfd,
        )
        executor = TaskExecutor(
            self._hostvars._inventory.get_host(name),
            task,
            variables,
            own_context,
            self._action._loader,
            self._action._shared_loader_obj,
            None,
            self._manager,
        )
        with TaskContext(task) if TaskContext else contextlib.nullcontext():
            result: dict[str, Any] = executor.run()
        return result
