# SPDX-License-Identifier: Apache-2.0
"""Taking packages out of a local repository package, as `nv-tensorrt-local-repo-...deb` is one.

    with_repository = LocalRepository.open(Path("nv-tensorrt-local-repo-....deb"), key=None)
    for one in with_repository.packages: ...            # what its index lists
    with_repository.take(["libnvinfer10"], Path("supplied"))

Such a package is a directory `/var/NAME` with a flat apt repository: `Packages`, `InRelease`, packages.
Its index is held to `InRelease`'s digest, each package taken to the index's. A signature counts only with a
key that came another way: the keyring inside says no more than the file itself. Nothing is installed, and no
maintainer script runs. What is taken appears under its name only when it is whole; what is there and right
stays, so that a run that was stopped goes on.
"""

from __future__ import annotations

import base64
import fnmatch
import gzip
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from edgewright.depot.blobs import sha256_file
from edgewright.depot.progress import Progress
from edgewright.errors import InputError, IntegrityError, MissingToolError
from edgewright.release.vendorfiles import is_local_repository

__all__ = ["LocalRepository", "Package"]

_INDICES = ("Packages", "Packages.gz", "InRelease", "Release")
_MAX_INDEX = 64 << 20  # bytes; Debian's own main has 50 MB
_BLOCK = 1 << 20
_FIELD = re.compile(r"^(Package|Version|Architecture|Filename|Size|SHA256): (\S+)\s*$", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~_-]*")


@dataclass(frozen=True)
class Package:
    """A package of a repository, as its index says.

    Attributes:
        name: Like the next three, as Debian has them.
        version: With its epoch.
        arch: Or `all`.
        member: Its path in the archive.
        size: In bytes.
        sha256: In hex.
    """

    name: str
    version: str
    arch: str
    member: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """Its name as `files[].name` of a release wants it."""
        return f"{self.name}_{self.version.rpartition(':')[2]}_{self.arch}.deb"


