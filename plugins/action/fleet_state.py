# SPDX-License-Identifier: Apache-2.0
"""`edgewright.factory.fleet_state`: every device of the play read side by side, by one worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

# Loaded before the worker is forked, as are the inputs that are the same for all hosts.
from ansible_collections.edgewright.factory.plugins.action import device_state
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import plain
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import Together, as_wanted

_PROBE_ONLY = [("drift_watch", "program")]


class ActionModule(ActionBase):
    """Have `device_state` run for each host, and sort what it says."""

    _VALID_ARGS = frozenset(("lock", "areas", "readings", "answer_within_s"))
    _requires_connection = False
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            as_wanted (names), rows (a line for each of them), devices (host to its result, of the others that
            were read or asked in vain), lack_probe_only (names), msg, changed. With `readings`: these and
            `asked` (all names) instead of `devices` and `lack_probe_only`.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        names = [str(name) for name in task_vars["ansible_play_batch"]]
        together = Together(self, task_vars)
        limit_s = float(self._task.args.get("answer_within_s") or 0)
        read = together.run(device_state.MODULE, together.given("lock", "areas"), names, limit_s)
        rows = as_wanted(read)
        msg = f"{len(rows)} of {len(names)} devices are as wanted"
        if boolean(self._task.args.get("readings") or False):
            readings = {name: _brief(told) for name, told in read.items()}
            result.update(
                changed=False, as_wanted=list(rows), rows=rows, asked=names, readings=readings, msg=msg
            )
            return result
        devices = {name: plain(told) for name, told in read.items() if name not in rows}
        result.update(
            changed=False,
            as_wanted=list(rows),
            rows=rows,
            devices=devices,
            lack_probe_only=[name for name, told in devices.items() if _items(told) == _PROBE_ONLY],
            msg=msg,
        )
        return result


def _items(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(item["area"], item["item"]) for item in told.get("drift") or ()]


# What `edgewright plan` and `edgewright drift` take of a device's result.
_TOLD = ("failed", "unreachable", "drift", "lock", "profile", "state_dir")

# And of its wants: whose way they are, and what the device can't show.
_WANTED = ("os", "skipped")


def _brief(told: Mapping[str, Any]) -> dict[str, Any]:
    """A device's result without most of its wants and of what was read, which are long."""
    kept: dict[str, Any] = plain({name: told[name] for name in _TOLD if name in told})
    runtime = (told.get("have") or {}).get("runtime") or {}
    want = told.get("want") or {}
    return {
        **kept,
        "want": {
            area: plain({key: wanted[key] for key in _WANTED if key in wanted})
            for area, wanted in want.items()
        },
        "msg": device_state.own_words(told.get("msg")),
        "stored": plain(runtime.get("stored") or []),
    }
