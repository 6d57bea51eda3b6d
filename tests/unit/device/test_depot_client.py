# SPDX-License-Identifier: Apache-2.0
"""What a device shall know of the depot, which differences are told, and why apt could not read it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from edgewright.device import depot_client
from edgewright.errors import InputError
from tests.support import FIXTURES

LOCK: dict[str, Any] = {
    "release": {"name": "label-reader", "version": "1.0.0"},
    "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
}
VARIABLES: dict[str, Any] = {
    "depot_client_url": "https://10.0.2.100:8443",
    "depot_client_suite": "bookworm",
    "__depot_client_archive_key_sha256": "aa" * 32,
    "__depot_client_release_sha256": "bb" * 32,
}
URL = "https://10.0.2.100:8443"
WANT = depot_client.want(VARIABLES, {}, LOCK)
GOOD: dict[str, Any] = {
    "suite": "bookworm",
    "files": dict(WANT["files"]),
    "keyring": {"sha256": "aa" * 32},
    "registry_identity": {"ca.crt": True, "client.cert": True, "client.key": True},
    "other_sources": [],
    "unqualified": [],
    "release": {"sha256": "bb" * 32},
}
FOREIGN = {
    "file": "/etc/apt/sources.list",
    "line": 3,
    "text": "deb http://archive.example/debian bookworm main",
}


def changed(item: str, value: Any) -> dict[str, Any]:
    """GOOD with one item, or one file, changed."""
    have = copy.deepcopy(GOOD)
    (have["files"] if item in have["files"] else have)[item] = value
    return have


CASES = {
    "provisioned": (GOOD, []),
    "no policy": (changed(depot_client.POLICY, None), [f"files.{depot_client.POLICY}"]),
    "a changed source": (changed(depot_client.SOURCE, "Types: deb\n"), [f"files.{depot_client.SOURCE}"]),
    "another keyring": (changed("keyring", {"sha256": "cc" * 32}), ["keyring"]),
    "no keyring": (changed("keyring", None), ["keyring"]),
    "a foreign source": (changed("other_sources", [FOREIGN]), ["other_sources"]),
    "a search of registries": (changed("unqualified", [FOREIGN]), ["unqualified"]),
    "another release": (changed("release", {"sha256": "cc" * 32}), ["release"]),
    "another Debian": (changed("suite", "trixie"), ["suite"]),
    "no word of which Debian": (changed("suite", None), []),
    "never updated": (changed("release", None), ["release"]),
    "a stale certificate for podman": (
        changed("registry_identity", {"ca.crt": True, "client.cert": False, "client.key": True}),
        ["registry_identity.client.cert"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_state_is_told_apart(name: str) -> None:
    have, items = CASES[name]
    found = depot_client.drift(have, WANT)
    assert [item.item for item in found] == items
    assert all(item.why and not item.reboot for item in found)


def test_a_foreign_source_is_named_by_file_and_line() -> None:
    (drift,) = depot_client.drift(changed("other_sources", [FOREIGN]), WANT)
    assert "/etc/apt/sources.list line 3" in drift.why
    assert drift.have == ["/etc/apt/sources.list line 3: deb http://archive.example/debian bookworm main"]


def test_a_depot_that_is_not_built_is_drift_and_says_so() -> None:
    values = {"__depot_client_archive_key_sha256": None, "__depot_client_release_sha256": None}
    found = depot_client.drift(GOOD, depot_client.want(VARIABLES | values, {}, LOCK))
    assert [item.item for item in found] == ["keyring", "release"]
    assert all("role `depot`" in item.why for item in found)


def test_the_depot_is_the_only_registry_and_nothing_is_searched() -> None:
    policy = json.loads(WANT["files"][depot_client.POLICY])
    assert policy["default"] == [{"type": "reject"}]
    assert list(policy["transports"]) == ["docker"]
    assert list(policy["transports"]["docker"]) == ["10.0.2.100:8443"]
    assert "unqualified-search-registries = []" in WANT["files"][depot_client.REGISTRIES]


def test_the_source_trusts_one_key_and_the_settings_hold_for_one_host() -> None:
    source = WANT["files"][depot_client.SOURCE]
    assert "URIs: https://10.0.2.100:8443/apt\n" in source
    assert "Signed-By: /etc/apt/keyrings/edgewright-depot.asc\n" in source
    settings = [
        line for line in WANT["files"][depot_client.APT_CONF].splitlines() if not line.startswith("//")
    ]
    assert sum(line.startswith("Acquire::https::10.0.2.100::") for line in settings) == 4
    assert [line for line in settings if line.startswith("Acquire")] == settings[:4]
    assert settings[4:] == ['DPkg::Options { "--force-confdef"; "--force-confold"; };']


BAD = {
    "no URL": ({"depot_client_url": None}, "expected https://HOST:PORT"),
    "no TLS": ({"depot_client_url": "http://10.0.2.100"}, "TLS only"),
    "a path": ({"depot_client_url": "https://10.0.2.100/apt"}, "nothing but host and port"),
    "a port that is none": ({"depot_client_url": "https://10.0.2.100:port"}, "expected https://HOST:PORT"),
    "IPv6": ({"depot_client_url": "https://[fd00::1]:8443"}, "give the depot a name"),
    "a bad host": ({"depot_client_url": "https://de_pot:8443"}, "de_pot"),
    "another suite": ({"depot_client_suite": "trixie"}, "is for bookworm"),
    "no suite": ({"depot_client_suite": ""}, "depot_client_suite"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_variable_is_refused_by_name(name: str) -> None:
    values, words = BAD[name]
    with pytest.raises(InputError) as caught:
        depot_client.want(VARIABLES | values, {}, LOCK)
    assert words in str(caught.value)
    assert "depot_client_" in str(caught.value) or "certificate names" in str(caught.value)


def test_a_trailing_slash_and_the_default_port_mean_the_same_depot() -> None:
    assert depot_client.want(VARIABLES | {"depot_client_url": URL + "/"}, {}, LOCK) == WANT
    want = depot_client.want(VARIABLES | {"depot_client_url": "https://depot.site"}, {}, LOCK)
    assert want["depot"]["url"] == "https://depot.site:443"


# What apt 2.6.1 (Debian 12), and apt 3.0.3 below 3.0/ (Debian 13: OpenSSL, sqv), said in that state:
# fixture -> decisive words of the explanation.
SAID = {
    "not_answering": "does not answer",
    "closed_at_once": "does not answer",
    "refused_certificate": "refused the device's certificate",
    "foreign_server": "has no certificate of this site's authority",
    "wrong_name": "has no certificate of this site's authority for that address",
    "wrong_key": "not signed by the key that the device trusts",
    "no_certificate": "no certificate that apt may read",
    "key_not_apts": "no certificate that apt may read",
}


@pytest.mark.parametrize("folder", [".", "3.0"])
@pytest.mark.parametrize("state", SAID)
def test_apts_words_are_explained(state: str, folder: str) -> None:
    said = (FIXTURES / "apt" / folder / f"{state}.txt").read_text(encoding="utf-8")
    told = depot_client.explain(said, "https://10.213.0.1:18443")
    assert SAID[state] in told
    assert "apt said: " in told


def test_unknown_words_of_apt_are_given_as_they_are() -> None:
    told = depot_client.explain("E: something new\n", URL)
    assert URL in told
    assert "something new" in told
    assert "apt said: nothing" in depot_client.explain("", URL)
