# SPDX-License-Identifier: Apache-2.0
"""Images that are made elsewhere: from a registry, a local engine, or an archive file, into the store.

skopeo reads registries and archives, Docker's own library speaks to an engine (Docker, or Podman through its
compatible socket). Whatever the way, the image ends up as an OCI manifest, configuration and layers in the
store, each blob checked against its digest. An OCI manifest keeps its bytes, so that its digest is the
registry's own; Docker's older form is rewritten as OCI with the same configuration and layers.

    found = import_image(entry, "amd64", release_dir, store, "release.yml:70")
    found.digest, found.size, found.origin
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore, sha256_bytes, sha256_file
from edgewright.depot.progress import Progress, human_bytes, say
from edgewright.errors import InputError, IntegrityError, MissingToolError, UnreachableError
from edgewright.release.ocitar import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, canonical_json

__all__ = ["Imported", "import_image", "restore_image"]

_INDEX_TYPES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_DOCKER_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_MAGIC = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
"""First bytes of a compressed layer, and its media type's ending: Docker's archives call all of them gzip."""

_CHUNK = 1 << 20
_MANIFEST_LIMIT = 4 << 20  # bytes; registries refuse larger ones (distribution spec, "Pushing Manifests")
_ENGINE_TIMEOUT_S = 600
_PREFIX = ".image-"
_LEFT_S = 24 * 3600


@dataclass(frozen=True)
class Imported:
    """An image in the store: `digest` of its manifest, `size` of its blobs in bytes, the lock's `origin`."""

    digest: str
    size: int
    origin: dict[str, Any]


def import_image(
    wanted: Mapping[str, Any],
    arch: str,
    release_dir: Path,
    store: BlobStore,
    *,
    place: str,
    held: Mapping[str, Any] | None = None,
) -> Imported:
    """Find an image where the release says, and take it into the store.

    Args:
        wanted: An entry of the release's `images.extra`.
        arch: The devices' architecture, in OCI's words.
        release_dir: Where the paths of archives begin.
        store: Where the image goes.
        place: `FILE:LINE` of the entry, for messages.
        held: The lock's entry so far: when its source still has the same, nothing is copied.

    Returns:
        The image.

    Raises:
        InputError: There is no such image, or none for this architecture.
        IntegrityError: An archive or a blob is not what its digest says.
        MissingToolError: skopeo or Docker's library is not installed.
        UnreachableError: The registry or the engine does not answer.
    """
    source: Mapping[str, Any] = wanted["from"]
    what = f"{place}: image {wanted['name']}"
    if source["kind"] == "registry":
        reference = source["reference"]
        say(f"asking for {reference}")
        digest = _platform_digest(reference, arch, what)
        if held is not None and held["from"].get("digest") == digest and held["platform"] == f"linux/{arch}":
            return Imported(held["digest"], held["size"], dict(held["from"]))
        return _from_registry(reference, digest, arch, store, what)
    if source["kind"] == "engine":
        return _from_engine(source, arch, store, what)
    return _from_archive(source, arch, release_dir, store, what)


def restore_image(entry: Mapping[str, Any], release_dir: Path, store: BlobStore) -> None:
    """Get a locked image again that the store no longer holds.

    Args:
        entry: The lock's entry, role `extra`.
        release_dir: Where the paths of archives begin.
        store: Where it goes.

    Raises:
        IntegrityError: The source now gives another image than the locked one.
        EdgewrightError: As `import_image`.
    """
    source, arch = entry["from"], entry["platform"].split("/")[1]
    what = f"image {entry['name']}"
    if source["kind"] == "registry":
        found = _from_registry(source["reference"], source["digest"], arch, store, what)
    elif source["kind"] == "engine":
        found = _from_engine({**source, "reference": source["id"]}, arch, store, what)
    else:
        found = _from_archive(source, arch, release_dir, store, what)
    if found.digest != entry["digest"]:
        raise IntegrityError(
            f"fetching {what}: the lock expects {entry['digest']}, its {source['kind']} gives "
            f"{found.digest}; "
            f"find out why, or lock it anew with `edgewright release lock {release_dir} --only "
            f"{entry['name']}`"
        )


