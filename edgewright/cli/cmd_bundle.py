# SPDX-License-Identifier: Apache-2.0
"""`edgewright bundle`: a locked release whole and signed on a stick, and into a controller's depot."""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import InputError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from edgewright.bundle.keys import KeySet
    from edgewright.bundle.verify import VerifiedBundle

__all__ = ["KEYS_VARIABLE", "add", "keys_directory"]

KEYS_VARIABLE = "EDGEWRIGHT_KEYS"
"""Environment variable that names the directory of keys."""

_KEEP = 3


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser("bundle", help="build, verify and install a bundle", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    build = verbs.add_parser("build", help="build the signed bundle of a locked release")
    build.add_argument(
        "release_dir", type=Path, metavar="RELEASE_DIR", help="directory with release.yml and lock"
    )
    build.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="STICK",
        help="the directory that becomes the bundle",
    )
    build.add_argument(
        "--keys",
        type=Path,
        metavar="DIR",
        help=f"who signs (default: {KEYS_VARIABLE}, else ~/.config/edgewright/keys, where a set for "
        "development is made when there is none)",
    )
    build.add_argument(
        "--no-installer",
        action="store_true",
        help="leave out what makes a controller of a bare machine (about 60 MB): for controllers that hold "
        "Edgewright",
    )
    build.set_defaults(run=_build)

    verify = verbs.add_parser("verify", help="check every byte of a bundle; changes nothing")
    install = verbs.add_parser("install", help="verify a bundle and make it the depot's release")
    for command in (verify, install):
        command.add_argument("stick", type=Path, metavar="STICK", help="the directory that holds the bundle")
        command.add_argument(
            "--trust",
            type=Path,
            metavar="DIR",
            required=command is install,
            help="the controller's trusted state",
        )
        command.add_argument(
            "--fingerprint",
            metavar="HEX",
            help="sha256 of the bundle's first root, as its builder told it; needed where nothing is trusted "
            "yet",
        )
    verify.set_defaults(run=_verify)
    install.add_argument(
        "--depots", type=Path, metavar="DIR", required=True, help="the controller's releases"
    )
    install.add_argument(
        "--keep", type=int, default=_KEEP, metavar="N", help=f"releases that stay (default: {_KEEP})"
    )
    install.set_defaults(run=_install)

    rehearse = verbs.add_parser(
        "rehearse",
        help="do the whole site procedure on fresh twins that reach nothing else, and sign what came of it",
    )
    rehearse.add_argument("stick", type=Path, metavar="STICK", help="the directory that holds the bundle")
    rehearse.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="where the closure certificate goes (default: NAME.closure.json beside the stick)",
    )
    rehearse.add_argument(
        "--work", type=Path, metavar="DIR", help="for the twins and the logs (default: in the cache)"
    )
    rehearse.set_defaults(run=_rehearse)
    certificate = verbs.add_parser(
        "certificate", help="verify a closure certificate against a bundle, and show it"
    )
    certificate.add_argument("certificate", type=Path, metavar="FILE", help="the closure certificate")
    certificate.add_argument("stick", type=Path, metavar="STICK", help="the bundle that it shall speak of")
    certificate.add_argument("--json", action="store_true", help="the certificate's content as JSON")
    certificate.set_defaults(run=_certificate)
    for command in (rehearse, certificate):
        command.add_argument(
            "--keys",
            type=Path,
            metavar="DIR",
            help="the set of keys that signed the bundle (default: as build)",
        )

    reclaim = verbs.add_parser("reclaim", help="free space: remove releases that are no longer served")
    reclaim.add_argument(
        "--depots", type=Path, metavar="DIR", required=True, help="the controller's releases"
    )
    reclaim.add_argument(
        "--keep",
        type=int,
        default=1,
        metavar="N",
        help="releases that stay, the served one always (default: 1)",
    )
    reclaim.set_defaults(run=_reclaim)


def keys_directory(named: Path | None) -> Path:
    """Where the keys are: as named, else by the environment, else in the person's own configuration."""
    if named is not None:
        return named
    if os.environ.get(KEYS_VARIABLE):
        return Path(os.environ[KEYS_VARIABLE])
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edgewright" / "keys"


def _keys(args: argparse.Namespace) -> KeySet:
    """The set of keys; one for development is made only where nobody named a directory and none are there."""
    from edgewright.bundle.keys import KEYS_FILE, ROOTS, KeySet  # noqa: PLC0415 - others start without it
    from edgewright.release.documents import load_lock, load_release  # noqa: PLC0415

    directory = keys_directory(args.keys)
    made = any((directory / name).exists() for name in (KEYS_FILE, ROOTS))
    if args.keys is not None or made:
        return KeySet.open(directory)
    load_release(args.release_dir)  # what is wrong there is told before keys are made
    load_lock(args.release_dir)
    return KeySet.develop(directory)


