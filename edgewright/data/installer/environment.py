# SPDX-License-Identifier: Apache-2.0
"""Edgewright's environment on a bare machine: laid out from verified archives, standard library only.

A virtual environment as PEP 405 describes it, made without pip and without venv (which Debian keeps in
packages of their own): Python itself understands it. It grows in a staging directory; Edgewright runs from
there, verifies the whole bundle and takes it in; only then the environment gets its place.

    PREFIX/current -> releases/VERSION-DIGEST      switched by one rename
    PREFIX/releases/VERSION-DIGEST/{bin,lib,pyvenv.cfg,.number}
    PREFIX/.staging                                the next one; the next run removes what a kill left

A refusal leaves the machine as it was. `bootstrap.py` runs this file after it compared its bytes with the
pins.
"""

from __future__ import annotations

import configparser
import contextlib
import errno
import fcntl
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

SPARE = 4096  # bytes that a file's inode and last block take, in the reckoning of free space

_MEMBER = re.compile(r"[A-Za-z0-9_.+@ ()\[\]~,=-]+\Z", re.ASCII)
_SCRIPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z", re.ASCII)
_BAD_INPUT, _BAD_BYTES = 2, 3  # exit codes of `edgewright`


class EnvironmentFault(Exception):  # noqa: N818 - EnvironmentError is Python's own
    """Why the environment could not be made, and the exit code."""

    def __init__(self, code: int, told: str) -> None:
        super().__init__(told)
        self.code = code


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def install(  # noqa: PLR0917 - bootstrap.py calls it, which knows no names of ours
    prefix: str,
    name: str,
    one: dict[str, Any],
    read: Callable[[str], bytes],
    take_in: list[str],
    keep: int,
) -> None:
    """Make the environment unless it is here, take the bundle in with it, and make it the current one.

    Args:
        prefix: Where environments are.
        name: This one's.
        one: Names of its archives, and how many files and bytes they unpack to.
        read: Gives an archive's bytes, verified.
        take_in: Edgewright's words that verify the bundle and take it in.
        keep: How many environments stay.

    Raises:
        EnvironmentFault: It could not be done; nothing has changed.
    """
    try:
        with _held(prefix):
            sweep(prefix)
            changed = _install(prefix, os.path.join(prefix, "releases", name), one, read, take_in, keep)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            told = f"installing to {prefix}: it is full; free some space, then run the same command again"
            raise EnvironmentFault(_BAD_INPUT, told) from error
        told = f"installing to {error.filename or prefix}: {error.strerror}; mend it, then run the same again"
        raise EnvironmentFault(1, told) from error
    say(f"environment {prefix}/current: {name}" + ("" if changed else ", nothing to do"))


