# SPDX-License-Identifier: Apache-2.0
"""The runtime image: a Python, its libraries, the model server, and nothing else.

Three layers, from the most to the least lasting: files of Debian packages, wheels, the server's own
source. No shell, no package manager. Everything comes from locked files; what the release's `drop`
patterns name is left out, licence texts never are.

Python files are compiled, with hash-based `.pyc` that are never checked: the root is read-only on devices,
so without them each start would compile everything again. `bytecode` says which Python does it, so that the
digest does not hang on the host.
"""

from __future__ import annotations

import fnmatch
import functools
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes, sha256_file
from edgewright.errors import InputError, IntegrityError, MissingToolError
from edgewright.paths import cache_dir, collection_root
from edgewright.release import bytecode, ocitar
from edgewright.release.bytecode import Compilers
from edgewright.release.ocitar import Entry, Image, Layer

__all__ = ["build_runtime_image", "deb_entries", "runtime_sources", "tree_digest"]

_SITE = "opt/edgewright/site-packages"
_UID = 65532
"""The user "nonroot" of distroless images."""

_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Directories of the root that Debian's merged-/usr layout turns into links."""


def runtime_sources() -> dict[str, bytes]:
    """The model server's source: files of `runtime/src` by path, compiled files left out.

    Raises:
        InputError: There are none.
    """
    root = collection_root() / "runtime" / "src"
    found = {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
        if not any(part.endswith(".egg-info") for part in path.parts)
    }
    if not found:
        raise InputError(f"building the runtime image: {root} holds no source of the model server")
    return found


def tree_digest(tree: Mapping[str, bytes]) -> str:
    """One sha256 that stands for files by path."""
    return sha256_bytes(ocitar.canonical_json({path: sha256_bytes(data) for path, data in tree.items()}))


def build_runtime_image(
    debs: Sequence[Mapping[str, Any]],
    wheels: Sequence[Mapping[str, Any]],
    drop: Sequence[str],
    arch: str,
    store: BlobStore,
    *,
    others: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Image:
    """Build the image from files that are in the store; nothing of it runs where its architecture is another.

    Args:
        debs: The lock's entries of the image's packages.
        wheels: The lock's wheels.
        drop: Patterns (`fnmatch`, `*` crosses slashes) of paths to leave out.
        arch: Debian's and OCI's name of the architecture.
        store: Where the files are and the image goes.
        others: The same image's packages on other architectures: theirs may be the Python that runs here.

    Returns:
        The image.

    Raises:
        IntegrityError: A package cannot be unpacked.
        MissingToolError: No Python that runs on this host is the image's.
    """
    keep = _filter(drop)
    deb_key = [arch, sorted(drop), [deb["sha256"] for deb in debs]]
    system = functools.cache(lambda: _system(debs, keep, store))
    short, version = _python_version(debs)
    python = f"python{short}"
    trees = {arch: system} | {
        other: functools.partial(_system, held, keep, store)
        for other, held in (others or {}).items()
        if _python_version(held) == (short, version)
    }
    compilers = Compilers(arch, version, trees)

    def base() -> dict[str, Entry]:
        return {**system(), **_skeleton(), **compilers.compile(system())}

    def site() -> dict[str, Entry]:
        entries = _merge([_wheel_entries(store.path(wheel["sha256"])) for wheel in wheels], keep)
        return {**entries, **compilers.compile(entries)}

    def server() -> dict[str, Entry]:
        entries = {f"{_SITE}/{path}": Entry.file(data) for path, data in runtime_sources().items()}
        return {**entries, **compilers.compile(entries)}

    wheel_key = [*deb_key, [wheel["sha256"] for wheel in wheels]]
    layers = [
        _cached_layer(["base", *deb_key], base, store),
        _cached_layer(["site", *wheel_key], site, store),
        _cached_layer(["server", *deb_key, tree_digest(runtime_sources())], server, store),
    ]
    config = {
        "Entrypoint": [f"/usr/bin/{python}", "-m", "edgewright_runtime", "--config-from-env"],
        "Env": ["PATH=/usr/bin", f"PYTHONPATH=/{_SITE}", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"],
        "User": str(_UID),
        "WorkingDir": "/",
    }
    return ocitar.make_image(layers, config, arch, store)


def _cached_layer(key: Sequence[Any], make: Callable[[], dict[str, Entry]], store: BlobStore) -> Layer:
    """A layer made once per set of inputs; the builder's own source is one of them."""
    own = [sha256_file(Path(path)) for path in (__file__, str(bytecode.__file__), str(ocitar.__file__))]
    note = cache_dir() / "layers" / f"{sha256_bytes(ocitar.canonical_json([own, *key]))}.json"
    if note.is_file():
        layer = Layer(**json.loads(note.read_text()))
        if store.has(layer.digest.removeprefix("sha256:"), layer.size):
            return layer
    layer = ocitar.write_layer(make(), store)
    note.parent.mkdir(parents=True, exist_ok=True)
    part = note.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(layer)))
    part.replace(note)
    return layer


