# SPDX-License-Identifier: Apache-2.0
"""`edgewright snaps`: look at a snap and its assertions before they go into a release."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from edgewright.snaps.chain import Believed

__all__ = ["add"]


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("snaps", help="check snaps against their assertions", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    show = verbs.add_parser(
        "show", help="check a snap's whole chain of assertions, and print what release.yml needs of it"
    )
    show.add_argument("snap", type=Path, metavar="SNAP", help="the file that `snap download` wrote")
    show.add_argument("assertions", type=Path, nargs="?", metavar="ASSERT", help="the .assert file beside it")
    show.add_argument(
        "--component",
        type=Path,
        action="append",
        default=[],
        metavar="COMP",
        help="a component's file, whose assertions are in ASSERT too; may be given again",
    )
    show.set_defaults(run=_show)
    sets = verbs.add_parser(
        "set", help="check a validation set's chain of assertions, and print what release.yml needs of it"
    )
    sets.add_argument(
        "assertions",
        type=Path,
        metavar="ASSERT",
        help="the file with account, account-key and validation-set",
    )
    sets.set_defaults(run=_set)
    pack = verbs.add_parser(
        "pack", help="pack a locked release's runtime and models as strict snaps, to publish them in a store"
    )
    pack.add_argument(
        "release_dir", type=Path, metavar="RELEASE_DIR", help="directory with release.yml and lock"
    )
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the snaps go")
    pack.set_defaults(run=_pack)


def _pack(args: argparse.Namespace) -> int:
    from edgewright.depot.blobs import BlobStore  # noqa: PLC0415 - other commands start without it
    from edgewright.release.documents import load_lock, load_release  # noqa: PLC0415
    from edgewright.release.lock import ensure_images, fetch_sources  # noqa: PLC0415
    from edgewright.snaps.pack import pack_snaps  # noqa: PLC0415

    release, _ = load_release(args.release_dir)
    lock, _ = load_lock(args.release_dir)
    store = BlobStore()
    fetch_sources(lock, release, store)
    ensure_images(lock, release, args.release_dir, store)
    for packed in pack_snaps(lock, store, args.output):
        print(f"snap {packed.path}: sha256 {packed.hashed.sha256}, sha3-384 {packed.hashed.sha3_384}")
    return 0


def _show(args: argparse.Namespace) -> int:
    import yaml  # noqa: PLC0415 - other commands start without it

    from edgewright.depot.progress import say  # noqa: PLC0415
    from edgewright.errors import InputError  # noqa: PLC0415
    from edgewright.snaps.grade import DANGEROUS, notice  # noqa: PLC0415
    from edgewright.snaps.inputs import hash_snap  # noqa: PLC0415

    hashed = hash_snap(args.snap)
    entry: dict[str, Any] = {"name": args.snap.stem.partition("_")[0], "path": f"snaps/{args.snap.name}"}
    if args.assertions is None and args.component:
        raise InputError(
            f"reading {args.component[0]}: a component is checked by its snap's ASSERT; name that file"
        )
    if args.assertions is None:
        say(notice([entry["name"]], str(args.snap)))
        entry["grade"] = DANGEROUS
    else:
        entry |= _asserted(args.assertions, hashed.sha3_384, hashed.size, args.snap)
    entry |= {"sha3_384": hashed.sha3_384, "licence": "LicenseRef-CHANGE-ME"}
    if args.component:
        entry["components"] = [_component(path, args.assertions, hashed.sha3_384) for path in args.component]
    print(yaml.safe_dump({"snaps": [entry]}, sort_keys=False), end="")
    return 0


def _component(path: Path, assertions: Path, snap: str) -> dict[str, Any]:
    """What release.yml needs of a component; `snap` is the digest of the snap that it belongs to."""
    from edgewright.snaps.components import describe_component  # noqa: PLC0415
    from edgewright.snaps.inputs import hash_snap  # noqa: PLC0415

    hashed = hash_snap(path)
    believed = _believed(assertions, str(path))
    claim = describe_component(believed, snap, str(path), hashed.sha3_384, hashed.size)
    told = {"name": claim.name, "path": f"snaps/{path.name}", "revision": claim.revision}
    return {**told, "sha3_384": hashed.sha3_384, "licence": "LicenseRef-CHANGE-ME"}


def _set(args: argparse.Namespace) -> int:
    import yaml  # noqa: PLC0415 - other commands start without it

    from edgewright.snaps.refusal import SnapRefused  # noqa: PLC0415
    from edgewright.snaps.validation import known_sets  # noqa: PLC0415

    found = known_sets(_believed(args.assertions, "a validation set"))
    if not found:
        raise SnapRefused(
            "missing",
            f"reading {args.assertions}: its assertions hold no validation-set; fetch it with `snap known "
            "--remote validation-set`",
        )
    for each in found:
        for pin in each.pins:
            revision = f"revision {pin.revision}" if pin.revision is not None else "any revision"
            print(f"# {each.named.key}: {pin.name} ({pin.snap_id}): {pin.presence}, {revision}")
    entries = [
        {
            "account": each.named.account,
            "name": each.named.name,
            "sequence": each.named.sequence,
            "assertions": f"snaps/{args.assertions.name}",
        }
        for each in found
    ]
    print(yaml.safe_dump({"validation_sets": entries}, sort_keys=False), end="")
    return 0


def _believed(path: Path, what: str) -> Believed:
    """A file's assertions, checked up to the root."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from edgewright.errors import InputError  # noqa: PLC0415
    from edgewright.snaps import trusted  # noqa: PLC0415
    from edgewright.snaps.assertion import MAX_FILE_BYTES, read_assertions  # noqa: PLC0415
    from edgewright.snaps.chain import believe  # noqa: PLC0415

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"reading {path}: {error.strerror}; name the .assert file of {what}") from error
    return believe(read_assertions(data, str(path)), trusted.canonical_roots(), datetime.now(UTC))


def _asserted(path: Path, sha3_384: str, size: int, snap: Path) -> dict[str, Any]:
    """What believed assertions say of the file, found by its digest: its name counts nothing."""
    from edgewright.snaps.chain import describe  # noqa: PLC0415

    claim = describe(_believed(path, str(snap)), str(snap), sha3_384, size)
    told: dict[str, Any] = {
        "name": claim.name,
        "assertions": f"snaps/{path.name}",
        "revision": claim.revision,
    }
    told["publisher"] = claim.publisher
    return told | ({"developer": claim.developer} if claim.developer else {})