def _platform_digest(reference: str, arch: str, what: str) -> str:
    """The digest of the manifest for one architecture, as the registry has it now."""
    raw = _skopeo("inspect", "--raw", f"docker://{reference}", what=what)
    listed = _json(raw, what)
    if listed.get("mediaType") not in _INDEX_TYPES and "manifests" not in listed:
        return f"sha256:{sha256_bytes(raw)}"
    platforms = [(item.get("platform") or {}, item["digest"]) for item in listed["manifests"]]
    for platform, digest in platforms:
        if platform.get("os") == "linux" and platform.get("architecture") == arch:
            return str(digest)
    there = ", ".join(f"{each.get('os')}/{each.get('architecture')}" for each, _ in platforms) or "none"
    raise InputError(
        f"locking {what}: {reference} has no image for linux/{arch} (it has: {there}); name another, "
        "or say for which `arches` of the release it is"
    )


def _from_registry(reference: str, digest: str, arch: str, store: BlobStore, what: str) -> Imported:
    name = reference.partition("@")[0]
    name = re.sub(r":[^:/]+$", "", name)
    say(f"fetching {name}@{digest}")
    with _directory(store) as room:
        _skopeo("copy", "--quiet", f"docker://{name}@{digest}", f"dir:{room}/image", what=what)
        found = _take_in(room / "image", arch, store, what, digest)
    return Imported(*found, {"kind": "registry", "reference": reference, "digest": digest})


def _from_archive(
    source: Mapping[str, Any], arch: str, release_dir: Path, store: BlobStore, what: str
) -> Imported:
    path = release_dir / source["path"]
    if not path.is_file():
        raise InputError(f"reading {what}: there is no file {path}; put the archive there")
    found = sha256_file(path)
    if found != source["sha256"]:
        raise IntegrityError(
            f"reading {what}: {path}: expected sha256 {source['sha256']}, got {found}; get the archive that "
            "is "
            "meant, or correct the sha256 in release.yml"
        )
    with _directory(store) as room:
        plain = room / "archive.tar"  # skopeo takes what follows a colon in a path for a tag
        plain.symlink_to(path.resolve())
        reference = f":{source['reference']}" if "reference" in source else ""
        platform = ("--override-os", "linux", "--override-arch", arch)
        image = f"{source['kind']}:{plain}{reference}"
        _skopeo(*platform, "copy", "--quiet", image, f"dir:{room}/image", what=what)
        digest, size = _take_in(room / "image", arch, store, what)
    kept = {key: source[key] for key in ("kind", "path", "reference", "sha256") if key in source}
    return Imported(digest, size, kept)


def _from_engine(source: Mapping[str, Any], arch: str, store: BlobStore, what: str) -> Imported:
    try:
        import docker  # noqa: PLC0415 - only images of an engine need it
        import docker.errors  # noqa: PLC0415
        import requests  # noqa: PLC0415 - docker's own dependency, for its errors
    except ImportError as error:
        raise MissingToolError(
            f"reading {what}: Docker's Python library is not installed; install edgewright[build]"
        ) from error
    socket = source.get("socket") or os.environ.get("DOCKER_HOST")
    where = socket or "unix:///var/run/docker.sock"
    unreachable = (
        f"reading {what}: no engine answers at {where}; start it (podman: `systemctl start podman.socket`, "
        "and name its socket under `socket` or in DOCKER_HOST)"
    )
    try:
        client = docker.DockerClient(base_url=where, timeout=_ENGINE_TIMEOUT_S)
        image = client.images.get(source["reference"])
    except docker.errors.ImageNotFound as error:
        raise InputError(
            f"reading {what}: the engine at {where} has no image {source['reference']}; build or pull it "
            "there"
        ) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise UnreachableError(f"{unreachable}: {error}") from error
    with _directory(store) as room:
        progress = Progress(f"exporting {source['reference']}", int(image.attrs.get("Size", 0)))
        try:
            with (room / "archive.tar").open("wb") as stream:
                for chunk in image.save(chunk_size=_CHUNK):
                    stream.write(chunk)
                    progress.add(len(chunk))
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise UnreachableError(f"reading {what}: the engine at {where} broke off: {error}") from error
        finally:
            client.close()
        progress.close()
        copied = f"docker-archive:{room}/archive.tar"
        _skopeo("copy", "--quiet", copied, f"dir:{room}/image", what=what)
        digest, size = _take_in(room / "image", arch, store, what)
    kept = {key: source[key] for key in ("kind", "reference", "socket") if key in source}
    return Imported(digest, size, {**kept, "id": str(image.id)})


