# SPDX-License-Identifier: Apache-2.0
"""The probe over all areas: it mirrors the controller's table, and reads what it is asked for."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.edgewright.factory.plugins.doc_fragments.release import ModuleDocFragment
from ansible_collections.edgewright.factory.plugins.module_utils.probe import READERS, probe
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem, System
from ansible_collections.edgewright.factory.plugins.modules import device_state

from edgewright.device.areas import AREA_NAMES
from edgewright.paths import collection_root

MODULE_UTILS = collection_root() / "plugins/module_utils"


class Counting(System):
    """A real device that notes each question."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._local = LocalSystem()

    def read(self, path):
        self.asked.append(path)
        return self._local.read(path)

    def read_bytes(self, path):
        self.asked.append(path)
        return self._local.read_bytes(path)

    def listdir(self, path):
        self.asked.append(path)
        return self._local.listdir(path)

    def stat(self, path):
        self.asked.append(path)
        return self._local.stat(path)

    def run(self, argv, timeout_s=30.0):
        self.asked.append(argv[0])
        return self._local.run(argv, timeout_s)


def test_the_devices_table_is_the_controllers() -> None:
    assert tuple(name for name, reader in READERS) == AREA_NAMES
    assert tuple(device_state.AREAS) == AREA_NAMES
    documented = yaml.safe_load(ModuleDocFragment.AREAS)["options"]["areas"]["choices"]
    assert tuple(documented) == AREA_NAMES


def test_nothing_is_read_that_was_not_asked_for() -> None:
    system = Counting()
    assert probe(system, {}) == {}
    assert system.asked == []


def test_an_unknown_area_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no area 'display' to read: areas are identity"):
        probe(LocalSystem(), {"display": {}})


@pytest.mark.parametrize("path", sorted(MODULE_UTILS.glob("*.py")), ids=lambda path: path.stem)
def test_what_runs_on_a_device_needs_python_and_itself_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            ours = name.startswith("ansible_collections.edgewright.factory.plugins.module_utils")
            assert ours or name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"
