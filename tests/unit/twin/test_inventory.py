# SPDX-License-Identifier: Apache-2.0
"""Twins are read from real inventories by Ansible's own programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgewright.cli.main import main
from edgewright.errors import InputError
from edgewright.twin.inventory import choose, read_twins
from edgewright.twin.spec import TwinSpec

ONE_VM = Path(__file__).resolve().parents[2] / "fixtures" / "inventories" / "one_vm"


def _inventory(directory: Path, hosts: str) -> Path:
    path = directory / "hosts.yml"
    path.write_text(
        f"all:\n  vars:\n    edgewright_state_dir: /srv/site\n  hosts:\n{hosts}", encoding="utf-8"
    )
    return path


def test_templates_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_STATE", str(tmp_path))
    twins = read_twins(ONE_VM)
    assert list(twins) == ["twin-one"]
    assert twins["twin-one"] == TwinSpec("twin-one", "vm", tmp_path, 22901, depot_port=18443)


def test_a_host_without_the_variable_is_no_twin(tmp_path: Path) -> None:
    hosts = "    real-01: {}\n    box: {ansible_host: 10.213.0.11, edgewright_twin: {kind: container}}\n"
    assert list(read_twins(_inventory(tmp_path, hosts))) == ["box"]


@pytest.mark.parametrize(
    ("hosts", "says"),
    [
        pytest.param(
            "    a: {ansible_port: 2201, edgewright_twin: {kind: vm}}\n"
            "    b: {ansible_port: 2201, edgewright_twin: {kind: vm}}\n",
            "port 2201 is twin a's already",
            id="two at one port",
        ),
        pytest.param("    a: [1, 2\n", "ansible-inventory refused it", id="broken YAML"),
        pytest.param("    a: {ansible_port: 1, edgewright_twin: {}}\n", "kind must be one of", id="no kind"),
        pytest.param(
            "    a: {ansible_port: '{{ nowhere }}', edgewright_twin: {kind: vm}}\n",
            "nowhere",
            id="undefined name in a template",
        ),
    ],
)
def test_wrong_inventories_are_refused(tmp_path: Path, hosts: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_twins(_inventory(tmp_path, hosts))
    assert says in str(caught.value)


def test_a_missing_inventory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or directory"):
        read_twins(tmp_path / "none")


def test_choose() -> None:
    specs = {name: TwinSpec(name, "vm", Path("/s"), port) for name, port in (("a", 1), ("b", 2))}
    assert [spec.name for spec in choose(specs, [], Path("i"))] == ["a", "b"]
    assert [spec.name for spec in choose(specs, ["b"], Path("i"))] == ["b"]
    with pytest.raises(InputError, match="no twin is named c; its twins are: a, b"):
        choose(specs, ["c"], Path("i"))
    with pytest.raises(InputError, match="it has none"):
        choose({}, [], Path("i"))


def test_list_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_STATE", str(tmp_path))
    assert main(["twin", "list", "--json", "-i", str(ONE_VM)]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "twin-one",
            "kind": "vm",
            "state": "down",
            "address": "127.0.0.1",
            "port": 22901,
            "depot_host": "10.0.2.100",
            "depot_port": 8443,
            "accelerator": None,
        }
    ]


def test_ssh_to_a_twin_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_STATE", str(tmp_path))
    assert main(["twin", "ssh", "-i", str(ONE_VM), "twin-one", "true"]) == InputError.exit_code
    assert "it is down; run: edgewright twin up" in capsys.readouterr().err
