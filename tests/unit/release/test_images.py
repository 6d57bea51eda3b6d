# SPDX-License-Identifier: Apache-2.0
"""Images: the same entries give the same bytes, wherever and whenever they are written."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgewright import labels
from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.errors import InputError
from edgewright.release.model_image import model_directory, read_description
from edgewright.release.ocitar import Entry, image_blobs, make_image, write_layer
from edgewright.release.runtime_image import runtime_sources, tree_digest

EXAMPLE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"

ENTRIES = {
    "etc/passwd": Entry.file(b"root:x:0:0::/:\n"),
    "tmp": Entry.directory(0o1777),
    "bin": Entry.symlink("usr/bin"),
    "usr/lib/" + "long-name/" * 14 + "file.py": Entry.file(b"pass\n"),
}


def test_the_same_entries_give_the_same_digest_in_any_place_and_order(tmp_path: Path) -> None:
    first, second = BlobStore(tmp_path / "a"), BlobStore(tmp_path / "elsewhere" / "b")
    one = make_image([write_layer(ENTRIES, first)], {"User": "65532"}, "amd64", first)
    other = make_image(
        [write_layer(dict(reversed(ENTRIES.items())), second)], {"User": "65532"}, "amd64", second
    )
    assert one == other
    # Written down: another Python's tar or JSON writer must give these bytes too.
    assert one.digest == "sha256:27317bb13145f0c7d6ef7864fda573f194a442171d1c1ddd5ec11ee197925c0f"


def test_a_layer_holds_what_was_given_and_nothing_of_this_host(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    layer = write_layer(ENTRIES, store)
    with tarfile.open(
        fileobj=io.BytesIO(store.path(layer.digest.removeprefix("sha256:")).read_bytes())
    ) as tar:
        members = {member.name: member for member in tar}
        assert set(ENTRIES) <= set(members)
        assert [*members] == sorted(members)
        assert members["tmp"].mode == 0o1777
        assert members["bin"].linkname == "usr/bin"
        assert members["usr/lib"].isdir()
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "", "", 0)}


def test_an_image_names_its_blobs_and_misses_what_is_gone(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    layer = write_layer(ENTRIES, store)
    image = make_image([layer], {}, "arm64", store)
    blobs = image_blobs(image.digest, store)
    assert blobs is not None
    manifest, config, first = (store.path(blob).read_bytes() for blob in blobs)
    assert json.loads(config)["architecture"] == "arm64"
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{sha256_bytes(first)}"]
    assert image.size == len(manifest) + len(config) + len(first)
    store.path(blobs[2]).unlink()
    assert image_blobs(image.digest, store) is None


def test_one_changed_byte_of_a_source_changes_its_digest() -> None:
    sources = runtime_sources()
    name = next(iter(sources))
    assert tree_digest({**sources, name: sources[name] + b"\n"}) != tree_digest(sources)
    assert not [path for path in sources if "__pycache__" in path or path.endswith(".pyc")]


def test_the_golden_output_in_version_control_reads_the_releases_text() -> None:
    release = yaml.safe_load((EXAMPLE / "release.yml").read_text())
    for wanted in release["images"]["models"]:
        files = read_description(EXAMPLE, wanted["model"])
        model = yaml.safe_load(files["model.yml"])
        assert model["schema"] == "edgewright.model/v1"
        for golden, told in zip(wanted["golden"], model["golden"], strict=True):
            root = model_directory(EXAMPLE, wanted["model"])
            (path,) = told["outputs"].values()
            value = np.load(root / path)["value"]
            assert labels.decode(value, model["parameters"]["alphabet"]) == golden["text"]
            assert np.array_equal(value, np.round(value, 4))


def test_an_image_becomes_a_tensor_of_the_models_form() -> None:
    tensor = labels.to_tensor(labels.render("LOT B2026-11"))
    assert tensor.dtype == np.float32
    assert tensor.shape[:3] == (1, 3, 48)
    assert (tensor.min(), tensor.max()) == (-1.0, 1.0)
    red = labels.render("A").convert("RGB")
    red.paste((255, 0, 0), (0, 0, *red.size))
    assert labels.to_tensor(red)[0, :, 0, 0].tolist() == [-1.0, -1.0, 1.0], "blue, green, red"
    assert labels.to_tensor(red.resize((red.width * 2, 96))).shape == labels.to_tensor(red).shape


@pytest.mark.parametrize("text", ["", "  ", "two\nlines"])
def test_what_is_no_line_of_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected one line of text"):
        labels.render(text)


DECODED = {
    "repeats collapse": ([1, 1, 2], "ab"),
    "a blank parts repeats": ([1, 0, 1], "aa"),
    "blanks only": ([0, 0], ""),
    "no steps": ([], ""),
}


@pytest.mark.parametrize("case", DECODED)
def test_decoding(case: str) -> None:
    classes, text = DECODED[case]
    output = np.zeros((1, len(classes), 3), dtype=np.float32)
    for step, index in enumerate(classes):
        output[0, step, index] = 1
    assert labels.decode(output, ["a", "b"]) == text


def test_an_output_that_does_not_fit_the_alphabet_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected shape \[1, T, 3\] .* got \[1, 2, 4\]"):
        labels.decode(np.zeros((1, 2, 4), dtype=np.float32), ["a", "b"])