def _system(
    debs: Sequence[Mapping[str, Any]], keep: Callable[[str], bool], store: BlobStore
) -> dict[str, Entry]:
    """What packages bring, with the links of the merged layout: a root in which their Python runs."""
    return _merge([deb_entries(store.path(deb["sha256"]), deb) for deb in debs], keep)


def _filter(drop: Sequence[str]) -> Callable[[str], bool]:
    pattern = re.compile("|".join(fnmatch.translate(item) for item in drop) or r"(?!)")

    def keep(path: str) -> bool:
        if path.startswith("usr/share/doc/"):
            return path.endswith("/copyright")
        return not pattern.match(path)

    return keep


def _merge(parts: Sequence[Mapping[str, Entry]], keep: Callable[[str], bool]) -> dict[str, Entry]:
    return {path: entry for part in parts for path, entry in part.items() if keep(path)}


def deb_entries(path: Path, deb: Mapping[str, Any]) -> dict[str, Entry]:
    """Files and links of a Debian package, moved below /usr as the merged layout wants.

    Args:
        path: The package.
        deb: Its entry in the lock.

    Raises:
        IntegrityError: It cannot be unpacked.
        MissingToolError: dpkg-deb is not installed.
    """
    if shutil.which("dpkg-deb") is None:
        raise MissingToolError("building the runtime image: dpkg-deb is not installed; install dpkg")
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], capture_output=True, check=False)
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip()
        raise IntegrityError(f"unpacking {deb['filename']} for the runtime image: {told}")
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for member in tar:
            name = _merged(str(PurePosixPath(member.name)))
            if member.issym():
                entries[name] = Entry.symlink(member.linkname)
            elif member.isreg():
                stream = tar.extractfile(member)
                entries[name] = Entry.file(stream.read() if stream else b"", member.mode & 0o755)
            elif member.islnk():
                entries[name] = entries[_merged(str(PurePosixPath(member.linkname)))]
    return entries


def _merged(path: str) -> str:
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED and "/" in path else path


def _wheel_entries(path: Path) -> dict[str, Entry]:
    """Files of a wheel as an installer lays them out; scripts and headers are of no use here."""
    entries: dict[str, Entry] = {}
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            target = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", name)
            if (
                name.endswith("/")
                or re.match(r"^[^/]+\.data/", target)
                or target.endswith(".dist-info/RECORD")
            ):
                continue
            entries[f"{_SITE}/{target}"] = Entry.file(wheel.read(name))
    return entries


def _skeleton() -> dict[str, Entry]:
    """What every container needs beside packages: users, links of the merged layout, mount points."""
    users = (
        f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{_UID}:{_UID}:nonroot:/nonexistent:/sbin/nologin\n"
    )
    return {
        **{name: Entry.symlink(f"usr/{name}") for name in ("bin", "lib", "lib64", "sbin")},
        **{f"usr/{name}": Entry.directory() for name in ("bin", "lib", "lib64", "sbin")},
        "etc/passwd": Entry.file(users.encode()),
        "etc/group": Entry.file(f"root:x:0:\nnonroot:x:{_UID}:\n".encode()),
        "etc/nsswitch.conf": Entry.file(b"passwd: files\ngroup: files\nhosts: files\n"),
        **{name: Entry.directory() for name in ("dev", "models", "proc", "run", "run/edgewright", "sys")},
        "tmp": Entry.directory(0o1777),
    }


def _python_version(debs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Such as "3.11", and "3.11.2" as its package says it."""
    for deb in debs:
        found = re.fullmatch(r"python(3\.\d+)-minimal", deb["name"])
        if found:
            return found.group(1), re.split(r"[-+~]", deb["version"].rpartition(":")[2])[0]
    raise InputError(
        "building the runtime image: images.runtime.debs names no python3.N-minimal, none would start; add it"
    )
