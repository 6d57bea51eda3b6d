# SPDX-License-Identifier: Apache-2.0
"""The controller's side of a bundle: taken in whole, from a bare machine or by an Edgewright that is here.

Below a controller's state directory:

    trust/                    what is trusted, see `edgewright.bundle.trust`
    depots/current            the depot that is served, see `edgewright.bundle.takein`
    releases/NAME-VERSION-LOCK/  documents of each release that stays: release.yml, release.lock.yml, SBOM
    release -> releases/...   those of the one that is served: what inventories name edgewright_release_dir
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle.installer import BOOTSTRAP, PINS
from edgewright.bundle.layout import INSTALLER, TIMESTAMP, document_name
from edgewright.bundle.takein import TakeInResult, reclaim, release_name, take_in
from edgewright.bundle.trust import sync_directory
from edgewright.bundle.verify import VerifiedBundle, open_bundle
from edgewright.depot.build import exchange
from edgewright.depot.progress import human_bytes, say
from edgewright.errors import InputError

__all__ = ["Places", "install_bundle", "notices", "reclaim_all", "take_in_bundle"]

_MAX_DOCUMENT = 256 << 20
"""Bytes of one document, held in memory; an SBOM of 200,000 files has about 100 MB."""

_MAX_PINS = 4 << 20


@dataclass(frozen=True)
class Places:
    """Where a controller keeps things; `state` is the directory of all."""

    state: Path

    @property
    def trust(self) -> Path:
        """The trusted state."""
        return self.state / "trust"

    @property
    def depots(self) -> Path:
        """The depot's releases."""
        return self.state / "depots"

    @property
    def depot(self) -> Path:
        """The depot that is served."""
        return self.depots / "current"

    @property
    def releases(self) -> Path:
        """Documents of the releases."""
        return self.state / "releases"

    @property
    def release(self) -> Path:
        """Documents of the release that is served."""
        return self.state / "release"


def take_in_bundle(
    stick: Path, places: Places, keep: int, fingerprint: str | None = None
) -> tuple[VerifiedBundle, TakeInResult]:
    """Verify a bundle, make it the depot's release, put its documents beside it, and accept it.

    Args:
        stick: The bundle.
        places: The controller's.
        keep: How many releases stay, the new one among them.
        fingerprint: Of the root, where nothing is trusted yet.

    Returns:
        The bundle, closed, and what was done.

    Raises:
        BundleRefused: It is not what keys that count here have signed.
        InputError: Something is in the way, or there is too little space.
    """
    with open_bundle(stick, places.trust, fingerprint=fingerprint) as bundle:
        for told in notices(bundle):
            say(told)
        documents = {
            name: bundle.read(document_name(name), _MAX_DOCUMENT) for name in sorted(bundle.index.documents)
        }
        result = take_in(bundle, places.depots, keep)
        _keep_documents(places, release_name(bundle.index), documents)
        if result.changed or not _accepted(stick, places):
            bundle.accept()
    _drop_documents(places)
    return bundle, result


def _accepted(stick: Path, places: Places) -> bool:
    """Whether this very bundle is what is trusted; it was verified just now."""
    try:
        trusted = (places.trust / "current" / TIMESTAMP).read_bytes()
        return trusted == (stick / TIMESTAMP).read_bytes()
    except OSError:
        return False


def notices(bundle: VerifiedBundle) -> list[str]:
    """What a person must know about a bundle that is right."""
    found = [bundle.clock_note] if bundle.clock_note else []
    if bundle.index.development:
        found.append(
            f"NOTICE: {bundle.index.name} was signed with DEVELOPMENT keys: trust it for trials only"
        )
    return found


def install_bundle(stick: Path, places: Places, prefix: Path, keep: int, *more: str) -> int:
    """Install a later bundle, with the Edgewright that is here: nothing of the stick runs unverified.

    Args:
        stick: The bundle.
        places: The controller's; its trusted state must hold a root.
        prefix: Where Edgewright is.
        keep: How many releases stay.
        more: Further words for the bootstrap.

    Returns:
        The bootstrap's exit code.

    Raises:
        BundleRefused: The bundle is not right.
        InputError: It carries no installer.
    """
    with open_bundle(stick, places.trust) as bundle:
        name = f"{INSTALLER}/{PINS}"
        if name not in bundle.files:
            raise InputError(
                f"installing {bundle.index.name}: the bundle carries no installer; take it in with "
                f"`edgewright controller take-in {stick} --state {places.state}`"
            )
        pins = hashlib.sha256(bundle.read(name, _MAX_PINS)).hexdigest()
    own = Path(__file__).parent.parent / "data" / INSTALLER / BOOTSTRAP
    words = ["--stick", str(stick.absolute()), "--pins-sha256", pins, "--prefix", str(prefix)]
    words += ["--state", str(places.state), "--keep", str(keep), *more]
    return subprocess.run([sys.executable, "-I", "-B", str(own), *words], check=False).returncode


def _keep_documents(places: Places, name: str, documents: dict[str, bytes]) -> None:
    """Write a release's documents, whole or not at all, and let `release` lead to them."""
    target = places.releases / name
    if not _has(target, documents):
        places.releases.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=places.state))
        try:
            for path, data in documents.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_bytes(data)
            new.chmod(0o755)
            os.sync()
            exchange(new, target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    if not places.release.is_symlink() or places.release.readlink() != Path("releases") / name:
        link = places.state / ".release"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("releases") / name)
        link.replace(places.release)
        sync_directory(places.state)


def _has(target: Path, documents: dict[str, bytes]) -> bool:
    try:
        return all((target / path).read_bytes() == data for path, data in documents.items())
    except OSError:
        return False


def reclaim_all(places: Places, prefix: Path, keep: int) -> int:
    """Free space: older depots with their documents, older environments, and what interrupted runs left.

    Args:
        places: The controller's.
        prefix: Where Edgewright is.
        keep: How many of each stay; the current ones always do.

    Returns:
        Bytes that were freed.
    """
    freed = reclaim(places.depots, keep)
    _drop_documents(places)
    current = (prefix / "current").resolve()
    others = [path for path in (prefix / "releases").glob("*") if path != current]
    for path in sorted(others, key=_number)[: max(0, len(others) - keep + 1)]:
        size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
        shutil.rmtree(path)
        say(f"removed the environment {path.name}: {human_bytes(size)}")
        freed += size
    return freed


def _number(environment: Path) -> int:
    """Which environment of this machine it is, from 1 on; the bootstrap counts them."""
    try:
        return int((environment / ".number").read_text("ascii"))
    except (OSError, ValueError):
        return 0


def _drop_documents(places: Places) -> None:
    """Documents of releases whose depot went."""
    kept = {path.name for path in (places.depots / "releases").glob("*")}
    for old in places.releases.glob("*"):
        if old.name not in kept:
            shutil.rmtree(old)
