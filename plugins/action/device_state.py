# SPDX-License-Identifier: Apache-2.0
"""Controller's side of `edgewright.factory.device_state`: want before, drift after the one round trip.

No module is transferred: one command runs the probe's program that the device keeps (role `drift_watch` puts
it there). A device that keeps none, or one of another digest, gets it on the standard input of a second
command, for this one time: a probe never writes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import (
    HostVariables,
    host_profile,
    plain,
    read_lock,
    role_defaults,
    role_specs,
)
from ansible_collections.edgewright.factory.plugins.plugin_utils.side_by_side import waiting

from edgewright.device.areas import AREA_NAMES, Area, before_after, choose, drift_all, sentence, want_all
from edgewright.device.places import chosen_os, places
from edgewright.device.probe_program import (
    kept_command,
    parse_answer,
    probe_program,
    shipped_command,
    shipped_input,
)
from edgewright.errors import EdgewrightError, InputError, MissingToolError, UnreachableError
from edgewright.paths import collection_root

MODULE = "edgewright.factory.device_state"

# What is the same for all hosts is read here, once: Ansible loads this file before it forks a worker for each
# host. What is wrong with it comes out where a host needs it.
with contextlib.suppress(EdgewrightError, OSError, AnsibleError):
    probe_program()
    role_defaults(collection_root() / "roles")
    role_specs(collection_root() / "roles")


class ActionModule(ActionBase):
    """Compute want, have the module read the device, compare."""

    _VALID_ARGS = frozenset(("lock", "areas", "read_by"))
    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task.

        Returns:
            have, want, drift, drifted, reboot_required, summary, msg, changed, and diff when asked for.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        given = self._given(task_vars)
        if given is not None:
            return {**result, **given}
        try:
            areas = choose(self._areas())
            names = [area.name for area in areas]
            want = self._want(areas, task_vars)
            have = self._have(want, task_vars)
            drifts = drift_all(have, want, names)
        except UnreachableError as error:
            # Ansible's own word for a host that went away: it leaves the play, and the others stay.
            raise AnsibleConnectionFailure(str(error)) from error
        except EdgewrightError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
        drifted = list(dict.fromkeys(drift.area for drift in drifts))
        result.update(
            changed=bool(drifts) and bool(self._task.check_mode),
            have=have,
            want=want,
            lock=str(self._lock_path()),
            **self._site,
            drift=[drift.as_dict() for drift in drifts],
            drifted=drifted,
            reboot_required=any(drift.reboot for drift in drifts),
            summary=[sentence(drift) for drift in drifts],
            msg=_message(str(task_vars.get("inventory_hostname")), want, drifted, len(drifts)),
        )
        if self._task.diff and drifts:
            before, after = before_after(drifts)
            result["diff"] = [
                {"before_header": "as read", "before": before, "after_header": "as desired", "after": after}
            ]
        return result

    def _given(self, task_vars: dict[str, Any]) -> dict[str, Any] | None:
        """What `fleet_state` got from this host, where the task names it; None where it did not ask it."""
        fleet = task_vars.get(str(self._task.args.get("read_by") or ""))
        devices = fleet.get("devices") if isinstance(fleet, Mapping) else None
        found = devices.get(str(task_vars.get("inventory_hostname"))) if devices else None
        if found is None:
            return None
        kept = {str(key): value for key, value in plain(found).items() if not str(key).startswith("_ansible")}
        if kept.get("failed") or kept.get("unreachable"):
            kept["msg"] = own_words(kept.get("msg"))
        return kept

    def _have(self, want: dict[str, dict[str, Any]], task_vars: dict[str, Any]) -> dict[str, Any]:
        """State as the device reads it: one command, or two where the device does not keep the program.

        Raises:
            UnreachableError: the device, or the connection to it, ended in mid-probe.
            EdgewrightError: the device has no Python, or the program failed on it.
        """
        host = str(task_vars.get("inventory_hostname"))
        python = self._python(task_vars)
        program = probe_program()
        wants = json.dumps(want).encode()
        output = self._command(kept_command(python, program.sha256, self._kept), wants, host, python)
        have = parse_answer(output, host)
        if have is None:
            sent = shipped_input(program, wants)
            have = parse_answer(self._command(shipped_command(python, program), sent, host, python), host)
        if have is None:
            raise UnreachableError(
                f"reading the state of {host}: the probe's program did not arrive whole, so it was not run."
                " Look at the connection (a proxy or a forced command that changes what it carries), then"
                " run again"
            )
        return have

    def _command(self, command: str, data: bytes, host: str, python: str) -> str:
        """Run one command on the device, with something to read; returns its standard output."""
        with waiting():
            done = self._low_level_execute_command(command, in_data=data)
        if done["rc"] == 0:
            return str(done["stdout"])
        said = " | ".join((done["stderr"] or done["stdout"]).strip().splitlines()[-3:])[:600] or "nothing"
        if done["rc"] in (126, 127):
            raise MissingToolError(
                f"reading the state of {host}: it has no Python at {python} that can be started: {said}."
                " Install its package python3, or set ansible_python_interpreter for this host"
            )
        if done["rc"] in (137, 143, -9, -15):
            raise UnreachableError(
                f"reading the state of {host}: the probe was killed on the device in mid-run (status"
                f" {done['rc']}): memory ran out, or the device went down; nothing was changed. Look at its"
                " kernel's log, run again"
            )
        raise EdgewrightError(
            f"reading the state of {host}: the probe ended with status {done['rc']}: {said}. Nothing was"
            " changed; does the user that Ansible connects as become root there?"
        )

    def _python(self, task_vars: dict[str, Any]) -> str:
        """The device's interpreter: what the inventory says; Debian's own where it leaves that to Ansible."""
        named = task_vars.get("ansible_python_interpreter")
        if named is None:
            named = constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        named = str(self._templar.template(named) if named else "auto")
        return "/usr/bin/python3" if named.startswith("auto") else named

    def _areas(self) -> list[str]:
        """The option `areas`: a list, or names parted by commas."""
        areas = self._task.args.get("areas") or []
        if isinstance(areas, str):
            areas = [name.strip() for name in areas.split(",") if name.strip()]
        if not isinstance(areas, list) or not all(isinstance(name, str) for name in areas):
            raise InputError(f"areas: expected a list of names, got {areas!r}")
        return [str(name) for name in areas]

    def _lock_path(self) -> Path:
        return Path(self._loader.path_dwim(str(self._task.args["lock"])))

    def _want(self, areas: tuple[Area, ...], task_vars: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Desired state of the task's host; faults of the inputs come out before the device is asked."""
        host = str(task_vars.get("inventory_hostname"))
        if not self._task.args.get("lock"):
            raise InputError(f"{MODULE}: the option lock is missing: name the release.lock.yml")
        lock = read_lock(self._lock_path())
        roles = collection_root() / "roles"
        variables = HostVariables(host, self._templar, task_vars, role_defaults(roles), role_specs(roles))
        profile = host_profile(host, variables, task_vars)
        try:
            self._kept = places(chosen_os(variables)).probe
            variables.add_controller_facts(areas, self._loader)
            want = want_all(variables, profile.as_dict(), lock, [area.name for area in areas])
            self._site = {
                "profile": profile.name,
                "release": {key: lock["release"][key] for key in ("name", "version")},
                "state_dir": str(variables.get("edgewright_state_dir") or ""),
            }
        except InputError as error:
            message = str(error)
            raise InputError(message if host in message else f"host {host}: {message}") from error
        return plain(want)


def own_words(message: object) -> str:
    """A result's message without the words that Ansible puts in front of what a task says, once."""
    return str(message).removeprefix("Task failed: ").removeprefix("Action failed: ")


# What takes a kernel of the device's own; a profile that boots none has nothing to want of them.
_OF_A_KERNEL = ("kernel", "isolation", "runtime", "acceptance")


def _message(host: str, want: Mapping[str, Mapping[str, Any]], drifted: list[str], differ: int) -> str:
    """One line for a person, also when there is nothing to do."""
    if differ:
        return f"{differ} item{'s' if differ > 1 else ''} differ in {', '.join(drifted)}"
    if len(want) < len(AREA_NAMES):
        return f"no drift in {', '.join(want)}"
    skipped = [name for name in _OF_A_KERNEL if not want[name]]
    if skipped:
        why = "because its profile boots no kernel of its own"
        return f"{host} is as wanted; skipped, {why}: {', '.join(skipped)}"
    items = [f"{area}.{item}" for area in want for item in want[area].get("skipped") or ()]
    told = f"; skipped, because it cannot show them: {', '.join(items)}" if items else ""
    return f"{host} is as wanted, and accepted{told}"
