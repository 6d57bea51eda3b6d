# SPDX-License-Identifier: Apache-2.0
"""The depot's trees and the server's configuration, without a server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgewright.depot.blobs import BlobStore, sha256_bytes
from edgewright.depot.build import build_depot
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.manifest import load_depot
from edgewright.depot.serve import DepotService, ServeOptions, render_config, worker_user
from edgewright.depot.trees import Linked, apt_tree, oci_tree, pypi_tree
from edgewright.errors import InputError, IntegrityError
from edgewright.release.ocitar import INDEX_TYPE, MANIFEST_TYPE, Entry, make_image, write_layer

EXAMPLE = Path(__file__).resolve().parents[3] / "releases" / "label-reader"
LOCK = {
    "python": {
        "wheels": [
            {"name": "Typing.Extensions", "filename": "t-1-py3-none-any.whl", "sha256": "a" * 64, "size": 5}
        ]
    }
}


def test_the_python_index_says_the_same_twice_with_hashes() -> None:
    tree = pypi_tree(LOCK)
    page = tree["pypi/simple/typing-extensions/index.html"]
    listed = json.loads(tree["pypi/simple/typing-extensions/index.json"])
    assert f'href="../../files/t-1-py3-none-any.whl#sha256={"a" * 64}"'.encode() in page
    assert listed["files"][0]["hashes"] == {"sha256": "a" * 64}
    assert tree["pypi/files/t-1-py3-none-any.whl"] == Linked("a" * 64)


def test_a_name_with_several_platforms_is_tagged_with_an_index(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    layer = write_layer({"tool": Entry.file(b"tool")}, store)
    images = []
    for arch in ("arm64", "amd64"):
        image = make_image([layer], {}, arch, store)
        images.append({"version": "1.0", "digest": image.digest, "platform": f"linux/{arch}", "name": "tool"})
    single = {**images[0], "name": "single"}
    tree = oci_tree({"images": [*images, single]}, store)
    index = tree["v2/tool/indexes/1.0"]
    assert isinstance(index, bytes)
    told = json.loads(index)
    assert told["mediaType"] == INDEX_TYPE
    assert [part["platform"]["architecture"] for part in told["manifests"]] == ["amd64", "arm64"]
    for part, image in zip(told["manifests"], reversed(images), strict=True):
        manifest = store.path(part["digest"].removeprefix("sha256:"))
        assert (part["digest"], part["size"]) == (image["digest"], manifest.stat().st_size)
        assert part["mediaType"] == MANIFEST_TYPE
        assert tree[f"v2/tool/manifests/{part['digest']}"] == Linked(manifest.name)
    assert tree[f"v2/tool/indexes/sha256:{sha256_bytes(index)}"] == index
    assert "v2/tool/manifests/1.0" not in tree
    assert tree["v2/single/manifests/1.0"] == tree[f"v2/single/manifests/{single['digest']}"]
    assert json.loads(bytes(tree["v2/tool/tags/list"]))["tags"] == ["1.0"]  # type: ignore[arg-type]
    assert oci_tree({"images": [single, *reversed(images)]}, store) == tree, "whatever their order"


def test_a_release_key_is_made_once_and_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = ReleaseKey(tmp_path / "keys")
    public = key.ensure()
    assert "DEVELOPMENT release key" in capsys.readouterr().err
    assert ReleaseKey(tmp_path / "keys").ensure() == public
    assert capsys.readouterr().err == ""
    assert (tmp_path / "keys" / "release.key.asc").stat().st_mode & 0o777 == 0o600
    inline, apart = key.sign(b"Origin: Edgewright\n")
    (tmp_path / "Release").write_bytes(b"Origin: Edgewright\n")
    (tmp_path / "Release.gpg").write_bytes(apart)
    (tmp_path / "InRelease").write_bytes(inline)
    ring = tmp_path / "ring.gpg"
    ring.write_bytes(
        subprocess.run(["gpg", "--dearmor"], input=public, capture_output=True, check=True).stdout
    )
    for signed in (["Release.gpg", "Release"], ["InRelease"]):
        subprocess.run(
            ["gpgv", "--keyring", str(ring), *signed], cwd=tmp_path, check=True, capture_output=True
        )
    (tmp_path / "Release").write_bytes(b"Origin: Somebody\n")
    refused = subprocess.run(
        ["gpgv", "--keyring", str(ring), "Release.gpg", "Release"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    assert refused.returncode != 0
    assert b"BAD signature" in refused.stderr


def test_a_file_is_signed_once_and_its_signature_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ReleaseKey(tmp_path / "keys")
    key.ensure()
    data = b"Origin: Edgewright\nDate: Mon, 19 Nov 2035 02:12:54 UTC\n"  # later than the key
    first = key.sign(data)
    kept = list((tmp_path / "keys" / "signatures").iterdir())
    assert len(kept) == 1
    with monkeypatch.context() as patch:
        patch.setattr("edgewright.depot.keys._gpg", _never)
        assert ReleaseKey(tmp_path / "keys").sign(data) == first
        with pytest.raises(AssertionError):
            key.sign(data + b"Label: another\n")
    for damage in (b"", b"[]", b"{}", kept[0].read_bytes().replace(b"BEGIN PGP SIGNATURE", b"BEGIN PGP 5")):
        kept[0].write_bytes(damage)
        assert key.sign(data) == first, "a damaged one is made anew, with the same bytes"
    other = ReleaseKey(tmp_path / "other")
    other.ensure()
    (tmp_path / "other" / "signatures").symlink_to(tmp_path / "keys" / "signatures")
    assert other.sign(data) != first, "another key's signature is not taken"


def _never(*_: object) -> bytes:
    raise AssertionError("gpg was asked")


def test_the_repository_s_label_is_the_same_in_every_release(tmp_path: Path) -> None:
    """apt refuses to update from a repository whose Origin, Label or Codename changed."""
    key = ReleaseKey(tmp_path / "keys")
    fields = []
    for name, version in (("one", "1.0.0"), ("two", "2.0.0")):
        lock = {
            "release": {"name": name, "version": version},
            "os": {"suite": "bookworm", "arch": "amd64"},
            "apt": {"date": "Thu, 19 Nov 2026 02:12:54 UTC", "packages": []},
        }
        release = apt_tree(lock, key, BlobStore(tmp_path / "blobs"))["apt/dists/bookworm/Release"]
        assert isinstance(release, bytes)
        told = dict(line.split(": ", 1) for line in release.decode().splitlines() if ": " in line)
        fields.append({field: told[field] for field in ("Origin", "Label", "Suite", "Codename")})
    assert fields[0] == fields[1]


def test_a_directory_that_is_no_depot_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(InputError, match="exists and is no depot; name another place or remove it"):
        build_depot(EXAMPLE, tmp_path, tmp_path.with_name("keys"))
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "error"), [(None, InputError), ("{", IntegrityError), ('{"schema": "other"}', IntegrityError)]
)
def test_what_is_no_depot_is_told(text: str | None, error: type[Exception], tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "depot.json").write_text(text)
    with pytest.raises(error, match="reading"):
        load_depot(tmp_path)


def _options(folder: Path, *listen: str) -> ServeOptions:
    for name in ("controller.crt", "controller.key", "root.crt"):
        (folder / name).write_text(name)
    return ServeOptions(
        folder, listen, folder / "controller.crt", folder / "controller.key", folder / "root.crt"
    )


@pytest.mark.parametrize(
    "address", ["", "8443", "localhost:8443", "1.2.3:80", "1.2.3.4:0", "1.2.3.4:70000", "[::g]:1"]
)
def test_a_wrong_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected ADDRESS:PORT"):
        _options(tmp_path, address).check()


def test_a_missing_and_a_wrong_certificate_are_refused(tmp_path: Path) -> None:
    options = _options(tmp_path, "127.0.0.1:8443")
    with pytest.raises(InputError, match="are no certificate and its key"):
        options.check()
    (tmp_path / "root.crt").unlink()
    with pytest.raises(InputError, match=r"--client-ca .*root\.crt does not exist"):
        options.check()


def test_the_configuration_asks_every_client_for_a_certificate(tmp_path: Path) -> None:
    options = _options(tmp_path, "127.0.0.1:8443", "[::1]:8443")
    config = render_config(options, tmp_path / "state")
    assert "listen 127.0.0.1:8443 ssl;" in config
    assert "listen [::1]:8443 ssl;" in config
    assert "ssl_verify_client on;" in config
    assert f'root "{tmp_path}";' in config
    (tmp_path / "root.crt").write_text("renewed")
    assert render_config(options, tmp_path / "state") != config, "a renewed certificate is a change"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can choose another user for the workers")
def test_workers_are_somebody_who_can_read_the_depot(tmp_path: Path) -> None:
    open_depot, closed = Path("/srv"), tmp_path / "private" / "depot"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    assert worker_user(open_depot) == "www-data"
    assert worker_user(closed) == "root root"


def test_a_stale_pid_file_is_no_service(tmp_path: Path) -> None:
    (tmp_path / "nginx.pid").write_text(str(os.getpid()))
    assert DepotService(tmp_path).pid() is None
    assert DepotService(tmp_path).down() is False
