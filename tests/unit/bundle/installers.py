# SPDX-License-Identifier: Apache-2.0
"""A small installer for tests: real keys and signatures, archives of a few files, its bootstrap run."""

from __future__ import annotations

import io
import subprocess
import sys
import types
import zipfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgewright.bundle.installer import installer_files
from edgewright.bundle.installer_lock import Environment, InstallerLock, Wheel
from edgewright.bundle.keys import KeySet
from edgewright.depot.blobs import BlobStore

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = Environment(PYTHON, "amd64")
LOCK: Mapping[str, Any] = {"os": {"suite": "bookworm", "arch": "amd64"}}
COLLECTIONS = ("community.crypto",)


def wheel_bytes(members: Mapping[str, str | bytes]) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def stored(store: BlobStore, filename: str, data: bytes) -> Wheel:
    """A wheel that is in the store, so that nothing is fetched."""
    name, version, *_ = filename.split("-")
    return Wheel(filename, name, version, len(data), store.put(data), "MIT")


def small_lock(store: BlobStore) -> InstallerLock:
    """One environment of one small wheel."""
    small = wheel_bytes(
        {
            "small.py": "def main():\n    return 0\n",
            "small-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1\n",
            "small-1.dist-info/entry_points.txt": "[console_scripts]\nSmall = small:main\n",
        }
    )
    above = [f"ansible_collections/{name.replace('.', '/')}" for name in COLLECTIONS]
    content = {
        f"{place}/{name}": "{}" for place in above for name in ("MANIFEST.json", "tests/x.py", "meta/r.yml")
    }
    ansible = stored(store, "ansible-12-py3-none-any.whl", wheel_bytes(content))
    return InstallerLock(("small",), {HERE: (stored(store, "small-1-py3-none-any.whl", small),)}, ansible)


def make_stick(stick: Path, keys: KeySet, store: BlobStore, moment: datetime, days: int = 3650) -> Path:
    """What the bootstrap reads of a stick: installer and first root, and no bundle."""
    found = installer_files(
        LOCK, keys, moment, moment + timedelta(days=days), store, carried=small_lock(store)
    )
    found |= {"metadata/1.root.json": keys.roots[1]}
    for name, data in found.items():
        path = stick / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
    return stick


def run_bootstrap(
    stick: Path, room: Path, *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a stick's bootstrap as `install` does, with places below `room`."""
    places = ["--prefix", str(room / "prefix"), "--state", str(room / "state")]
    command = [
        "/usr/bin/python3",
        "-I",
        "-B",
        str(stick / "installer" / "bootstrap.py"),
        "--stick",
        str(stick),
    ]
    return subprocess.run(
        [*command, *places, *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL if stdin is None else None,
        input=stdin,
    )


def load(name: str) -> types.ModuleType:
    """A file that is carried for bare machines, as a module."""
    path = files("edgewright").joinpath("data", "installer", name)
    module = types.ModuleType(name.removesuffix(".py"))
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - as the bootstrap does
    return module