def _build(args: argparse.Namespace) -> int:
    from edgewright.bundle.build import build_bundle  # noqa: PLC0415
    from edgewright.bundle.installer import installer_files  # noqa: PLC0415
    from edgewright.bundle.trust import group_fingerprint  # noqa: PLC0415
    from edgewright.depot.progress import human_bytes, say  # noqa: PLC0415

    keys = _keys(args)
    installer = None if args.no_installer else installer_files
    result = build_bundle(args.release_dir, args.output, keys, installer=installer)
    told = f"bundle {args.output}: {result.index.name}, {result.files} files, {human_bytes(result.size)}"
    told += f", {human_bytes(result.written)} written"
    print(told + (f", {result.removed} older files removed" if result.removed else ""))
    print(f"fingerprint of the root key: {group_fingerprint(keys.fingerprint)}")
    if keys.development:
        say(
            f"NOTICE: signed with the DEVELOPMENT keys in {keys.directory}: whoever has them can make "
            "bundles that your controllers accept"
        )
    return 0


def _open(args: argparse.Namespace, trust: Path) -> VerifiedBundle:
    from edgewright.bundle.verify import open_bundle  # noqa: PLC0415
    from edgewright.depot.progress import say  # noqa: PLC0415

    bundle = open_bundle(args.stick, trust, fingerprint=args.fingerprint)
    if bundle.clock_note:
        say(bundle.clock_note)
    if bundle.index.development:
        say(f"NOTICE: {bundle.index.name} was signed with DEVELOPMENT keys: trust it for trials only")
    return bundle


def _verify(args: argparse.Namespace) -> int:
    from edgewright.depot.progress import Progress, human_bytes  # noqa: PLC0415
    from edgewright.snaps.depot import check_bundle_snaps  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="ew-verify-") as nothing:
        if args.trust is None and args.fingerprint is None:
            args.fingerprint = _own_fingerprint()
        with _open(args, args.trust or Path(nothing)) as bundle:
            progress = Progress("verifying the bundle", bundle.size)
            bundle.check_all(progress)
            progress.close()
            check_bundle_snaps(bundle)
            told = f"bundle {args.stick}: {bundle.index.name}, {len(bundle.files)} files are right"
            print(f"{told}, {human_bytes(bundle.size)}")
    return 0


def _own_fingerprint() -> str | None:
    """Of the build host's own keys, for whoever verifies what was built here."""
    from edgewright.bundle.keys import KEYS_FILE, KeySet  # noqa: PLC0415
    from edgewright.depot.progress import say  # noqa: PLC0415

    directory = keys_directory(None)
    if not (directory / KEYS_FILE).is_file():
        return None
    say(f"verifying against the keys of this host, {directory}")
    return KeySet.open(directory).fingerprint


def _install(args: argparse.Namespace) -> int:
    from edgewright.bundle.takein import take_in  # noqa: PLC0415

    with _open(args, args.trust) as bundle:
        result = take_in(bundle, args.depots, args.keep)
        bundle.accept()
        print(result.told(args.depots, bundle.index.name))
    return 0


def _rehearse(args: argparse.Namespace) -> int:
    from edgewright.bundle.keys import KeySet  # noqa: PLC0415
    from edgewright.bundle.rehearsal.certificate import summary  # noqa: PLC0415
    from edgewright.bundle.rehearsal.run import rehearse  # noqa: PLC0415
    from edgewright.paths import cache_dir  # noqa: PLC0415
    from edgewright.twin.tools import say_print  # noqa: PLC0415

    for number in (signal.SIGTERM, signal.SIGHUP):  # its machines go in any case
        signal.signal(number, signal.default_int_handler)
    stick = args.stick.absolute()
    certificate = args.certificate or stick.with_name(f"{stick.name}.closure.json")
    if stick in certificate.absolute().parents:
        raise InputError(
            f"rehearsing {stick}: the certificate {certificate} would lie on the stick, where every file is "
            "signed; name another place for it"
        )
    work = (args.work or cache_dir() / "rehearsals" / stick.name).absolute()
    done = rehearse(stick, KeySet.open(keys_directory(args.keys)), work, certificate, say_print)
    print(summary(done.predicate()))
    print(f"closure certificate: {certificate}; logs: {work}")
    return 0 if done.failed is None else 1


def _certificate(args: argparse.Namespace) -> int:
    from edgewright.bundle.dsse import MAX_ENVELOPE_BYTES  # noqa: PLC0415
    from edgewright.bundle.keys import KeySet  # noqa: PLC0415
    from edgewright.bundle.rehearsal.certificate import summary, verify_certificate  # noqa: PLC0415
    from edgewright.bundle.rehearsal.run import inspect  # noqa: PLC0415

    keys = KeySet.open(keys_directory(args.keys))
    try:
        with args.certificate.open("rb") as stream:
            envelope = stream.read(MAX_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"reading the closure certificate {args.certificate}: {error.strerror}; `edgewright bundle "
            "rehearse` writes one"
        ) from error
    role = keys.plan.roles["targets"]
    public = [keys.public(name) for name in role.keys]
    told = verify_certificate(envelope, public, inspect(args.stick, keys).subjects, role.threshold)
    print(json.dumps(told, indent=2) if args.json else summary(told))
    return 0 if told["verdict"] == "closed" else 1


def _reclaim(args: argparse.Namespace) -> int:
    from edgewright.bundle.takein import reclaim  # noqa: PLC0415
    from edgewright.depot.progress import human_bytes  # noqa: PLC0415

    print(f"depot {args.depots}: {human_bytes(reclaim(args.depots, args.keep))} freed")
    return 0
