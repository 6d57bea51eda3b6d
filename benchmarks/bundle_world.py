# SPDX-License-Identifier: Apache-2.0
"""A locked release of mixed content for measuring bundles: all of it made here, nothing is fetched.

By bytes: 20 % a model image of random weights, 30 % other files of random bytes (engines), 20 % wheels, 20 %
text (logs, small files), 10 % Debian packages. Random bytes and wheels do not shrink, text does: that is
what releases look like. The same seed gives the same bytes.
"""

from __future__ import annotations

import email.utils
import io
import os
import random
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from edgewright.bundle.keys import KeySet
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE, dump_lock
from edgewright.release.ocitar import Entry, image_blobs, make_image, write_layer

__all__ = ["World", "make_debs", "make_world"]

_MIB = 1 << 20
_DEBS = 100
_TEXTS = 40
_WHEELS = 12
_ENGINES = 3


@dataclass
class World:
    """A release that lies ready to be built.

    Attributes:
        room: Everything of it is below.
        release: Content of `release.yml`; `lock` of its lock, as last written.
        store: Holds every artefact, as after `edgewright release lock` and its downloads.
        release_dir: Directory of release and lock.
        inputs: Every artefact once, as a file: what another tool would pack.
    """

    room: Path
    release: dict[str, Any]
    lock: dict[str, Any]
    store: BlobStore
    changes: int = field(default=0)
    release_dir: Path = field(init=False)
    inputs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.release_dir = self.room / "release"
        self.inputs = self.room / "inputs"

    @property
    def keys(self) -> KeySet:
        """The keys, made on first use."""
        return KeySet.develop(self.room / "keys")

    @property
    def size(self) -> int:
        """Bytes of all inputs."""
        return sum(path.stat().st_size for path in self.inputs.iterdir())

    def write(self) -> None:
        """Write release and lock."""
        self.release_dir.mkdir(exist_ok=True)
        text = yaml.safe_dump(self.release, sort_keys=False).encode()
        (self.release_dir / RELEASE_FILE).write_bytes(text)
        self.lock["release"] |= {"version": self.release["version"], "sha256": sha256_bytes(text)}
        (self.release_dir / LOCK_FILE).write_bytes(dump_lock(self.lock))

    def change_one_file(self) -> int:
        """Change one text file of the release and lock it as a new version. Returns its size in bytes."""
        self.changes += 1
        entry = next(entry for entry in self.lock["files"] if entry["name"].startswith("text-"))
        old = self.store.path(entry["sha256"])
        data = f"changed {self.changes}\n".encode() + old.read_bytes()
        (self.inputs / entry["name"]).unlink()
        entry |= {"size": len(data), "sha256": self.store.put(data)}
        self.release["version"] = f"1.0.{self.changes}"
        for listed in self.release["files"]:
            if listed["name"] == entry["name"]:
                listed |= {"size": len(data), "sha256": entry["sha256"]}
        self.store.place(entry["sha256"], self.inputs / entry["name"])
        self.write()
        return len(data)


