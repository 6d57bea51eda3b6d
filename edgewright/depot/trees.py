# SPDX-License-Identifier: Apache-2.0
"""The depot's trees as plain files: apt repository, Python index, OCI distribution, other files.

Each function turns entries of the lock into `{path: content}`, where content is bytes that are written, or
a sha256 of the store that is linked. Nothing is decided at request time: a web server of static files
answers apt, pip, uv, podman, docker and skopeo.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.depot.debfile import control_fields
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.manifest import ARCHIVE_KEY
from edgewright.errors import IntegrityError
from edgewright.release.ocitar import canonical_json, image_blobs, make_index
from edgewright.release.wheels import normal_name

__all__ = [
    "ARCHIVE_KEY",
    "Linked",
    "Tree",
    "apt_tree",
    "files_tree",
    "oci_tree",
    "pypi_tree",
    "write_tree",
]


class Linked(str):
    """A sha256 of the store: the file is linked from there."""

    __slots__ = ()


Tree = dict[str, bytes | Linked]


def apt_tree(lock: Mapping[str, Any], key: ReleaseKey, store: BlobStore) -> Tree:
    """A signed apt repository of the lock's packages: a suite for each that its targets name.

    Args:
        lock: The lock; `apt.date` becomes the repository's date.
        key: Signs it.
        store: Holds the packages.

    Returns:
        Files below `apt/`.
    """
    tree: Tree = {ARCHIVE_KEY: key.ensure()}
    suites: dict[str, dict[str, bytes]] = {}
    for part in [lock, *lock.get("targets", [])]:
        files, indices = _architecture(part["os"]["arch"], part["apt"]["packages"], store)
        tree |= files
        suites.setdefault(part["os"]["suite"], {}).update(indices)
    for suite, indices in suites.items():
        release = _apt_release(lock, suite, indices)
        signed, signature = key.sign(release)
        here = f"apt/dists/{suite}"
        tree |= {f"{here}/{path}": data for path, data in indices.items()}
        tree |= {f"{here}/Release": release, f"{here}/InRelease": signed, f"{here}/Release.gpg": signature}
    return tree


def _architecture(
    arch: str, packages: Sequence[Mapping[str, Any]], store: BlobStore
) -> tuple[Tree, dict[str, bytes]]:
    """One architecture's packages in the pool, and its indices by path below the suite."""
    tree: Tree = {}
    controls = [control_fields(store.path(deb["sha256"]), deb["filename"]).strip("\n") for deb in packages]
    stanzas = []
    for deb, control in zip(packages, controls, strict=True):
        path = f"pool/{deb['filename']}"
        tree[f"apt/{path}"] = Linked(deb["sha256"])
        stanzas.append(f"{control}\nFilename: {path}\nSize: {deb['size']}\nSHA256: {deb['sha256']}\n")
    listing = "\n".join(stanzas).encode("utf-8")
    index = f"main/binary-{arch}"
    return tree, {
        f"{index}/Packages": listing,
        f"{index}/Packages.gz": gzip.compress(listing, 9, mtime=0),
    }


def _apt_release(lock: Mapping[str, Any], suite: str, indices: Mapping[str, bytes]) -> bytes:
    arch = " ".join(sorted({path.split("/")[1].removeprefix("binary-") for path in indices}))
    sums = "".join(
        f" {sha256(data).hexdigest()} {len(data)} {path}\n" for path, data in sorted(indices.items())
    )
    # apt refuses to update from a repository whose Label changed (apt-secure(8)): it names no release.
    return (
        f"Origin: Edgewright\nLabel: Edgewright\nSuite: {suite}\nCodename: {suite}\n"
        f"Date: {lock['apt']['date']}\nArchitectures: {arch}\nComponents: main\n"
        f"Description: Packages of the release {lock['release']['name']}\n"
        f"SHA256:\n{sums}"
    ).encode()


