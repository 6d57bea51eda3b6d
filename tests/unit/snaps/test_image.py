# SPDX-License-Identifier: Apache-2.0
"""An Ubuntu Core image from stand-in snaps: signed and prepared by the real `snap`, no store asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.cli.main import main
from edgewright.depot.trees import Linked
from edgewright.errors import EdgewrightError, InputError
from edgewright.snaps import trusted
from edgewright.snaps.answers import assertion_service
from edgewright.snaps.assertion import read_assertions
from edgewright.snaps.chain import believe
from edgewright.snaps.depot import snaps_tree
from edgewright.snaps.image import Signer, make_image
from edgewright.snaps.inputs import hash_snap
from edgewright.snaps.openpgp import read_public_key
from edgewright.snaps.spec import (
    gadget_defaults,
    load_spec,
    model_headers,
    over_soon,
    system_user_headers,
)
from tests.unit.snaps import asserting as a

NOW = datetime(2026, 11, 21, tzinfo=UTC)
needs_snap = pytest.mark.skipif(
    not (shutil.which("snap") and shutil.which("mksquashfs") and shutil.which("gpg")),
    reason="snap, mksquashfs or gpg is not installed: apt install snapd squashfs-tools gnupg",
)

SPEC: dict[str, Any] = {
    "schema": "edgewright.ubuntu-core/v1",
    "model": "edge-reader",
    "brand": a.PUBLISHER,
    "architecture": "amd64",
    "base": "core24",
    "grade": "dangerous",
    "timestamp": "2026-11-21T00:00:00Z",
    "snaps": [
        {"name": "pc", "type": "gadget", "channel": "24/stable"},
        {"name": "pc-kernel", "type": "kernel", "channel": "24/stable"},
        {"name": "core24", "type": "base", "channel": "latest/stable"},
        {"name": "snapd", "type": "snapd", "channel": "latest/stable"},
        {"name": "reader", "type": "app", "channel": "latest/stable", "presence": "required"},
    ],
    "defaults": {
        "refresh_hold": "2030-01-01T00:00:00Z",
        "kernel_parameters": ["isolcpus=2-3", "nohz_full=2-3"],
        "quota": {"name": "edgert", "snaps": ["reader"], "cpus": [2, 3], "memory_mib": 512},
    },
}
USER = {
    "email": "factory@site.example",
    "username": "factory",
    "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ factory"],
    "since": "2026-11-01T00:00:00Z",
    "until": "2027-11-01T00:00:00Z",
}
DRIVER = {"nvidia-580-erd-ko": "required", "nvidia-580-erd-user": "required"}
SET = {"account": a.PUBLISHER, "name": "edge-set", "sequence": 3, "mode": "enforce"}


def _kernel(components: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    """The specification's snaps, with components of the kernel."""
    kernel = {**SPEC["snaps"][1], "components": components, **more}
    return [SPEC["snaps"][0], kernel, *SPEC["snaps"][2:]]


GADGET = """volumes:
  pc:
    schema: gpt
    bootloader: grub
    structure:
"""
ROLES = {"seed": ("vfat", "1200M"), "boot": ("ext4", "750M"), "save": ("ext4", "16M"), "data": ("ext4", "1G")}


