# SPDX-License-Identifier: Apache-2.0
"""What is sent to a device before it may speak to the depot: nothing that the lock does not know."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.edgewright.factory.plugins.action import identity_bootstrap

from edgewright.errors import InputError, IntegrityError

DATA = {"openssl_3_amd64.deb": b"openssl's bytes", "python3-apt_2_amd64.deb": b"python3-apt's bytes"}


@pytest.fixture
def depot(tmp_path: Path) -> Path:
    pool = tmp_path / "apt/pool"
    pool.mkdir(parents=True)
    for name, data in DATA.items():
        (pool / name).write_bytes(data)
    return tmp_path


def entries() -> list[dict[str, Any]]:
    return [
        {
            "name": filename.partition("_")[0],
            "version": "1",
            "filename": filename,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for filename, data in DATA.items()
    ]


def test_the_tar_holds_the_packages(depot: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(identity_bootstrap.pack(depot, entries()))) as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == DATA  # type: ignore[union-attr]


def test_other_bytes_than_the_locks_are_refused_by_name(depot: Path) -> None:
    (depot / "apt/pool/python3-apt_2_amd64.deb").write_bytes(b"other bytes")
    with pytest.raises(
        IntegrityError, match=r"package python3-apt 1 is not what the lock says.*nothing was sent"
    ):
        identity_bootstrap.pack(depot, entries())


def test_a_missing_package_is_refused_by_name(depot: Path) -> None:
    (depot / "apt/pool/openssl_3_amd64.deb").unlink()
    with pytest.raises(IntegrityError, match=r"package openssl 1 cannot be copied.*edgewright depot build"):
        identity_bootstrap.pack(depot, entries())


def test_only_packages_that_are_wholly_installed_count() -> None:
    said = "openssl 3.0.17-1~deb12u2 installed\npython3-apt 2.6.0 half-configured\npodman  not-installed\n"
    assert identity_bootstrap.parse_query(said) == {"openssl": "3.0.17-1~deb12u2"}


def _part(suite: str, arch: str) -> dict[str, Any]:
    return {"os": {"suite": suite, "arch": arch}, "apt": {"packages": [arch]}}


LOCK = {"release": {"name": "r", "version": "1"}, "images": [], **_part("bookworm", "amd64")}


def _target(lock: dict[str, Any], rc: int, stdout: str) -> Any:
    """Packages of the target that the plugin takes where the device answers so; and what it was asked."""
    plugin, asked = _plugin(rc, stdout)
    return plugin._target(lock)["apt"]["packages"], asked


def _plugin(rc: int, stdout: str) -> tuple[Any, list[str]]:
    """The plugin before a device that answers every command so; and what it was asked."""
    asked = []

    def answer(command: str) -> dict[str, Any]:
        asked.append(command)
        return {"rc": rc, "stdout": stdout, "stderr": "dpkg: not found"}

    plugin = object.__new__(identity_bootstrap.ActionModule)
    plugin._low_level_execute_command = answer
    return plugin, asked


def test_a_lock_of_one_target_asks_the_device_nothing() -> None:
    assert _target(LOCK, 1, "") == (["amd64"], [])


def test_the_device_says_which_target_it_is() -> None:
    other = {**_part("trixie", "arm64"), "apt": {"packages": []}}
    lock = {**LOCK, "targets": [_part("bookworm", "arm64"), other]}
    assert _target(lock, 0, "arm64\nbookworm\n")[0] == ["arm64"]
    assert _target(lock, 0, "arm64\ntrixie\n")[0] == []
    with pytest.raises(InputError, match="expected a target trixie on riscv64"):
        _target(lock, 0, "riscv64\ntrixie\n")
    with pytest.raises(AnsibleActionFail, match=r"status 127: dpkg: not found\. Is the device a Debian"):
        _target(lock, 127, "")


@pytest.mark.parametrize("stdout", ["amd64\nbookworm\n", "amd64\n"])
def test_packages_for_the_devices_debian_are_sent(stdout: str) -> None:
    _plugin(0, stdout)[0]._check_suite(LOCK)


def test_packages_for_another_debian_are_refused() -> None:
    with pytest.raises(
        AnsibleActionFail, match=r"has Debian's trixie, .* for bookworm; nothing was installed"
    ):
        _plugin(0, "amd64\ntrixie\n")[0]._check_suite(LOCK)
