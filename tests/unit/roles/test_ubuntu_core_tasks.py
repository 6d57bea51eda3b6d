# SPDX-License-Identifier: Apache-2.0
"""The roles' Ubuntu Core way uses no package manager, users or containers, and writes where it may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.device.areas import AREA_NAMES
from edgewright.device.places import writable_on_core24
from edgewright.paths import collection_root

ROLES = collection_root() / "roles"
WAYS = sorted(ROLES.glob("*/tasks/ubuntu_core.yml"))
FORBIDDEN = re.compile(r"\b(apt|apt-get|dpkg|dpkg-query|useradd|adduser|podman|docker|update-grub|pip)\b")
ONLY_READ = ("/v2/", "/usr/bin/", "/bin/", "/sys/", "/proc/", "/O=", "/CN=", "/OU=")


def _reached(path: Path) -> Iterator[Path]:
    """A tasks file, and those that it takes in by name."""
    yield path
    for task in _tasks(path):
        for word in ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks"):
            name = task.get(word)
            if isinstance(name, str) and "{{" not in name:
                yield from _reached(path.parent / name)


def _tasks(path: Path) -> Iterator[dict[str, Any]]:
    stack = list(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    while stack:
        task = stack.pop()
        yield task
        for part in ("block", "rescue", "always"):
            stack += task.get(part, [])


def test_the_roles_that_differ_have_a_way_each() -> None:
    assert [path.parent.parent.name for path in WAYS] == sorted(
        ["identity", "depot_client", "kernel", "nvidia", "isolation", "runtime"]
    )


@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.parent.parent.name)
def test_a_way_uses_nothing_that_ubuntu_core_lacks(path: Path) -> None:
    for file in _reached(path):
        for task in _tasks(file):
            acts = {
                key: value for key, value in task.items() if key not in ("name", "when", "tags", "register")
            }
            text = yaml.safe_dump(acts)
            assert not FORBIDDEN.search(text), f"{file.name}: {task.get('name')}"
            assert "community.crypto.openssl" not in text, "core24 has no Python cryptography"


@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.parent.parent.name)
def test_paths_that_a_way_writes_out_are_writable_on_core24(path: Path) -> None:
    for file in _reached(path):
        for task in _tasks(file):
            for value in _texts({key: each for key, each in task.items() if key not in ("name", "when")}):
                plain = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "X", value, flags=re.DOTALL)
                for named in re.findall(r"(?<![\w.:/$-])/[\w.@-]+(?:/[\w.@-]+)+", plain):
                    assert named.startswith(ONLY_READ) or writable_on_core24(named), (
                        f"{file.name}: {task.get('name')}: {named}"
                    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in ("fail_msg", "success_msg", "msg"):
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


@pytest.mark.parametrize(
    "role", [name for name in AREA_NAMES if (ROLES / name / "tasks/ubuntu_core.yml").is_file()]
)
def test_the_table_of_ways_names_files_that_are_there(role: str) -> None:
    variables = yaml.safe_load((ROLES / role / "vars/main.yml").read_text(encoding="utf-8"))
    ways = variables[f"__{role}_ways"]
    assert set(ways) == {"debian", "ubuntu_core"}
    for name in ways.values():
        assert (ROLES / role / "tasks" / name).is_file()
    assert f"__{role}_ways[" in (ROLES / role / "tasks/main.yml").read_text(encoding="utf-8")
