# SPDX-License-Identifier: Apache-2.0
"""Ansible's own output, with a row for each device of a task that speaks for many."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

from ansible import constants
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = r"""
name: devices
type: stdout
short_description: Ansible's own output, with a row for each device of a task that speaks for many
version_added: 0.2.0
description:
  - P(edgewright.factory.fleet_state#module) and P(edgewright.factory.validate_fleet#module) run once for all
    devices of a play. Ansible itself then has a row for the first of them only.
  - This is the callback P(ansible.builtin.default#callback), and adds the rows of the others, in the task
    and in the recap at the end. A device counts there as C(ok) once for each such task that found it well.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
author:
  - The Edgewright developers (@edgewright)
"""

_ACTIONS = (
    "edgewright.factory.fleet_state",
    "edgewright.factory.keep_probes",
    "edgewright.factory.validate_fleet",
)


class CallbackModule(Default):
    """Adds the rows."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "edgewright.factory.devices"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counted: Counter[tuple[str, str]] = Counter()
        # What is loaded by now stays to the end. A collection that goes through it has every worker that is
        # forked copy it (https://docs.python.org/3/library/gc.html#gc.freeze).
        gc.freeze()

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task went well: here for one host, or for those that it has rows of."""
        super().v2_runner_on_ok(result)
        if result._task.action not in _ACTIONS:
            return
        own, changed = result._host.get_name(), bool(result._result.get("changed_rows"))
        rows = result._result.get("rows") or {}
        word, color = ("changed", constants.COLOR_CHANGED) if changed else ("ok", constants.COLOR_OK)
        for host, told in rows.items():
            if host == own:
                continue
            self._counted[host, "ok"] += 1
            self._counted[host, "changed"] += changed
            if changed or self.get_option("display_ok_hosts"):
                words = f" => {told}" if self._display.verbosity else ""
                self._display.display(f"{word}: [{host}]{words}", color=color)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The recap."""
        for (host, what), times in self._counted.items():
            for _ in range(times):
                stats.increment(what, host)
        super().v2_playbook_on_stats(stats)
