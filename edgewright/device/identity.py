# SPDX-License-Identifier: Apache-2.0
"""Area `identity`: the device's key, its certificate, and the site's root that it trusts.

Pure: no IO. What lies on the device is read by `plugins/module_utils/identity.py`; what is wanted
comes from the inventory, the lock (packages marked `bootstrap: true`) and one fact about the
controller's own files, the fingerprint of the site's root (`CONTROLLER_FACTS`).

Items of `have` and `want`:

    packages     {name: version}, None for a package that is not installed
    key          {mode, owner, kind}, or None; `kind` is "ec-p256" or what else was found
    certificate  {subject, names, matches_key, chain, renewal_due}, or None
    site_root    {sha256}, or None; sha256 of the certificate's DER, in lower-case hexadecimal

`want` has two keys more, which tell the probe where and how to look: `directory` and `renew_days`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgewright.device import debian_version
from edgewright.device.drift import Drift, Have, Want
from edgewright.device.places import DEBIAN, places
from edgewright.errors import InputError

__all__ = [
    "AREA",
    "CONTROLLER_FACTS",
    "DIRECTORY",
    "bootstrap_packages",
    "drift",
    "identity",
    "outdated",
    "subject_alt_names",
    "want",
]

AREA = "identity"

DIRECTORY = places(DEBIAN).identity

# Facts about files on the controller that `want` needs: variable -> (how, where). The reader of these
# is the action plugin `device_state`; a missing file gives None.
CONTROLLER_FACTS: Mapping[str, tuple[str, str]] = {
    "__identity_site_root_sha256": ("x509_sha256", "{identity_authority_dir}/root.crt"),
}

# What `chain` says when the certificate leads to the site's root; else it is openssl's own sentence.
CHAIN_OK = "verified"

_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9 ._()&-]{1,64}")
_RENEW_HINT = "it gets a new certificate from the site's issuing CA"


def subject_alt_names(names: Sequence[str]) -> list[str]:
    """Names and addresses as a certificate writes them.

    Args:
        names: DNS names and IP addresses, such as `["depot.site", "10.0.2.100"]`.

    Returns:
        `["DNS:depot.site", "IP:10.0.2.100"]`: sorted, each once.

    Raises:
        InputError: a name is neither a DNS name nor an address.
    """
    return sorted({_alt_name(name) for name in names})


def _alt_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"certificate names: expected DNS names or IP addresses as text, got {name!r}")
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        pass
    labels = name.split(".")
    if len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise InputError(
            f"certificate names: {name!r} is neither a DNS name nor an IP address;"
            " a DNS name has letters, digits and hyphens between dots"
        )
    if re.fullmatch(r"[0-9.]+", name):
        raise InputError(f"certificate names: {name!r} looks like an IP address and is none; correct it")
    return f"DNS:{name.lower()}"


def bootstrap_packages(lock: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lock's packages that reach a device over SSH, before it may speak to the depot.

    Args:
        lock: a lock of schema `edgewright.lock/v1`.

    Returns:
        The lock's own entries (name, version, filename, sha256 and more), in its order.

    Raises:
        InputError: the lock has none, so no device could ever get a certificate.
    """
    found = [dict(entry) for entry in lock["apt"]["packages"] if entry.get("bootstrap") is True]
    if not found:
        raise InputError(
            "lock: no package is marked `bootstrap: true`, so a device without a certificate can't get one;"
            " list openssl, python3-apt and python3-cryptography under `bootstrap` in"
            " release.yml and write the lock again with `edgewright release lock`"
        )
    return found


def outdated(have: Mapping[str, str | None], wanted: Mapping[str, str]) -> list[str]:
    """Names of packages that a device lacks or has in an older version than wanted.

    A newer version counts as well enough: a device's base image may have had an update since.

    Args:
        have: name -> installed version, None or absent when not installed.
        wanted: name -> version of the lock.
    """
    missing = []
    for name, version in wanted.items():
        installed = have.get(name)
        if installed is None or debian_version.compare(installed, version) < 0:
            missing.append(name)
    return missing


def want(variables: Mapping[str, Any], profile: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, Any]:
    """The identity that a device shall have.

    Args:
        variables: `identity_*` of the role, and the facts of `CONTROLLER_FACTS`.
        profile: the device's hardware profile (not used: an identity does not depend on hardware).
        lock: the release's lock.

    Raises:
        InputError: a variable is not usable in a certificate.
    """
    del profile
    wanted = identity(variables)
    directory = {key: wanted.pop(key) for key in ("directory", "renew_days")}
    packages = {entry["name"]: entry["version"] for entry in bootstrap_packages(lock)}
    return {**directory, "packages": packages, **wanted}