def spec_file(directory: Path, change: dict[str, Any] | None = None) -> Path:
    path = directory / "image.yml"
    content = {key: value for key, value in {**SPEC, **(change or {})}.items() if value is not None}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def pack(directory: Path, name: str, kind: str, files: dict[str, str]) -> Path:
    tree = directory / name
    told = {"name": name, "version": "1", "summary": "s", "description": "d", "architectures": ["amd64"]}
    told |= {"type": kind} if kind != "app" else {"confinement": "strict"}
    told |= {"base": "core24"} if kind in {"app", "gadget"} else {}
    for path, text in {"meta/snap.yaml": yaml.safe_dump(told), **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    packed = directory / f"{name}.snap"
    command = ["mksquashfs", tree, packed, "-noappend", "-no-xattrs", "-quiet", "-no-progress", "-all-root"]
    subprocess.run(command, check=True, capture_output=True)
    return packed


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stand-ins for the store's snaps: of the right types, with nothing in them that boots."""
    here = tmp_path_factory.mktemp("snaps")
    gadget = GADGET
    for role, (kind, size) in ROLES.items():
        guid = (
            "EF,C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
            if role == "seed"
            else "83,0FC63DAF-8483-4772-8E79-3D69D8477DE4"
        )
        structure = (
            f"name: ubuntu-{role}, role: system-{role}, filesystem: {kind}, type: '{guid}', size: {size}"
        )
        gadget += f"      - {{{structure}}}\n"
    gadget += "defaults: {system: {refresh: {hold: '2030-01-01T00:00:00Z'}}}\n"
    return {
        "pc": pack(here, "pc", "gadget", {"meta/gadget.yaml": gadget, "grub.conf": ""}),
        "pc-kernel": pack(here, "pc-kernel", "kernel", {"kernel.efi": ""}),
        "core24": pack(here, "core24", "base", {}),
        "snapd": pack(here, "snapd", "snapd", {"usr/lib/snapd/info": "VERSION=2.57.6\n"}),
        "reader": pack(here, "reader", "app", {}),
    }


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A keyring as `snap create-key` makes it, without a passphrase."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    words = (
        "%no-protection\nKey-Type: RSA\nKey-Length: 4096\nName-Real: site\n"
        "Creation-Date: seconds=1451606400\nPreferences: SHA512\n%commit\n"
    )
    subprocess.run(
        ["gpg", "--homedir", home, "--batch", "--gen-key"],
        input=words,
        text=True,
        check=True,
        capture_output=True,
    )
    yield home
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)  # its agent


def depot(directory: Path, snaps: dict[str, Path]) -> Path:
    """A depot with these snaps, none of them asserted."""
    entries = []
    for name, path in snaps.items():
        hashed = hash_snap(path)
        entry = {
            "name": name,
            "grade": "dangerous",
            "filename": f"{name}_dangerous.snap",
            "size": hashed.size,
        }
        entries.append(entry | {"sha256": hashed.sha256, "sha3_384": hashed.sha3_384})
    root = directory / "depot"
    for path_in, content in snaps_tree({"snaps": entries}).items():
        target = root / path_in
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Linked):
            shutil.copyfile(snaps[target.name.removesuffix("_dangerous.snap")], target)
        else:
            target.write_bytes(content)
    return root


@needs_snap
def test_an_image_is_signed_and_prepared_with_no_store(
    tmp_path: Path, stand_ins: dict[str, Path], keyring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["image", "ubuntu-core", str(spec_file(tmp_path)), "--depot", str(depot(tmp_path, stand_ins))]
    words += ["--key", "site", "--gnupg-home", str(keyring), "-o", str(out)]
    assert main(words) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "GRADE DANGEROUS" in told.err + told.out
    assert "designed, not proven" in told.out
    assert "lacks defaults.system.system.kernel.cmdline-append, kernel-cmdline" in told.out
    (model,) = read_assertions((out / "model.assert").read_bytes(), "model.assert")
    assert json.loads((out / "model.json").read_text())["snaps"] == model.headers["snaps"]
    (seed,) = (out / "image" / "system-seed" / "systems").iterdir()
    assert (seed / "model").is_file()
    assert {path.name for path in (seed / "snaps").iterdir()} == {f"{name}_1.snap" for name in stand_ins}
    page = (out / "first-boot.md").read_text()
    assert "snap set-quota edgert --cpu-set=2,3 --memory=512MB reader" in page
    assert yaml.safe_load((out / "gadget-defaults.yaml").read_text())["kernel-cmdline"]["allow"]
    assert main(words) == 0  # again: the earlier one is replaced
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


@needs_snap
def test_a_wrong_key_is_told_and_leaves_nothing(
    tmp_path: Path, stand_ins: dict[str, Path], keyring: Path
) -> None:
    spec = load_spec(spec_file(tmp_path))
    root = depot(tmp_path, stand_ins)
    with pytest.raises(InputError, match="signing the model: `snap sign` refused"):
        make_image(spec, root, Signer("nobody", keyring), tmp_path / "out", now=NOW)
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"image.yml", "depot"}