def pypi_tree(lock: Mapping[str, Any]) -> Tree:
    """A simple index (PEP 503 as HTML, PEP 691 as JSON) of the lock's wheels.

    Returns:
        Files below `pypi/`.
    """
    projects: dict[str, list[Mapping[str, Any]]] = {}
    tree: Tree = {}
    wheels = [wheel for part in [lock, *lock.get("targets", [])] for wheel in part["python"]["wheels"]]
    for wheel in {wheel["filename"]: wheel for wheel in wheels}.values():
        projects.setdefault(normal_name(wheel["name"]), []).append(wheel)
        tree[f"pypi/files/{wheel['filename']}"] = Linked(wheel["sha256"])
    for name, wheels in projects.items():
        tree |= _project(name, wheels)
    listed = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in sorted(projects))
    tree["pypi/simple/index.html"] = _page("Simple index", listed)
    tree["pypi/simple/index.json"] = canonical_json(
        {"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in sorted(projects)]}
    )
    return tree


def _project(name: str, wheels: Sequence[Mapping[str, Any]]) -> Tree:
    links, files = "", []
    for wheel in wheels:
        href = f"../../files/{wheel['filename']}"
        shown = html.escape(wheel["filename"])
        links += f'<a href="{html.escape(href)}#sha256={wheel["sha256"]}">{shown}</a><br>\n'
        files.append(
            {
                "filename": wheel["filename"],
                "hashes": {"sha256": wheel["sha256"]},
                "size": wheel["size"],
                "url": href,
            }
        )
    return {
        f"pypi/simple/{name}/index.html": _page(f"Links for {name}", links),
        f"pypi/simple/{name}/index.json": canonical_json(
            {"files": files, "meta": {"api-version": "1.0"}, "name": name}
        ),
    }


def _page(title: str, body: str) -> bytes:
    return (
        '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'
        f"<title>{title}</title></head><body>\n{body}</body></html>\n"
    ).encode()


def oci_tree(lock: Mapping[str, Any], store: BlobStore) -> Tree:
    """The pull side of an OCI registry for the lock's images.

    A name that has one platform is tagged with its manifest. One that has several is tagged with an index of
    them, below `indexes/` instead of `manifests/`: a static server tells by the place which type it serves.

    Args:
        lock: The lock.
        store: Holds the images' blobs.

    Returns:
        Files below `v2/`.

    Raises:
        IntegrityError: The store lacks an image.
    """
    tree: Tree = {}
    tagged: dict[tuple[str, str], dict[str, tuple[str, int]]] = {}
    for image in lock["images"]:
        blobs = image_blobs(image["digest"], store)
        if blobs is None:
            raise IntegrityError(
                f"laying out image {image['name']}@{image['digest']}: the store does not hold it"
            )
        here = f"v2/{image['name']}"
        tree |= {f"{here}/blobs/sha256:{blob}": Linked(blob) for blob in blobs}
        tree[f"{here}/manifests/{image['digest']}"] = Linked(blobs[0])
        platforms = tagged.setdefault((image["name"], image["version"]), {})
        platforms[image["platform"]] = (image["digest"], store.path(blobs[0]).stat().st_size)
    for (name, version), platforms in tagged.items():
        here = f"v2/{name}"
        if len(platforms) == 1:
            (digest, _), *_ = platforms.values()
            tree[f"{here}/manifests/{version}"] = Linked(digest.removeprefix("sha256:"))
        else:
            index = make_index(platforms)
            tree[f"{here}/indexes/{version}"] = index
            tree[f"{here}/indexes/sha256:{sha256(index).hexdigest()}"] = index
        tags = sorted(tag for other, tag in tagged if other == name)
        tree[f"{here}/tags/list"] = json.dumps({"name": name, "tags": tags}).encode()
    return tree


def files_tree(lock: Mapping[str, Any]) -> Tree:
    """The files that a site supplies or that were fetched from an address.

    Returns:
        Files below `files/`, by their names; none when the lock has none.
    """
    return {f"files/{entry['name']}": Linked(entry["sha256"]) for entry in lock.get("files", [])}


def write_tree(tree: Tree, root: Path, store: BlobStore) -> dict[str, dict[str, Any]]:
    """Write a tree below a directory, readable by all.

    Args:
        tree: Files by path.
        root: The directory.
        store: Where linked files lie.

    Returns:
        `sha256` and `size` of each file, by path.
    """
    listed: dict[str, dict[str, Any]] = {}
    for path in sorted(tree):
        content, target = tree[path], root / path
        if isinstance(content, Linked):
            store.place(content, target)
            listed[path] = {"sha256": str(content), "size": target.stat().st_size}
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o644)
            listed[path] = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    for directory in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)
    return listed
