# SPDX-License-Identifier: Apache-2.0
"""The index is read strictly: what a program that makes bundles may get wrong, what an attacker would try."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from edgewright.bundle.layout import (
    CHUNK_BYTES,
    MAX_FILE_BYTES,
    MAX_INDEX_BYTES,
    Blob,
    BundleIndex,
    Document,
    File,
    Part,
    canonical,
    check_depot_paths,
    check_stick_names,
    depot_digest,
    format_time,
)
from edgewright.errors import IntegrityError

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
GIB = 1 << 30


def _index(**changes: Any) -> BundleIndex:
    values: dict[str, Any] = {
        "release": "label-reader",
        "version": "1.0.0",
        "lock_sha256": "e" * 64,
        "signed_at": datetime(2026, 11, 19, 2, 12, 54, tzinfo=UTC),
        "expires": datetime(2027, 11, 19, 2, 12, 54, tzinfo=UTC),
        "development": True,
        "blobs": {
            A: Blob(3),
            B: Blob(5 * GIB, (Part(f"{B}.000", 4 * GIB - 1, C), Part(f"{B}.001", GIB + 1, D))),
        },
        "depot": {
            "apt/pool/a_1~b+c_amd64.deb": A,
            "v2/edgewright/runtime/blobs/sha256:" + B: B,
            "pypi/files/t_e-1.whl": A,
        },
        "documents": {"release.yml": Document(C, 7), "models/label-reader.sig": Document(D, 8)},
    }
    return BundleIndex(**{**values, **changes})


def _content() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_index().dump())
    return found


def _load(content: Any) -> BundleIndex:
    return BundleIndex.load(canonical(content))


def test_what_is_written_is_read_again() -> None:
    index = _index()
    assert BundleIndex.load(index.dump()) == index
    assert BundleIndex.load(index.dump()).dump() == index.dump()
    assert _content()["signed_at"] == "2026-11-19T02:12:54Z"
    assert format_time(index.expires) == "2027-11-19T02:12:54Z"


def test_the_order_of_what_is_given_does_not_matter() -> None:
    index = _index()
    turned = _index(
        blobs=dict(reversed(index.blobs.items())),
        depot=dict(reversed(index.depot.items())),
        documents=dict(reversed(index.documents.items())),
    )
    assert turned.dump() == index.dump()


def test_files_are_blobs_parts_and_documents() -> None:
    assert _index().files() == {
        f"targets/blobs/{A}": File(3, A),
        f"targets/blobs/{B}.000": File(4 * GIB - 1, C),
        f"targets/blobs/{B}.001": File(GIB + 1, D),
        "targets/documents/release.yml": File(7, C),
        "targets/documents/models/label-reader.sig": File(8, D),
    }


def test_a_chunk_fits_into_one_file_of_a_fat_stick() -> None:
    assert MAX_FILE_BYTES == 4 * GIB - 1
    assert CHUNK_BYTES == 4 * GIB - (1 << 20)


def _set(*steps: Any) -> Callable[[dict[str, Any]], None]:
    *path, last, value = steps

    def change(content: dict[str, Any]) -> None:
        for step in path:
            content = content[step]
        content[last] = value

    return change


def _drop(*steps: Any) -> Callable[[dict[str, Any]], None]:
    *path, last = steps

    def change(content: dict[str, Any]) -> None:
        for step in path:
            content = content[step]
        del content[last]

    return change


def _depot_path(path: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["depot"][path] = A
        content["depot_sha256"] = depot_digest(content["depot"])

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another schema": (_set("schema", "edgewright.bundle/v2"), "schema"),
    "an unknown key": (_set("more", 1), "more"),
    "a missing key": (_drop("depot_sha256"), "depot_sha256"),
    "a release with a slash": (_set("release", "../etc"), "release"),
    "a release with a line's end": (_set("release", "reader\n"), "release"),
    "a version that leads up": (_set("version", ".."), "version"),
    "a digest in capitals": (_set("lock_sha256", "E" * 64), "lock_sha256"),
    "a digest with a line's end": (_set("lock_sha256", "e" * 64 + "\n"), "lock_sha256"),
    "a day that is none": (_set("signed_at", "2026-02-30T00:00:00Z"), "signed_at"),
    "a time without a zone": (_set("signed_at", "2026-11-19T02:12:54"), "signed_at"),
    "expired when signed": (_set("expires", "2026-11-19T02:12:54Z"), "expires"),
    "a word for true": (_set("development", "yes"), "development"),
    "a blob of no digest": (_set("blobs", "../../x", {"size": 1}), "does not match"),
    "a negative size": (_set("blobs", A, "size", -1), "minimum"),
    "a size that no disk has": (_set("blobs", A, "size", 1 << 60), "maximum"),
    "true for a size": (_set("blobs", A, "size", True), "integer"),
    "a blob of 4 GiB in one file": (_set("blobs", A, "size", 4 * GIB), "expected parts"),
    "parts that do not add up": (_set("blobs", B, "size", 5 * GIB + 1), "add up"),
    "parts in another order": (lambda c: c["blobs"][B]["parts"].reverse(), "expected b+.000"),
    "one part": (lambda c: c["blobs"][B]["parts"].pop(), "too short"),
    "a part of another blob": (_set("blobs", B, "parts", 0, "name", f"{A}.000"), "part 0"),
    "a part that leads up": (_set("blobs", B, "parts", 0, "name", "../x"), "does not match"),
    "an empty part": (_set("blobs", B, "parts", 0, "size", 0), "minimum"),
    "a path of no known blob": (_set("depot", "apt/x", "f" * 64), "no blob f+ is listed"),
    "a blob of no path": (_set("blobs", "f" * 64, {"size": 1}), "no path of the depot"),
    "another tree than its digest": (_set("depot_sha256", "f" * 64), "depot_sha256"),
    "a path up": (_depot_path("apt/../../etc/passwd"), "is no name"),
    "an absolute path": (_depot_path("/etc/passwd"), "is no name"),
    "a hidden file": (_depot_path("apt/.htaccess"), "is no name"),
    "a path with a backslash": (_depot_path("apt\\x"), "is no name"),
    "a path with a line's end": (_depot_path("apt/x\n"), "is no name"),
    "a path with a zero": (_depot_path("apt/x\0y"), "is no name"),
    "a path with a letter of another script": (_depot_path("apt/\u0430pt"), "is no name"),
    "an empty path": (_depot_path(""), "is no name"),
    "a long name": (_depot_path("a" * 256), "255 bytes"),
    "a long path": (_depot_path("/".join(["ab"] * 400)), "longer than 1024"),
    "a file that is also a directory": (_depot_path("apt/pool"), "cannot be a file and the directory"),
    "the depot's own file": (_depot_path("depot.json"), "the depot's own"),
    "a document that leads up": (_set("documents", "../x", {"sha256": C, "size": 1}), "is no name"),
    "two documents that FAT takes for one": (
        _set("documents", "Release.yml", {"sha256": C, "size": 1}),
        "a FAT stick cannot tell",
    ),
    "a document without a size": (_drop("documents", "release.yml", "size"), "size"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_index_is_refused(name: str) -> None:
    change, said = WRONG[name]
    content = _content()
    change(content)
    with pytest.raises(IntegrityError, match=said) as refused:
        _load(content)
    assert str(refused.value).startswith("reading targets/bundle.json: ")
    assert len(str(refused.value)) < 1000
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": NaN}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"1" * 10_000,
        _index().dump().replace(b'"size":3}', b'"size":3.0}'),
        _index().dump().replace(b'"size":3}', b'"size":3,"size":3}'),
        _index().dump() + b"{}",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_such_json_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"reading targets/bundle\.json"):
        BundleIndex.load(data)


def test_a_huge_index_is_refused_before_it_is_read() -> None:
    start = time.monotonic()
    with pytest.raises(IntegrityError, match="expected at most"):
        BundleIndex.load(b" " * (MAX_INDEX_BYTES + 1))
    assert time.monotonic() - start < 1


def test_an_index_of_many_files_is_read_in_seconds() -> None:
    depot = {f"apt/pool/{number}.deb": f"{number:064x}" for number in range(10_000)}
    index = _index(blobs={digest: Blob(1) for digest in depot.values()}, depot=depot)
    start = time.monotonic()
    assert len(BundleIndex.load(index.dump()).depot) == 10_000
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["install", "installer/wheels/tuf-7.0.1-py3-none-any.whl", "targets/blobs/" + A], None),
        (["targets/x:y"], "is no name"),
        (["a//b"], "is no name"),
        (["a/", "b"], "is no name"),
        ([" a"], "is no name"),
        (["-a"], "is no name"),
        (["A/b", "a/B"], "FAT"),
        (["a", "a/b"], "cannot be a file and the directory"),
        (["A", "a/b"], "cannot be a file and the directory"),
    ],
)
def test_names_on_a_stick_are_held_to_the_grammar(names: list[str], said: str | None) -> None:
    found = check_stick_names(names)
    assert (said is None) == (found is None)
    assert said is None or said in (found or "")


def test_an_epoch_and_an_image_s_digest_are_names_in_a_depot() -> None:
    assert check_depot_paths(["apt/pool/vim_2!9.0_amd64.deb", f"v2/x/manifests/sha256:{A}"]) is None
