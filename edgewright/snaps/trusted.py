# SPDX-License-Identifier: Apache-2.0
"""The root of trust of snaps: Canonical's account and root key, as snapd itself carries them.

    roots = canonical_roots()
    roots.keys["-CvQKAwR..."]

A device's snapd believes these two assertions and what they sign, and nothing else; so does Edgewright. A
brand's own store hangs on the same root. `edgewright/data/snaps/canonical-root.assert` holds them, byte for
byte as in the source of Debian's snapd (2.57.6-1+deb12u1, asserts/sysdb/trusted.go: encodedCanonicalAccount,
encodedCanonicalRootAccountKey); their own signatures are checked whenever they are loaded, and the key's id
is written here a second time, so that a changed file is no root.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from edgewright.snaps.assertion import Assertion, read_assertions
from edgewright.snaps.openpgp import PublicKey, read_public_key, verify
from edgewright.snaps.refusal import SnapRefused

__all__ = ["CANONICAL_ROOT_KEY", "Roots", "canonical_roots", "make_roots"]

CANONICAL_ROOT_KEY = "-CvQKAwRQ5h3Ffn10FILJoEZUXOv6km9FwA80-Rcj-f-6jadQ89VRswHNiEB9Lxk"
"""Id of Canonical's root key (snapd 2.57.6, asserts/sysdb/trusted.go)."""


@dataclass(frozen=True)
class Roots:
    """What is believed without being signed by anything else.

    Attributes:
        accounts: The trusted accounts: only they may sign accounts, keys, declarations and revisions.
        keys: The trusted keys by id, each with the account that holds it.
        assertions: The assertions that say so.
    """

    accounts: frozenset[str]
    keys: Mapping[str, tuple[str, PublicKey]]
    assertions: tuple[Assertion, ...]


@functools.cache
def canonical_roots() -> Roots:
    """Canonical's account and root key.

    Raises:
        SnapRefused: The data file is not what it was.
    """
    source = "canonical-root.assert"
    data = files("edgewright").joinpath("data", "snaps", source).read_bytes()
    roots = make_roots(read_assertions(data, source))
    if set(roots.keys) != {CANONICAL_ROOT_KEY} or roots.accounts != {"canonical"}:
        raise SnapRefused(
            "key",
            f"reading {source}: expected Canonical's root key {CANONICAL_ROOT_KEY}; install Edgewright again",
        )
    return roots


def make_roots(assertions: Iterable[Assertion]) -> Roots:
    """Roots from their own assertions: each is signed by a key that is among them.

    Args:
        assertions: Accounts and account-keys.

    Raises:
        SnapRefused: One is of another type, or not signed by one of the keys.
    """
    listed = tuple(assertions)
    keys: dict[str, tuple[str, PublicKey]] = {}
    for each in listed:
        if each.type == "account-key":
            key = read_public_key(each.body, each.told)
            if key.id != each.text("public-key-sha3-384"):
                raise SnapRefused("key", f"checking {each.told}: its body is not the key that it names")
            keys[key.id] = (each.text("account-id"), key)
    for each in listed:
        held = keys.get(each.text("sign-key-sha3-384"))
        if (
            held is None
            or each.type not in {"account", "account-key"}
            or held[0] != each.text("authority-id")
        ):
            raise SnapRefused("key", f"checking {each.told}: it is no part of a root of trust")
        verify(each, held[1])
    accounts = frozenset(each.text("account-id") for each in listed if each.type == "account")
    return Roots(accounts, keys, listed)
