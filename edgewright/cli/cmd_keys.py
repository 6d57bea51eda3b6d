# SPDX-License-Identifier: Apache-2.0
"""`edgewright keys`: make, sign, rotate and show the keys that sign bundles (docs/how-to/keys.md)."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from datetime import datetime

    from edgewright.bundle.ceremony import Standing

__all__ = ["add"]

_YEARS = 5
_HOLDER_HELP = (
    "NAME makes a key here, with a passphrase, for its holder to take away; NAME=PUBLIC.pem or "
    "NAME=hsm:KEYID?label=LABEL takes the public part of a key that was made elsewhere; repeat for each"
)
_RELEASE_HELP = (
    "the release key lies in a PKCS#11 token (with PYKCS11LIB); without it a PEM file with a passphrase is "
    "made"
)


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("keys", help="the keys that sign bundles", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    ceremony = verbs.add_parser(
        "ceremony",
        help="make root keys for several people, a release key and the first root; goes on where it ended",
    )
    _set(ceremony)
    ceremony.add_argument("--holder", action="append", required=True, metavar="NAME[=KEY]", help=_HOLDER_HELP)
    ceremony.add_argument("--threshold", type=int, default=2, help="how many holders must sign (default: 2)")
    ceremony.add_argument("--release-token", metavar="hsm:KEYID?label=LABEL", help=_RELEASE_HELP)
    _years(ceremony)
    ceremony.set_defaults(run=_ceremony)

    develop = verbs.add_parser("develop", help="make a set for trying things out; all keys in one directory")
    _set(develop)
    develop.set_defaults(run=_develop)

    sign = verbs.add_parser(
        "sign-root",
        help="a holder signs a draft, N.root.json, in place: needs nothing but the file and the key",
    )
    sign.add_argument("file", type=Path, metavar="N.root.json")
    sign.add_argument(
        "--key", required=True, metavar="PEM|hsm:KEYID?label=LABEL", help="the holder's private key"
    )
    sign.add_argument(
        "--name", help="whose key it is, for the question of its passphrase (default: its file's name)"
    )
    sign.set_defaults(run=_sign)

    join = verbs.add_parser("join", help="put the signatures of copies together, until enough have signed")
    _set(join)
    join.add_argument("files", type=Path, nargs="+", metavar="N.root.json", help="copies that holders signed")
    join.set_defaults(run=_join)

    rotate = verbs.add_parser(
        "rotate", help="draft the next root: another release key, other holders, a later end"
    )
    what = rotate.add_subparsers(title="what", required=True, metavar="WHAT")
    release = what.add_parser("release", help="a new release key replaces the one of today")
    _set(release)
    release.add_argument("--release-token", metavar="hsm:KEYID?label=LABEL", help=_RELEASE_HELP)
    _years(release)
    release.set_defaults(run=_rotate_release)
    root = what.add_parser("root", help="holders come or go; without --add and --remove only the end moves")
    _set(root)
    root.add_argument("--add", action="append", default=[], metavar="NAME[=KEY]", help=_HOLDER_HELP)
    root.add_argument(
        "--remove", action="append", default=[], metavar="NAME", help="a holder who goes; repeat for more"
    )
    root.add_argument("--threshold", type=int, help="how many must sign from now on (default: as before)")
    _years(root)
    root.set_defaults(run=_rotate_root)

    show = verbs.add_parser(
        "show", help="tell what a set holds, and who must still sign; status 1 while some must"
    )
    _set(show)
    show.set_defaults(run=_show)

    fingerprint = verbs.add_parser("fingerprint", help="print what people type on a controller")
    fingerprint.add_argument(
        "place", type=Path, metavar="KEYS|N.root.json", help="a set of keys, or the file 1.root.json itself"
    )
    fingerprint.set_defaults(run=_fingerprint)


def _set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="KEYS", help="directory of the set")


def _years(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--years", type=int, default=_YEARS, help=f"how long the root is good (default: {_YEARS}, at most 20)"
    )


def _end(args: argparse.Namespace) -> datetime:
    from datetime import timedelta  # noqa: PLC0415 - other commands start without it

    from edgewright.bundle.trust import utc_now  # noqa: PLC0415
    from edgewright.errors import InputError  # noqa: PLC0415

    if not 1 <= args.years <= 20:
        raise InputError(f"reading --years: expected 1 to 20, got {args.years}")
    return utc_now() + timedelta(days=365 * args.years)


def _ceremony(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import HOLDERS, Holder, start  # noqa: PLC0415

    holders = [Holder.parse(text) for text in args.holder]
    told = start(args.dir, holders, args.threshold, args.release_token, _end(args))
    made = [holder.name for holder in holders if (args.dir / HOLDERS / holder.name).is_dir()]
    _tell(args.dir, told)
    if made:
        print(
            f"Now give each of {', '.join(made)} the directory {args.dir / HOLDERS}/NAME on a medium of "
            "their own, twice, "
            f"and remove {args.dir / HOLDERS} from this machine: no two root keys may stay in one place."
        )
    return 0


def _develop(args: argparse.Namespace) -> int:
    from edgewright.bundle.keys import KeySet  # noqa: PLC0415

    return _print_fingerprint(KeySet.develop(args.dir).fingerprint)


def _sign(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import describe, read_draft, sign_file  # noqa: PLC0415
    from edgewright.bundle.keyfile import is_token, key_name  # noqa: PLC0415
    from edgewright.depot.progress import say  # noqa: PLC0415

    say(f"You are about to sign:\n{describe(read_draft(args.file))}")
    stem = "token" if is_token(args.key) else Path(args.key).name.removesuffix(".pem").lower()
    plain = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40] or "holder"
    name = sign_file(args.file, args.key, key_name(args.name or plain))
    print(
        f"{args.file}: signed as {name}; bring it back, to be joined with "
        f"`edgewright keys join KEYS {args.file.name}`"
    )
    return 0


def _join(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import join  # noqa: PLC0415

    _tell(args.dir, join(args.dir, args.files))
    return 0


def _rotate_release(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import rotate_release  # noqa: PLC0415

    told = rotate_release(args.dir, args.release_token, _end(args))
    _tell(args.dir, told)
    print(
        "Bundles that are signed from then on need this root on their stick, which `edgewright bundle "
        "build` sees to. "
        "Destroy the old private key when they are."
    )
    return 0


def _rotate_root(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import Holder, rotate_root  # noqa: PLC0415

    added = [Holder.parse(text) for text in args.add]
    _tell(args.dir, rotate_root(args.dir, added, args.remove, args.threshold, _end(args)))
    return 0


def _show(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import describe, standing  # noqa: PLC0415
    from edgewright.bundle.keys import KEYS_FILE, KeySet  # noqa: PLC0415
    from edgewright.bundle.trust import group_fingerprint  # noqa: PLC0415

    told = standing(args.dir)
    if (args.dir / KEYS_FILE).exists():
        from tuf.api.metadata import Metadata  # noqa: PLC0415

        keys = KeySet.open(args.dir)
        kind = "a DEVELOPMENT set" if keys.development else "a set of keys"
        print(f"{args.dir}: {kind}, fingerprint {group_fingerprint(keys.fingerprint)}")
        print(describe(Metadata.from_bytes(keys.roots[max(keys.roots)])))
    _tell(args.dir, told)
    return 0 if told.done else 1


def _fingerprint(args: argparse.Namespace) -> int:
    from edgewright.bundle.ceremony import read_draft  # noqa: PLC0415
    from edgewright.bundle.keys import KeySet  # noqa: PLC0415
    from edgewright.errors import InputError  # noqa: PLC0415

    if args.place.is_dir():
        return _print_fingerprint(KeySet.open(args.place).fingerprint)
    from hashlib import sha256  # noqa: PLC0415

    version = read_draft(args.place).signed.version
    if version != 1:
        raise InputError(
            f"reading {args.place}: controllers pin root 1, this is root {version}; name 1.root.json"
        )
    return _print_fingerprint(sha256(args.place.read_bytes()).hexdigest())


def _print_fingerprint(digits: str) -> int:
    from edgewright.bundle.trust import group_fingerprint  # noqa: PLC0415

    print(group_fingerprint(digits))
    return 0


def _tell(directory: Path, told: Standing) -> None:
    signed = ", ".join(told.signed) or "nobody"
    if told.done:
        print(f"{directory}: root {told.version} is in place, signed by {signed}")
        return
    print(f"{directory}: root {told.version} is signed by {signed}")
    for count, names in told.missing:
        if count:
            print(f"  still to sign: {count} of {', '.join(names)}")
    print(
        f"Give them copies of {told.file}; each signs theirs with `edgewright keys sign-root "
        f"{told.version}.root.json --key "
        f"KEY.pem`; then run `edgewright keys join {directory} COPY...`"
    )
