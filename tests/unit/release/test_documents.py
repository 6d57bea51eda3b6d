# SPDX-License-Identifier: Apache-2.0
"""A release is checked strictly, and what is wrong is told with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.errors import InputError
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE, dump_lock, load_lock, load_release
from edgewright.release.lock import stale_images

EXAMPLE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"


def _change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(release: dict[str, Any]) -> None:
        found: Any = release
        for step in path[:-1]:
            found = found[step]
        if to is None:
            del found[path[-1]]
        else:
            found[path[-1]] = to

    return change


BAD = {
    "unknown key, near a known one": (
        _change("verison", to="1"),
        "unknown key 'verison', did you mean 'version'?",
    ),
    "unknown key below": (_change("os", "distro", to="x"), "os: unknown key 'distro' (known: arch, family"),
    "other schema": (
        _change("schema", to="edgewright.release/v2"),
        "schema: expected 'edgewright.release/v1', got",
    ),
    "missing part": (_change("python", to=None), "the top level: missing 'python'"),
    "version is no text": (_change("version", to=1.0), "version: 1.0 is not of type 'string'"),
    "unknown architecture": (_change("os", "arch", to="riscv64"), "os.arch: 'riscv64' is not one of"),
    "package name with a space": (
        _change("apt", "packages", 0, to="a b"),
        "apt.packages[0]: 'a b' does not match",
    ),
    "source without scheme": (
        _change("apt", "sources", 0, "uri", to="archive.example"),
        "apt.sources[0].uri",
    ),
    "wheel without version": (
        _change("images", "models", 0, "wheel", to="rapidocr"),
        "images.models[0].wheel",
    ),
    "no golden": (_change("images", "models", 0, "golden", to=[]), "images.models[0].golden"),
    "image for an architecture that no target has": (
        _change(
            "images",
            "extra",
            to=[
                {
                    "name": "site/tool",
                    "version": "1",
                    "licence": "MIT",
                    "arches": ["arm64"],
                    "from": {"kind": "registry", "reference": "registry.example/tool:1"},
                }
            ],
        ),
        "images.extra[0].arches[0]: no target of the release is arm64 (they are: amd64)",
    ),
    "bootstrap outside the release": (
        _change("apt", "bootstrap", to=["vim"]),
        "apt.bootstrap[0]: vim not in apt.packages",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_release_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    change, words = BAD[case]
    release = yaml.safe_load((EXAMPLE / RELEASE_FILE).read_text())
    change(release)
    (tmp_path / RELEASE_FILE).write_text(yaml.safe_dump(release))
    with pytest.raises(InputError) as told:
        load_release(tmp_path)
    assert words in str(told.value)
    assert str(tmp_path / RELEASE_FILE) in str(told.value)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    text = (EXAMPLE / RELEASE_FILE).read_text()
    (tmp_path / RELEASE_FILE).write_text(f"{text}\nname: other\n")
    with pytest.raises(InputError, match="key 'name' is written twice"):
        load_release(tmp_path)


@pytest.mark.parametrize(("text", "words"), [("a: [", "is not YAML"), ("- 1\n", "is not of type 'object'")])
def test_what_is_no_release_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / RELEASE_FILE).write_text(text)
    with pytest.raises(InputError, match=words):
        load_release(tmp_path)


def test_a_missing_release_and_a_missing_lock_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file; name a directory that holds a release"):
        load_release(tmp_path)
    with pytest.raises(InputError, match=f"make it with `edgewright release lock {tmp_path}`"):
        load_lock(tmp_path)


def test_a_lock_of_another_release_is_refused(tmp_path: Path) -> None:
    for name in (RELEASE_FILE, LOCK_FILE):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    load_lock(tmp_path)
    with (tmp_path / RELEASE_FILE).open("a") as stream:
        stream.write("# a word more\n")
    with pytest.raises(InputError, match=f"lock it anew with `edgewright release lock {tmp_path}`"):
        load_lock(tmp_path)


def test_a_lock_with_a_damaged_digest_is_refused(tmp_path: Path) -> None:
    text = (EXAMPLE / LOCK_FILE).read_text()
    (tmp_path / LOCK_FILE).write_text(text.replace("digest: sha256:", "digest: sha256:0", 1))
    with pytest.raises(InputError, match=r"images\[0\]\.digest"):
        load_lock(tmp_path)


def test_the_lock_is_written_in_one_way_only() -> None:
    lock, _ = load_lock(EXAMPLE)
    assert dump_lock(lock) == (EXAMPLE / LOCK_FILE).read_bytes()
    names = [deb["name"] for deb in lock["apt"]["packages"]]
    assert names == sorted(names)


def test_the_example_lock_holds_what_the_release_asks_for() -> None:
    release, _ = load_release(EXAMPLE)
    lock, _ = load_lock(EXAMPLE)
    debs = {deb["name"]: deb for deb in lock["apt"]["packages"]}
    assert set(release["apt"]["packages"]) <= set(debs)
    assert lock["kernel"]["package"] in debs
    assert lock["kernel"]["flavour"] == "rt"
    assert all(debs[name].get("bootstrap") for name in release["apt"]["bootstrap"])
    assert {image["role"] for image in lock["images"]} == {"runtime", "model"}
    assert all(wheel["licence"] for wheel in lock["python"]["wheels"])


def test_the_example_lock_fits_the_sources_of_its_images() -> None:
    lock, _ = load_lock(EXAMPLE)
    assert stale_images(lock, EXAMPLE) == [], (
        "run: edgewright release lock releases/label-reader --images-only"
    )
