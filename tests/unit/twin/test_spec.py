# SPDX-License-Identifier: Apache-2.0
"""What a twin's variables may be: a table of good ones and of refused ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import InputError
from edgewright.twin.spec import TwinSpec

VM: dict[str, Any] = {
    "ansible_host": "127.0.0.1",
    "ansible_port": 2201,
    "edgewright_state_dir": "/srv/site",
    "edgewright_twin": {"kind": "vm", "cpus": 2, "memory_mib": 1024, "depot_port": 9443},
}
CONTAINER: dict[str, Any] = {
    "ansible_host": "10.213.0.11",
    "edgewright_state_dir": "/srv/site",
    "edgewright_twin": {"kind": "container"},
}


def test_a_vm_takes_what_the_inventory_says() -> None:
    spec = TwinSpec.from_hostvars("edge-01", VM)
    assert (spec.kind, spec.port, spec.cpus, spec.memory_mib, spec.depot_port) == ("vm", 2201, 2, 1024, 9443)
    assert spec.directory == Path("/srv/site/twins/edge-01")
    assert spec.private_key == Path("/srv/site/ssh/id_ed25519")
    assert spec.known_hosts == Path("/srv/site/known_hosts")
    assert spec.depot_address == ("10.0.2.100", 8443), "the guest's side stays 8443 whatever the host's port"


def test_a_snapd_twin_is_reached_as_a_vm() -> None:
    spec = TwinSpec.from_hostvars("core-01", _twin(VM, kind="snapd"))
    assert (spec.kind, spec.depot_address) == ("snapd", ("10.0.2.100", 8443))


def test_defaults_of_a_vm() -> None:
    spec = TwinSpec.from_hostvars("edge-01", {**VM, "edgewright_twin": {"kind": "vm"}})
    assert (spec.cpus, spec.memory_mib, spec.depot_port, spec.arch) == (4, 2048, 8443, "amd64")


def test_a_port_written_as_text_is_a_number() -> None:
    assert TwinSpec.from_hostvars("edge-01", {**VM, "ansible_port": "2201"}).port == 2201


def test_a_container_is_reached_at_its_own_address() -> None:
    spec = TwinSpec.from_hostvars("box-01", CONTAINER)
    assert (spec.address, spec.port) == ("10.213.0.11", 22)
    assert spec.depot_address == ("10.213.0.1", 8443)


def _vm(**changes: Any) -> dict[str, Any]:
    return {**VM, **changes}


def _twin(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**base, "edgewright_twin": {**base["edgewright_twin"], **changes}}


@pytest.mark.parametrize(
    ("name", "hostvars", "says"),
    [
        pytest.param("Edge_01", VM, "lower-case", id="name that is no host name"),
        pytest.param("-edge", VM, "host name", id="name that looks like an option"),
        pytest.param("edge-01", _vm(edgewright_twin="vm"), "dictionary", id="no dictionary"),
        pytest.param(
            "edge-01", _twin(VM, kind="jail"), "vm, container, snapd, got 'jail'", id="unknown kind"
        ),
        pytest.param(
            "edge-01",
            _twin(VM, kind="snapd", arch="arm64"),
            "arch of kind snapd must be amd64",
            id="snapd on arm",
        ),
        pytest.param("edge-01", _twin(VM, ram=1), "unknown keys ram", id="unknown key"),
        pytest.param("edge-01", _twin(VM, cpus=0), "cpus must be a whole number from 1", id="no CPUs"),
        pytest.param("edge-01", _twin(VM, cpus=True), "got True", id="boolean for a number"),
        pytest.param("edge-01", _twin(VM, memory_mib="much"), "memory_mib", id="words for a number"),
        pytest.param("edge-01", _twin(VM, memory_mib=128), "from 512", id="too little memory"),
        pytest.param("edge-01", _twin(VM, depot_port=70000), "depot_port", id="port out of range"),
        pytest.param("edge-01", _twin(VM, image="fedora"), "image must be one of debian", id="unknown image"),
        pytest.param("edge-01", _twin(VM, arch="riscv64"), "arch must be one of", id="unknown arch"),
        pytest.param("edge-01", _twin(VM, suite="sid"), "suite must be one of bookworm, trixie", id="suite"),
        pytest.param(
            "edge-01",
            _twin(VM, suite="trixie", arch="arm64"),
            "VM twins of amd64",
            id="suite of another arch",
        ),
        pytest.param("box", _twin(CONTAINER, suite="trixie"), "it is a container", id="suite of a container"),
        pytest.param("edge-01", _twin(VM, capture="yes"), "capture must be true or false", id="capture"),
        pytest.param("edge-01", _twin(VM, parallel=1), "parallel must be true or false", id="parallel"),
        pytest.param("edge-01", _twin(VM, stick="stick.img"), "stick must be the absolute path", id="stick"),
        pytest.param("box", _twin(CONTAINER, capture=True), "for VM twins", id="container with a capture"),
        pytest.param("box", _twin(CONTAINER, parallel=True), "for VM twins", id="container with threads"),
        pytest.param("edge-01", {**VM, "ansible_port": None}, "needs ansible_port", id="no port"),
        pytest.param("edge-01", _vm(ansible_port=0), "ansible_port must be", id="port 0"),
        pytest.param("edge-01", _vm(ansible_host="192.0.2.7"), "must be 127.0.0.1", id="VM elsewhere"),
        pytest.param("edge-01", _vm(edgewright_state_dir=None), "must be set", id="no state directory"),
        pytest.param("edge-01", _vm(edgewright_state_dir="state"), "absolute", id="relative state directory"),
        pytest.param("box", {**CONTAINER, "ansible_host": "127.0.0.1"}, "10.213.0.0/24", id="outside subnet"),
        pytest.param(
            "box", {**CONTAINER, "ansible_host": "10.213.0.1"}, "other than", id="gateway's address"
        ),
        pytest.param("box", {**CONTAINER, "ansible_host": "box"}, "got 'box'", id="name for an address"),
        pytest.param("box", {**CONTAINER, "ansible_port": 2222}, "port 22", id="container on another port"),
        pytest.param("box", _twin(CONTAINER, arch="arm64"), "use kind: vm", id="container of another arch"),
    ],
)
def test_wrong_variables_are_refused(name: str, hostvars: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        TwinSpec.from_hostvars(name, hostvars)
    assert says in str(caught.value)
    assert name in str(caught.value)
