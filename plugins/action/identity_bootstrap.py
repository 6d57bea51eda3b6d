# SPDX-License-Identifier: Apache-2.0
"""Controller's side of `edgewright.factory.identity_bootstrap`; see the module's documentation.

The packages travel as one tar on the standard input of one shell command, so that a device pays one
round trip and no start of Python. dpkg is the only installer that every bare Debian base has.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from edgewright.device.identity import bootstrap_packages, outdated
from edgewright.device.lock import for_target, load_lock
from edgewright.errors import EdgewrightError, IntegrityError

# Installs every package of the tar on standard input, as one set, so that dpkg orders them itself.
# A dpkg that was cut off by a power loss is finished first. `confdef` and `confold`: no question is asked.
INSTALL = """set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
tar -x -C "$directory"
export DEBIAN_FRONTEND=noninteractive
dpkg --configure --pending --force-confdef --force-confold
dpkg --install --force-confdef --force-confold "$directory"/*.deb
"""

QUERY = "dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\\n' "

# Architecture and suite: which of a release's targets the device is.
WHAT = 'dpkg --print-architecture && . /etc/os-release && echo "${VERSION_CODENAME:-}"'


def parse_query(output: str) -> dict[str, str]:
    """Installed versions from dpkg-query's answer; a package that is not fully installed is left out."""
    found = {}
    for line in output.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "installed":
            found[words[0]] = words[1]
    return found


def pack(depot: Path, entries: list[dict[str, Any]]) -> bytes:
    """A tar of the packages, each compared with the lock.

    Args:
        depot: the depot's directory.
        entries: the lock's entries of the packages.

    Raises:
        IntegrityError: a file is missing or has other bytes than the lock says; names the package.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            path = depot / "apt" / "pool" / entry["filename"]
            try:
                data = path.read_bytes()
            except OSError as error:
                raise IntegrityError(
                    f"package {entry['name']} {entry['version']} cannot be copied to the device: {path}:"
                    f" {error.strerror}; build the depot again with `edgewright depot build`"
                ) from error
            got = hashlib.sha256(data).hexdigest()
            if got != entry["sha256"]:
                raise IntegrityError(
                    f"package {entry['name']} {entry['version']} is not what the lock says: {path} has sha256"
                    f" {got}, expected {entry['sha256']}; nothing was sent to the device. Find out who"
                    " changed the file, remove it, and build the depot again with `edgewright depot build`"
                )
            member = tarfile.TarInfo(entry["filename"])
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class ActionModule(ActionBase):
    """Installs the bootstrap packages on one device."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare, verify, send and install. See the module's documentation for the result."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "lock": {"type": "path", "required": True},
                "depot_dir": {"type": "path", "required": True},
            }
        )
        try:
            target = self._target(load_lock(Path(arguments["lock"])))
            entries = bootstrap_packages(target)
            installed = self._installed(entries)
            missing = outdated(installed, {entry["name"]: entry["version"] for entry in entries})
            chosen = [entry for entry in entries if entry["name"] in missing]
            result.update(changed=bool(chosen), packages=missing, diff=_diff(installed, chosen))
            if chosen:
                self._check_suite(target)
                payload = pack(Path(arguments["depot_dir"]), chosen)
                if not self._task.check_mode:
                    self._install(payload, missing)
        except EdgewrightError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _target(self, lock: dict[str, Any]) -> Mapping[str, Any]:
        """The lock as the device's own target sees it; the device is asked only where there are several."""
        return for_target(lock, *self._device()) if lock.get("targets") else lock

    def _device(self) -> tuple[str, str | None]:
        """The device's architecture and suite."""
        done = self._low_level_execute_command(WHAT)
        words = str(done["stdout"]).split()
        if done["rc"] != 0 or not words:
            raise AnsibleActionFail(
                f"cannot read the device's architecture: dpkg ended with status {done['rc']}:"
                f" {done['stderr'].strip()[:400]}. Is the device a Debian, and does the user become root?"
            )
        return words[0], words[1] if len(words) > 1 else None

    def _check_suite(self, target: Mapping[str, Any]) -> None:
        """Refuse packages of another release of Debian before dpkg has unpacked the first of them."""
        got, wanted = self._device()[1], target["os"]["suite"]
        if got not in {None, wanted}:
            raise AnsibleActionFail(
                f"the device has Debian's {got}, the release's packages are for {wanted}; nothing was"
                f" installed. Lock a release for {got}, or install {wanted} on the device first"
            )

    def _installed(self, entries: list[dict[str, Any]]) -> dict[str, str]:
        names = " ".join(shlex.quote(entry["name"]) for entry in entries)
        # Status 1 means that a package is not known, which is an answer.
        done = self._low_level_execute_command(QUERY + names)
        if done["rc"] not in (0, 1):
            raise AnsibleActionFail(
                f"cannot read the device's list of packages: dpkg-query ended with status {done['rc']}:"
                f" {done['stderr'].strip()[:400]}. Is the device a Debian, and does the user become root?"
            )
        return parse_query(done["stdout"])

    def _install(self, payload: bytes, names: list[str]) -> None:
        done = self._low_level_execute_command(f"/bin/sh -c {shlex.quote(INSTALL)}", in_data=payload)
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip().splitlines()[-8:]
            raise AnsibleActionFail(
                f"dpkg could not install {', '.join(names)} (status {done['rc']}): {' | '.join(said)[:1200]}."
                " Mend what it names (disk space, a broken package), then run again"
            )


def _diff(installed: Mapping[str, str], chosen: list[dict[str, Any]]) -> dict[str, str]:
    before = "".join(f"{entry['name']} {installed.get(entry['name'], '(none)')}\n" for entry in chosen)
    after = "".join(f"{entry['name']} {entry['version']}\n" for entry in chosen)
    return {"before_header": "packages", "before": before, "after_header": "packages", "after": after}
