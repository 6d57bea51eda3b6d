# SPDX-License-Identifier: Apache-2.0
"""The release key that signs the apt repository: an OpenPGP key in one file.

A development key is made on first use and said loudly: real releases are signed with a key that the
build host's owner made and keeps. gpg works in a private home that is gone afterwards: neither a person's
key ring nor a running agent is touched, and its socket's path stays short.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from edgewright.archives import release_date
from edgewright.depot.progress import say
from edgewright.errors import EdgewrightError, InputError, MissingToolError

__all__ = ["PUBLIC_KEY_FILE", "ReleaseKey"]

SECRET_KEY_FILE = "release.key.asc"  # noqa: S105 - a file's name
PUBLIC_KEY_FILE = "release.pub.asc"
SIGNATURES = "signatures"
_NEAR_S = 10
"""A moment that lies this far ahead at most may be the present one when gpg starts."""
_OWNER = "Edgewright development release key"


class ReleaseKey:
    """The key in a directory.

    Args:
        directory: Holds `release.key.asc` (mode 0600) and `release.pub.asc`; both armoured.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._secret = directory / SECRET_KEY_FILE
        self._public = directory / PUBLIC_KEY_FILE

    @property
    def directory(self) -> Path:
        """Where it lies, and other keys beside it."""
        return self._directory

    def ensure(self) -> bytes:
        """Make a development key when there is none.

        Returns:
            The public key, armoured.
        """
        if not self._secret.is_file():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._home() as home:
                _gpg(home, "--quick-generate-key", _OWNER, "ed25519", "sign", "never")
                secret = _gpg(home, "--armor", "--export-secret-keys")
                public = _gpg(home, "--armor", "--export")
            self._public.write_bytes(public)
            part = self._secret.with_suffix(".new")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secret)
            part.replace(self._secret)
            say(
                f"NOTICE: made a DEVELOPMENT release key in {self._directory}: whoever has it can sign "
                "packages that devices accept; sign real releases with a key of your own"
            )
        if not self._public.is_file():
            raise InputError(f"reading the release key: {self._public} is missing beside {self._secret}")
        return self._public.read_bytes()

    def public(self) -> bytes | None:
        """The public key, armoured; None when there is no key yet."""
        return self._public.read_bytes() if self._secret.is_file() and self._public.is_file() else None

    def sign(self, data: bytes) -> tuple[bytes, bytes]:
        """Sign a Release file, as of the moment that its own field `Date` names.

        So the same file and key give the same signature on every day. A key that was made later than that
        moment signs as of its making: nobody accepts a signature older than its key. Signatures are kept in
        `signatures/` beside the key, under the digest of key and file: a Release file that did not change is
        not signed again.

        Args:
            data: The file.

        Returns:
            The same with an inline signature (`InRelease`), and a detached armoured one (`Release.gpg`).

        Raises:
            InputError: Its `Date` cannot be read.
        """
        place = self._kept_at(data)
        kept = _kept(place)
        if kept is not None:
            return kept
        with self._home() as home:
            _gpg(home, "--import", str(self._secret))
            frozen = _as_of(_date(data), _made(home))
            options = [*frozen, "--digest-algo", "SHA256", "--armor"]
            inline = _gpg(home, *options, "--clearsign", data=data)
            apart = _gpg(home, *options, "--detach-sign", data=data)
        _keep(place, inline, apart)
        return inline, apart

    def _kept_at(self, data: bytes) -> Path:
        key = sha256(self._secret.read_bytes()).digest() if self._secret.is_file() else b""
        return self._directory / SIGNATURES / f"{sha256(key + data).hexdigest()}.apt.json"

    def certificate(self) -> bytes:
        """The public key as gpgv's and sqv's key rings hold it: binary.

        Raises:
            InputError: There is no key, or it cannot be read.
        """
        armoured = self.public()
        if armoured is None:
            raise InputError(f"reading the release key: there is none in {self._directory}")
        with self._home() as home:
            return _gpg(home, "--dearmor", data=armoured)

    def sign_apart(self, data: bytes, moment: datetime) -> bytes:
        """Sign anything, as of a moment; see `sign`.

        Args:
            data: What is signed.
            moment: When it was made, UTC.

        Returns:
            A detached armoured signature.
        """
        with self._home() as home:
            _gpg(home, "--import", str(self._secret))
            frozen = _as_of(int(moment.timestamp()), _made(home))
            return _gpg(home, *frozen, "--digest-algo", "SHA256", "--armor", "--detach-sign", data=data)

    @contextmanager
    def _home(self) -> Iterator[Path]:
        if shutil.which("gpg") is None:
            raise MissingToolError("signing the apt repository: gpg is not installed; install gnupg")
        with tempfile.TemporaryDirectory(prefix="ew-gpg-", ignore_cleanup_errors=True) as name:
            try:
                yield Path(name)
            finally:
                subprocess.run(
                    ["gpgconf", "--homedir", name, "--kill", "all"], capture_output=True, check=False
                )


