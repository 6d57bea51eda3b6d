# SPDX-License-Identifier: Apache-2.0
"""Locked modules on their way into a depot: held to the lock, signed where there is a key."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.depot.debfile import control_fields
from edgewright.errors import InputError, IntegrityError
from edgewright.modules import ship as under_test
from edgewright.modules.build import MANIFEST, Built, module_directory, scripts
from edgewright.modules.build import control_fields as fields_of
from edgewright.modules.debpack import Member, read_members, write_deb
from edgewright.modules.order import check_rt_waiver
from edgewright.modules.ship import lock_modules, mok_file, ship_modules
from edgewright.modules.signing import check_signature
from tests.unit.modules.tiny import RELEASE, entry, make_mok, tiny_module

MODULE = tiny_module(f"vermagic={RELEASE} SMP preempt_rt ", "license=NVIDIA")
PATH = f"{module_directory(RELEASE)}/nvidia-current.ko"


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def package(store: BlobStore, told: bytes = MODULE) -> dict[str, Any]:
    """An entry whose package is in the store, as `build_modules` makes it."""
    made = entry()
    manifest = {"moment": 5, "modules": {"nvidia-current.ko": {"sha256": sha256_bytes(told)}}, "signer": None}
    files = {
        PATH: Member(MODULE),
        MANIFEST.format(package=made["package"]): Member(json.dumps(manifest).encode()),
    }
    target = store.root / "made.deb"
    write_deb(target, fields_of(made, ""), files, scripts(RELEASE), 5)
    size = target.stat().st_size
    return {**made, "size": size, "sha256": store.put_file(target)}


def test_without_modules_nothing_is_shipped_and_nothing_is_read(store: BlobStore, tmp_path: Path) -> None:
    assert ship_modules({}, store, tmp_path / "nowhere") == []
    assert mok_file({}, tmp_path / "nowhere") == {}


def test_without_a_key_the_locked_package_is_shipped_and_that_is_said(
    store: BlobStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = package(store)
    (shipped,) = ship_modules({"modules": [made]}, store, tmp_path)
    assert (shipped["name"], shipped["sha256"]) == (made["package"], made["sha256"])
    assert shipped["filename"].endswith("_amd64.deb")
    assert "the modules are not signed" in capsys.readouterr().err


def test_with_a_key_each_module_is_signed_and_the_package_says_by_whom(
    store: BlobStore, tmp_path: Path
) -> None:
    key, certificate = make_mok(tmp_path)
    made = package(store)
    (shipped,) = ship_modules({"modules": [made]}, store, key.parent)
    assert shipped["sha256"] != made["sha256"]
    deb = store.path(shipped["sha256"])
    assert deb.stat().st_size == shipped["size"]
    signed = read_members(deb, "lib")[PATH]
    check_signature(signed, certificate, "nvidia-current.ko")
    (manifest,) = (json.loads(data) for path, data in read_members(deb, "usr").items())
    assert manifest["signer"] in control_fields(deb)
    assert manifest["modules"]["nvidia-current.ko"] == {
        "sha256": sha256_bytes(MODULE), "signed_sha256": sha256_bytes(signed)
    }  # fmt: skip
    assert ship_modules({"modules": [made]}, store, key.parent)[0] == shipped
    (der,) = mok_file({"modules": [made]}, key.parent).values()
    assert sha256_bytes(der) == manifest["signer"]


def test_a_package_that_is_not_what_it_tells_is_not_signed(store: BlobStore, tmp_path: Path) -> None:
    make_mok(tmp_path)
    made = package(store, told=b"other")
    with pytest.raises(IntegrityError, match=r"signing .*nvidia-current\.ko is not what its manifest says"):
        ship_modules({"modules": [made]}, store, tmp_path)


def test_a_missing_package_is_built_and_another_digest_is_refused(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = package(store)
    there = Built(made["sha256"], made["size"], cached=False)
    data = store.path(made["sha256"]).read_bytes()
    monkeypatch.setattr(under_test, "fetch_inputs", lambda *_: None)
    monkeypatch.setattr(under_test, "build_modules", lambda *_: (store.put(data), there)[1])
    store.path(made["sha256"]).unlink()
    assert ship_modules({"modules": [made]}, store, tmp_path)[0]["sha256"] == made["sha256"]
    wrong = {**made, "sha256": "e" * 64}
    with pytest.raises(IntegrityError, match=f"the lock expects sha256 {'e' * 64}, got {made['sha256']}"):
        ship_modules({"modules": [wrong]}, store, tmp_path)


def test_locking_keeps_the_result_of_the_same_inputs(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    monkeypatch.setattr(under_test, "fetch_inputs", lambda *_: None)
    monkeypatch.setattr(
        under_test,
        "build_modules",
        lambda each, _: (built.append(each["version"]), Built("f" * 64, 3, False))[1],
    )
    asked = entry(sha256="", size=0)
    (first,) = lock_modules([asked], {}, store)
    assert (first["sha256"], first["size"], list(first)) == ("f" * 64, 3, list(asked))
    assert lock_modules([asked], {"modules": [first]}, store) == [first]
    assert lock_modules([first], {"modules": [first]}, store) == [first]
    lock_modules([{**asked, "version": "2"}], {"modules": [first]}, store)
    assert built == ["535.309.01+6.1.192.2-1", "2"]


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        (None, "carries no waiver; add nvidia.rt_waiver"),
        ({"who": "Ada", "why": "x", "until": "2020-01-01"}, "waiver of Ada until 2020-01-01: x has ended"),
        ({"who": "Ada"}, "missing until, why"),
    ],
    ids=["none", "ended", "half"],
)
def test_modules_for_preempt_rt_need_a_waiver_that_counts(
    store: BlobStore, tmp_path: Path, waiver: Any, said: str
) -> None:
    made = {**package(store), "rt_waiver": waiver}
    with pytest.raises(InputError, match=said):
        ship_modules({"modules": [made]}, store, tmp_path)
    made["kernel"] = {**made["kernel"], "flavour": "generic"}
    check_rt_waiver(made, "here", datetime.date(2026, 11, 21))
