#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Record what the probes read on a real device, as a tree that tests can read again.

Runs the same `read` functions as a device does, over ssh, and keeps every answer: files below `root/`,
and `listings.json`, `stats.json` and `commands.json` for the rest. Only what the areas ask for is read and
kept, and nothing is changed on the device. `tests/support.py` has `TreeSystem`, which reads such a tree.

    scripts/record_fixture.py --lock releases/label-reader/release.lock.yml --profile x86_vm \\
        --set isolation_cpus=2-3 --set isolation_slice=edgert.slice --area kernel --area isolation \\
        --ssh "-p 2201 -i KEY -o UserKnownHostsFile=HOSTS root@127.0.0.1" tests/fixtures/devices/vm_bare
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.edgewright.factory.plugins.module_utils.system import Result, System

from edgewright.device.areas import AREA_NAMES, want_all
from edgewright.device.lock import load_lock
from edgewright.device.profile import carried_profiles, load_profile
from edgewright.errors import EdgewrightError, InputError, UnreachableError
from edgewright.paths import collection_root

_SSH_FAILED = 255


class RecordingSystem(System):
    """A device over ssh; every answer is kept in a directory.

    Args:
        ssh: words after `ssh`: options and the destination.
        directory: where to keep the answers.
    """

    def __init__(self, ssh: list[str], directory: Path) -> None:
        self._ssh = ssh
        self._directory = directory
        self._listings: dict[str, list[str]] = {}
        self._stats: dict[str, dict[str, object] | None] = {}
        self._commands: list[dict[str, Any]] = []
        self._missing: list[str] = []

    def _ask(self, argv: list[str], timeout_s: float = 60.0) -> tuple[int, bytes, bytes]:
        remote = "LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin " + shlex.join(argv)
        done = subprocess.run(
            ["ssh", *self._ssh, remote],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode == _SSH_FAILED:
            raise UnreachableError(
                f"recording {shlex.join(argv)} over ssh {shlex.join(self._ssh)}: no connection:"
                f" {done.stderr.decode('utf-8', 'replace').strip()}; check the words after --ssh"
            )
        return done.returncode, done.stdout, done.stderr

    def read_bytes(self, path: str) -> bytes | None:
        rc, out, _ = self._ask(["cat", path])
        if rc != 0:
            self._missing.append(path)
            return None
        kept = self._directory / "root" / path.lstrip("/")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(out)
        return out

    def read(self, path: str) -> str | None:
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace")

    def listdir(self, path: str) -> list[str]:
        _, out, _ = self._ask(["ls", "-1A", path])
        self._listings[path] = sorted(out.decode().splitlines())
        return self._listings[path]

    def stat(self, path: str) -> dict[str, object] | None:
        rc, out, _ = self._ask(["stat", "-L", "-c", "%a %U %G %s", path])
        if rc != 0:
            self._stats[path] = None
        else:
            mode, owner, group, size = out.decode().split()
            self._stats[path] = {"mode": mode.zfill(4), "owner": owner, "group": group, "size": int(size)}
        return self._stats[path]

    def run(self, argv: list[str], timeout_s: float = 60.0) -> Result:
        rc, out, err = self._ask(argv, timeout_s)
        result = Result(rc, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        self._commands.append({"argv": argv, "rc": result.rc, "out": result.out, "err": result.err})
        return result

    def save(self) -> None:
        """Write the answers that are not files."""
        kept = {
            "listings": self._listings,
            "stats": self._stats,
            "commands": self._commands,
            "missing": sorted(self._missing),
        }
        for name, value in kept.items():
            text = json.dumps(value, indent=1, sort_keys=True) + "\n"
            (self._directory / f"{name}.json").write_text(text, encoding="utf-8")


def _variables(settings: list[str], areas: list[str]) -> dict[str, Any]:
    """Defaults of the areas' roles, and over them what --set gives."""
    variables: dict[str, Any] = {}
    for area in areas:
        path = collection_root() / "roles" / area / "defaults" / "main.yml"
        variables |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: expected NAME=VALUE, VALUE in YAML")
        variables[name] = yaml.safe_load(value) if value else ""
    return variables


def record(scopes: Mapping[str, Mapping[str, Any]], ssh: list[str], directory: Path) -> None:
    """Read the areas of these wants on the device and keep all answers in a new directory.

    Raises:
        InputError: the directory is there already.
        UnreachableError: the device does not answer.
    """
    if directory.exists():
        raise InputError(f"{directory} is there already: remove it first, or name another directory")
    directory.mkdir(parents=True)
    system = RecordingSystem(ssh, directory)
    for area, scope in scopes.items():
        print(f"recording {area}", flush=True)
        reader = importlib.import_module(
            f"ansible_collections.edgewright.factory.plugins.module_utils.{area}"
        )
        reader.read(system, dict(scope))
    system.save()
    (directory / "want.json").write_text(json.dumps(scopes, indent=1) + "\n", encoding="utf-8")
    print(f"recorded {directory}")


def main() -> int:
    """Read the command line and record."""
    parser = argparse.ArgumentParser(description="Record what the probes read on a device.")
    parser.add_argument("directory", type=Path, help="new directory for the recording")
    parser.add_argument("--lock", type=Path, required=True, help="release.lock.yml")
    parser.add_argument("--profile", required=True, help="hardware profile of the device")
    parser.add_argument("--ssh", required=True, help="words after ssh: options and destination, as one text")
    parser.add_argument("--area", action="append", choices=AREA_NAMES, required=True, help="area to read")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a role's variable")
    options = parser.parse_args()
    try:
        profile = load_profile(options.profile, [carried_profiles()]).as_dict()
        variables = _variables(options.set, options.area)
        wants = want_all(variables, profile, load_lock(options.lock), options.area)
        record(wants, shlex.split(options.ssh), options.directory)
    except EdgewrightError as error:
        print(f"record_fixture: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