def _kept(place: Path) -> tuple[bytes, bytes] | None:
    """Both signatures as they were kept; None where there are none, or the file is damaged."""
    try:
        told = json.loads(place.read_bytes())
        inline, apart = str(told["inline"]).encode(), str(told["apart"]).encode()
        return (inline, apart) if told["sha256"] == sha256(inline + apart).hexdigest() else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _keep(place: Path, inline: bytes, apart: bytes) -> None:
    """Keep both; a directory that cannot be written only costs the next build its time."""
    told = {"inline": inline.decode(), "apart": apart.decode(), "sha256": sha256(inline + apart).hexdigest()}
    part = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_text(json.dumps(told), "utf-8")
        part.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


def _date(data: bytes) -> int | None:
    """Seconds since 1970 of a Release file's `Date`; None where it has none."""
    for line in data.split(b"\n"):
        if line.startswith(b"Date:"):
            text = line.removeprefix(b"Date:").strip().decode("utf-8", "replace")
            try:
                return int(release_date(text).timestamp())
            except ValueError as error:
                raise InputError(
                    f"signing the apt repository: expected a Date such as Thu, 19 Nov 2026 02:12:54 UTC, "
                    f"got {text!r}; correct apt.date of the lock: lock the release anew"
                ) from error
    return None


def _made(home: Path) -> int:
    """When the newest of the home's secret signing keys was made, in seconds since 1970."""
    listed = _gpg(home, "--with-colons", "--fixed-list-mode", "--list-secret-keys").decode("utf-8", "replace")
    rows = [line.split(":") for line in listed.splitlines() if line.startswith(("sec:", "ssb:"))]
    return max((int(row[5]) for row in rows if "s" in row[11].lower()), default=0)


def _as_of(date: int | None, made: int) -> list[str]:
    if date is None:
        return []
    seconds = max(date, made)
    # gpg takes the present second for no faked time at all, and its clock then goes on: gnupg_set_time in
    # common/gettime.c of GnuPG 2.2. A key may have been made this second. The clock that gpg asks may be a
    # tick of the kernel behind, so a tenth of a second is added.
    ahead = seconds + 1.1 - time.time()
    if 0 < ahead <= _NEAR_S:
        time.sleep(ahead)
    moment = datetime.fromtimestamp(seconds, UTC)
    return ["--faked-system-time", f"{moment:%Y%m%dT%H%M%S}!"]  # "!": the clock stands still


def _gpg(home: Path, *arguments: str, data: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--yes", "--passphrase", ""]
    done = subprocess.run(
        [*command, "--pinentry-mode", "loopback", *arguments], input=data, capture_output=True, check=False
    )
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip()
        raise EdgewrightError(f"signing the apt repository: gpg {' '.join(arguments)} failed: {told}")
    return done.stdout