@needs_snap
def test_a_snap_that_the_depot_lacks_is_told(
    tmp_path: Path, stand_ins: dict[str, Path], keyring: Path
) -> None:
    spec = load_spec(spec_file(tmp_path))
    root = depot(tmp_path, {name: path for name, path in stand_ins.items() if name != "snapd"})
    with pytest.raises(InputError, match="lacks snapd"):
        make_image(spec, root, Signer("site", keyring), tmp_path / "out", now=NOW)
    made = make_image(spec, root, Signer("site", keyring), tmp_path / "out", now=NOW, prepare=False)
    assert any("skipped" in note for note in made.notes)
    assert not (tmp_path / "out" / "image").exists()


@needs_snap
def test_a_key_that_the_brand_does_not_have_is_refused(
    tmp_path: Path, stand_ins: dict[str, Path], keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = a.roots()
    monkeypatch.setattr(trusted, "canonical_roots", lambda: roots)
    brand = [a.account_key(a.STORE), a.account(a.PUBLISHER, "brand"), a.account_key(a.BRAND, name="models")]
    (tmp_path / "brand.assert").write_bytes(b"\n".join(brand))
    spec = load_spec(spec_file(tmp_path, {"brand_assertions": "brand.assert", "system_user": USER}))
    with pytest.raises(InputError, match="have no account-key of it"):
        make_image(spec, depot(tmp_path, stand_ins), Signer("site", keyring), tmp_path / "out", now=NOW)


@needs_snap
def test_what_snap_signs_is_verified_by_the_brands_own_key(
    tmp_path: Path, stand_ins: dict[str, Path], keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public key is the one that `snap export-key` gives out."""
    roots = a.roots()
    monkeypatch.setattr(trusted, "canonical_roots", lambda: roots)
    exported = subprocess.run(
        ["snap", "export-key", f"--account={a.PUBLISHER}", "site"],
        env={**os.environ, "SNAP_GNUPG_HOME": str(keyring)},
        stdin=subprocess.DEVNULL,
        check=True,
        capture_output=True,
    ).stdout
    body = exported.split(b"\n\n")[1]
    key = {"public-key-sha3-384": read_public_key(body, "exported").id, "account-id": a.PUBLISHER}
    key |= {"name": "models", "since": a.TIME}
    brand = [a.account_key(a.STORE), a.account(a.PUBLISHER, "brand"), a.ROOT.sign("account-key", key, body)]
    (tmp_path / "brand.assert").write_bytes(b"\n".join(brand))
    spec = load_spec(spec_file(tmp_path, {"brand_assertions": "brand.assert", "system_user": USER}))
    out = tmp_path / "out"
    make_image(spec, depot(tmp_path, stand_ins), Signer("site", keyring), out, now=NOW, prepare=False)
    carried = read_assertions((out / "auto-import.assert").read_bytes(), "auto-import.assert")
    assert [each.type for each in carried] == ["account-key", "account", "account-key", "system-user"]
    found = believe(carried, roots, NOW).of_type("system-user")
    assert [each.text("username") for each in found] == ["factory"]


@needs_snap
def test_components_and_validation_sets_are_signed_and_left_to_a_newer_snap(
    tmp_path: Path, stand_ins: dict[str, Path], keyring: Path
) -> None:
    """Debian's snap 2.57.6 keeps headers that it does not understand; it can't prepare an image by them."""
    spec = load_spec(spec_file(tmp_path, {"snaps": _kernel(DRIVER), "validation_sets": [SET]}))
    root, out = depot(tmp_path, stand_ins), tmp_path / "out"
    with pytest.raises(InputError, match="names components and validation sets, which the `snap`"):
        make_image(spec, root, Signer("site", keyring), out, now=NOW)
    made = make_image(spec, root, Signer("site", keyring), out, now=NOW, prepare=False)
    assert any("a snap of 2.67 or newer" in note for note in made.notes)
    (model,) = read_assertions((out / "model.assert").read_bytes(), "model.assert")
    snaps = model.headers["snaps"]
    assert isinstance(snaps, list)
    assert snaps[1] == {
        "name": "pc-kernel",
        "type": "kernel",
        "default-channel": "24/stable",
        "components": DRIVER,
    }
    assert model.headers["validation-sets"] == [
        {"account-id": a.PUBLISHER, "name": "edge-set", "sequence": "3", "mode": "enforce"}
    ]
    page = (out / "first-boot.md").read_text()
    assert "snap components pc-kernel" in page
    assert f"validation set {a.PUBLISHER}/edge-set=3: `snap validate`" in page
    assert "cat /proc/driver/nvidia/version" in page


def test_a_hold_without_an_end_is_a_default(tmp_path: Path) -> None:
    spec = load_spec(spec_file(tmp_path, {"defaults": {"refresh_hold": "forever"}}))
    assert gadget_defaults(spec)["defaults"]["system"]["refresh"] == {"hold": "forever"}
    assert over_soon(spec, datetime(2090, 1, 1, tzinfo=UTC)) == []


def test_another_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(InputError, match="none that this command made"):
        make_image(load_spec(spec_file(tmp_path)), tmp_path, Signer("site"), tmp_path / "out", now=NOW)


def test_unasserted_snaps_need_a_model_of_grade_dangerous(tmp_path: Path) -> None:
    (tmp_path / "x.snap").write_bytes(b"hsqs" + bytes(100))
    root = depot(
        tmp_path, dict.fromkeys(["pc", "pc-kernel", "core24", "snapd", "reader"], tmp_path / "x.snap")
    )
    spec = load_spec(spec_file(tmp_path, {"grade": "signed", "brand_assertions": "brand.assert"}))
    with pytest.raises(InputError, match="has no assertion, and the model's grade is signed"):
        make_image(spec, root, Signer("site"), tmp_path / "out", now=NOW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grade": "signed"}, "grade signed: needs brand_assertions"),
        ({"grade": "safe"}, "is not one of"),
        ({"modell": "x"}, "modell: Additional properties"),
        ({"brand": "A B"}, "does not match"),
        ({"timestamp": "2026-13-21T00:00:00Z"}, "is no moment"),
        ({"snaps": SPEC["snaps"][1:]}, "a snap of type gadget is missing"),
        ({"snaps": [*SPEC["snaps"][:3], SPEC["snaps"][4]]}, "snapd \\(type snapd\\) is missing"),
        ({"snaps": [*SPEC["snaps"], SPEC["snaps"][0]]}, "pc is listed twice"),
        (
            {"snaps": [*SPEC["snaps"], {"name": "pi", "type": "gadget", "channel": "24/stable"}]},
            "a second gadget",
        ),
        ({"snaps": [{**SPEC["snaps"][0], "presence": "required"}, *SPEC["snaps"][1:]]}, "is always there"),
        ({"snaps": [{**SPEC["snaps"][0], "channel": "stable"}, *SPEC["snaps"][1:]]}, "does not match"),
        ({"system_user": USER}, "system_user: needs brand_assertions"),
        (
            {"brand_assertions": "b.assert", "system_user": {**USER, "until": USER["since"]}},
            "must come after since",
        ),
        ({"brand_assertions": "b.assert", "system_user": {**USER, "ssh_keys": ["secret"]}}, "does not match"),
        ({"defaults": {"quota": {"name": "x", "snaps": ["nothing"]}}}, "nothing is not in snaps"),
        ({"defaults": {"kernel_parameters": ["a b"]}}, "does not match"),
        ({"defaults": {"refresh_hold": "for ever"}}, "does not match"),
        ({"snaps": [*SPEC["snaps"], {**SPEC["snaps"][4], "name": "1" * 40}]}, "does not match"),
        ({"snaps": _kernel({"nvidia-580-erd-ko": "required"})}, "expected one branch's pair"),
        ({"snaps": _kernel(DRIVER, channel="24-rt/stable")}, "of track 24-rt: no verified fact supports"),
        ({"snaps": _kernel({**DRIVER, "nvidia-9": "required"})}, "names the component nvidia-9"),
        ({"snaps": _kernel({"nouveau-ko": "always"})}, "is not one of"),
        ({"validation_sets": [{**SET, "mode": "monitor"}]}, "is not one of"),
        ({"validation_sets": [{**SET, "sequence": 0}]}, "less than the minimum"),
        ({"validation_sets": [SET, {**SET, "sequence": 4}]}, "is listed twice"),
    ],
)
def test_a_wrong_specification_is_told_with_its_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = spec_file(tmp_path, change)
    with pytest.raises(InputError, match=words) as told:
        load_spec(path)
    assert f"{path}:" in str(told.value)


def test_snap_ids_come_from_the_depot_and_must_agree(tmp_path: Path) -> None:
    spec = load_spec(spec_file(tmp_path, {"grade": "signed", "brand_assertions": "b.assert"}))
    ids = {snap["name"]: "A" * 32 for snap in SPEC["snaps"]}
    assert all(snap["id"] == "A" * 32 for snap in model_headers(spec, ids)["snaps"])
    with pytest.raises(InputError, match="reader has no snap-id"):
        model_headers(spec, {name: id_ for name, id_ in ids.items() if name != "reader"})
    other = [{**SPEC["snaps"][0], "id": "B" * 32}, *SPEC["snaps"][1:]]
    with pytest.raises(InputError, match="says id BBB"):
        model_headers(load_spec(spec_file(tmp_path, {"snaps": other})), ids)


def test_defaults_and_user_are_written_as_snapd_names_them(tmp_path: Path) -> None:
    spec = load_spec(spec_file(tmp_path, {"brand_assertions": "b.assert", "system_user": USER}))
    assert gadget_defaults(spec)["defaults"]["system"]["refresh"] == {"hold": "2030-01-01T00:00:00Z"}
    user = system_user_headers(spec)
    assert user is not None
    assert (user["models"], user["series"]) == (["edge-reader"], ["16"])


def test_the_service_answers_what_it_has_and_notes_all_else() -> None:
    assertions = a.read(a.chain())
    revision = next(each for each in assertions if each.type == "snap-revision")
    with assertion_service(assertions) as service:
        here = service.environment["SNAPPY_FORCE_SAS_URL"]

        def get(path: str, data: bytes | None = None) -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(urllib.request.Request(here + path, data)) as answer:  # noqa: S310
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        path = f"v2/assertions/snap-revision/{revision.text('snap-sha3-384')}?max-format=0"
        assert get(path) == (200, revision.encoded())
        status, told = get("v2/assertions/account/nobody")
        assert (status, json.loads(told)["error-list"][0]["code"]) == (404, "not-found")
        assert get("v2/snaps/refresh", b"{}")[0] == 403
        assert service.missing == ["/v2/assertions/account/nobody"]
        assert service.refused == ["/v2/snaps/refresh"]


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgewrightError, match="apt install snapd") as told:
        make_image(
            load_spec(spec_file(tmp_path)), tmp_path, Signer("site"), tmp_path / "out", now=NOW, prepare=False
        )
    assert told.value.exit_code == 5
