# SPDX-License-Identifier: Apache-2.0
"""What the parts promise each other: roles say one thing in four places, and there is one version."""

from __future__ import annotations

import importlib.util
import itertools
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import edgewright
from edgewright.device.areas import AREA_NAMES
from edgewright.device.variables import CONTROLLER_ROLES

ROOT = Path(__file__).resolve().parents[2]
ROLES = (*CONTROLLER_ROLES, *AREA_NAMES)


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("role_readme", ROOT / "scripts/role_readme.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


role_readme = _script()


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_collection_that_ansible_finds_here_is_this_checkout() -> None:
    found = Path(sysconfig.get_paths()["purelib"]) / "ansible_collections/edgewright/factory"
    assert found.resolve() == ROOT, "a copy would hide every later edit; run `make setup`"


def _options(role: str) -> dict[str, dict[str, Any]]:
    specs = _yaml(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    options: dict[str, dict[str, Any]] = {}
    for entry in specs.values():
        options |= (entry or {}).get("options") or {}
    return options


def _defaults(role: str) -> dict[str, Any]:
    return _yaml(ROOT / "roles" / role / "defaults/main.yml") or {}


def test_the_areas_are_those_of_the_contracts_in_their_order() -> None:
    assert AREA_NAMES == (
        "identity",
        "depot_client",
        "kernel",
        "nvidia",
        "isolation",
        "runtime",
        "acceptance",
        "drift_watch",
    )
    text = (ROOT / "docs/reference/contracts.md").read_text(encoding="utf-8")
    listed = text.split("Areas, in order:", 1)[1].split(". ", 1)[0].replace("`", "").replace("\n", " ")
    assert tuple(name.strip() for name in listed.split(",")) == AREA_NAMES


def test_every_role_on_disk_is_known() -> None:
    assert sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()) == sorted(ROLES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "part", ["README.md", "meta/main.yml", "meta/argument_specs.yml", "defaults/main.yml", "tasks/main.yml"]
)
def test_every_role_has_its_parts(role: str, part: str) -> None:
    path = ROOT / "roles" / role / part
    assert path.is_file(), f"{path} is missing"
    assert path.stat().st_size > 0


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_defaults_are_those_of_its_specification(role: str) -> None:
    declared = {name: option["default"] for name, option in _options(role).items() if "default" in option}
    defaults = {name: value for name, value in _defaults(role).items() if not name.startswith("__")}
    assert defaults == declared


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_variables_bear_its_name_and_tell_their_meaning(role: str) -> None:
    for name, option in _options(role).items():
        assert name.startswith(f"{role}_"), f"{name}: expected the prefix {role}_"
        assert option.get("description"), f"{name} has no description"
        assert option.get("type"), f"{name} has no type"
        assert not (option.get("required") and "default" in option), f"{name} is required and has a default"


@pytest.mark.parametrize("role", ROLES)
def test_every_default_has_its_words(role: str) -> None:
    """`defaults/main.yml` is the manual: a comment stands above each paragraph of variables."""
    lines = (ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8").splitlines()
    for name in _defaults(role):
        number = next(index for index, line in enumerate(lines) if line.startswith(f"{name}:"))
        above = list(itertools.takewhile(str.strip, reversed(lines[:number])))
        assert any(line.startswith("#") for line in above), f"roles/{role}: no comment above {name}"


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_readme_has_the_table_of_its_specification(role: str) -> None:
    readme = ROOT / "roles" / role / "README.md"
    text = readme.read_text(encoding="utf-8")
    specs = _yaml(ROOT / "roles" / role / "meta/argument_specs.yml")
    assert text == role_readme.rendered(text, specs, str(readme)), "run python scripts/role_readme.py"


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert _yaml(ROOT / "galaxy.yml")["version"] == project
    assert edgewright.__version__ == project


SPECS = {
    "argument_specs": {
        "main": {
            "options": {
                "box_a": {
                    "type": "list",
                    "elements": "str",
                    "default": [],
                    "description": ["One | two.", "C(x)."],
                },
                "box_b": {"required": True, "description": "B", "choices": ["u", "v"]},
                "box_c": {
                    "type": "list",
                    "elements": "dict",
                    "description": "C",
                    "options": {"name": {"type": "str", "default": "", "description": "N"}},
                },
            }
        },
        "other": {"options": {"box_a": {"type": "list"}, "box_d": {"type": "dict", "default": {"k": 1}}}},
    }
}


def test_the_table_has_a_row_for_each_variable() -> None:
    assert role_readme.table(SPECS).splitlines() == [
        "| variable | type | default | meaning |",
        "|---|---|---|---|",
        "| `box_a` | list of str | `[]` | One \\| two. `x`. |",
        "| `box_b` | str | required | B One of `u`, `v`. |",
        "| `box_c` | list of dict |  | C |",
        '| `box_c[].name` | str | `""` | N |',
        '| `box_d` | dict | `{"k": 1}` |  |',
    ]


def test_only_what_is_between_the_marks_is_written() -> None:
    text = "# Box\n<!-- variables -->\nold\n<!-- /variables -->\nmore\n"
    new = role_readme.rendered(text, SPECS, "README.md")
    assert new.startswith("# Box\n<!-- variables -->\n\n| variable |")
    assert new.endswith("\n\n<!-- /variables -->\nmore\n")
    assert "old" not in new
    assert role_readme.rendered(new, SPECS, "README.md") == new


@pytest.mark.parametrize("text", ["", "<!-- variables -->", "<!-- /variables --> <!-- variables -->"])
def test_a_readme_without_its_marks_is_refused(text: str) -> None:
    with pytest.raises(role_readme.ReadmeError, match=r"README\.md: expected one line <!-- variables -->"):
        role_readme.rendered(text, SPECS, "README.md")


def test_outdated_readmes_are_found_and_missing_ones_told(tmp_path: Path) -> None:
    (tmp_path / "box/meta").mkdir(parents=True)
    (tmp_path / "box/meta/argument_specs.yml").write_text(yaml.safe_dump(SPECS), encoding="utf-8")
    found, faults = role_readme.outdated(tmp_path)
    assert found == {}
    assert len(faults) == 1
    assert "box/README.md: missing" in faults[0]
    readme = tmp_path / "box/README.md"
    readme.write_text("<!-- variables -->\n<!-- /variables -->\n", encoding="utf-8")
    found, faults = role_readme.outdated(tmp_path)
    assert (list(found), faults) == ([readme], [])
    readme.write_text(found[readme], encoding="utf-8")
    assert role_readme.outdated(tmp_path) == ({}, [])
