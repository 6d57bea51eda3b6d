# SPDX-License-Identifier: Apache-2.0
"""The depot_client's probe, on trees of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import depot_client
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem, Result

OWN = "/etc/apt/sources.list.d/edgewright-depot.sources"
DROP_IN = "/etc/containers/registries.conf.d/80-edgewright-depot.conf"
SCOPE: dict[str, Any] = {
    "files": {OWN: "", DROP_IN: ""},
    "depot": {
        "host": "10.0.2.100",
        "port": 8443,
        "suite": "bookworm",
        "source": OWN,
        "keyring": "/etc/apt/keyrings/edgewright-depot.asc",
        "identity": "/etc/edgewright/identity",
        "registry": "/etc/containers/certs.d/10.0.2.100:8443",
    },
}


class Tree(LocalSystem):
    """A device's files below a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, path: str, text: str) -> None:
        target = self._root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read_bytes(self, path: str) -> bytes | None:
        return super().read_bytes(str(self._root) + path)

    def listdir(self, path: str) -> list[str]:
        return super().listdir(str(self._root) + path)

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:
        raise AssertionError(f"this probe starts no program, and started {argv} ({timeout_s} s)")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_bare_device_knows_nothing_of_a_depot(tree: Tree) -> None:
    assert depot_client.read(tree, SCOPE) == {
        "suite": None,
        "files": {OWN: None, DROP_IN: None},
        "keyring": None,
        "registry_identity": {"ca.crt": False, "client.cert": False, "client.key": False},
        "other_sources": [],
        "unqualified": [],
        "release": None,
    }


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_the_devices_debian_is_read(tree: Tree, quote: str) -> None:
    tree.put("/etc/os-release", f'NAME="Debian"\nVERSION_CODENAME={quote}trixie{quote}\nID=debian\n')
    assert depot_client.read(tree, SCOPE)["suite"] == "trixie"


def test_what_lies_there_is_read(tree: Tree) -> None:
    tree.put(OWN, "Types: deb\n")
    tree.put("/etc/apt/keyrings/edgewright-depot.asc", "key")
    tree.put("/var/lib/apt/lists/10.0.2.100:8443_apt_dists_bookworm_InRelease", "release")
    for name in ("site-root.crt", "device.crt", "device.key"):
        tree.put(f"/etc/edgewright/identity/{name}", name)
    tree.put("/etc/containers/certs.d/10.0.2.100:8443/ca.crt", "site-root.crt")
    tree.put("/etc/containers/certs.d/10.0.2.100:8443/client.cert", "an older one")
    have = depot_client.read(tree, SCOPE)
    assert have["files"] == {OWN: "Types: deb\n", DROP_IN: None}
    assert have["keyring"] == {"sha256": hashlib.sha256(b"key").hexdigest()}
    assert have["release"] == {"sha256": hashlib.sha256(b"release").hexdigest()}
    assert have["registry_identity"] == {"ca.crt": True, "client.cert": False, "client.key": False}
    assert have["other_sources"] == []


SOURCES_LIST = """# deb http://old.example/debian bookworm main
deb http://archive.example/debian bookworm main  # the archive

  deb-src [arch=amd64] http://archive.example/debian bookworm main
debian is a word
"""
DEB822 = """# a comment before
Types: deb
URIs: http://archive.example/debian
Suites: trixie

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie

Types: deb
# within a stanza
URIs: http://second.example/debian
Suites: trixie
"""


def test_other_sources_are_named_by_file_and_line(tree: Tree) -> None:
    tree.put(OWN, "Types: deb\nURIs: https://10.0.2.100:8443/apt\n")
    tree.put("/etc/apt/sources.list", SOURCES_LIST)
    tree.put("/etc/apt/sources.list.d/debian.sources", DEB822)
    tree.put("/etc/apt/sources.list.d/vendor.list", "deb http://vendor.example ./\n")
    tree.put("/etc/apt/sources.list.d/vendor.list.save", "deb http://saved.example ./\n")
    tree.put("/etc/apt/sources.list.d/not@read.list", "deb http://not-read.example ./\n")
    found = [
        (entry["file"].split("/")[-1], entry["line"], entry["text"])
        for entry in depot_client.other_sources(tree, OWN)
    ]
    assert found == [
        ("sources.list", 2, "deb http://archive.example/debian bookworm main"),
        ("sources.list", 4, "deb-src [arch=amd64] http://archive.example/debian bookworm main"),
        ("debian.sources", 2, "Types: deb; URIs: http://archive.example/debian; Suites: trixie"),
        ("debian.sources", 11, "Types: deb; URIs: http://second.example/debian; Suites: trixie"),
        ("vendor.list", 1, "deb http://vendor.example ./"),
    ]


def test_only_later_settings_of_a_search_count(tree: Tree) -> None:
    line = 'unqualified-search-registries = ["docker.io"]\n'
    directory = "/etc/containers/registries.conf.d/"
    tree.put("/etc/containers/registries.conf", line)
    tree.put(directory + "10-site.conf", line)
    tree.put(directory + "90-vendor.conf", "# vendor\n" + line)
    tree.put(directory + "95-notes.txt", line)
    assert depot_client.unqualified(tree, [OWN, DROP_IN]) == [
        {"file": directory + "90-vendor.conf", "line": 2, "text": line.strip()}
    ]


@pytest.mark.parametrize(
    ("listed", "held", "whole"),
    [
        pytest.param(b"Package: a\n", b"Package: a\n", True, id="as InRelease says"),
        pytest.param(b"Package: a\n", b"", False, id="emptied by a loss of power"),
        pytest.param(b"Package: a\n", b"Package: b\n", False, id="of another release"),
        pytest.param(b"Package: a\n", None, True, id="not there, so apt fetches it"),
    ],
)
def test_a_release_counts_only_where_its_lists_are_whole(
    tree: Tree, listed: bytes, held: bytes | None, whole: bool
) -> None:
    prefix = "/var/lib/apt/lists/10.0.2.100:8443_apt_dists_bookworm_"
    digest = hashlib.sha256(listed).hexdigest()
    release = f"Suite: bookworm\nSHA256:\n {digest} {len(listed)} main/binary-amd64/Packages\nDate: now\n"
    tree.put(prefix + "InRelease", release)
    if held is not None:
        tree.put(prefix + "main_binary-amd64_Packages", held.decode())
    expected = {"sha256": hashlib.sha256(release.encode()).hexdigest()} if whole else None
    assert depot_client.read(tree, SCOPE)["release"] == expected
