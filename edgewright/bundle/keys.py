# SPDX-License-Identifier: Apache-2.0
"""A set of keys that signs bundles: a directory with `keys.yml`, keys, and the signed roots.

    keys.yml                which key is what, schema edgewright.keys/v1
    NAME.pem, NAME.pub.pem  keys; a private part may be elsewhere: in a token, or with a person
    roots/N.root.json       TUF's root metadata, signed by enough of its holders; 1.root.json is what is
    pinned roots/next/             a root that is still being signed, see edgewright/bundle/ceremony.py
    repository/             what was signed with this set, see edgewright/bundle/history.py: keep it with the
    keys

`KeySet.develop` makes a set for trying things out, with every private part in one directory, and says loudly
what that means. A real set is made by `edgewright keys ceremony`, see docs/how-to/keys.md.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from securesystemslib.signer import Signer, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from edgewright.bundle.keyfile import is_token, load_public, load_signer, make_key, sign_with, write_file
from edgewright.bundle.trust import group_fingerprint, utc_now
from edgewright.depot.progress import say
from edgewright.errors import InputError

__all__ = [
    "KEYS_FILE",
    "NEXT",
    "RELEASE_ROLES",
    "ROLES",
    "ROOTS",
    "SCHEMA",
    "KeyEntry",
    "KeyPlan",
    "KeySet",
    "RolePlan",
    "load_roots",
]

SCHEMA = "edgewright.keys/v1"
KEYS_FILE = "keys.yml"
ROOTS = "roots"
NEXT = "next"
RELEASE_ROLES = ("targets", "snapshot", "timestamp")
"""Roles of the release key, which the build host holds."""

ROLES = ("root", *RELEASE_ROLES)
_DEVELOPMENT_YEARS = 10
_MAX_ROOTS = 257


@dataclass(frozen=True)
class KeyEntry:
    """A key: file of its public part; file or token address of its private part, None when it is
    elsewhere."""

    public: str
    private: str | None = None


@dataclass(frozen=True)
class RolePlan:
    """How many of which keys must sign for a role."""

    threshold: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class KeyPlan:
    """Content of `keys.yml`."""

    development: bool
    keys: Mapping[str, KeyEntry]
    roles: Mapping[str, RolePlan]

    def dump(self) -> bytes:
        """The file's bytes."""
        content = {
            "schema": SCHEMA,
            "development": self.development,
            "keys": {
                name: {"public": entry.public} | ({"private": entry.private} if entry.private else {})
                for name, entry in self.keys.items()
            },
            "roles": {
                role: {"threshold": plan.threshold, "keys": list(plan.keys)}
                for role, plan in self.roles.items()
            },
        }
        head = b"# Which key is what. Changed by `edgewright keys`; docs/how-to/keys.md explains it.\n"
        return head + yaml.safe_dump(content, sort_keys=False).encode()

    @classmethod
    def load(cls, path: Path) -> KeyPlan:
        """Read and check the file.

        Raises:
            InputError: It is missing or wrong.
        """
        try:
            content = yaml.safe_load(path.read_bytes())
        except FileNotFoundError as error:
            raise InputError(
                f"reading the keys {path.parent}: there is no {path.name}; make a set with `edgewright keys "
                "ceremony "
                f"{path.parent}`, or one for trying things out with `edgewright keys develop {path.parent}`"
            ) from error
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"reading {path}: {error}") from error
        first = next(iter(jsonschema.Draft202012Validator(_schema()).iter_errors(content)), None)
        if first is not None:
            place = ".".join(str(step) for step in first.absolute_path) or "the top level"
            raise InputError(
                f"reading {path}: {place}: {first.message[:200]}; docs/how-to/keys.md explains each key"
            )
        plan = cls(
            content["development"],
            {
                name: KeyEntry(entry["public"], entry.get("private"))
                for name, entry in content["keys"].items()
            },
            {
                role: RolePlan(told["threshold"], tuple(told["keys"]))
                for role, told in content["roles"].items()
            },
        )
        plan.check(str(path))
        return plan

    def check(self, where: str) -> None:
        """Hold the roles to the keys.

        Raises:
            InputError: A role names a key that is not listed, or asks for more keys than it has.
        """
        for role, told in self.roles.items():
            unknown = [name for name in told.keys if name not in self.keys]
            if unknown:
                raise InputError(
                    f"reading {where}: roles.{role}: key {unknown[0]!r} is not listed under keys"
                )
            if told.threshold > len(told.keys):
                raise InputError(
                    f"reading {where}: roles.{role}: {told.threshold} of {len(told.keys)} keys can never "
                    "sign; lower the "
                    "threshold or name more keys"
                )


