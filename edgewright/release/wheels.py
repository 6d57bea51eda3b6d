# SPDX-License-Identifier: Apache-2.0
"""Python packages of a release: resolved and fetched by pip, with whatever index pip is set up for.

pip is the client because people configure pip (index, proxy, certificates), and because its resolver is
the one that devices would use. Every file is checked against the lock's sha256 before it counts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.progress import Progress
from edgewright.errors import InputError, IntegrityError, UnreachableError
from edgewright.release.supplied import SuppliedWheel

__all__ = ["fetch_wheels", "normal_name", "resolve_wheels", "wheel_licence"]

_PARALLEL = 2
"""pip runs at once: each is a Python of its own."""

_TOGETHER = 8
"""Small wheels that one run of pip fetches: its start costs a second; a kill loses what it had."""

_SMALL_BYTES = 8 << 20
"""Up to this size in bytes, or of unknown size (0), a wheel is fetched together with others."""


def normal_name(name: str) -> str:
    """A project's name as indices write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve_wheels(
    requirements: Sequence[str],
    version: str,
    platforms: Sequence[str],
    store: BlobStore,
    *,
    dependencies: bool = True,
    any_python: bool = False,
    constraints: Mapping[str, str] | None = None,
    place: str = "release.yml",
    supplied: Sequence[SuppliedWheel] = (),
) -> list[dict[str, Any]]:
    """Find one consistent set of wheels and fetch it.

    Args:
        requirements: What is wanted, as pip reads it.
        version: The devices' Python, such as "3.11".
        platforms: Wheel platform tags that the devices take, best first.
        store: Where the wheels go.
        dependencies: Whether what they need belongs to the set.
        any_python: Whether it does not matter on which Pythons they say that they run: files are taken out of
            them, as a model is, and nothing is imported.
        constraints: Versions, by name, that packages of the set must have.
        place: `FILE:LINE` of the requirements, for messages.
        supplied: Wheels in the store that belong to the set, each this very file.

    Returns:
        The lock's entries, sorted by name.

    Raises:
        InputError: There is no such set; pip's words are in the message.
    """
    if not requirements and not supplied:
        return []
    with tempfile.TemporaryDirectory(prefix="edgewright-pip-") as room:
        report = Path(room) / "report.json"
        short = version.replace(".", "")
        held = Path(room) / "constraints.txt"
        held.write_text(
            "".join(f"{name}=={wanted}\n" for name, wanted in sorted((constraints or {}).items()))
        )
        target = [
            *("--python-version", version, "--implementation", "cp", "--abi", f"cp{short}", "--abi", "abi3"),
            *("--abi", "none", *(word for platform in platforms for word in ("--platform", platform))),
        ]
        done = _pip(
            *("install", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--quiet"),
            *("--target", f"{room}/none", "--report", str(report), *target, "--constraint", str(held)),
            *([] if dependencies else ["--no-deps"]),
            *(["--ignore-requires-python"] if any_python else []),
            *sorted(requirements),
            *_files(supplied, Path(room), store),
        )
        if done.returncode != 0:
            names = ", ".join([*requirements, *(f"{each.file['name']} ({each.place})" for each in supplied)])
            raise InputError(
                f"resolving the Python packages {names} of {place} for Python {version}: "
                f"{_errors(done.stderr)}; "
                + (
                    "they do not fit with the other packages as locked: lock all anew, without --only"
                    if constraints
                    else "correct them there"
                )
            )
        own = {each.file["name"]: each.entry() for each in supplied}
        listed = json.loads(report.read_text("utf-8"))["install"]
        known = [own[name] for item in listed if (name := _filename(item)) in own]
        found = [_entry(item) for item in listed if _filename(item) not in own]
    progress = Progress("fetching wheels", sum(item["size"] for item in found))
    fetch_wheels(found, version, platforms, store, progress)
    for item in found:
        path = store.path(item["sha256"])
        item["size"] = path.stat().st_size
        item["licence"] = _licence(path, item["filename"])
    return sorted([*found, *known], key=lambda item: str(item["name"]))


def _files(supplied: Sequence[SuppliedWheel], room: Path, store: BlobStore) -> list[str]:
    """Supplied wheels as requirements for which pip can take no other file."""
    words = []
    for wheel in supplied:
        here = room / "supplied" / wheel.file["name"]
        here.parent.mkdir(exist_ok=True)
        here.symlink_to(store.path(wheel.file["sha256"]).absolute())
        words.append(f"{wheel.name} @ {here.as_uri()}")
    return sorted(words)


def fetch_wheels(
    wheels: Sequence[Mapping[str, Any]],
    version: str,
    platforms: Sequence[str],
    store: BlobStore,
    progress: Progress,
) -> None:
    """Fetch the locked wheels that the store lacks.

    Args:
        wheels: Entries of the lock.
        version: The devices' Python.
        platforms: Their wheel platform tags.
        store: Where they go.
        progress: Told of every wheel.

    Raises:
        InputError: The index no longer has one.
        IntegrityError: The index serves other bytes than locked.
        UnreachableError: The index does not answer.
    """

    missing = []
    for wheel in wheels:
        if store.has(wheel["sha256"], wheel["size"] or None):
            progress.add(wheel["size"], fetched=False)
        else:
            missing.append(wheel)
    small = [wheel for wheel in missing if wheel["size"] <= _SMALL_BYTES]
    runs = [[wheel] for wheel in missing if wheel["size"] > _SMALL_BYTES]
    runs += [small[at : at + _TOGETHER] for at in range(0, len(small), _TOGETHER)]

    def one_run(run: list[Mapping[str, Any]]) -> None:
        if len(run) > 1 and _download(run, version, platforms, store) is None:
            progress.add(sum(wheel["size"] for wheel in run))
            return
        for wheel in run:  # each alone, so that a refusal is of the one that is at fault
            errors = _download([wheel], version, platforms, store)
            if errors is not None:
                _refuse(f"{wheel['name']}=={wheel['version']}", wheel, errors)
            progress.add(wheel["size"])

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for future in [pool.submit(one_run, run) for run in runs]:
            future.result()


def _download(
    wheels: Sequence[Mapping[str, Any]], version: str, platforms: Sequence[str], store: BlobStore
) -> str | None:
    """Have one run of pip fetch wheels into the store. Returns None, or pip's words when it failed."""
    short = version.replace(".", "")
    with tempfile.TemporaryDirectory(prefix="edgewright-pip-") as room:
        wanted = Path(room) / "requirements.txt"
        lines = [f"{wheel['name']}=={wheel['version']} --hash=sha256:{wheel['sha256']}\n" for wheel in wheels]
        wanted.write_text("".join(lines))
        done = _pip(
            *("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
            # The hash says which wheel; whether it fits was asked when it was locked.
            "--ignore-requires-python",
            *("--python-version", version, "--implementation", "cp", "--abi", f"cp{short}", "--abi", "abi3"),
            *("--abi", "none", *(word for platform in platforms for word in ("--platform", platform))),
            *("--dest", room, "--requirement", str(wanted)),
        )
        if done.returncode != 0:
            return _errors(done.stderr)
        for wheel in wheels:
            what, found = f"{wheel['name']}=={wheel['version']}", Path(room) / wheel["filename"]
            if not found.is_file():
                raise InputError(
                    f"fetching {what}: pip gave no {found.name}; lock anew with `edgewright release lock`"
                )
            store.put_file(found, wheel["sha256"], what)
    return None


def _refuse(what: str, wheel: Mapping[str, Any], words: str) -> None:
    if "DO NOT MATCH THE HASHES" in words:
        raise IntegrityError(
            f"fetching {what}: the index serves other bytes than {wheel['sha256']}: {words}; "
            "find out why, or lock anew with `edgewright release lock RELEASE_DIR`"
        )
    if "No matching distribution" in words and "connection" not in words.lower():
        raise InputError(
            f"fetching {what}: the index no longer has {wheel['filename']}: {words}; "
            "run `edgewright release lock RELEASE_DIR`"
        )
    raise UnreachableError(f"fetching {what}: {words}; check pip's index and this host's network")


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def _errors(text: str) -> str:
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.startswith("WARNING: Location")
    ]
    return " / ".join(lines[-6:])


def _entry(item: Mapping[str, Any]) -> dict[str, Any]:
    source = item["download_info"]
    return {
        "name": normal_name(item["metadata"]["name"]),
        "version": item["metadata"]["version"],
        "filename": _filename(item),
        "size": 0,  # known once it is here
        "sha256": source["archive_info"]["hashes"]["sha256"],
        "licence": "",
    }


def _filename(item: Mapping[str, Any]) -> str:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(item["download_info"]["url"]).path)).name


def _licence(path: Path, filename: str) -> str:
    """A wheel's licence; one that names none is refused."""
    with zipfile.ZipFile(path) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        head = HeaderParser().parsestr(wheel.read(member).decode("utf-8", "replace"))
    licence = wheel_licence(head)
    if licence is None:
        raise InputError(
            f"reading the licence of {filename}: its metadata names none; choose another package"
        )
    return licence


def wheel_licence(head: Message) -> str | None:
    """A wheel's licence by its METADATA: SPDX expression, else the field, else classifiers; None for none."""
    if head["License-Expression"]:
        return str(head["License-Expression"])
    classes = [
        line.rsplit(" :: ", 1)[1] for line in head.get_all("Classifier", []) if line.startswith("License ::")
    ]
    field = (head["License"] or "").strip()
    if field and "\n" not in field and len(field) < 80:
        return field
    return ", ".join(classes) or None
