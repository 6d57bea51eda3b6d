#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: snaps
short_description: Install a release's snaps from the depot, and go back when they are not healthy
version_added: 0.1.0
description:
  - Fetches snaps from the depot over mTLS, holds each to size and SHA3-384, and has the device's snapd
    install it. Other modules for snaps ask a store; here there is none.
  - What is installed is judged by the digest of the very file that snapd mounts, not by a version.
  - All files are fetched and all assertions acknowledged before the first snap is installed. Where a later
    step fails, what was refreshed is reverted to its revision before.
  - Speaks to snapd over its socket, in one start of Python.
author: The Edgewright developers (@edgewright)
attributes:
  check_mode:
    support: full
    description: Tells which snaps would be installed and which connections made.
  diff_mode:
    support: full
    description: Gives revisions and digests before and after.
options:
  depot:
    description: Where the device reaches the depot.
    type: dict
    required: true
    suboptions:
      host:
        description: Address or name.
        type: str
        required: true
      port:
        description: Port.
        type: int
        required: true
  identity:
    description: Directory with C(device.crt), C(device.key) and C(site-root.crt).
    type: path
    required: true
  staging:
    description: Directory for files on their way; made when missing, and removed when all are installed.
    type: path
    required: true
  snaps:
    description: What shall be installed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The snap's name, or C(SNAP+COMPONENT) of a component.
        type: str
        required: true
      filename:
        description: Its file below C(snaps/) in the depot.
        type: str
        required: true
      size:
        description: Bytes of the file.
        type: int
        required: true
      sha3_384:
        description: Digest of the file, as assertions write it.
        type: str
        required: true
      revision:
        description: Revision in the store; none for one that is built by the site.
        type: int
      assertions:
        description: File of its assertions below C(snaps/) in the depot.
        type: str
      grade:
        description: V(dangerous) is installed without assertions, V(signed) never is.
        type: str
        choices: [signed, dangerous]
        default: signed
  connect:
    description: Pairs of plug and slot, each C(SNAP:NAME), such as C([edgewright-runtime:model-x, x:model]).
    type: list
    elements: list
    default: []
  validation_sets:
    description:
      - Validation sets that snapd shall know. They are acknowledged and not enforced; that takes a store.
    type: list
    elements: dict
    default: []
    suboptions:
      account:
        description: Account-id of who signed it.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
      sequence:
        description: Its sequence.
        type: int
        required: true
      revision:
        description: Revision of the assertion itself.
        type: int
        required: true
      filename:
        description: Its file below C(snaps/) in the depot.
        type: str
        required: true
      sha256:
        description: Digest of that file.
        type: str
        required: true
  hold_health:
    description:
      - Whether to wait until the snaps say that they are healthy. Those that do not get there, C(error),
        C(blocked) or no C(okay) within O(health_timeout_s), are reverted, and the task fails.
    type: bool
    default: true
  health_timeout_s:
    description: Seconds for the snaps to become healthy.
    type: int
    default: 300
  offline:
    description:
      - Whether snapd is kept from the store. Its proxy becomes a closed port of the device itself, and its
        refreshes are held, so that it asks no name server and reaches for nothing.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Install | Install the runtime and its model
  edgewright.factory.snaps:
    depot: {host: 10.0.2.100, port: 8443}
    identity: /var/snap/edgewright-runtime/common/identity
    staging: /var/snap/edgewright-runtime/common/staging
    snaps:
      - {name: edgewright-runtime, filename: edgewright-runtime_dangerous.snap, size: 150000000,
         sha3_384: Q0Yc..., grade: dangerous}
    connect:
      - [edgewright-runtime:model-label-reader, edgewright-model-label-reader:model]
"""

RETURN = r"""
installed:
  description: Snaps that were, or would be, installed or refreshed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The snap.
      type: str
    revision:
      description: Its revision now; null in check mode.
      type: str
  sample: [{name: edgewright-runtime, revision: x2}]
reverted:
  description: Snaps that went back to the revision before.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The snap.
      type: str
    revision:
      description: Its revision now.
      type: str
connected:
  description: Pairs that were, or would be, connected.
  returned: always
  type: list
  elements: list
restarted:
  description: Services that were, or would be, restarted because they were given another snap's files.
  returned: always
  type: list
  elements: str