class KeySet:
    """An opened set of keys; made by `open` and `develop`.

    Attributes:
        directory: Where it lies.
        plan: Content of its `keys.yml`.
        roots: Bytes of each signed root, by version from 1 on.
    """

    def __init__(self, directory: Path, plan: KeyPlan, roots: Mapping[int, bytes]) -> None:
        self.directory = directory
        self.plan = plan
        self.roots = roots

    @classmethod
    def open(cls, directory: Path) -> KeySet:
        """Open a set.

        Args:
            directory: Holds `keys.yml`.

        Raises:
            InputError: It is not there, not complete, or its parts do not agree.
        """
        from edgewright.bundle.ceremony import settle  # noqa: PLC0415 - it imports this module

        settle(directory)
        if not (directory / KEYS_FILE).exists() and (directory / ROOTS / NEXT).is_dir():
            raise InputError(
                f"reading the keys {directory}: its first root is not signed by enough holders yet; "
                "`edgewright keys "
                f"show {directory}` tells who must sign"
            )
        plan = KeyPlan.load(directory / KEYS_FILE)
        roots = load_roots(directory)
        if not roots:
            raise InputError(
                f"reading the keys {directory}: {ROOTS}/1.root.json is missing; restore it from a backup"
            )
        found = cls(directory, plan, roots)
        found._agree()
        return found

    @classmethod
    def develop(cls, directory: Path) -> KeySet:
        """Open a set, or make one for trying things out: three root keys (two must sign) and one release key.

        Args:
            directory: Where it shall be; keys that lie there already are left alone.
        """
        from edgewright.bundle.ceremony import build_root  # noqa: PLC0415 - it imports this module
        from edgewright.bundle.installer_key import make_pin  # noqa: PLC0415 - pulls in gpg's adapter

        if (directory / KEYS_FILE).is_file():
            return cls.open(directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        people = ("root-1", "root-2", "root-3")
        entries = {name: KeyEntry(f"{name}.pub.pem", f"{name}.pem") for name in (*people, "release")}
        for entry in entries.values():  # of a run that was killed: nobody has seen a root with these keys
            for name in (entry.public, entry.private or ""):
                (directory / name).unlink(missing_ok=True)
            make_key(directory / str(entry.private), "")
        roles = {"root": RolePlan(2, people)} | {role: RolePlan(1, ("release",)) for role in RELEASE_ROLES}
        plan = KeyPlan(True, entries, roles)
        draft = cls(directory, plan, {})
        end = utc_now() + timedelta(days=365 * _DEVELOPMENT_YEARS)
        root = build_root(draft.public, plan, 1, end, make_pin(directory))
        for signer in draft.signers("root"):
            sign_with(root, signer)
        (directory / ROOTS).mkdir(exist_ok=True)
        write_file(directory / ROOTS / "1.root.json", root.to_bytes())
        write_file(directory / KEYS_FILE, plan.dump())
        made = cls.open(directory)
        say(
            f"NOTICE: made a DEVELOPMENT set of keys in {directory}: whoever has this directory can sign "
            "bundles that "
            "controllers accept; sign real releases with keys from `edgewright keys ceremony` "
            "(docs/how-to/keys.md)\n"
            f"NOTICE: the fingerprint to give to controllers is {group_fingerprint(made.fingerprint)}"
        )
        return made

    @property
    def development(self) -> bool:
        """Whether it is a set for trying things out."""
        return self.plan.development

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `1.root.json`, in hexadecimal: what is pinned on controllers."""
        return sha256(self.roots[1]).hexdigest()

    @property
    def root(self) -> Root:
        """The newest signed root."""
        return Metadata[Root].from_bytes(self.roots[max(self.roots)]).signed

    def public(self, name: str) -> SSlibKey:
        """A key's public part.

        Args:
            name: As in `keys.yml`.

        Raises:
            InputError: It cannot be read.
        """
        return load_public(self.directory / self.plan.keys[name].public, name)

    def signers(self, role: str) -> list[Signer]:
        """Keys that can sign here for a role.

        Args:
            role: `root`, `targets`, `snapshot` or `timestamp`.

        Returns:
            A signer for each key of the role whose private part is at hand; at least as many as must sign.

        Raises:
            InputError: Too few private parts are here, or one cannot be read.
        """
        told = self.plan.roles[role]
        here = [name for name in told.keys if self.plan.keys[name].private]
        if len(here) < told.threshold:
            raise InputError(
                f"signing as {role} with the keys {self.directory}: {told.threshold} must sign, and the "
                "private parts of "
                f"{len(here)} are named in {KEYS_FILE} ({', '.join(here) or 'none'} of "
                f"{', '.join(told.keys)})"
            )
        return [self._signer(name) for name in here]

    @functools.cache  # noqa: B019 - a set lives as long as its command; a passphrase is asked for once
    def _signer(self, name: str) -> Signer:
        private = str(self.plan.keys[name].private)
        reference = private if is_token(private) else str(self.directory / private)
        return load_signer(reference, name, self.public(name))

    def _agree(self) -> None:
        root = self.root
        for role, told in self.plan.roles.items():
            listed = {self.public(name).keyid for name in told.keys}
            signed = root.roles[role]
            if listed != set(signed.keyids) or told.threshold != signed.threshold:
                raise InputError(
                    f"reading the keys {self.directory}: {KEYS_FILE} names other keys or another threshold "
                    f"for {role} than "
                    f"{max(self.roots)}.root.json, which holders signed; do not edit it by hand: use "
                    "`edgewright keys "
                    "rotate`"
                )


def load_roots(directory: Path) -> dict[int, bytes]:
    """The chain of signed roots, each signed as itself and its predecessor say."""
    roots: dict[int, bytes] = {}
    before: Root | None = None
    for version in range(1, _MAX_ROOTS):
        path = directory / ROOTS / f"{version}.root.json"
        if not path.is_file():
            return roots
        data = path.read_bytes()
        try:
            metadata = Metadata[Root].from_bytes(data)
            if metadata.signed.type != Root.type or metadata.signed.version != version:
                raise InputError(
                    f"reading {path}: expected root {version}, got {metadata.signed.type} "
                    f"{metadata.signed.version}"
                )
            for root in (before, metadata.signed):
                if root is not None:
                    root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            raise InputError(f"reading {path}: {error}; restore it from the backup of the keys") from error
        roots[version] = data
        before = metadata.signed
    return roots


@functools.cache
def _schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        files("edgewright.bundle").joinpath("keys.schema.json").read_text("utf-8")
    )
    return loaded
