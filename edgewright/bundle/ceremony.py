# SPDX-License-Identifier: Apache-2.0
"""Makes and changes roots: drafted here, signed by each holder apart, joined until enough have signed.

A root says which keys count. While it is being signed it lies in `roots/next/`: `N.root.json` with the
signatures so far, and `keys.yml` as it will be. Holders sign copies of that file wherever their keys are
(`sign_file`); `join` puts the signatures together. When the thresholds of the new root and of the one before
are reached, `settle` puts root and plan in place: root first, so that a run that is killed between the two is
finished by the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root

from edgewright.bundle.installer_key import INSTALLER_FIELD, installer_pin, make_pin
from edgewright.bundle.keyfile import (
    NAME_FIELD,
    is_token,
    key_name,
    load_own,
    load_public,
    make_key,
    passphrase,
    public_pem,
    sign_with,
    token_public,
    write_file,
)
from edgewright.bundle.keys import (
    KEYS_FILE,
    NEXT,
    RELEASE_ROLES,
    ROLES,
    ROOTS,
    KeyEntry,
    KeyPlan,
    RolePlan,
    load_roots,
)
from edgewright.errors import InputError

__all__ = [
    "HOLDERS",
    "Holder",
    "Standing",
    "build_root",
    "describe",
    "join",
    "read_draft",
    "rotate_release",
    "rotate_root",
    "settle",
    "sign_file",
    "standing",
    "start",
]

HOLDERS = "holders"
"""Directory of private root keys that were made here, for their holders to take away."""

_MAX_ROOT = 256 << 10


@dataclass(frozen=True)
class Holder:
    """A person with a root key.

    Attributes:
        name: What the key is called.
        public: PEM file of a public key that was made elsewhere, or a token's address; None to make a key
            here.
    """

    name: str
    public: str | None = None

    @classmethod
    def parse(cls, text: str) -> Holder:
        """`NAME`, `NAME=PUBLIC.pem` or `NAME=hsm:KEYID?label=LABEL`."""
        name, _, public = text.partition("=")
        return cls(key_name(name), public or None)


@dataclass(frozen=True)
class Standing:
    """How far a root is signed.

    Attributes:
        version: The root's version.
        signed: Names (or key ids) of those who have signed.
        missing: For each root that decides (the one before, the new one): how many more must sign, and who
            can.
        file: The draft; None when the root is in place.
    """

    version: int
    signed: tuple[str, ...]
    missing: tuple[tuple[int, tuple[str, ...]], ...]
    file: Path | None

    @property
    def done(self) -> bool:
        """Whether enough have signed."""
        return not any(count for count, _ in self.missing)


def build_root(
    public: Callable[[str], SSlibKey],
    plan: KeyPlan,
    version: int,
    expires: datetime,
    installer: str | None = None,
) -> Metadata[Root]:
    """A root that says what a plan says, without signatures.

    Args:
        public: Gives a key's public part by its name.
        plan: The plan.
        version: The root's version.
        expires: Its end, UTC.
        installer: SHA-256 of the OpenPGP certificate that signs what a bare controller starts with.
    """
    root = Root(
        version=version,
        expires=expires,
        roles={role: Role([], plan.roles[role].threshold) for role in ROLES},
        consistent_snapshot=True,
    )
    for role in ROLES:
        for name in plan.roles[role].keys:
            root.add_key(public(name), role)
    if installer is not None:
        root.unrecognized_fields[INSTALLER_FIELD] = {"keyring_sha256": installer}
    return Metadata(root)


def start(
    directory: Path, holders: Sequence[Holder], threshold: int, release: str | None, expires: datetime
) -> Standing:
    """Begin a set of keys, or go on with one that was begun.

    Args:
        directory: Where the set shall be.
        holders: Who holds root keys.
        threshold: How many of them must sign.
        release: Token address of the release key; None to make a PEM file with a passphrase.
        expires: End of the first root, UTC.

    Returns:
        How far it is signed: by those whose keys were made here.

    Raises:
        InputError: There is a set already, or the holders make no sense.
    """
    if (directory / KEYS_FILE).exists():
        raise InputError(
            f"making keys in {directory}: there is a set already; `edgewright keys rotate` changes one, and "
            "a new set "
            "needs a new directory"
        )
    names = [holder.name for holder in holders]
    if len(set(names)) != len(names) or "release" in names:
        raise InputError(
            f"making keys in {directory}: each holder needs a name of their own, other than `release`"
        )
    if not 1 <= threshold <= len(names):
        raise InputError(f"making keys in {directory}: {threshold} of {len(names)} holders cannot sign")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / ROOTS).mkdir(exist_ok=True)
    entries = {holder.name: _take_public(directory, holder) for holder in holders}
    entries["release"] = _release_key(directory, "release", release)
    roles = {"root": RolePlan(threshold, tuple(names))}
    roles |= {role: RolePlan(1, ("release",)) for role in RELEASE_ROLES}
    return _draft(directory, KeyPlan(False, entries, roles), 1, expires)


def rotate_release(directory: Path, release: str | None, expires: datetime) -> Standing:
    """Draft a root in which a new release key replaces the one of today.

    Args:
        directory: The set.
        release: Token address of the new key; None to make a PEM file with a passphrase.
        expires: End of the new root, UTC.

    Returns:
        How far it is signed.
    """
    plan, version = _today(directory)
    waiting = _waiting(directory)
    old = plan.roles["targets"].keys
    if waiting is not None and waiting.roles["targets"].keys != old:
        return standing(directory)
    name = f"release-{version + 1}"
    entry = _release_key(directory, name, release, plan.development)
    kept = {key: told for key, told in plan.keys.items() if key not in old or key in plan.roles["root"].keys}
    roles = dict(plan.roles) | {role: RolePlan(1, (name,)) for role in RELEASE_ROLES}
    return _draft(directory, replace(plan, keys=kept | {name: entry}, roles=roles), version + 1, expires)


def rotate_root(
    directory: Path,
    add: Sequence[Holder],
    remove: Sequence[str],
    threshold: int | None,
    expires: datetime,
) -> Standing:
    """Draft a root with other holders, or with a later end only.

    Args:
        directory: The set.
        add: New holders.
        remove: Names of holders who go.
        threshold: How many must sign from now on; as before when not given.
        expires: End of the new root, UTC.

    Returns:
        How far it is signed: enough of the holders before and of the new ones must.
    """
    plan, version = _today(directory)
    today = plan.roles["root"]
    for name in remove:
        if name not in today.keys:
            raise InputError(f"removing {name}: the holders of {directory} are {', '.join(today.keys)}")
    for holder in add:
        if holder.name in plan.keys:
            raise InputError(
                f"adding {holder.name}: there is a key of this name already; use another, as alice-2"
            )
    keys = (*(name for name in today.keys if name not in remove), *(holder.name for holder in add))
    wanted = RolePlan(threshold or today.threshold, keys)
    if not 1 <= wanted.threshold <= len(keys):
        raise InputError(
            f"changing the holders of {directory}: {wanted.threshold} of {len(keys)} cannot sign"
        )
    entries = {name: told for name, told in plan.keys.items() if name not in remove}
    entries |= {holder.name: _take_public(directory, holder, here=plan.development) for holder in add}
    return _draft(
        directory,
        replace(plan, keys=entries, roles=dict(plan.roles) | {"root": wanted}),
        version + 1,
        expires,
    )


def sign_file(file: Path, reference: str, name: str) -> str:
    """Add a holder's signature to a draft, in place: on the holder's own machine, with nothing else at hand.

    Args:
        file: The draft, `N.root.json`.
        reference: The holder's key: a PEM file, or a token's address.
        name: The holder's name, for questions.

    Returns:
        The name that the root gives the key, or its key id where it gives none.
    """
    metadata = _read_root(file)
    signer = load_own(reference, name)
    sign_with(metadata, signer)
    write_file(file, metadata.to_bytes())
    return _called(signer.public_key.keyid, [metadata.signed])


def join(directory: Path, files: Sequence[Path]) -> Standing:
    """Put the signatures of copies together.

    Args:
        directory: The set.
        files: Copies of the draft, signed apart.

    Returns:
        How far it is signed now.

    Raises:
        InputError: A copy is of another root, or carries a signature that does not fit or does not count.
    """
    draft, deciding = _draft_of(directory)
    known: dict[str, SSlibKey] = {}
    for root in deciding:
        known |= {keyid: root.keys[keyid] for keyid in root.roles["root"].keyids}  # type: ignore[misc]
    for file in files:
        copy = _read_root(file)
        if copy.signed_bytes != draft.signed_bytes:
            raise InputError(
                f"joining {file}: it is another root than {directory / ROOTS / NEXT}; give its holder the "
                "new draft"
            )
        for keyid, signature in copy.signatures.items():
            if keyid not in known:
                raise InputError(f"joining {file}: key {keyid} signed it, which is no root key of this set")
            try:
                known[keyid].verify_signature(signature, copy.signed_bytes)
            except (UnverifiedSignatureError, VerificationError) as error:
                raise InputError(
                    f"joining {file}: the signature of {_called(keyid, deciding)} does not fit; have it "
                    "signed again"
                ) from error
            draft.signatures[keyid] = signature
    write_file(_draft_file(directory, draft.signed.version), draft.to_bytes())
    return standing(directory)


def standing(directory: Path) -> Standing:
    """How far the newest root is signed; one that enough have signed by now is put in place."""
    if not (directory / ROOTS / NEXT).is_dir():
        roots = load_roots(directory)
        if not roots:
            raise InputError(
                f"reading the keys {directory}: there are none; make a set with `edgewright keys ceremony "
                f"{directory}`"
            )
        newest = Metadata[Root].from_bytes(roots[max(roots)])
        signed = tuple(sorted(_called(keyid, [newest.signed]) for keyid in newest.signatures))
        return Standing(newest.signed.version, signed, (), None)
    draft, deciding = _draft_of(directory)
    missing = []
    for root in deciding:
        result = root.get_verification_result("root", draft.signed_bytes, draft.signatures)
        lacking = max(0, result.threshold - len(result.signed))
        missing.append((lacking, tuple(sorted(_called(keyid, deciding) for keyid in result.unsigned))))
    signed = tuple(sorted(_called(keyid, deciding) for keyid in draft.signatures))
    file = _draft_file(directory, draft.signed.version)
    told = Standing(draft.signed.version, signed, tuple(missing), file)
    if told.done:
        settle(directory)
        return replace(told, file=None)
    return told


def settle(directory: Path) -> bool:
    """Put a root that enough have signed in place, and its plan.

    Returns:
        Whether there was one.
    """
    place = directory / ROOTS / NEXT
    if not (place / KEYS_FILE).is_file():
        shutil.rmtree(place, ignore_errors=True)  # begun and killed before anything was signed
        return False
    draft, deciding = _draft_of(directory)
    for root in deciding:
        if not root.get_verification_result("root", draft.signed_bytes, draft.signatures).verified:
            return False
    write_file(directory / ROOTS / f"{draft.signed.version}.root.json", draft.to_bytes())
    write_file(directory / KEYS_FILE, (place / KEYS_FILE).read_bytes())
    shutil.rmtree(place)
    return True


def _draft(directory: Path, plan: KeyPlan, version: int, expires: datetime) -> Standing:
    place = directory / ROOTS / NEXT
    waiting = _waiting(directory)
    if waiting is not None:
        if waiting != plan:
            raise InputError(
                f"drafting a root in {directory}: root {version} is being signed already and says something "
                "else; have "
                f"it signed, or give it up by removing {place}"
            )
        return standing(directory)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)

    def public(name: str) -> SSlibKey:
        return load_public(directory / plan.keys[name].public, name)

    installer = installer_pin(load_roots(directory)[version - 1]) if version > 1 else make_pin(directory)
    root = build_root(public, plan, version, expires, installer)
    before = KeyPlan.load(directory / KEYS_FILE) if version > 1 else plan
    for name in dict.fromkeys((*before.roles["root"].keys, *plan.roles["root"].keys)):
        entry = plan.keys.get(name) or before.keys[name]
        own = directory / HOLDERS / name / f"{name}.pem"  # made here and not taken away yet
        if entry.private and not is_token(entry.private):
            own = directory / entry.private
        if own.is_file():
            sign_with(root, load_own(str(own), name))
    write_file(_draft_file(directory, version), root.to_bytes())
    write_file(place / KEYS_FILE, plan.dump())
    return standing(directory)


def _draft_file(directory: Path, version: int) -> Path:
    return directory / ROOTS / NEXT / f"{version}.root.json"


def _waiting(directory: Path) -> KeyPlan | None:
    path = directory / ROOTS / NEXT / KEYS_FILE
    return KeyPlan.load(path) if path.is_file() else None


def _today(directory: Path) -> tuple[KeyPlan, int]:
    settle(directory)
    plan = KeyPlan.load(directory / KEYS_FILE)
    return plan, max(load_roots(directory))


def _draft_of(directory: Path) -> tuple[Metadata[Root], list[Root]]:
    """The root that is being signed, and the roots whose thresholds decide."""
    before = load_roots(directory)
    place = directory / ROOTS / NEXT
    drafts = sorted(place.glob("*.root.json"))
    if len(drafts) != 1:
        raise InputError(
            f"reading {place}: expected one draft, N.root.json; remove the directory and draft again"
        )
    draft = _read_root(drafts[0])
    deciding = [draft.signed]
    if draft.signed.version - 1 in before:
        deciding.insert(0, Metadata[Root].from_bytes(before[draft.signed.version - 1]).signed)
    elif draft.signed.version != 1:
        raise InputError(
            f"reading {drafts[0]}: there is no root {draft.signed.version - 1} that it could follow"
        )
    return draft, deciding


def _read_root(file: Path) -> Metadata[Root]:
    try:
        if file.stat().st_size > _MAX_ROOT:
            raise InputError(f"reading {file}: expected a root, got more than {_MAX_ROOT} bytes")
        metadata = Metadata[Root].from_bytes(file.read_bytes())
    except OSError as error:
        raise InputError(f"reading {file}: {error.strerror}") from error
    except (RepositoryError, RecursionError) as error:
        raise InputError(f"reading {file}: it is no TUF root: {error}") from error
    if metadata.signed.type != Root.type:
        raise InputError(f"reading {file}: expected a root, got {metadata.signed.type}")
    return metadata


def _called(keyid: str, roots: Sequence[Root]) -> str:
    for root in reversed(roots):
        if keyid in root.keys:
            return str(root.keys[keyid].unrecognized_fields.get(NAME_FIELD, keyid))
    return keyid


def _take_public(directory: Path, holder: Holder, here: bool = False) -> KeyEntry:
    """Put a holder's public key into the set; makes the key when it was not made elsewhere.

    Args:
        directory: The set.
        holder: Who.
        here: Whether a key that is made stays in the set, as in a development set.
    """
    public = directory / f"{holder.name}.pub.pem"
    if holder.public is not None:
        key = (
            token_public(holder.public, holder.name)
            if is_token(holder.public)
            else load_public(Path(holder.public), holder.name)
        )
        write_file(public, public_pem(key))
        return KeyEntry(public.name)
    if here:
        private = directory / f"{holder.name}.pem"
        if not private.is_file():
            make_key(private, "")
        return KeyEntry(public.name, private.name)
    place = directory / HOLDERS / holder.name
    private = place / f"{holder.name}.pem"
    if not private.is_file():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_key(private, passphrase(holder.name, new=True))
    write_file(public, private.with_suffix(".pub.pem").read_bytes())
    return KeyEntry(public.name)


def _release_key(directory: Path, name: str, reference: str | None, development: bool = False) -> KeyEntry:
    public = directory / f"{name}.pub.pem"
    if reference is not None:
        if not is_token(reference):
            raise InputError(
                f"taking the release key {reference}: expected a token's address, hsm:KEYID?label=LABEL"
            )
        write_file(public, public_pem(token_public(reference, name)))
        return KeyEntry(public.name, reference)
    private = directory / f"{name}.pem"
    if not private.is_file():
        make_key(private, "" if development else passphrase(name, new=True))
    return KeyEntry(public.name, private.name)


def describe(metadata: Metadata[Root]) -> str:
    """What a root says, for the person who is about to sign it."""
    root = metadata.signed
    lines = [
        f"root {root.version}, until {root.expires:%Y-%m-%d}, payload sha256 "
        f"{sha256(metadata.signed_bytes).hexdigest()}"
    ]
    for role in ROLES:
        told = root.roles[role]
        names = ", ".join(sorted(_called(keyid, [root]) for keyid in told.keyids))
        lines.append(f"  {role}: {told.threshold} of {names}")
    pin = root.unrecognized_fields.get(INSTALLER_FIELD)
    if isinstance(pin, dict):
        lines.append(f"  installer: OpenPGP certificate with sha256 {pin.get('keyring_sha256')}")
    return "\n".join(lines)


def read_draft(file: Path) -> Metadata[Root]:
    """A draft, for showing it."""
    return _read_root(file)
