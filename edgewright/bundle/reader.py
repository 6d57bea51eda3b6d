# SPDX-License-Identifier: Apache-2.0
"""Reads files from a stick that nobody trusts.

Every file is opened part by part of its name below the stick's own directory, never through a link, never
blocking, and only when it is a regular file; every read has a bound. So no name leads outside the stick, no
pipe hangs, and a file that grows while it is read ends the read.

    with Stick(Path("/media/stick")) as stick:
        data = stick.read("metadata/timestamp.json", limit=16384)

`StickFetcher` gives the same to python-tuf's client, and remembers the bytes of all metadata that it gave, so
that later checks are made on the very bytes that the client has seen.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from edgewright.bundle.layout import check_stick_names
from edgewright.bundle.refusal import BundleRefused
from edgewright.errors import InputError, UnreachableError

__all__ = ["BASE_URL", "CHUNK", "Stick", "StickFetcher", "kind_of"]

CHUNK = 1 << 20
"""Bytes that are read at once: large enough for a USB stick's and SHA-256's full speed."""

BASE_URL = "bundle:///"
"""What the client's addresses begin with; the rest is a name from the stick's top."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def kind_of(mode: int) -> str:
    """What a file of this mode is, for messages."""
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISREG, "a file"),
    ):
        if test(mode):
            return name
    return "something unknown"


class Stick:
    """A directory with a bundle, open for reading.

    Args:
        path: The directory; links in this path are followed, below it they are not.

    Raises:
        InputError: There is no such directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"opening the bundle {path}: there is no such directory; name the directory that holds "
                "`metadata` and `targets`, such as the place where the stick is mounted"
            ) from error
        except OSError as error:
            raise UnreachableError(f"opening the bundle {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the stick, so that it can be unmounted; nothing can be read afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def fd(self) -> int:
        """Descriptor of the stick's directory."""
        if self._fd < 0:
            raise ValueError(f"reading from {self.path}: this bundle was closed")
        return self._fd

    def open(self, name: str) -> int:
        """Open a file.

        Args:
            name: From the stick's top, with slashes.

        Returns:
            A descriptor of a regular file; the caller closes it.

        Raises:
            FileNotFoundError: There is no such file.
            BundleRefused: It is no regular file, or a part of its path is no directory, or no name.
        """
        wrong = check_stick_names([name])
        if wrong:
            raise BundleRefused("name", f"reading from {self.path}: {wrong}; get the bundle again")
        *directories, last = name.split("/")
        here = self.fd
        try:
            for step in directories:
                below = self._step(here, step, _DIRECTORY, name)
                self._leave(here)
                here = below
            found = self._step(here, last, _FILE, name)
        finally:
            self._leave(here)
        mode = os.fstat(found).st_mode
        if not stat.S_ISREG(mode):
            os.close(found)
            raise self._wrong_kind(name, mode)
        return found

    def read(self, name: str, limit: int) -> bytes | None:
        """Read a small file whole.

        Args:
            name: From the stick's top.
            limit: Most bytes that are read.

        Returns:
            Its bytes; None when it is longer than `limit`.

        Raises:
            FileNotFoundError: There is no such file.
            BundleRefused: It is no regular file, or cannot be read.
        """
        data = b"".join(self.chunks(name, limit + 1))
        return data if len(data) <= limit else None

    def chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """Read a file piece by piece, `limit` bytes at most; raises what `read` raises."""
        descriptor = self.open(name)
        try:
            while limit > 0:
                try:
                    chunk = os.read(descriptor, min(CHUNK, limit))
                except OSError as error:
                    raise self.unreadable(name, error) from error
                if not chunk:
                    return
                limit -= len(chunk)
                yield chunk
        finally:
            os.close(descriptor)

    def unreadable(self, name: str, error: OSError) -> BundleRefused:
        """What to say when the stick itself fails."""
        return BundleRefused(
            "unreadable",
            f"reading {name} from {self.path}: {error.strerror}; the stick or its port may be failing: copy "
            "the bundle to another stick and try again",
        )

    def _step(self, here: int, step: str, flags: int, name: str) -> int:
        try:
            mode = os.stat(step, dir_fd=here, follow_symlinks=False).st_mode
            if flags & os.O_DIRECTORY and not stat.S_ISDIR(mode):
                raise self._wrong_kind(name, mode, step)
            if not flags & os.O_DIRECTORY and not stat.S_ISREG(mode):
                raise self._wrong_kind(name, mode)  # before it is opened: opening a device may act on it
            return os.open(step, flags, dir_fd=here)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):  # it was changed between the two calls
                raise BundleRefused(
                    "kind", f"reading {name} from {self.path}: {step} was replaced while it was opened"
                ) from error
            raise self.unreadable(name, error) from error

    def _leave(self, descriptor: int) -> None:
        if descriptor != self._fd:
            os.close(descriptor)

    def _wrong_kind(self, name: str, mode: int, step: str | None = None) -> BundleRefused:
        where = f", its part {step}," if step else ""
        expected = "a directory" if step else "a file"
        return BundleRefused(
            "kind",
            f"reading {name} from {self.path}: it{where} is {kind_of(mode)}, expected {expected}; a bundle "
            "has plain files only: get it again",
        )


class StickFetcher(FetcherInterface):
    """Gives the files of a stick to python-tuf's client.

    Args:
        stick: The stick.

    Attributes:
        served: Bytes of each metadata file that the client asked for and got, by file name.
        asked: The last file that was asked for, from the stick's top.
    """

    def __init__(self, stick: Stick) -> None:
        self._stick = stick
        self.served: dict[str, bytes] = {}
        self.asked = ""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Read a metadata file.

        Args:
            url: `BASE_URL` and the file's name.
            max_length: Most bytes that are read.

        Returns:
            The file.

        Raises:
            DownloadHTTPError: There is no such file (404).
            DownloadLengthMismatchError: It is longer.
            BundleRefused: It is no regular file, or cannot be read.
        """
        name = self._name(url)
        try:
            data = self._stick.read(name, max_length)
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{name} is not on the stick", 404) from error
        if data is None:
            raise DownloadLengthMismatchError(f"{name} has more than {max_length} bytes")
        self.served[name.rpartition("/")[2]] = data
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Chunks of any file; the caller bounds their number (`FetcherInterface.download_file`)."""
        name = self._name(url)
        try:
            yield from self._stick.chunks(name, 1 << 62)
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{name} is not on the stick", 404) from error

    def _name(self, url: str) -> str:
        name = url.removeprefix(BASE_URL)
        self.asked = name
        return name