@dataclass(frozen=True)
class LocalRepository:
    """A local repository package whose index was read and checked; make one with `open`."""

    path: Path
    packages: tuple[Package, ...]
    signed: bool

    @classmethod
    def open(cls, path: Path, key: Path | None = None) -> LocalRepository:
        """Read a file's index.

        Args:
            path: The local repository package.
            key: The key that its index must be signed with (OpenPGP, armoured or binary).

        Raises:
            InputError: It is no local repository package, or the key cannot be read.
            IntegrityError: Its index is not what it says, or not signed by the key.
            MissingToolError: dpkg-deb or gpgv is not installed.
        """
        if not path.is_file():
            raise InputError(f"reading {path}: there is no such file")
        if not is_local_repository(path):
            raise InputError(
                f"reading {path}: expected a local repository package (NAME-local-repo-..., or "
                "cuda-repo-...-local), its control data has another name; another package is supplied "
                "as it is, with kind: deb"
            )
        found: dict[str, bytes] = {}
        with _members(path) as tar:
            for member in tar:
                place = PurePosixPath(member.name.removeprefix("./"))
                if not member.isreg() or place.name not in _INDICES or place.parts[:1] != ("var",):
                    continue
                if member.size > _MAX_INDEX:
                    raise IntegrityError(f"reading {path}: its {place.name} has {member.size} bytes")
                stream = tar.extractfile(member)
                found[str(place)] = stream.read() if stream else b""
        here = sorted({str(PurePosixPath(name).parent) for name in found if "/Packages" in name})
        if len(here) != 1:
            raise IntegrityError(
                f"reading {path}: expected one /var/NAME with Packages, found {', '.join(here) or 'none'}; "
                "get the file again"
            )
        files = {
            name.rpartition("/")[2]: data for name, data in found.items() if name.startswith(f"{here[0]}/")
        }
        release = _release(path, files, key)
        return cls(path, tuple(_packages(path, here[0], _index(path, files, release))), key is not None)

    def chosen(self, patterns: Sequence[str]) -> list[Package]:
        """Packages by name; `*` and `?` stand for others.

        Raises:
            InputError: Nothing has such a name, or several have the name of a file.
        """
        found: dict[str, Package] = {}
        for pattern in patterns:
            fitting = [each for each in self.packages if fnmatch.fnmatchcase(each.name, pattern)]
            if not fitting:
                names = sorted({each.name for each in self.packages})
                raise InputError(
                    f"taking {pattern} out of {self.path}: it holds no such package; it holds "
                    f"{', '.join(names[:20])}{' and more' if len(names) > 20 else ''}"
                )
            for each in fitting:
                if found.setdefault(each.filename, each) != each:
                    raise InputError(f"taking {pattern} out of {self.path}: two packages are {each.filename}")
        return sorted(found.values(), key=lambda each: each.filename)

    def take(self, patterns: Sequence[str], target: Path) -> list[Package]:
        """Write packages to a directory.

        Args:
            patterns: As `chosen` takes them.
            target: The directory; made when missing.

        Returns:
            What lies there now, by file name.

        Raises:
            InputError: As `chosen`, or the directory cannot be written.
            IntegrityError: A package is missing, or not what the index says; it is not written.
        """
        chosen = self.chosen(patterns)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"writing packages to {target}: {error.strerror}") from error
        missing = {each.member: each for each in chosen if not _is_there(target / each.filename, each)}
        progress = Progress(
            f"taking {len(missing)} packages out", sum(each.size for each in missing.values())
        )
        if missing:
            with _members(self.path) as tar:
                for member in tar:
                    package = missing.get(member.name.removeprefix("./"))
                    stream = tar.extractfile(member) if package and member.isreg() else None
                    if package is None or stream is None:
                        continue
                    self._write(package, stream, target, progress)
                    del missing[package.member]
                    if not missing:
                        break
        progress.close()
        if missing:
            names = ", ".join(each.filename for each in missing.values())
            raise IntegrityError(
                f"taking packages out of {self.path}: its index lists {names}, which it does not hold; get "
                "the file again"
            )
        return chosen

    def _write(self, package: Package, stream: IO[bytes], target: Path, progress: Progress) -> None:
        part = target / f".{package.filename}.new"
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as written:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    size += len(block)
                    written.write(block)
                    progress.add(len(block))
            if (size, digest.hexdigest()) != (package.size, package.sha256):
                raise IntegrityError(
                    f"taking {package.filename} out of {self.path}: its index expects {package.size} bytes "
                    f"with sha256 {package.sha256}, got {size} with {digest.hexdigest()}; get the file again"
                )
            part.chmod(0o644)
            part.replace(target / package.filename)
        except OSError as error:
            raise InputError(f"writing {target / package.filename}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


def _is_there(path: Path, package: Package) -> bool:
    return path.is_file() and path.stat().st_size == package.size and sha256_file(path) == package.sha256


@contextmanager
def _members(path: Path) -> Iterator[tarfile.TarFile]:
    """A package's files as a tar that is read once, front to back: it may have gigabytes."""
    if shutil.which("dpkg-deb") is None:
        raise MissingToolError(f"reading {path}: dpkg-deb is not installed; install dpkg")
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None  # noqa: S101 - it is a pipe
        assert reader.stderr is not None  # noqa: S101 - it is a pipe
        try:
            with tarfile.open(fileobj=reader.stdout, mode="r|") as tar:
                yield tar
        except tarfile.TarError as error:
            reader.stdout.close()
            told = reader.stderr.read().decode("utf-8", "replace").strip()
            raise IntegrityError(
                f"reading {path}: it is damaged: {told or error}; get the file again"
            ) from error
        finally:
            reader.kill()


def _release(path: Path, files: dict[str, bytes], key: Path | None) -> str:
    """What the repository says of its index, from its signed file where a key is given."""
    if key is None:
        return files.get("InRelease", files.get("Release", b"")).decode("utf-8", "replace")
    if "InRelease" not in files:
        raise IntegrityError(f"reading {path}: it has no InRelease, so nothing is signed in it")
    if shutil.which("gpgv") is None:
        raise MissingToolError(f"checking {path}: gpgv is not installed; install gpgv")
    with tempfile.TemporaryDirectory(prefix="edgewright-repo-") as name:
        room = Path(name)
        (room / "key.gpg").write_bytes(_binary(key))
        (room / "InRelease").write_bytes(files["InRelease"])
        done = subprocess.run(
            [
                "gpgv",
                "--keyring",
                str(room / "key.gpg"),
                "--output",
                str(room / "said"),
                str(room / "InRelease"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not (room / "said").is_file():
            said = " ".join(done.stderr.split())[-300:]
            raise IntegrityError(
                f"checking {path}: its index is not signed by the key in {key}: {said}; is it NVIDIA's key, "
                "and the file NVIDIA's?"
            )
        return (room / "said").read_text("utf-8", "replace")


def _binary(key: Path) -> bytes:
    """A key as gpgv takes it."""
    try:
        data = key.read_bytes()
    except OSError as error:
        raise InputError(f"reading the key {key}: {error.strerror}") from error
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    lines = data.decode("ascii", "replace").replace("\r", "").strip().splitlines()
    body = lines[lines.index("") + 1 : -1] if "" in lines else []
    try:
        return base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
    except ValueError as error:
        raise InputError(f"reading the key {key}: it is no armoured OpenPGP key: {error}") from error


def _index(path: Path, files: dict[str, bytes], release: str) -> str:
    """The index, held to the digest that the repository's Release file gives."""
    sums = release.partition("\nSHA256:")[2]
    listed = {
        name.removeprefix("./"): (digest, int(size))
        for digest, size, name in re.findall(r"^ ([0-9a-f]{64}) +(\d+) +(\S+)$", sums, re.MULTILINE)
    }
    name = "Packages" if "Packages" in files else "Packages.gz"
    if name not in listed:
        raise IntegrityError(
            f"reading {path}: its Release file gives no SHA256 of {name}, so nothing vouches for it; get the "
            "file again"
        )
    found = (hashlib.sha256(files[name]).hexdigest(), len(files[name]))
    if found != listed[name]:
        raise IntegrityError(
            f"reading {path}: its Release file expects {name} with {listed[name][1]} bytes and sha256 "
            f"{listed[name][0]}, got {found[1]} and {found[0]}; get the file again"
        )
    try:
        data = files[name] if name == "Packages" else gzip.decompress(files[name])
        return data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise IntegrityError(f"reading {path}: its {name} cannot be read: {error}") from error


def _packages(path: Path, here: str, index: str) -> Iterator[Package]:
    for stanza in filter(str.strip, index.split("\n\n")):
        told = dict(_FIELD.findall(stanza))
        lacking = {"Package", "Version", "Architecture", "Filename", "Size", "SHA256"} - set(told)
        words = [told.get(key, "") for key in ("Package", "Version", "Architecture")]
        place = PurePosixPath(told.get("Filename", "").removeprefix("./"))
        if lacking or not all(_WORD.fullmatch(word) for word in words) or not told["Size"].isdecimal():
            raise IntegrityError(
                f"reading {path}: its index has a package {told.get('Package', '?')} with "
                f"{'no ' + ', '.join(sorted(lacking)) if lacking else 'a name, version or size that is none'}"
                "; get the file again"
            )
        if place.is_absolute() or ".." in place.parts:
            raise IntegrityError(f"reading {path}: its index has the file name {str(place)!r}, outside of it")
        member = str(PurePosixPath(here) / place)
        yield Package(words[0], words[1], words[2], member, int(told["Size"]), told["SHA256"].lower())
