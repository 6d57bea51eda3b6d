# SPDX-License-Identifier: Apache-2.0
"""Variables of a host as `want` gets them: defaults below, templates resolved, types as declared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.edgewright.factory.plugins.plugin_utils.host_inputs import (
    HostVariables,
    host_profile,
    plain,
    role_defaults,
)

from edgewright.device.areas import Area
from edgewright.device.variables import RoleSpec
from edgewright.errors import InputError

SPECS = {
    "kernel": RoleSpec(
        "kernel",
        {
            "kernel_cmdline": {"type": "list", "elements": "str"},
            "kernel_count": {"type": "int"},
            "kernel_flag": {"type": "bool", "required": True},
            "kernel_mode": {"type": "str", "choices": ["rt", "cloud"]},
            "kernel_nested": {"type": "dict", "options": {"a": {"type": "int"}, "b": {"type": "str"}}},
            "kernel_dir": {"type": "str"},
        },
    )
}


def _variables(task_vars: dict[str, Any], defaults: dict[str, Any] | None = None) -> HostVariables:
    loader = DataLoader()
    return HostVariables("reader-01", Templar(loader, {}), task_vars, defaults or {}, SPECS)


def test_a_default_stands_below_the_inventory_and_templates_are_resolved() -> None:
    variables = _variables(
        {"site": "/s", "kernel_count": 2},
        {"kernel_count": 1, "kernel_dir": trust_as_template("{{ site }}/{{ kernel_count }}")},
    )
    assert variables["kernel_dir"] == "/s/2"
    assert type(variables["kernel_dir"]) is str


def test_an_untrusted_text_is_not_a_template() -> None:
    assert _variables({"kernel_dir": "{{ 1 + 1 }}"})["kernel_dir"] == "{{ 1 + 1 }}"


# What is put together here, and what is left to Ansible, come out alike.
TEXTS: dict[str, tuple[str, Any]] = {
    "words": ("/srv", "/srv"),
    "a name among words": ("{{ site }}/depot", "/s/depot"),
    "names of names": ("{{ place }}-{{site}}", "/s/p-/s"),
    "a name alone": ("{{ site }}", "/s"),
    "a number among words": ("n{{ number }}", "n7"),
    "a number alone": ("{{ number }}", 7),
    "a list": ("{{ many }}", ["a"]),
    "a filter": ("{{ site | upper }}", "/S"),
    "an untrusted value": ("<{{ strange }}>", "<{{ site }}>"),
    "a comment": ("a{# no #}b", "ab"),
    "braces": ("{a}", "{a}"),
    "two lines": ("{{ site }}\nx", "/s\nx"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_of_names_is_what_ansible_makes_of_it(name: str) -> None:
    text, expected = TEXTS[name]
    given = {
        "site": "/s",
        "place": trust_as_template("{{ site }}/p"),
        "number": 7,
        "many": ["a"],
        "strange": "{{ site }}",
        "kernel_nested": trust_as_template(text),
    }
    specs = {"kernel": RoleSpec("kernel", {"kernel_nested": {"type": "raw"}})}
    loader = DataLoader()
    variables = HostVariables("reader-01", Templar(loader, {}), given, {}, specs)
    assert variables["kernel_nested"] == expected
    assert variables["kernel_nested"] == plain(
        Templar(loader, given).template(given["kernel_nested"])  # type: ignore[arg-type]
    )


def test_names_that_lead_in_a_circle_are_told() -> None:
    circle = {"kernel_dir": trust_as_template("{{ other }}"), "other": trust_as_template("{{ kernel_dir }}")}
    with pytest.raises(InputError, match="the value of kernel_dir cannot be computed"):
        _variables(circle)["kernel_dir"]


TYPES = {
    "int from text": ({"kernel_count": "5"}, "kernel_count", 5),
    "bool from text": ({"kernel_flag": "yes"}, "kernel_flag", True),
    "list of text from text": ({"kernel_cmdline": "a,b"}, "kernel_cmdline", ["a", "b"]),
    "text from number": ({"kernel_mode": "rt"}, "kernel_mode", "rt"),
    "mapping as written": ({"kernel_nested": {"a": 1}}, "kernel_nested", {"a": 1}),
    "null as it is": ({"kernel_count": None}, "kernel_count", None),
    "site variable as it is": ({"edgewright_twin": {"kind": "vm"}}, "edgewright_twin", {"kind": "vm"}),
}


@pytest.mark.parametrize("case", TYPES)
def test_values_have_their_declared_type(case: str) -> None:
    task_vars, name, value = TYPES[case]
    got = _variables(task_vars)[name]
    assert got == value
    assert type(got) is type(value)


WRONG = {
    "no number": (
        {"kernel_count": "many"},
        "kernel_count",
        ['kernel_count is "many"', "cannot be converted"],
    ),
    "no choice": ({"kernel_mode": "dos"}, "kernel_mode", ["must be one of: rt, cloud, got: dos"]),
    "wrong inside": ({"kernel_nested": {"a": "x"}}, "kernel_nested", ["kernel_nested is", "'a'"]),
    "unknown inside": ({"kernel_nested": {"c": 1}}, "kernel_nested", ["kernel_nested.c", "a, b"]),
    "undefined": (
        {"kernel_dir": trust_as_template("{{ nowhere }}/x")},
        "kernel_dir",
        ["the value of kernel_dir cannot be computed", "nowhere"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_with_host_and_variable(case: str) -> None:
    task_vars, name, parts = WRONG[case]
    variables = _variables(task_vars)
    with pytest.raises(InputError) as caught:
        variables[name]
    assert str(caught.value).startswith("host reader-01: ")
    for part in parts:
        assert part in str(caught.value)
    assert variables.problem(name) == str(caught.value)


def test_only_declared_variables_are_given() -> None:
    variables = _variables(
        {"kernel_count": 1, "ansible_host": "x", "kernel_sysctls": 1, "edgewright_profile": "p"}
    )
    assert sorted(variables) == ["edgewright_profile", "kernel_count"]
    assert len(variables) == 2
    assert "ansible_host" not in variables
    assert variables.get("kernel_mode") is None
    with pytest.raises(KeyError):
        variables["kernel_mode"]


def test_controller_facts_become_variables(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    variables = _variables({"kernel_dir": str(tmp_path)})
    area = Area(
        "kernel",
        lambda *_: {},
        lambda *_: [],
        {
            "__kernel_file": ("file_sha256", "{kernel_dir}/file"),
            "__kernel_none": ("file_sha256", "{kernel_dir}/none"),
        },
    )
    variables.add_controller_facts((area,), DataLoader())
    assert variables["__kernel_file"] == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert variables["__kernel_none"] is None
    assert "__kernel_none" in variables


def test_role_defaults_are_read_with_their_templates_trusted(tmp_path: Path) -> None:
    for role, text in (("kernel", 'kernel_dir: "{{ site }}/k"\n'), ("empty", "---\n")):
        path = tmp_path / role / "defaults/main.yml"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    loader = DataLoader()
    defaults = role_defaults(tmp_path)
    variables = HostVariables("reader-01", Templar(loader, {}), {"site": "/s"}, defaults, SPECS)
    assert variables["kernel_dir"] == "/s/k"


def test_plain_values_are_of_jsons_own_types() -> None:
    value = plain({"a": trust_as_template("x"), "b": [trust_as_template("y")], "c": None})
    assert value == {"a": "x", "b": ["y"], "c": None}
    assert type(value["a"]) is str
    assert json.dumps(value)


PROFILE = "schema: edgewright.profile/v1\narch: amd64\ncpus: 64\nmemory_mib: 8\nboot: grub\ngpu: none\n"


def test_a_profile_beside_the_inventory_is_found(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/big.yml").write_text(PROFILE, encoding="utf-8")
    task_vars = {"inventory_dir": str(tmp_path), "edgewright_profile": "big"}
    assert host_profile("reader-01", _variables(task_vars), task_vars).cpus == 64


@pytest.mark.parametrize(
    ("task_vars", "part"),
    [
        ({}, "host reader-01 has no hardware profile: set edgewright_profile in host_vars/reader-01/"),
        ({"edgewright_profile": ""}, "host reader-01 has no hardware profile"),
        ({"edgewright_profile": "x86_wm"}, "did you mean x86_vm?"),
    ],
)
def test_a_host_without_a_good_profile_is_refused(task_vars: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as caught:
        host_profile("reader-01", _variables(task_vars), task_vars)
    assert part in str(caught.value)
    assert "host reader-01" in str(caught.value)
