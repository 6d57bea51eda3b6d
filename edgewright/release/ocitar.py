# SPDX-License-Identifier: Apache-2.0
"""Container images from plain entries, the same bytes on every machine and from every Python.

A layer is an uncompressed tar (an emulated or small device unpacks it fastest, and its digest does not
hang on a compressor's version): entries sorted by path, owner 0:0, one fixed time, no names of users.
Configuration and manifest are canonical JSON. Two builds from the same entries have the same digest.

    layer = write_layer({"etc/hostname": Entry.file(b"reader\\n")}, path)
    image = make_image([layer], config={"User": "65532"}, arch="amd64", store=store)
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edgewright.depot.blobs import BlobStore

__all__ = [
    "INDEX_TYPE",
    "MANIFEST_TYPE",
    "Entry",
    "Image",
    "Layer",
    "canonical_json",
    "image_blobs",
    "make_image",
    "make_index",
    "write_layer",
]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

_MTIME_S = 0
_CREATED = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Entry:
    """One thing in a layer: a file (`data`), a link (`link`) or a directory; `mode` are permission bits."""

    kind: str
    mode: int
    data: bytes = b""
    link: str = ""

    @classmethod
    def file(cls, data: bytes, mode: int = 0o644) -> Entry:
        """A file."""
        return cls("file", mode, data)

    @classmethod
    def directory(cls, mode: int = 0o755) -> Entry:
        """A directory."""
        return cls("directory", mode)

    @classmethod
    def symlink(cls, target: str) -> Entry:
        """A symbolic link."""
        return cls("symlink", 0o777, link=target)


@dataclass(frozen=True)
class Layer:
    """A layer in the store. Uncompressed: its digest is its diff id."""

    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image in the store: `digest` of its manifest ("sha256:..."), `size` of all its blobs in bytes."""

    digest: str
    size: int


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def write_layer(entries: Mapping[str, Entry], store: BlobStore) -> Layer:
    """Write a layer into the store.

    Args:
        entries: By path without a leading slash; missing parent directories are added.
        store: Where it goes.

    Returns:
        The layer.
    """
    whole = dict(entries)
    for path in entries:
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                whole.setdefault(str(parent), Entry.directory())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(whole):
            entry = whole[path]
            info = tarfile.TarInfo(path + ("/" if entry.kind == "directory" else ""))
            info.mode, info.mtime = entry.mode, _MTIME_S
            info.type = {"directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}.get(
                entry.kind, tarfile.REGTYPE
            )
            info.size, info.linkname = len(entry.data), entry.link
            tar.addfile(info, io.BytesIO(entry.data))
    data = buffer.getvalue()
    return Layer(f"sha256:{store.put(data)}", len(data))


def make_image(layers: Sequence[Layer], config: Mapping[str, Any], arch: str, store: BlobStore) -> Image:
    """Write an image's configuration and manifest into the store.

    Args:
        layers: Lowest first.
        config: What the container starts with, as OCI's image configuration names it (`Entrypoint`, ...).
        arch: OCI's name of the architecture.
        store: Where it goes.

    Returns:
        The image.
    """
    told = canonical_json(
        {
            "architecture": arch,
            "config": dict(config),
            "created": _CREATED,
            "history": [{"created": _CREATED, "created_by": "edgewright"} for _ in layers],
            "os": "linux",
            "rootfs": {"diff_ids": [layer.digest for layer in layers], "type": "layers"},
        }
    )
    manifest = canonical_json(
        {
            "config": {"digest": f"sha256:{store.put(told)}", "mediaType": CONFIG_TYPE, "size": len(told)},
            "layers": [
                {"digest": layer.digest, "mediaType": LAYER_TYPE, "size": layer.size} for layer in layers
            ],
            "mediaType": MANIFEST_TYPE,
            "schemaVersion": 2,
        }
    )
    size = len(manifest) + len(told) + sum(layer.size for layer in layers)
    return Image(f"sha256:{store.put(manifest)}", size)


def make_index(images: Mapping[str, tuple[str, int]]) -> bytes:
    """An index: one name for the images of several platforms, of which a client picks its own.

    Args:
        images: Digest ("sha256:...") and size in bytes of each image's manifest, by platform
            (such as `linux/arm64`).

    Returns:
        The index, the same bytes in whatever order the platforms come.
    """
    manifests = []
    for platform, (digest, size) in sorted(images.items()):
        system, _, arch = platform.partition("/")
        manifests.append(
            {
                "digest": digest,
                "mediaType": MANIFEST_TYPE,
                "platform": {"architecture": arch, "os": system},
                "size": size,
            }
        )
    return canonical_json({"manifests": manifests, "mediaType": INDEX_TYPE, "schemaVersion": 2})


def image_blobs(digest: str, store: BlobStore) -> list[str] | None:
    """The sha256 of an image's manifest, configuration and layers.

    Args:
        digest: Of the manifest, "sha256:...".
        store: Where to look.

    Returns:
        Manifest first; None when the store lacks one of them.
    """
    name = digest.removeprefix("sha256:")
    if not store.has(name):
        return None
    manifest = json.loads(store.path(name).read_bytes())
    parts = [manifest["config"], *manifest["layers"]]
    if not all(store.has(part["digest"].removeprefix("sha256:"), part["size"]) for part in parts):
        return None
    return [name, *(part["digest"].removeprefix("sha256:") for part in parts)]