def _take_in(
    directory: Path, arch: str, store: BlobStore, what: str, expected: str | None = None
) -> tuple[str, int]:
    """Move an image from skopeo's `dir:` layout into the store. Returns its digest and size."""
    raw = (directory / "manifest.json").read_bytes()
    if expected is not None and expected != f"sha256:{sha256_bytes(raw)}":
        raise IntegrityError(
            f"fetching {what}: expected the manifest {expected}, got sha256:{sha256_bytes(raw)}; try again"
        )
    manifest = _json(raw, what)
    kind = manifest.get("mediaType") or (MANIFEST_TYPE if "config" in manifest else "none")
    if kind not in {MANIFEST_TYPE, _DOCKER_TYPE} or len(raw) > _MANIFEST_LIMIT:
        raise InputError(
            f"reading {what}: its manifest is of type {kind} ({len(raw)} bytes), expected OCI's or Docker's "
            "version 2, schema 2; push it again with a tool of this decade"
        )
    for part in [manifest["config"], *manifest["layers"]]:
        _blob(directory, part, store, what)
    _check_platform(store.path(_hex(manifest["config"]["digest"])), arch, what)
    if kind == _DOCKER_TYPE:
        raw = canonical_json(_as_oci(manifest, store))
    digest = store.put(raw)
    size = len(raw) + sum(part["size"] for part in [manifest["config"], *manifest["layers"]])
    say(f"{what.rpartition(': ')[2]}: {human_bytes(size)}, sha256:{digest}")
    return f"sha256:{digest}", size


def _blob(directory: Path, part: Mapping[str, Any], store: BlobStore, what: str) -> None:
    digest = _hex(part["digest"])
    if part.get("urls"):
        raise InputError(
            f"reading {what}: layer {part['digest']} lies elsewhere ({part['urls'][0]}), so no bundle can "
            "carry "
            "it; take an image without foreign layers"
        )
    if store.has(digest, part["size"]):
        return
    path = directory / digest
    if not path.is_file() or path.stat().st_size != part["size"]:
        raise IntegrityError(
            f"reading {what}: {part['digest']} is missing or not of {part['size']} bytes; get it again"
        )
    store.put_file(path, digest, what)


def _check_platform(config: Path, arch: str, what: str) -> None:
    told = _json(config.read_bytes(), what)
    found = f"{told.get('os', 'linux')}/{told.get('architecture', arch)}"
    if found != f"linux/{arch}":
        raise InputError(
            f"reading {what}: expected an image for linux/{arch}, got one for {found}; name another, or say "
            "for which `arches` of the release it is"
        )


def _as_oci(manifest: Mapping[str, Any], store: BlobStore) -> dict[str, Any]:
    layers = []
    for layer in manifest["layers"]:
        with store.path(_hex(layer["digest"])).open("rb") as stream:
            head = stream.read(4)
        ending = next((ending for magic, ending in _MAGIC if head.startswith(magic)), "")
        layers.append({"digest": layer["digest"], "mediaType": LAYER_TYPE + ending, "size": layer["size"]})
    config = {key: manifest["config"][key] for key in ("digest", "size")}
    return {
        "config": {**config, "mediaType": CONFIG_TYPE},
        "layers": layers,
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    }


def _hex(digest: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise InputError(f"reading an image: expected a sha256 digest, got {digest!r}")
    return digest.removeprefix("sha256:")


def _json(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise IntegrityError(f"reading {what}: its manifest or configuration is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise IntegrityError(f"reading {what}: its manifest or configuration is no JSON object")
    return found


@contextmanager
def _directory(store: BlobStore) -> Iterator[Path]:
    """A directory beside the store, so that blobs move into it without being copied."""
    beside = store.root.parent
    for left in beside.glob(f"{_PREFIX}*"):  # of a run that was killed
        if time.time() - left.stat().st_mtime > _LEFT_S:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=beside) as name:
        yield Path(name)


def _skopeo(*arguments: str, what: str) -> bytes:
    if shutil.which("skopeo") is None:
        raise MissingToolError(f"reading {what}: skopeo is not installed; install skopeo")
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["skopeo", *arguments], capture_output=True, check=False, env=environment)
    if done.returncode == 0:
        return done.stdout
    told = done.stderr.decode("utf-8", "replace").strip()
    words = re.findall(r'msg="((?:[^"\\]|\\.)*)"', told)
    last = (words[-1] if words else told.splitlines()[-1:] or [""])[-600:] if told else "no words"
    message = f"reading {what}: skopeo: {last}"
    if any(word.startswith(("oci-archive:", "docker-archive:")) for word in arguments):
        raise InputError(f"{message}; is the file whole, of that kind, and for this platform?")
    lacking = ("manifest unknown", "not found", "unauthorized", "denied", "no image", "404", "invalid")
    if any(word in str(last).lower() for word in lacking):
        raise InputError(f"{message}; correct the reference, or log in with `skopeo login`")
    raise UnreachableError(f"{message}; check the source and this host's network")
