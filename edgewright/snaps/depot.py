# SPDX-License-Identifier: Apache-2.0
"""Snaps in the depot, and their check wherever a bundle is verified or taken in.

    snaps/index.json          schema edgewright.snaps/v1: the release's snaps, what each must be
    snaps/NAME_REVISION.snap  as the store published it
    snaps/NAME+COMPONENT_REVISION.comp  a component of it, where the release names one
    snaps/NAME_REVISION.assert  account, account-key, snap-declaration, snap-revision: what `snap ack` takes
    snaps/validation-set-NAME_SEQUENCE.assert  account, account-key, validation-set, where one is named

The bundle's own signatures say that these are the bytes that the release's builder put there. The check here
says more: that the store's publisher made each snap, by the assertions alone and up to snapd's own root key,
so that a builder's mistake is found before a device is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

from edgewright.depot.progress import Progress, say
from edgewright.depot.trees import Linked, Tree
from edgewright.errors import IntegrityError
from edgewright.release.ocitar import canonical_json
from edgewright.snaps.assertion import MAX_FILE_BYTES
from edgewright.snaps.components import carried, full_name
from edgewright.snaps.grade import DANGEROUS, notice
from edgewright.snaps.inputs import Hashed, check_snap, hash_snap
from edgewright.snaps.openpgp import encode_digest
from edgewright.snaps.refusal import SnapRefused
from edgewright.snaps.setfiles import INDEX_FIELDS, check_sets
from edgewright.snaps.validation import PRESENCES

if TYPE_CHECKING:
    from edgewright.bundle.verify import VerifiedBundle

__all__ = ["DIRECTORY", "INDEX", "check_bundle_snaps", "check_depot_snaps", "load_index", "snaps_tree"]

DIRECTORY = "snaps"
INDEX = f"{DIRECTORY}/index.json"
SCHEMA = "edgewright.snaps/v1"
MAX_INDEX_BYTES = 4 << 20
_SHOWN = 200

_FIELDS = (
    *("name", "grade", "revision", "publisher", "developer", "channel", "snap_id", "publisher_id"),
    *("filename", "size", "sha256", "sha3_384"),
)
_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
_FILE = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9-]*_[a-z0-9]+\.(snap|assert)\Z"}
_COMPONENT_FILE = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9-]*\+[a-z0-9-]+_[1-9][0-9]*\.comp\Z"}
_HEX = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
_NUMBER = {"type": "integer", "minimum": 1}
_ASSERTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["filename", "sha256", "size"],
    "properties": {
        "filename": _FILE,
        "sha256": _HEX,
        "size": {"type": "integer", "minimum": 1, "maximum": MAX_FILE_BYTES},
    },
}
_DIGEST = {"type": "string", "pattern": r"^[A-Za-z0-9_-]{64}\Z"}
_COMPONENT_FIELDS = ("name", "revision", "filename", "size", "sha256", "sha3_384")
_COMPONENT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": list(_COMPONENT_FIELDS),
    "properties": {
        "name": _TEXT,
        "revision": _NUMBER,
        "filename": _COMPONENT_FILE,
        "size": _NUMBER,
        "sha256": _HEX,
        "sha3_384": _DIGEST,
    },
}
_PIN: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "snap_id", "presence"],
    "properties": {
        "name": _TEXT,
        "snap_id": _TEXT,
        "presence": {"enum": list(PRESENCES)},
        "revision": _NUMBER,
    },
}
_SET: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [*INDEX_FIELDS, "assertions"],
    "properties": {
        "account": _TEXT,
        "name": _TEXT,
        "sequence": _NUMBER,
        "revision": {"type": "integer", "minimum": 0},
        "snaps": {"type": "array", "minItems": 1, "items": _PIN},
        "assertions": _ASSERTIONS,
    },
}
_INDEX_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "snaps"],
    "properties": {
        "schema": {"const": SCHEMA},
        "snaps": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "grade", "filename", "size", "sha256", "sha3_384"],
                "properties": {
                    "name": _TEXT,
                    "grade": {"enum": ["signed", "dangerous"]},
                    "revision": _NUMBER,
                    **dict.fromkeys(("publisher", "developer", "channel", "snap_id", "publisher_id"), _TEXT),
                    "filename": _FILE,
                    "size": _NUMBER,
                    "sha256": _HEX,
                    "sha3_384": _DIGEST,
                    "assertions": _ASSERTIONS,
                    "components": {"type": "array", "minItems": 1, "items": _COMPONENT},
                },
                "if": {"properties": {"grade": {"const": "signed"}}},
                "then": {"required": ["assertions", "revision", "publisher", "snap_id", "publisher_id"]},
                "else": {"not": {"anyOf": [{"required": ["assertions"]}, {"required": ["components"]}]}},
            },
        },
        "validation_sets": {"type": "array", "minItems": 1, "items": _SET},
    },
}


def snaps_tree(lock: Mapping[str, Any]) -> Tree:
    """The lock's snaps with their assertions and index.

    Returns:
        Files below `snaps/`; none when the lock has none.
    """
    entries = lock.get("snaps", [])
    if not entries:
        return {}
    tree: Tree = {}
    listed = []
    for entry in entries:
        told = {key: entry[key] for key in _FIELDS if key in entry}
        tree[f"{DIRECTORY}/{entry['filename']}"] = Linked(entry["sha256"])
        if "assertions" in entry:
            held = entry["assertions"]
            tree[f"{DIRECTORY}/{held['filename']}"] = Linked(held["sha256"])
            told["assertions"] = {key: held[key] for key in ("filename", "sha256", "size")}
        for each in entry.get("components", []):
            tree[f"{DIRECTORY}/{each['filename']}"] = Linked(each["sha256"])
            told.setdefault("components", []).append({key: each[key] for key in _COMPONENT_FIELDS})
        listed.append(told)
    sets = []
    for entry in lock.get("validation_sets", []):
        held = entry["assertions"]
        tree[f"{DIRECTORY}/{held['filename']}"] = Linked(held["sha256"])
        told = {key: entry[key] for key in INDEX_FIELDS}
        sets.append({**told, "assertions": {key: held[key] for key in ("filename", "sha256", "size")}})
    index = {"schema": SCHEMA, "snaps": listed, **({"validation_sets": sets} if sets else {})}
    tree[INDEX] = canonical_json(index)
    return tree


def load_index(data: bytes, where: str) -> dict[str, Any]:
    """Read a depot's index of snaps strictly.

    Args:
        data: The file's bytes.
        where: Its place, for messages.

    Returns:
        What it says: `snaps`, and perhaps `validation_sets`.

    Raises:
        IntegrityError: It is not what its schema says.
    """
    again = "the depot was made by another program or changed: build or get it again"
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"reading {where}: it is not JSON: {str(error)[:100]}; {again}") from error
    fault = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(_INDEX_SCHEMA).iter_errors(content)
    )
    if fault is not None:
        place = ".".join(str(step) for step in fault.absolute_path) or "the top level"
        told = fault.message if len(fault.message) < _SHOWN else "it is not what its schema says"
        raise IntegrityError(f"reading {where}: {place}: {told}; {again}")
    found: dict[str, Any] = content
    return found


def check_depot_snaps(root: Path, name: str, now: datetime) -> int:
    """Check the snaps of a depot that lies in a directory.

    Args:
        root: The depot's tree.
        name: What it holds, such as `label-reader 1.0.0`, for messages.
        now: The time it is taken to be.

    Returns:
        How many snaps it has.

    Raises:
        IntegrityError: One is not what its assertions say, or the index does not fit the files.
    """
    there = {f"{DIRECTORY}/{path.name}" for path in (root / DIRECTORY).glob("*")}
    return _check(
        there,
        lambda path, limit: _read(root / path, limit),
        lambda path, _: hash_snap(root / path),
        name,
        now,
    )


def check_bundle_snaps(bundle: VerifiedBundle) -> int:
    """Check the snaps of a verified bundle, from the stick; the other arguments as `check_depot_snaps`."""
    index = bundle.index

    def read(path: str, limit: int) -> bytes:
        return bundle.read_blob(index.depot[path], limit)

    def hashed(path: str, progress: Progress) -> Hashed:
        digest = index.depot[path]
        whole = hashlib.sha3_384()
        bundle.feed(digest, whole, progress)
        return Hashed(index.blobs[digest].size, digest, encode_digest(whole.digest()))

    there = {path for path in index.depot if path.startswith(f"{DIRECTORY}/")}
    return _check(there, read, hashed, index.name, bundle.clock.now)


def _check(
    there: set[str],
    read: Callable[[str, int], bytes],
    hashed: Callable[[str, Progress], Hashed],
    name: str,
    now: datetime,
) -> int:
    if not there:
        return 0
    if INDEX not in there:
        raise SnapRefused(
            "missing", f"checking the snaps of {name}: {INDEX} is missing; build the bundle again"
        )
    index = load_index(read(INDEX, MAX_INDEX_BYTES), f"{INDEX} of {name}")
    entries, sets = index["snaps"], index.get("validation_sets", [])
    files = list(carried(index))
    _fits([*files, *sets], there, name)
    progress = Progress(f"checking {len(entries)} snaps", sum(file["size"] for file in files))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        every = list(pool.map(lambda each: hashed(f"{DIRECTORY}/{each['filename']}", progress), files))
    for file, found in zip(files, every, strict=True):
        if (found.size, found.sha256, found.sha3_384) != (file["size"], file["sha256"], file["sha3_384"]):
            raise SnapRefused(
                "changed",
                f"checking snap {file['name']} of {name}: expected {file['size']} bytes with sha3_384 "
                f"{file['sha3_384']}, got {found.size} with {found.sha3_384}; build or get the bundle again",
            )
    hashes = {file["name"]: found for file, found in zip(files, every, strict=True)}
    for entry in entries:
        if entry["grade"] != DANGEROUS:
            held = entry["assertions"]
            data = read(f"{DIRECTORY}/{held['filename']}", MAX_FILE_BYTES)
            if hashlib.sha256(data).hexdigest() != held["sha256"]:
                raise SnapRefused(
                    "changed",
                    f"checking snap {entry['name']} of {name}: {held['filename']} is not the file that the "
                    "index names; build or get the bundle again",
                )
            parts = {
                each["name"]: hashes[full_name(entry["name"], each["name"])]
                for each in entry.get("components", [])
            }
            asserted = check_snap(entry, hashes[entry["name"]], data, held["filename"], now, components=parts)
            if (asserted.snap_id, asserted.publisher_id) != (entry["snap_id"], entry["publisher_id"]):
                raise SnapRefused(
                    "publisher",
                    f"checking snap {entry['name']} of {name}: the index says snap-id {entry['snap_id']} of "
                    f"{entry['publisher_id']}, its assertions {asserted.snap_id} of {asserted.publisher_id}; "
                    "lock the release and build the bundle again",
                )
    progress.close()
    check_sets(sets, entries, lambda file, limit: read(f"{DIRECTORY}/{file}", limit), name, now)
    names = [entry["name"] for entry in entries if entry["grade"] == DANGEROUS]
    if names:
        say(notice(names, name))
    return len(entries)


def _fits(entries: Sequence[Mapping[str, Any]], there: set[str], name: str) -> None:
    listed = [entry["filename"] for entry in entries if "filename" in entry]
    listed += [entry["assertions"]["filename"] for entry in entries if "assertions" in entry]
    wanted = {INDEX, *(f"{DIRECTORY}/{each}" for each in listed)}
    if len(listed) != len(wanted) - 1:
        raise SnapRefused(
            "format", f"checking the snaps of {name}: {INDEX} names a file twice; build it again"
        )
    if wanted != there:
        odd = min(wanted ^ there)
        what = "is missing" if odd in wanted else f"is not named in {INDEX}"
        raise SnapRefused("missing", f"checking the snaps of {name}: {odd} {what}; build the bundle again")


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise SnapRefused("format", f"reading {path}: expected at most {limit} bytes; build the depot again")
    return data
