# SPDX-License-Identifier: Apache-2.0
"""Archives for a controller: Edgewright's own wheel, and the collections that its playbooks use.

Both are made from what runs right now, checkout or installed wheel, and are the same bytes for the same
content: members in order, one fixed time, not squeezed (a compressor's output differs between its versions).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import edgewright
from edgewright.errors import InputError, IntegrityError
from edgewright.paths import collection_root

__all__ = ["collections_archive", "members", "own_wheel", "unpacked_size", "used_collections"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that zip knows."""

_OWN_COLLECTION = "ansible_collections/edgewright/factory"
_WHEEL_FILE = b"Wheel-Version: 1.0\nGenerator: edgewright\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_LEFT_OUT = frozenset({"tests", "docs", "changelogs", ".github", ".azure-pipelines", "FILES.json"})
"""Of a collection: what no play reads."""

_NAME = re.compile(r"\b([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)\.[a-z][a-z0-9_]*\b", re.ASCII)


def own_wheel() -> tuple[str, bytes]:
    """This Edgewright as a wheel. Returns its file name and its bytes.

    Raises:
        InputError: It runs neither from an installation nor from a checkout that was installed.
    """
    version = edgewright.__version__
    try:
        distribution = importlib.metadata.distribution("edgewright")
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            "carrying Edgewright itself: this checkout is not installed; run `pip install --editable .` in it"
        ) from error
    info = f"edgewright-{version}.dist-info"
    found = dict(_own_files())
    found |= {
        f"{info}/METADATA": _told(distribution, "METADATA"),
        f"{info}/entry_points.txt": _told(distribution, "entry_points.txt"),
        f"{info}/WHEEL": _WHEEL_FILE,
    }
    lines = [f"{name},sha256={_record(data)},{len(data)}" for name, data in sorted(found.items())]
    found[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,\n"]).encode()
    return f"edgewright-{version}-py3-none-any.whl", _zip(found)


def used_collections(root: Path | None = None) -> tuple[str, ...]:
    """Collections of others that the playbooks, roles and plugins name, sorted.

    Args:
        root: The collection's tree; this Edgewright's own when not given.
    """
    root = root or collection_root()
    named: set[str] = set()
    for place in ("playbooks", "roles", "plugins", "site.yml"):
        top = root / place
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.suffix in {".yml", ".py", ".j2"} and path.is_file():
                lines = path.read_text("utf-8").splitlines()
                named.update(
                    name
                    for line in lines
                    if not line.lstrip().startswith("#")
                    for name in _NAME.findall(line)
                )
    return tuple(sorted(named & _KNOWN))


_KNOWN = frozenset(
    {"ansible.posix", "ansible.utils", "community.crypto", "community.general", "containers.podman"}
)
"""Collections that a play may use; a name with dots is not one just because it looks so."""


def collections_archive(wheel: Path, names: Iterable[str]) -> bytes:
    """Take collections out of the `ansible` package's wheel.

    Args:
        wheel: The wheel.
        names: Such as `community.crypto`.

    Returns:
        A zip archive with `ansible_collections/NAMESPACE/NAME/...`.

    Raises:
        IntegrityError: The wheel has no such collection.
    """
    with zipfile.ZipFile(wheel) as archive:
        listed = archive.namelist()
        found: dict[str, bytes] = {}
        for name in names:
            above = f"ansible_collections/{name.replace('.', '/')}/"
            taken = [
                entry
                for entry in listed
                if entry.startswith(above)
                and not entry.endswith("/")
                and entry.removeprefix(above).partition("/")[0] not in _LEFT_OUT
            ]
            if f"{above}MANIFEST.json" not in taken:
                raise IntegrityError(
                    f"taking the collection {name} out of {wheel.name}: it is not there; lock another "
                    "version of the ansible package with scripts/lock_installer.py"
                )
            found |= {entry: archive.read(entry) for entry in taken}
    return _zip(found)


def members(archive: Path | bytes) -> list[zipfile.ZipInfo]:
    """A zip archive's files."""
    with zipfile.ZipFile(io.BytesIO(archive) if isinstance(archive, bytes) else archive) as opened:
        return [entry for entry in opened.infolist() if not entry.is_dir()]


def unpacked_size(archive: Path | bytes) -> tuple[int, int]:
    """How many files a zip archive has, and their bytes when unpacked."""
    found = members(archive)
    return len(found), sum(entry.file_size for entry in found)


def _own_files() -> Iterable[tuple[str, bytes]]:
    package = Path(edgewright.__file__).resolve().parent
    yield from _tree(package, "edgewright")
    root = collection_root()
    if root == package.parent:  # a checkout: pyproject says what a wheel gets, and where
        settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
        included: Mapping[str, str] = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
        for source, target in sorted(included.items()):
            yield from _tree(root / source, target)
    else:
        yield from _tree(root, _OWN_COLLECTION)


def _tree(top: Path, name: str) -> Iterable[tuple[str, bytes]]:
    if top.is_file():
        yield name, top.read_bytes()
        return
    for path in sorted(top.rglob("*")):
        steps = path.relative_to(top).parts
        if path.is_file() and not any(step == "__pycache__" or step.startswith(".") for step in steps):
            yield f"{name}/{'/'.join(steps)}", path.read_bytes()


def _told(distribution: importlib.metadata.Distribution, name: str) -> bytes:
    text = distribution.read_text(name)
    if text is None:
        raise InputError(f"carrying Edgewright itself: its installation has no {name}; install it again")
    return text.encode()


def _record(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
