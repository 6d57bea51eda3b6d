# SPDX-License-Identifier: Apache-2.0
"""Keeps how long a run took on each device, by area, for `edgewright plan` to expect the next one from."""

from __future__ import annotations

import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

DOCUMENTATION = r"""
name: run_times
type: notification
short_description: Keep how long a run took on each device, by area
version_added: 0.2.0
description:
  - Adds up, for each device, the seconds of the tasks of each role, and of the reboot apart, and writes them
    at the run's end to C(runs/) in the site's C(edgewright_state_dir). Only roles that changed something
    count.
  - Writes nothing where no device changed, where a device failed (its times are left out), and in check mode.
  - C(edgewright plan) reads these files. They may be removed at any time.
requirements:
  - enable in configuration
author:
  - The Edgewright developers (@edgewright)
"""

SCHEMA = "edgewright.run/v1"
REBOOT = "reboot"
# The one task of the playbooks that acts on devices outside of their roles, and the area it acts for.
KEEP_PROBES = "edgewright.factory.keep_probes"
WATCH = "drift_watch"


class CallbackModule(CallbackBase):
    """Adds up and writes."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "edgewright.factory.run_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._started = time.time()
        self._begun: dict[tuple[str, str], float] = {}
        self._seconds: dict[str, dict[str, float]] = {}
        self._changed: dict[str, set[str]] = {}
        self._hosts: dict[str, tuple[Any, Any]] = {}
        self._play: Any = None
        self._check_mode = False

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play
        self._check_mode = bool(getattr(play, "check_mode", False))

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._begun[host.get_name(), task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002 - Ansible's
        self._count(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        directories: dict[str, dict[str, Any]] = {}
        for host, seconds in self._seconds.items():
            kept = {area: round(seconds[area], 3) for area in seconds if area in self._changed.get(host, ())}
            told = stats.summarize(host)
            if not kept or self._check_mode or told["failures"] or told["unreachable"]:
                continue
            profile, directory = self._site(host)
            if directory:
                directories.setdefault(directory, {})[host] = {"profile": profile, "seconds": kept}
        for directory, devices in directories.items():
            try:
                self._write(Path(directory) / "runs", devices)
            except OSError as error:
                # A run that went well is not spoilt because its times could not be kept.
                self._display.warning(f"the run's times were not kept in {directory}/runs: {error}")

    def _count(self, result: Any) -> None:
        host, task = result._host.get_name(), result._task
        begun = self._begun.pop((host, task._uuid), None)
        if begun is not None and task.action == KEEP_PROBES:
            self._count_all(result, time.monotonic() - begun)
        area = _area(task)
        if begun is None or area is None:
            return
        self._hosts[host] = (result._host, self._play)
        times = self._seconds.setdefault(host, {})
        times[area] = times.get(area, 0.0) + time.monotonic() - begun
        if result._result.get("changed"):
            self._changed.setdefault(host, set()).add(area)

    def _count_all(self, result: Any, seconds: float) -> None:
        """A task that acted on many devices side by side: each waited for its end."""
        for host in result._result.get("rows") or {}:
            self._hosts[host] = (self._play.get_variable_manager()._inventory.get_host(host), self._play)
            times = self._seconds.setdefault(host, {})
            times[WATCH] = times.get(WATCH, 0.0) + seconds
            self._changed.setdefault(host, set()).add(WATCH)

    def _site(self, name: str) -> tuple[str, str]:
        """A host's profile and state directory; empty texts where its variables do not say."""
        host, play = self._hosts[name]
        variables = play.get_variable_manager().get_vars(play=play, host=host)
        templar = Templar(loader=play._loader, variables=variables)
        found = []
        for variable in ("edgewright_profile", "edgewright_state_dir"):
            try:
                found.append(str(templar.template(variables.get(variable)) or ""))
            except AnsibleError:
                found.append("")
        return found[0], found[1]

    def _write(self, directory: Path, devices: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": SCHEMA,
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "devices": devices,
        }
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".run-")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(content, indent=2, sort_keys=True) + "\n")
        stamp = datetime.fromtimestamp(self._started, UTC).strftime("%Y-%m-%dT%H%M%SZ")
        Path(temporary).replace(directory / f"{stamp}-{os.getpid()}.json")


def _area(task: Any) -> str | None:
    """The role that a task belongs to, `reboot` for the kernel role's restart; None outside of roles."""
    role = getattr(task, "_role", None)
    if role is None:
        return None
    name = str(role.get_name(include_role_fqcn=False)).rpartition(".")[2]
    return REBOOT if str(task.name).startswith(f"{REBOOT} |") else name
