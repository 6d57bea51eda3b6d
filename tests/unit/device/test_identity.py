# SPDX-License-Identifier: Apache-2.0
"""What an identity shall be, and which differences are told, by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edgewright.device import identity
from edgewright.errors import InputError

LOCK: dict[str, Any] = {
    "apt": {
        "packages": [
            {"name": "openssl", "version": "3.0.17-1~deb12u2", "bootstrap": True},
            {"name": "podman", "version": "4.3.1"},
            {"name": "python3-apt", "version": "2.6.0", "bootstrap": True},
        ]
    }
}
VARIABLES: dict[str, Any] = {
    "identity_name": "reader-01",
    "identity_names": ["localhost", "127.0.0.1"],
    "identity_organisation": "Edgewright site",
    "identity_valid_days": 825,
    "identity_renew_days": 90,
    "__identity_site_root_sha256": "aa" * 32,
}
GOOD: dict[str, Any] = {
    "packages": {"openssl": "3.0.17-1~deb12u2", "python3-apt": "2.6.0"},
    "key": {"mode": "0400", "owner": "_apt", "kind": "ec-p256"},
    "certificate": {
        "subject": "CN=reader-01,OU=device,O=Edgewright site",
        "names": ["DNS:localhost", "DNS:reader-01", "IP:127.0.0.1"],
        "issuer": "CN=Edgewright site issuing CA,O=Edgewright site",
        "sha256": "bb" * 32,
        "not_before": "2026-11-20 00:00:00Z",
        "not_after": "2029-02-22 00:00:00Z",
        "matches_key": True,
        "chain": "verified",
        "renewal_due": False,
    },
    "site_root": {"sha256": "aa" * 32},
}
BARE: dict[str, Any] = {
    "packages": {"openssl": None, "python3-apt": None},
    "key": None,
    "certificate": None,
    "site_root": None,
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with one value changed; the path's parts are parted by dots."""
    have = copy.deepcopy(GOOD)
    part = have
    *parents, last = path.split(".")
    for name in parents:
        part = part[name]
    part[last] = value
    return have


CASES = {
    "provisioned": (GOOD, []),
    "bare": (BARE, ["packages", "site_root", "key", "certificate"]),
    "a package is missing": (changed("packages.openssl", None), ["packages"]),
    "a package is too old": (changed("packages.openssl", "3.0.15-1~deb12u1"), ["packages"]),
    "a package is newer": (changed("packages.openssl", "3.0.18-1~deb12u1"), []),
    "another site's root": (changed("site_root.sha256", "cc" * 32), ["site_root"]),
    "another authority's certificate": (
        changed("certificate.chain", "unable to get local issuer certificate"),
        ["certificate.chain"],
    ),
    "near its end": (changed("certificate.renewal_due", True), ["certificate.renewal_due"]),
    "for another key": (changed("certificate.matches_key", False), ["certificate.matches_key"]),
    "for another device": (
        changed("certificate.subject", "CN=reader-02,OU=device,O=Edgewright site"),
        ["certificate.subject"],
    ),
    "other names": (changed("certificate.names", ["DNS:reader-01"]), ["certificate.names"]),
    "no key": (changed("key", None), ["key"]),
    "no certificate": (changed("certificate", None), ["certificate"]),
    "a damaged key": (changed("key.kind", "unreadable"), ["key.kind"]),
    "a key that others read": (changed("key.mode", "0644"), ["key.access"]),
    "a key that apt can't read": (changed("key.owner", "root"), ["key.access"]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_state_is_told_apart(name: str) -> None:
    have, items = CASES[name]
    found = identity.drift(have, identity.want(VARIABLES, {}, LOCK))
    assert [item.item for item in found] == items
    assert all(item.why and not item.reboot for item in found)


def test_a_site_without_an_authority_is_drift_and_says_so() -> None:
    want = identity.want(VARIABLES | {"__identity_site_root_sha256": None}, {}, LOCK)
    (root,) = [item for item in identity.drift(GOOD, want) if item.item == "site_root"]
    assert "not made yet" in root.want
    assert "role `authority`" in root.why


def test_the_missing_packages_are_named_with_their_versions() -> None:
    (drift, *_) = identity.drift(BARE, identity.want(VARIABLES, {}, LOCK))
    assert drift.want == {"openssl": "3.0.17-1~deb12u2", "python3-apt": "2.6.0"}
    assert drift.have == {"openssl": None, "python3-apt": None}
    assert "openssl, python3-apt" in drift.why


BAD = {
    "no name": ({"identity_name": ""}, "identity_name"),
    "a name with blanks": ({"identity_name": "reader 01"}, "reader 01"),
    "an address as name": ({"identity_name": "10.0.0.1"}, "identity_name"),
    "names that are text": ({"identity_names": "localhost"}, "identity_names: expected a list"),
    "half an address": ({"identity_names": ["10.0.0"]}, "looks like an IP address"),
    "a comma in the organisation": ({"identity_organisation": "A, B"}, "identity_organisation"),
    "days that are text": ({"identity_valid_days": "90"}, "identity_valid_days"),
    "no days": ({"identity_renew_days": 0}, "identity_renew_days"),
    "renewed by each run": ({"identity_renew_days": 825}, "make identity_renew_days the smaller one"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_variable_is_refused_by_name(name: str) -> None:
    values, words = BAD[name]
    with pytest.raises(InputError, match="(?s).*" + words.replace("(", r"\(")):
        identity.want(VARIABLES | values, {}, LOCK)


def test_a_lock_without_bootstrap_packages_is_refused() -> None:
    with pytest.raises(InputError, match="no package is marked `bootstrap: true`"):
        identity.want(VARIABLES, {}, {"apt": {"packages": [{"name": "podman", "version": "4"}]}})


def test_names_and_addresses_are_told_apart_sorted_and_given_once() -> None:
    names = ["Depot.site", "10.0.2.100", "fd00::0001", "depot.site"]
    assert identity.subject_alt_names(names) == ["DNS:depot.site", "IP:10.0.2.100", "IP:fd00::1"]
