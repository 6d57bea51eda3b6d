# SPDX-License-Identifier: Apache-2.0
"""Compiled Python files of an image, made without running anything of another architecture.

A `.pyc` holds bytecode of a version of CPython and nothing of a processor, so any Python of the very same
version makes the same one. Tried in this order, so that the digest does not hang on the host:

1. the image's own Python, where this host is of its architecture;
2. the Python of the same image on another platform of the release, of the same version, that runs here;
3. a Python of this host of exactly that version (such as Debian 12's own, for images of Debian 12);
4. the image's own Python after all: a host may run it by an emulator that it has registered.

The lock's digest is compared with what a build gives, so a Python that compiles otherwise is found out.

    Compilers("arm64", "3.11.2", {"arm64": arm64_tree, "amd64": amd64_tree}).compile(entries)
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import InputError, MissingToolError
from edgewright.release.ocitar import Entry

__all__ = ["Compilers"]

_COMPILE = """
import py_compile, sys
root, version = sys.argv[1], f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
for path in sys.stdin.read().split("\\0"):
    directory, _, name = path.rpartition("/")
    py_compile.compile(f"{root}/{path}", f"{root}/{directory}/__pycache__/{name[:-3]}.{version}.pyc",
        "/" + path, doraise=True, optimize=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name of an architecture -> the kernel's (`uname -m`)."""

_LINKS = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
"""Links of the merged-/usr layout, which packages' own links count on."""

Tree = Callable[[], Mapping[str, Entry]]


@dataclass(frozen=True)
class Compilers:
    """Pythons that may compile for an image.

    Attributes:
        arch: The image's architecture, in Debian's words.
        version: Of its Python, such as "3.11.2".
        trees: Root file systems with a Python of that version, by architecture; the image's own among them.
    """

    arch: str
    version: str
    trees: Mapping[str, Tree]

    def compile(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """The `.pyc` of the entries' `.py`.

        Raises:
            InputError: A source does not compile, or the image has no C library.
            MissingToolError: No Python of that version runs on this host.
        """
        sources = sorted(
            path for path, entry in entries.items() if path.endswith(".py") and entry.kind == "file"
        )
        with tempfile.TemporaryDirectory(prefix="edgewright-image-") as name:
            root = Path(name)
            for path in sources:
                _lay(root / path, entries[path])
            self._run(root, "\0".join(sources).encode())
            found = (str(path.relative_to(root)) for path in sorted(root.rglob("*.pyc")))
            return {path: Entry.file((root / path).read_bytes()) for path in found}

    def _run(self, root: Path, sources: bytes) -> None:
        """Compile below `root` with the first Python that runs."""
        if not sources:
            return
        for tree in self._native():
            with _python_of(tree(), self.short) as (command, environment):
                if _compile(command, environment, root, sources):
                    return
        own = self._of_host()
        if own is not None and _compile([own], {}, root, sources):
            return
        if not self._is_native(self.arch):
            with _python_of(self.trees[self.arch](), self.short) as (command, environment):
                if _compile(command, environment, root, sources):
                    return
        raise MissingToolError(
            f"building the runtime image for {self.arch}: no Python {self.version} runs on this "
            f"{platform.machine()} host to compile its files; add a target of this host's architecture and "
            f"the same suite to release.yml, install python{self.short} {self.version} here, or build on an "
            f"{self.arch} host"
        )

    @property
    def short(self) -> str:
        """Such as "3.11"."""
        return ".".join(self.version.split(".")[:2])

    def _native(self) -> Iterator[Tree]:
        """Trees of this host's architecture, the image's own first."""
        for arch in sorted(self.trees, key=lambda arch: (arch != self.arch, arch)):
            if self._is_native(arch):
                yield self.trees[arch]

    @staticmethod
    def _is_native(arch: str) -> bool:
        return _MACHINES.get(arch, arch) == platform.machine()

    def _of_host(self) -> str | None:
        """A Python of this host of exactly the version."""
        asked = "import platform; print(platform.python_implementation(), platform.python_version())"
        for path in dict.fromkeys([sys.executable, shutil.which(f"python{self.short}", path="/usr/bin")]):
            if not path:
                continue
            done = subprocess.run([path, "-I", "-c", asked], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.split() == ["CPython", self.version]:
                return path
        return None


def _compile(command: Sequence[str], environment: Mapping[str, str], root: Path, sources: bytes) -> bool:
    """Whether this Python runs here; then it has compiled."""
    always = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            [*command, "-S", "-B", "-c", _COMPILE, str(root)],
            input=sources,
            env={**always, **environment},
            capture_output=True,
            check=False,
            cwd="/",  # which Python puts before its own modules
        )
    except OSError:  # of another architecture
        return False
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise InputError(f"building the runtime image: compiling its Python files failed: {' '.join(told)}")
    return True


@contextmanager
def _python_of(tree: Mapping[str, Entry], short: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Command and environment that start the Python of a tree, while it lies on disk."""
    with tempfile.TemporaryDirectory(prefix="edgewright-python-") as name:
        root = Path(name)
        for path, entry in {**tree, **{link: Entry.symlink(to) for link, to in _LINKS.items()}}.items():
            _lay(root / path, entry)
        loader = next(iter(sorted((root / "usr").glob("lib*/ld-linux*.so.*"))), None)
        if loader is None:
            raise InputError("building the runtime image: images.runtime.debs holds no libc6; add it")
        libraries = ":".join(str(path) for path in sorted((root / "usr/lib").glob("*-linux-gnu")))
        python = str(root / "usr/bin" / f"python{short}")
        command = [str(_within(root, loader)), "--library-path", libraries, python]
        yield command, {"PYTHONHOME": str(root / "usr")}


def _within(root: Path, path: Path) -> Path:
    """Follow a link inside the tree: an absolute target is meant from the tree's root."""
    if path.is_symlink():
        target = path.readlink()
        if not target.is_absolute():
            return path.parent / target
        top = str(target).lstrip("/")
        return root / (f"usr/{top}" if top.split("/", 1)[0] in _LINKS else top)
    return path


def _lay(path: Path, entry: Entry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "directory":
        path.mkdir(exist_ok=True)
    elif entry.kind == "symlink":
        if not os.path.lexists(path):
            path.symlink_to(entry.link)
    else:
        path.write_bytes(entry.data)
        path.chmod(entry.mode | 0o600)