def make_world(room: Path, mib: int, seed: int = 1) -> World:
    """Make a release.

    Args:
        room: An empty directory; becomes Edgewright's cache too.
        mib: Its content in MiB, about.
        seed: Other seeds give other content.
    """
    os.environ["EDGEWRIGHT_CACHE"] = str(room / "cache")
    store = BlobStore()
    rng = random.Random(seed)  # noqa: S311 - content to measure with, not a secret
    total = mib * _MIB
    model = make_image(
        [write_layer({"model.onnx": Entry.file(_random(rng, total // 5))}, store)], {}, "amd64", store
    )
    runtime = make_image(
        [write_layer({"etc/os-release": Entry.file(b"ID=none\n")}, store)], {}, "amd64", store
    )
    files = [
        _file(store, f"engine-{number}.bin", _random(rng, total * 3 // 10 // _ENGINES))
        for number in range(_ENGINES)
    ]
    files += [
        _file(store, f"text-{number}.log", _text(rng, total // 5 // _TEXTS)) for number in range(_TEXTS)
    ]
    wheels = [_wheel(store, rng, f"part{number}", total // 5 // _WHEELS) for number in range(_WHEELS)]
    debs = make_debs(store, room / "debs", _DEBS, total // 10 // _DEBS, rng)
    world = World(room, _release(files, wheels), {}, store)
    world.lock = {
        "schema": "edgewright.lock/v1",
        "release": {"name": world.release["name"], "version": "", "sha256": ""},
        "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
        "kernel": {
            "package": debs[0]["name"],
            "version": debs[0]["version"],
            "release": "6.1.0-9-rt-amd64",
            "flavour": "rt",
        },
        "apt": {
            "date": email.utils.format_datetime(datetime.now(UTC).replace(microsecond=0)),
            "packages": debs,
        },
        "python": {"wheels": wheels},
        "images": [
            _image("runtime", "bench/runtime", runtime.digest, runtime.size),
            _image("model", "bench/models/reader", model.digest, model.size) | {"model": "reader"},
        ],
        "files": sorted(files, key=lambda entry: str(entry["name"])),
    }
    world.write()
    world.inputs.mkdir()
    for name, digest in _listed(world):
        store.place(digest, world.inputs / name)
    return world


def make_debs(
    store: BlobStore, room: Path, count: int, size: int, rng: random.Random
) -> list[dict[str, Any]]:
    """Build Debian packages of about this size each, into the store. Returns their entries of a lock."""
    contents = [_random(rng, size) for _ in range(count)]

    def build(number: int) -> dict[str, Any]:
        name = f"bench-{number:04d}"
        root = room / name
        (root / "DEBIAN").mkdir(parents=True)
        (root / "usr/share").mkdir(parents=True)
        (root / "usr/share" / name).write_bytes(contents[number])
        needs = f"Depends: bench-{number - 1:04d} (>= 1)\n" if number else ""
        (root / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: A <a@archive.example>\n"
            f"{needs}Section: misc\nPriority: optional\nDescription: content to measure with\n"
            " A longer description, as packages have them: what it is, what it is good for, and where more\n"
            " of it is told.\n"
        )
        path = room / f"{name}.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(path)]
        subprocess.run(command, check=True, capture_output=True)
        length = path.stat().st_size
        return {
            "name": name,
            "version": "1.0-1",
            "arch": "amd64",
            "filename": f"{name}_1.0-1_amd64.deb",
            "url": f"archive:debian/pool/{name}.deb",
            "size": length,
            "sha256": store.put_file(path),
            "source": "bookworm",
        }

    with ThreadPoolExecutor() as pool:
        return list(pool.map(build, range(count)))


def _listed(world: World) -> Iterator[tuple[str, str]]:
    """Every artefact's name and sha256."""
    for entry in [*world.lock["apt"]["packages"], *world.lock["python"]["wheels"]]:
        yield entry["filename"], entry["sha256"]
    for entry in world.lock["files"]:
        yield entry["name"], entry["sha256"]
    for image in world.lock["images"]:
        for number, blob in enumerate(image_blobs(image["digest"], world.store) or []):
            yield f"{image['role']}.{number}.blob", blob


def _release(files: list[dict[str, Any]], wheels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": "edgewright.release/v1",
        "name": "bench",
        "version": "1.0.0",
        "os": {"family": "debian", "suite": "bookworm", "arch": "amd64", "kernel": "bench-0000"},
        "apt": {
            "sources": [{"uri": "archive:debian", "suites": ["bookworm"], "components": ["main"]}],
            "packages": [f"bench-{_DEBS - 1:04d}"],
            "bootstrap": [],
        },
        "python": {
            "version": "3.11",
            "platforms": ["manylinux_2_28_x86_64"],
            "requirements": [wheel["name"] for wheel in wheels],
        },
        "images": {
            "runtime": {"name": "bench/runtime", "licence": "Apache-2.0", "debs": []},
            "models": [
                {
                    **{"model": "reader", "name": "bench/models/reader", "version": "1.0"},
                    **{"licence": "Apache-2.0", "wheel": "reader==1.0", "member": "model.onnx"},
                    **{"alphabet_key": "character", "golden": [{"name": "a", "text": "A", "atol": 0.01}]},
                }
            ],
        },
        "files": [dict(entry) for entry in files],
    }


def _image(role: str, name: str, digest: str, size: int) -> dict[str, Any]:
    return {
        **{"role": role, "name": name, "version": "1.0", "digest": digest, "size": size},
        **{"platform": "linux/amd64", "licence": "Apache-2.0"},
    }


def _file(store: BlobStore, name: str, data: bytes) -> dict[str, Any]:
    return {
        **{"name": name, "size": len(data), "sha256": store.put(data), "licence": "Apache-2.0"},
        "url": f"https://archive.example/{name}",
    }


def _wheel(store: BlobStore, rng: random.Random, name: str, size: int) -> dict[str, Any]:
    """A wheel as they are: half a library of machine code, here random, half Python; deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr(f"{name}/library.so", _random(rng, size * 3 // 4))
        archive.writestr(f"{name}/code.py", _text(rng, size))
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
    data = buffer.getvalue()
    return {
        **{"name": name, "version": "1.0", "filename": f"{name}-1.0-py3-none-any.whl", "size": len(data)},
        **{"sha256": store.put(data), "licence": "MIT"},
    }


def _random(rng: random.Random, size: int) -> bytes:
    return b"".join(rng.randbytes(min(16 * _MIB, size - start)) for start in range(0, size, 16 * _MIB))


def _text(rng: random.Random, size: int) -> bytes:
    """Lines like those of a log: words repeat, numbers differ."""
    words = ["reader", "ready", "label", "request", "took", "ms", "from", "line", "kernel", "warning"]
    lines = [
        f"2026-11-19T{rng.randrange(24):02d}:{rng.randrange(60):02d}:00 {' '.join(rng.choices(words, k=9))} "
        f"{rng.getrandbits(48):x}\n".encode()
        for _ in range(4096)
    ]
    made: list[bytes] = []
    length = 0
    while length < size:
        part = b"".join(rng.choices(lines, k=512)) + f"{rng.getrandbits(512):x}\n".encode()
        made.append(part)
        length += len(part)
    return b"".join(made)[:size]