def identity(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the want that is the same on every OS.

    Raises:
        InputError: a variable is not usable in a certificate.
    """
    name = _text(variables, "identity_name")
    if len(name) > 64 or not _alt_name(name).startswith("DNS:"):
        raise InputError(f"identity_name: expected a host name of at most 64 characters, got {name!r}")
    organisation = _text(variables, "identity_organisation")
    if not _PLAIN_TEXT.fullmatch(organisation):
        raise InputError(
            "identity_organisation: expected letters, digits, spaces and ._()&-, at most 64,"
            f" got {organisation!r}"
        )
    valid_days = _days(variables, "identity_valid_days")
    renew_days = _days(variables, "identity_renew_days")
    if renew_days >= valid_days:
        raise InputError(
            f"identity_renew_days is {renew_days} and identity_valid_days {valid_days}: each run would renew"
            " the certificate; make identity_renew_days the smaller one"
        )
    return {
        "directory": DIRECTORY,
        "renew_days": renew_days,
        "key": {"mode": "0400", "owner": "_apt", "kind": "ec-p256"},
        "certificate": {
            "subject": f"CN={name},OU=device,O={organisation}",
            "names": subject_alt_names([name, *_names(variables)]),
            "matches_key": True,
            "chain": CHAIN_OK,
            "renewal_due": False,
        },
        "site_root": {"sha256": variables.get("__identity_site_root_sha256")},
    }


def _text(variables: Mapping[str, Any], name: str) -> str:
    value = variables.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"{name}: expected text, got {value!r}; set it in the inventory")
    return value


def _days(variables: Mapping[str, Any], name: str) -> int:
    value = variables.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}: expected a number of days from 1 on, got {value!r}")
    return value


def _names(variables: Mapping[str, Any]) -> list[str]:
    value = variables.get("identity_names")
    if not isinstance(value, list):
        raise InputError(f"identity_names: expected a list of DNS names and IP addresses, got {value!r}")
    return value


def drift(have: Have, want: Want) -> list[Drift]:
    """What differs, told so that bare, half-made, foreign, expired and mismatched are told apart."""
    found: list[Drift] = []
    missing = outdated(have.get("packages") or {}, want["packages"])
    if missing:
        found.append(
            Drift(
                AREA,
                "packages",
                {name: (have.get("packages") or {}).get(name) for name in missing},
                {name: want["packages"][name] for name in missing},
                "packages that a device needs before it may speak to the depot are missing or too old:"
                f" {', '.join(missing)}; the controller copies them over SSH",
            )
        )
    return [*found, *_site_root(have, want), *_key(have, want), *_certificate(have, want)]


def _site_root(have: Have, want: Want) -> list[Drift]:
    wanted = want["site_root"]["sha256"]
    got = (have.get("site_root") or {}).get("sha256")
    if wanted is None:
        why = "the site's authority is not made yet; the role `authority` makes it on the controller"
    elif got == wanted:
        return []
    elif got is None:
        why = "the device trusts no site yet: site-root.crt is missing or not a certificate"
    else:
        why = "the device trusts another site's root; it gets this site's, and a certificate under it"
    return [Drift(AREA, "site_root", got, wanted or "issued by the site's authority (not made yet)", why)]


def _key(have: Have, want: Want) -> list[Drift]:
    got, wanted = have.get("key"), want["key"]
    if got is None:
        return [Drift(AREA, "key", None, wanted, "the device has no key of its own; it makes one")]
    found = []
    if got.get("kind") != wanted["kind"]:
        why = (
            "the key is damaged or of another kind; the device makes a new one, and gets a certificate for it"
        )
        found.append(Drift(AREA, "key.kind", got.get("kind"), wanted["kind"], why))
    access = {part: got.get(part) for part in ("mode", "owner")}
    if access != {part: wanted[part] for part in access}:
        why = "the key may be read by others than root and apt's https method, or not by these"
        found.append(Drift(AREA, "key.access", access, {part: wanted[part] for part in access}, why))
    return found


def _certificate(have: Have, want: Want) -> list[Drift]:
    got, wanted = have.get("certificate"), want["certificate"]
    if got is None:
        return [Drift(AREA, "certificate", None, wanted, f"the device has no certificate; {_RENEW_HINT}")]
    problems = {
        "subject": f"the certificate was issued to another subject; {_RENEW_HINT}",
        "names": f"the certificate lacks names that the device answers to, or has more; {_RENEW_HINT}",
        "matches_key": f"the certificate belongs to another key than the device's own; {_RENEW_HINT}",
        "chain": f"the certificate does not lead to the root that the device trusts; {_RENEW_HINT}",
        "renewal_due": (
            f"the certificate ends at {got.get('not_after')}, within {want['renew_days']} days or before;"
            f" {_RENEW_HINT}"
        ),
    }
    return [
        Drift(AREA, f"certificate.{part}", got.get(part), wanted[part], why)
        for part, why in problems.items()
        if got.get(part) != wanted[part]
    ]