acknowledged:
  description: Validation sets that snapd was, or would be, made to know, as C(ACCOUNT/NAME=SEQUENCE).
  returned: always
  type: list
  elements: str
settings:
  description: System settings of snapd that were, or would be, changed.
  returned: always
  type: list
  elements: str
"""

import errno
import os
import shutil
import time
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edgewright.factory.plugins.module_utils.snap_digest import installed
from ansible_collections.edgewright.factory.plugins.module_utils.snap_fetch import (
    Depot,
    FetchError,
    forget_others,
    free_below,
)
from ansible_collections.edgewright.factory.plugins.module_utils.snap_files import SNAPS, file_of
from ansible_collections.edgewright.factory.plugins.module_utils.snap_offline import missing_settings
from ansible_collections.edgewright.factory.plugins.module_utils.snap_sets import (
    acknowledge,
    key_of,
    unknown,
)
from ansible_collections.edgewright.factory.plugins.module_utils.snap_wishes import RefusedError, check
from ansible_collections.edgewright.factory.plugins.module_utils.snapd import Snapd, SnapdError, seconds
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem

MOUNTS = "/snap"
HOOK = "meta/hooks/check-health"
ASK = f'exec "$SNAP/{HOOK}"'
PAUSE_S = 2.0


class Run:
    """One run of the module.

    Args:
        module: Ansible's.
        snapd: The device's snapd.
    """

    def __init__(self, module: AnsibleModule, snapd: Snapd) -> None:
        self.module, self.snapd, self.wanted = module, snapd, module.params
        keys = ("installed", "reverted", "connected", "restarted", "settings", "acknowledged")
        self.result: dict[str, Any] = {key: [] for key in keys}

    def go(self) -> dict[str, Any]:
        """Do what is to be done.

        Returns:
            The module's result.

        Raises:
            RefusedError: A snap can't be as it is wanted.
            FetchError: The depot does not give it.
            SnapdError: snapd does not answer.
        """
        check(self.wanted)
        if not self.module.check_mode:
            self.snapd.wait_for_others([snap["name"] for snap in self.wanted["snaps"]])
        before = self.snapd.snaps()
        todo = [snap for snap in self.wanted["snaps"] if self.differs(snap, before)]
        missing = [tuple(pair) for pair in self.wanted["connect"]]
        missing = [pair for pair in missing if pair not in self.snapd.connected()]
        settings = missing_settings(self.snapd) if self.wanted["offline"] else {}
        sets = unknown(self.snapd, self.wanted["validation_sets"])
        self.result["acknowledged"] = [key_of(each) for each in sets]
        self.result["settings"] = sorted(settings)
        self.result["connected"] = [list(pair) for pair in missing]
        self.result["installed"] = [{"name": snap["name"], "revision": None} for snap in todo]
        self.result["restarted"] = self.stale()
        self.result["changed"] = bool(todo or missing or settings or sets or self.result["restarted"])
        self.result["diff"] = [self.diff(snap, before) for snap in todo]
        if self.module.check_mode:
            return self.result
        self.result |= {
            "installed": [],
            "connected": [],
            "restarted": [],
        }  # from here on what was done, not what is to do
        if settings:
            self.snapd.set_conf(settings)
        if sets:
            acknowledge(self.snapd, self.depot(), sets)
        if todo:
            self.install(self.fetch(todo), before)
        self.settle(todo, missing, before)
        shutil.rmtree(self.wanted["staging"], ignore_errors=True)
        return self.result

    def differs(self, snap: dict[str, Any], before: dict[str, Any]) -> bool:
        """Whether a snap is not installed, not active, or another file."""
        have = before.get(snap["name"])
        return not have or have.get("status") != "active" or self.digest(have) != snap["sha3_384"]

    @staticmethod
    def digest(have: dict[str, Any]) -> str | None:
        return installed(LocalSystem(), os.path.join(SNAPS, file_of(have)))

    def diff(self, snap: dict[str, Any], before: dict[str, Any]) -> dict[str, str]:
        have = before.get(snap["name"])
        held = f"revision {have['revision']}, sha3_384 {self.digest(have)}\n" if have else ""
        after = f"sha3_384 {snap['sha3_384']}, grade {snap['grade']}\n"
        return {"before_header": snap["name"], "before": held, "after_header": snap["name"], "after": after}

    def depot(self) -> Depot:
        """The depot, by this device's identity."""
        return Depot(self.wanted["depot"]["host"], self.wanted["depot"]["port"], self.wanted["identity"])

    def fetch(self, todo: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
        """Have every file on the device and every assertion acknowledged, before anything is installed."""
        depot = self.depot()
        staging = self.wanted["staging"]
        try:
            os.makedirs(staging, mode=0o700, exist_ok=True)
            forget_others(staging, todo)
            files = [(snap, depot.fetch(snap, staging)) for snap in todo]
            # snapd copies a file before it looks at it, and says no more than that it could not.
            if free_below(SNAPS) < max((snap["size"] for snap in todo), default=0):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            free = min(free_below(staging), free_below(SNAPS))
            need = sum(snap["size"] for snap in todo)
            raise RefusedError(
                f"fetching snaps into {staging}: {error.strerror or error}: {need} bytes are wanted there, "
                f"and as many below {SNAPS}, {free} are free now; nothing was installed. Free some space"
            ) from error
        for snap, _ in files:
            if snap["grade"] == "signed":
                try:
                    self.snapd.ack(depot.assertions(snap["name"], snap["assertions"]))
                except SnapdError as error:
                    raise RefusedError(
                        f"acknowledging {snap['assertions']} of snap {snap['name']}: expected assertions "
                        f"whose keys snapd trusts, snapd says: {error}; nothing was installed. Check them "
                        "with `edgewright snaps show`"
                    ) from error
        return files

    def install(self, files: list[tuple[dict[str, Any], str]], before: dict[str, Any]) -> None:
        """Install the fetched files: those that give something to others first, components last."""
        giving = {pair[1].partition(":")[0] for pair in self.wanted["connect"]}
        done: list[dict[str, Any]] = []
        for snap, path in sorted(
            files, key=lambda one: ("+" in one[0]["name"], one[0]["name"] not in giving)
        ):
            try:
                self.snapd.install(path, dangerous=snap["grade"] == "dangerous")
            except SnapdError as error:
                self.revert(done, before)
                raise RefusedError(
                    f"installing snap {snap['name']} from {path}: expected snapd to take it, got: {error}; "
                    f"{self.left(snap['name'], before)}"
                ) from error
            done.append(snap)
            os.unlink(path)
        now = self.snapd.snaps()
        names = [snap["name"] for snap in done]
        self.result["installed"] = [{"name": name, "revision": now[name]["revision"]} for name in names]

    def settle(
        self, todo: list[dict[str, Any]], missing: list[tuple[str, str]], before: dict[str, Any]
    ) -> None:
        """Connect, restart who was given something else, and wait for health."""
        try:
            for plug, slot in missing:
                self.snapd.connect(plug, slot)
                self.result["connected"].append([plug, slot])
            self.restart()
            fault = (
                self.unhealthy(bool(todo or missing or self.result["restarted"]))
                if self.wanted["hold_health"]
                else ""
            )
        except SnapdError as error:
            fault = str(error)
        if not fault:
            return
        self.revert(todo, before)
        self.restart()
        told = ", ".join("{name} to revision {revision}".format(**each) for each in self.result["reverted"])
        raise RefusedError(
            f"{fault}; {'reverted ' + told if told else 'there is no revision before to go back to'}. Read "
            "its log with `snap logs -n 50 NAME`, mend the release, and run again"
        )

    def stale(self) -> list[str]:
        """Services that run since before a snap that gives them something became what it is.

        So a server is restarted as well when the power was cut between the refresh of its model and that.
        """
        now, found = self.snapd.snaps(), set()
        for plug, slot in self.wanted["connect"]:
            user, giver = now.get(plug.partition(":")[0]), now.get(slot.partition(":")[0])
            if not user or not giver:
                continue
            for app in user.get("apps") or []:
                service = "{}.{}".format(user["name"], app["name"])
                if app.get("daemon") and app.get("active") and service not in found:
                    since = self.since(service)
                    if since is not None and since < seconds(giver.get("install-date", "")):
                        found.add(service)
        return sorted(found)

    def since(self, service: str) -> int | None:
        """When a service was started, in seconds of the epoch; None where systemd does not say."""
        argv = ["systemctl", "show", "--timestamp=unix", "--property=ActiveEnterTimestamp", "--value"]
        told = self.module.run_command([*argv, f"snap.{service}.service"])[1].strip().lstrip("@")
        return int(told) if told.isdigit() else None

    def restart(self) -> None:
        """Restart the services that were given something else meanwhile."""
        services = self.stale()
        if services:
            self.snapd.restart(services)
            self.result["restarted"] = sorted({*self.result["restarted"], *services})

    def unhealthy(self, changed: bool) -> str:
        """Wait for health. Returns a sentence on the snap that is not, or an empty one."""
        end = time.monotonic() + self.wanted["health_timeout_s"]
        for snap in self.wanted["snaps"]:
            # What was told before a revert, or at its start, may not be true any more: only okay is believed.
            name, asked = snap["name"], False
            while True:
                now = self.snapd.snaps()[name]
                status = now.get("health", {}).get("status", "okay")
                if status == "okay" and (asked or not changed):
                    break
                if asked and (status in {"error", "blocked"} or time.monotonic() > end):
                    return "snap {}: expected health okay within {} s, got {} ({})".format(
                        name, self.wanted["health_timeout_s"], status, now["health"].get("message", "")
                    )
                if asked:
                    time.sleep(PAUSE_S)
                services = [app["name"] for app in now.get("apps") or [] if app.get("daemon")]
                if services and os.path.exists(os.path.join(MOUNTS, name, "current", HOOK)):
                    # As one of its services: outside of a change snapd listens to apps, not to hooks.
                    self.module.run_command(["snap", "run", "--shell", f"{name}.{services[0]}", "-c", ASK])
                asked = True
        return ""

    def revert(self, snaps: list[dict[str, Any]], before: dict[str, Any]) -> None:
        """Go back with what was refreshed, the last one first; what is new stays, for its log."""
        now = self.snapd.snaps()
        stays: list[dict[str, Any]] = []
        for snap in reversed(snaps):
            name = snap["name"]
            held = before.get(name)
            if "+" in name:  # a component comes and goes with its snap
                continue
            if held and name in now and now[name]["revision"] != held["revision"]:
                self.snapd.revert(name)
                self.result["reverted"].append({"name": name, "revision": held["revision"]})
            elif not held and name in now:
                stays.append({"name": name, "revision": now[name]["revision"]})
        self.result["installed"] = stays

    @staticmethod
    def left(name: str, before: dict[str, Any]) -> str:
        """What the device has now that an install failed."""
        held = before.get(name)
        now = f"revision {held['revision']} stays" if held else "it is not installed"
        return (
            f"{now}. Free space below {SNAPS} where it says that there is none; else read `snap changes` and "
            "`snap tasks --last=install`, and run again: what was fetched is kept"
        )


def main() -> NoReturn:
    """Entry point."""
    snap = {
        "name": {"type": "str", "required": True},
        "filename": {"type": "str", "required": True},
        "size": {"type": "int", "required": True},
        "sha3_384": {"type": "str", "required": True},
        "revision": {"type": "int"},
        "assertions": {"type": "str"},
        "grade": {"type": "str", "choices": ["signed", "dangerous"], "default": "signed"},
    }
    words = {key: {"type": "str", "required": True} for key in ("account", "name", "filename", "sha256")}
    numbers = {key: {"type": "int", "required": True} for key in ("sequence", "revision")}
    asserted = {**words, **numbers}
    depot = {"host": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "depot": {"type": "dict", "required": True, "options": depot},
            "identity": {"type": "path", "required": True},
            "staging": {"type": "path", "required": True},
            "snaps": {"type": "list", "elements": "dict", "required": True, "options": snap},
            "connect": {"type": "list", "elements": "list", "default": []},
            "validation_sets": {"type": "list", "elements": "dict", "default": [], "options": asserted},
            "hold_health": {"type": "bool", "default": True},
            "health_timeout_s": {"type": "int", "default": 300},
            "offline": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run = Run(module, Snapd())
    try:
        result = run.go()
    except (RefusedError, FetchError, SnapdError) as error:
        changed = bool(run.result["reverted"] or run.result["installed"])
        module.fail_json(msg=str(error), **{**run.result, "changed": changed})
    except OSError as error:
        module.fail_json(msg=f"installing snaps: {error}", **run.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
