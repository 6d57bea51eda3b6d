# SPDX-License-Identifier: Apache-2.0
"""Unknown variables and bad site variables, in tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgewright.device.variables import (
    SITE_VARIABLES,
    RoleSpec,
    load_specs,
    owner,
    parse_spec,
    site_problems,
    unknown_variables,
)
from edgewright.errors import InputError
from edgewright.paths import collection_root

SPECS = {
    "depot": RoleSpec("depot", {"depot_dir": {"type": "path"}, "depot_listen": {"type": "list"}}),
    "depot_client": RoleSpec("depot_client", {"depot_client_url": {}, "depot_client_depot_dir": {}}),
    "kernel": RoleSpec("kernel", {"kernel_sysctl": {"type": "dict"}, "kernel_cmdline": {"type": "list"}}),
}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("depot_client_url", "depot_client"),
        ("depot_dir", "depot"),
        ("depot_clients", "depot"),
        ("kernel_sysctl", "kernel"),
        ("kernel", None),
        ("my_kernel_sysctl", None),
        ("kernels_x", None),
        ("__kernel_x", None),
    ],
)
def test_the_longest_prefix_owns_a_variable(name: str, role: str | None) -> None:
    assert owner(name, SPECS) == role


@pytest.mark.parametrize(
    ("name", "role", "nearest", "look"),
    [
        ("kernel_sysctls", "kernel", "kernel_sysctl", "roles/kernel/README.md"),
        ("kernel_comandline", "kernel", "kernel_cmdline", "roles/kernel/README.md"),
        ("depot_clent_url", "depot", "depot_client_url", "roles/depot/README.md"),
        ("depot_client_zzz_qqq_www_xxx", "depot_client", None, "roles/depot_client/README.md"),
        ("edgewright_profil", "edgewright", "edgewright_profile", "docs/reference/contracts.md"),
        ("edgewright_kernel_sysctl", "edgewright", "kernel_sysctl", "docs/reference/contracts.md"),
    ],
)
def test_an_unknown_variable_is_found_and_explained(
    name: str, role: str, nearest: str | None, look: str
) -> None:
    (found,) = unknown_variables({name: 1, "kernel_sysctl": {}}, SPECS)
    assert (found.name, found.owner, found.look) == (name, role, look)
    assert found.nearest == nearest
    assert found.explain("h", "group_vars/all.yml:5").endswith("It is set in group_vars/all.yml:5.")
    sentence = found.explain("reader-01")
    assert sentence.startswith(f"host reader-01: {name} is no ")
    assert look in sentence
    assert ("did you mean" in sentence) == (nearest is not None)


def test_known_and_foreign_variables_are_left_alone() -> None:
    names = [
        "kernel_sysctl",
        "depot_client_url",
        "edgewright_profile",
        "edgewright_devices",
        "ansible_host",
        "group_names",
        "ntp_servers",
    ]
    assert unknown_variables([*names, "__kernel_internal", "kernel", "edgewright"], SPECS) == []


def test_all_unknown_variables_are_told_in_order() -> None:
    found = unknown_variables({"kernel_b": 1, "edgewright_x": 1, "kernel_a": 1}, SPECS)
    assert [unknown.name for unknown in found] == ["edgewright_x", "kernel_a", "kernel_b"]


def test_a_spec_takes_the_options_of_every_entry_point() -> None:
    text = """
argument_specs:
  main:
    options:
      kernel_a: {type: str, required: true}
  reboot:
    options:
      kernel_b: {type: int}
  nothing:
"""
    spec = parse_spec("kernel", text, "roles/kernel/meta/argument_specs.yml")
    assert sorted(spec.options) == ["kernel_a", "kernel_b"]
    assert spec.main == {"kernel_a"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [", "is not YAML"),
        ("", "expected a mapping of keys, got NoneType"),
        ("other: {}", "expected argument_specs with an entry point main"),
        ("argument_specs: {other: {}}", "expected argument_specs with an entry point main"),
        (
            "argument_specs: {main: {options: {kernel_a: str}}}",
            "main.options.kernel_a: expected a mapping, got 'str'",
        ),
    ],
)
def test_a_bad_spec_is_refused(text: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec("kernel", text, "specs.yml")
    assert part in str(caught.value)


def test_a_collection_without_roles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the collection complete"):
        load_specs(tmp_path)


def test_the_roles_own_specs_are_read() -> None:
    specs = load_specs(collection_root() / "roles")
    assert {"kernel", "isolation"} <= set(specs)
    assert all(name.startswith(f"{role}_") for role, spec in specs.items() for name in spec.options)


def test_the_contracts_page_lists_the_site_variables() -> None:
    page = (collection_root() / "docs/reference/contracts.md").read_text(encoding="utf-8")
    section = page.split("## Site variables", 1)[1].split("\n## ", 1)[0]
    listed = set(re.findall(r"^\| `(edgewright_\w+)`", section, flags=re.MULTILINE))
    assert listed == {name for name in SITE_VARIABLES if not name.startswith("edgewright_state_a")} - {
        "edgewright_state"
    }


SITE = {
    "nothing set": ({}, 4, []),
    "all well": ({"edgewright_state_dir": "/s", "edgewright_twin": {"kind": "vm", "cpus": 4}}, 4, []),
    "twin says no CPUs": ({"edgewright_twin": {"kind": "vm"}}, 4, []),
    "a container shares CPUs": ({"edgewright_twin": {"kind": "container", "cpus": 8}}, 2, []),
    "no profile": ({"edgewright_twin": {"kind": "vm", "cpus": 2}}, None, []),
    "fewer CPUs": (
        {"edgewright_twin": {"kind": "vm", "cpus": 2}},
        4,
        ["cpus is 2, and its profile says 4 CPUs"],
    ),
    "unknown kind": (
        {"edgewright_twin": {"kind": "wm"}},
        4,
        ["kind: vm or container or snapd, got {'kind': 'wm'}"],
    ),
    "a twin of the other OS": (
        {"edgewright_twin": {"kind": "vm"}, "edgewright_os": "ubuntu_core"},
        4,
        ["edgewright_twin.kind is vm, and edgewright_os is ubuntu_core"],
    ),
    "a snapd twin for Debian": ({"edgewright_twin": {"kind": "snapd"}}, 4, ["of kind vm or container"]),
    "both fit": ({"edgewright_twin": {"kind": "snapd"}, "edgewright_os": "ubuntu_core"}, 4, []),
    "no such OS": (
        {"edgewright_os": "ubuntu-core"},
        4,
        ["expected debian or ubuntu_core, got 'ubuntu-core'"],
    ),
    "a text": ({"edgewright_twin": "vm"}, 4, ["expected a mapping with kind"]),
    "no directory": ({"edgewright_state_dir": "", "edgewright_release_dir": 7}, 4, ["got ''", "got 7"]),
}


@pytest.mark.parametrize("case", SITE)
def test_site_variables(case: str) -> None:
    variables, cpus, parts = SITE[case]
    problems = site_problems("reader-01", variables, cpus)
    assert len(problems) == len(parts)
    for problem, part in zip(problems, parts, strict=True):
        assert problem.startswith("host reader-01: edgewright_")
        assert part in problem
