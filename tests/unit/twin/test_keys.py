# SPDX-License-Identifier: Apache-2.0
"""Keys are made once and kept, and known_hosts has exactly one key per twin."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from edgewright.errors import InputError
from edgewright.twin import keys
from edgewright.twin.spec import TwinSpec


def _spec(state: Path, name: str = "edge-01", port: int = 2201) -> TwinSpec:
    return TwinSpec(name=name, kind="vm", state_dir=state, port=port)


def test_the_controllers_key_is_made_once_and_private(tmp_path: Path) -> None:
    spec = _spec(tmp_path)
    first = keys.controller_key(spec)
    assert first.startswith("ssh-ed25519 ")
    assert keys.controller_key(spec) == first
    assert stat.S_IMODE(spec.private_key.stat().st_mode) == 0o600
    said = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(spec.private_key)], capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[:2] == first.split()[:2], "OpenSSH reads the same key from the file"


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    spec = _spec(tmp_path)
    first = keys.controller_key(spec)
    public = spec.private_key.with_name("id_ed25519.pub")
    public.unlink()
    keys.controller_key(spec)
    assert public.read_text() == f"{first}\n"


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    spec = _spec(tmp_path)
    spec.private_key.parent.mkdir()
    spec.private_key.write_text("hello")
    with pytest.raises(InputError, match="id_ed25519: not an unencrypted OpenSSH private key"):
        keys.controller_key(spec)
    assert spec.private_key.read_text() == "hello", "what a person put there is left alone"


def test_known_hosts_is_what_openssh_looks_up(tmp_path: Path) -> None:
    spec = _spec(tmp_path)
    keys.remember_host_key(spec)
    found = subprocess.run(
        ["ssh-keygen", "-F", "[127.0.0.1]:2201", "-f", str(spec.known_hosts)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert keys.host_key(spec).split()[1] in found.stdout


def test_twins_of_a_site_share_the_file(tmp_path: Path) -> None:
    one, two = _spec(tmp_path), _spec(tmp_path, "edge-02", 2202)
    for spec in (one, two, one):
        keys.remember_host_key(spec)
    assert len(spec.known_hosts.read_text().splitlines()) == 2
    keys.forget_host_key(one)
    assert spec.known_hosts.read_text().startswith("[127.0.0.1]:2202 ssh-ed25519 ")


@pytest.mark.parametrize(
    ("text", "host", "key", "expected"),
    [
        pytest.param("", "[127.0.0.1]:1", "t K c", "[127.0.0.1]:1 t K\n", id="first"),
        pytest.param("h1 t A\nh2 t B\n", "h1", "t C c", "h2 t B\nh1 t C\n", id="replaced"),
        pytest.param("h1 t A\nh1 r A\n", "h1", "t C", "h1 t C\n", id="every older key goes"),
        pytest.param("# a note\n\nh1 t A\n", "h1", None, "# a note\n\n", id="taken out, rest kept"),
        pytest.param("h11 t A\n", "h1", None, "h11 t A\n", id="no match by prefix"),
    ],
)
def test_merge_known_hosts(text: str, host: str, key: str | None, expected: str) -> None:
    assert keys.merge_known_hosts(text, host, key) == expected


@pytest.mark.parametrize(("port", "expected"), [(22, "10.213.0.11"), (2201, "[10.213.0.11]:2201")])
def test_port_22_has_no_brackets(port: int, expected: str) -> None:
    assert keys.host_name_in_known_hosts("10.213.0.11", port) == expected