def _install(  # noqa: PLR0917
    prefix: str,
    final: str,
    one: dict[str, Any],
    read: Callable[[str], bytes],
    take_in: list[str],
    keep: int,
) -> bool:
    staging = None if os.path.isdir(final) and works(final) else os.path.join(prefix, ".staging")
    try:
        if staging is not None:
            need_space(prefix, one)
            lay_out(staging, final, one, read)
        code = run_edgewright(staging or final, *take_in)
        if code != 0:
            raise EnvironmentFault(code, "the bundle was not taken in, as told above; nothing was installed")
        return put_in_place(prefix, staging, final, keep)
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _held(prefix: str) -> Iterator[None]:
    """One run at a time; directories that were made go again when nothing came of it."""
    made = []
    place = prefix
    while not os.path.isdir(place):
        made.append(place)
        place = os.path.dirname(place)
    os.makedirs(prefix, 0o755, exist_ok=True)
    lock = os.open(prefix, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = f"installing to {prefix}: another run is at work there; wait until it has ended"
            raise EnvironmentFault(_BAD_INPUT, told) from error
        yield
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                os.rmdir(place)
        os.close(lock)


def need_space(prefix: str, one: dict[str, Any]) -> None:
    """Refuse before anything is written when the environment cannot fit."""
    needed = one["unpacked_bytes"] + SPARE * one["unpacked_files"]
    free = shutil.disk_usage(prefix).free
    if needed > free:
        raise EnvironmentFault(
            _BAD_INPUT,
            f"laying out the environment: {prefix} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
            "available; free some space, or name another place with --prefix",
        )


def lay_out(staging: str, final: str, one: dict[str, Any], read: Callable[[str], bytes]) -> None:
    """Fill a new directory with the environment.

    Args:
        staging: The directory.
        final: Where it will be; scripts name it in their first line.
        one: Names of its archives, and how many files and bytes they unpack to.
        read: Gives an archive's bytes, verified.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = os.path.realpath(sys.executable)
    room = _Room(staging, final, f"lib/python{python}/site-packages", one)
    for directory in (room.library, "bin"):
        os.makedirs(os.path.join(staging, directory), 0o755)
    for name in ("python3", "python"):
        os.symlink(base, os.path.join(staging, "bin", name))
    settings = {"home": os.path.dirname(base), "include-system-site-packages": "false", "version": python}
    room.write("pyvenv.cfg", "".join(f"{key} = {value}\n" for key, value in settings.items()).encode())
    for number, name in enumerate(one["archives"], 1):
        if number % 10 == 0 or number == len(one["archives"]):
            say(f"laying out the environment: {number} of {len(one['archives'])} archives")
        with zipfile.ZipFile(io.BytesIO(read(name))) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    room.take(name, entry, archive)


class _Room:
    """The environment while it grows.

    Args:
        staging: Its directory.
        final: Where it will be.
        library: Its site-packages, from the directory's top.
        one: How many files and bytes there may be.
    """

    def __init__(self, staging: str, final: str, library: str, one: dict[str, Any]) -> None:
        self.library = library
        self._staging, self._final = staging, final
        self._files, self._bytes = one["unpacked_files"], one["unpacked_bytes"]

    def take(self, name: str, entry: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
        """Put a wheel's member where its format says (PEP 427); make its console scripts."""
        steps = entry.filename.split("/")
        mode = entry.external_attr >> 16
        if stat.S_ISLNK(mode) or not all(_MEMBER.match(step) and step not in (".", "..") for step in steps):
            raise _wrong(name, f"{entry.filename[:200]!r} has no place")
        self._files -= 1
        self._bytes -= entry.file_size
        if self._files < 0 or self._bytes < 0:
            raise _wrong(name, "it holds more than was announced")
        data = archive.read(entry)
        if steps[0].endswith(".data") and len(steps) > 2:
            self._take_data(steps[1:], data)
            return
        self.write(f"{self.library}/{entry.filename}", data, 0o755 if mode & 0o111 else 0o644)
        if len(steps) == 2 and steps[0].endswith(".dist-info") and steps[1] == "entry_points.txt":
            self._make_scripts(name, data.decode("utf-8"))

    def _take_data(self, steps: list[str], data: bytes) -> None:
        kind, *rest = steps
        if kind == "scripts":
            if data.startswith(b"#!python"):
                data = f"#!{self._final}/bin/python3".encode() + data[data.index(b"\n") :]
            self.write("/".join(["bin", *rest]), data, 0o755)
        elif kind == "data":
            self.write("/".join(rest), data)
        elif kind != "headers":  # nothing is compiled here
            self.write("/".join([self.library, *rest]), data)

    def _make_scripts(self, name: str, text: str) -> None:
        """A wheel's console scripts, as installers make them."""
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign] # names of scripts keep their case
        parser.read_string(text)
        if not parser.has_section("console_scripts"):
            return
        for script, place in parser["console_scripts"].items():
            module, _, called = place.partition("[")[0].strip().partition(":")
            if not _SCRIPT.match(script) or not all(
                part.isidentifier() for part in f"{module}.{called}".split(".")
            ):
                raise _wrong(name, f"the script {script!r} has no place")
            first = called.partition(".")[0]
            body = f"import sys\nfrom {module} import {first}\n"
            body += f"if __name__ == '__main__':\n    sys.exit({called}())\n"
            self.write(f"bin/{script}", f"#!{self._final}/bin/python3\n{body}".encode(), 0o755)

    def write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A new file; the same one twice is no conflict, another one is."""
        path = os.path.join(self._staging, name)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        try:
            with open(path, "xb") as stream:
                stream.write(data)
        except FileExistsError as error:
            with open(path, "rb") as stream:
                if stream.read() == data:
                    return
            raise _wrong(name, "two archives hold different files of this name") from error
        os.chmod(path, mode)


def _wrong(name: str, told: str) -> EnvironmentFault:
    return EnvironmentFault(_BAD_BYTES, f"laying out {name}: {told}; get the bundle again")


def run_edgewright(environment: str, *words: str) -> int:
    """Run Edgewright from an environment. Returns its exit code."""
    return subprocess.run([*_edgewright(environment), *words], check=False, cwd="/").returncode


def works(environment: str) -> bool:
    """Whether an environment that is here can still be used."""
    try:
        done = subprocess.run(
            [*_edgewright(environment), "--version"], check=False, capture_output=True, cwd="/"
        )
    except OSError:
        return False
    return done.returncode == 0


def _edgewright(environment: str) -> list[str]:
    # By its module, not its script: in staging the script's first line leads to where it will be.
    return [os.path.join(environment, "bin", "python3"), "-I", "-m", "edgewright.cli.main"]


def put_in_place(prefix: str, staging: str | None, final: str, keep: int) -> bool:
    """Give the environment its place and make it the current one, each by one rename; old ones go.

    Returns:
        Whether anything changed.
    """
    os.makedirs(os.path.dirname(final), 0o755, exist_ok=True)
    if staging is not None:
        number = max([0, *map(number_of, environments(prefix))]) + 1
        with open(os.path.join(staging, ".number"), "w", encoding="ascii") as stream:
            stream.write(f"{number}\n")
        os.sync()
        if os.path.lexists(final):  # it is broken
            os.rename(final, os.path.join(prefix, ".trash"))
        os.rename(staging, final)
    link = os.path.join(prefix, "current")
    moved = os.path.realpath(link) != os.path.realpath(final)
    if moved:
        new = os.path.join(prefix, ".current")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        os.symlink(os.path.join("releases", os.path.basename(final)), new)
        os.sync()
        os.replace(new, link)
        os.sync()
    old = [path for path in environments(prefix) if path != final]
    for path in old[: max(0, len(old) - keep + 1)]:
        shutil.rmtree(path, ignore_errors=True)
        say(f"removed the older environment {os.path.basename(path)}")
    sweep(prefix)
    return moved or staging is not None


def number_of(environment: str) -> int:
    """The how-manieth environment of this machine it is: clocks are wrong here, a count is not."""
    try:
        with open(os.path.join(environment, ".number"), encoding="ascii") as stream:
            return int(stream.read(20))
    except (OSError, ValueError):
        return 0


def environments(prefix: str) -> list[str]:
    """Environments that are here, oldest first."""
    releases = os.path.join(prefix, "releases")
    found = [os.path.join(releases, name) for name in sorted(os.listdir(releases))]
    return sorted(found, key=number_of)


def sweep(prefix: str) -> None:
    """Remove what an earlier run left."""
    for name in (".staging", ".trash"):
        shutil.rmtree(os.path.join(prefix, name), ignore_errors=True)
