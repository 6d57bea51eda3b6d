# SPDX-License-Identifier: Apache-2.0
"""The real clients against a real served depot: apt, pip, curl, skopeo and podman, unchanged.

The depot is that of the example release, built with `edgewright depot build` (from the network the first
time, from the cache later) and served by nginx with `edgewright depot up`. Each client is also shown a depot
in which one byte is wrong: it must refuse, and say which object.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.depot.blobs import BlobStore, sha256_file
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.trees import ARCHIVE_KEY
from edgewright.release.documents import load_lock, load_release
from edgewright.release.lock import build_images
from edgewright.release.model_image import read_description
from tests.integration.depot_site import RELEASE, Authority, DepotSite, edgewright, run

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="podman's own storage and an isolated apt need root here"),
]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return load_lock(RELEASE)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DepotSite]:
    folder = tmp_path_factory.mktemp("depot")
    authority = Authority(folder / "authority")
    server, server_key = authority.leaf("controller")
    certificate, key = authority.leaf("device")
    depot, address = folder / "depot", f"127.0.0.1:{_free_port()}"
    built = edgewright("depot", "build", RELEASE, "-o", depot, "--keys", folder / "keys")
    assert built.returncode == 0, built.stderr
    options = ("--dir", depot, "--cert", server, "--key", server_key, "--client-ca", authority.root)
    words = tuple(str(word) for word in (*options, "--listen", address))
    served = edgewright("depot", "up", *words)
    assert served.returncode == 0, served.stderr
    try:
        yield DepotSite(depot, address, authority, certificate, key, words)
    finally:
        stopped = edgewright("depot", "down", "--dir", depot)
    assert "depot: stopped" in stopped.stdout


def curl(site: DepotSite, path: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    mine: tuple[str | Path, ...] = options or ("--cert", site.certificate, "--key", site.key)
    return run("curl", "-sS", "--cacert", site.authority.root, *mine, "-w", "\n%{http_code} %{content_type}",
               f"https://{site.address}{path}")  # fmt: skip


# --- the server ---------------------------------------------------------------------------------------


def test_building_and_serving_again_do_nothing_and_take_no_time(site: DepotSite) -> None:
    start = time.monotonic()
    again = edgewright("depot", "build", RELEASE, "-o", site.depot, "--keys", site.depot.parent / "keys")
    spent = time.monotonic() - start
    assert "unchanged" in again.stdout
    assert spent < 10, "seconds; two on an idle machine"
    assert "up already" in edgewright("depot", "up", *site.options).stdout
    assert f"up at https://{site.address}" in edgewright("depot", "status", "--dir", site.depot).stdout


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v2/", "200 application/json"),
        ("/v2/edgewright/runtime/tags/list", "200 application/json"),
        ("/v2/edgewright/runtime/manifests/9.9.9", "404"),
        ("/pypi/simple/numpy/", "200 text/html"),
        ("/apt/dists/bookworm/InRelease", "200 application/octet-stream"),
        ("/depot.json", "200 application/json"),
        ("/", "404"),
        ("/etc/passwd", "404"),
        ("/apt/../../../etc/passwd", "404"),
    ],
)
def test_what_the_server_answers(site: DepotSite, path: str, answer: str) -> None:
    device = ("--cert", str(site.certificate), "--key", str(site.key), "--path-as-is")
    got = curl(site, path, *device).stdout.splitlines()[-1]
    assert got.startswith(answer) or (answer == "404" and got.startswith("400")), got


def test_nothing_can_be_written(site: DepotSite) -> None:
    device = ("--cert", str(site.certificate), "--key", str(site.key))
    for method in ("POST", "PUT", "DELETE"):
        assert curl(site, "/v2/", *device, "-X", method).stdout.splitlines()[-1].startswith("405")


def test_a_client_without_or_with_anothers_certificate_is_refused(site: DepotSite, tmp_path: Path) -> None:
    stranger, key = Authority(tmp_path / "other").leaf("device")
    for path in ("/v2/", "/depot.json", f"/{ARCHIVE_KEY}"):
        for options in (("--http1.1",), ("--cert", stranger, "--key", key)):
            refused = curl(site, path, *options)
            assert "400" in refused.stdout.splitlines()[-1] or refused.returncode != 0
            assert "BEGIN PGP" not in refused.stdout


def test_a_server_of_another_site_is_refused_by_its_clients(site: DepotSite, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").root
    refused = run("curl", "-sS", "--cacert", other, f"https://{site.address}/v2/")
    assert refused.returncode != 0
    assert "certificate" in refused.stderr


# --- apt ----------------------------------------------------------------------------------------------


class Apt:
    """apt on a root of its own that knows the depot and nothing else."""

    def __init__(self, site: DepotSite, root: Path, signed_by: Path, suite: str = "bookworm") -> None:
        for path in (
            "etc/sources.list.d",
            "etc/preferences.d",
            "state/lists/partial",
            "cache/archives/partial",
        ):
            (root / path).mkdir(parents=True)
        (root / "status").touch()
        (root / "etc/sources.list.d/depot.sources").write_text(
            f"Types: deb\nURIs: https://{site.address}/apt\nSuites: {suite}\nComponents: main\n"
            f"Signed-By: {signed_by}\n"
        )
        (root / "apt.conf").write_text(
            f'Dir "{root}"; Dir::Etc "etc"; Dir::State "state"; Dir::State::status "{root}/status";\n'
            f'Dir::Cache "cache"; APT::Architecture "amd64"; APT::Sandbox::User "root";\n'
            f'Acquire::https::CaInfo "{site.authority.root}"; Acquire::https::SslCert "{site.certificate}";\n'
            f'Acquire::https::SslKey "{site.key}"; Acquire::Languages "none";\n'
        )
        self.root = root

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.root / "work").mkdir(exist_ok=True)
        return run(
            "env",
            "-C",
            self.root / "work",
            "apt-get",
            "-q",
            *words,
            env={"APT_CONFIG": f"{self.root}/apt.conf"},
        )


@pytest.fixture
def apt(site: DepotSite, tmp_path: Path) -> Apt:
    return Apt(site, tmp_path / "apt", site.depot / ARCHIVE_KEY)


def _deb(lock: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(deb for deb in lock["apt"]["packages"] if deb["name"] == name)
    return found


def test_apt_updates_and_downloads_what_the_lock_says(apt: Apt, lock: dict[str, Any]) -> None:
    assert apt("update", "-o", "APT::Update::Error-Mode=any").returncode == 0
    wanted = [_deb(lock, name) for name in ("openssl", "nginx", lock["kernel"]["package"])]
    assert apt("download", *(f"{deb['name']}={deb['version']}" for deb in wanted)).returncode == 0
    got = sorted(sha256_file(path) for path in (apt.root / "work").glob("*.deb"))
    assert got == sorted(deb["sha256"] for deb in wanted)


def test_apt_refuses_a_changed_package_and_names_it(apt: Apt, site: DepotSite, lock: dict[str, Any]) -> None:
    assert apt("update").returncode == 0
    with site.changed(f"apt/pool/{_deb(lock, 'openssl')['filename']}"):
        refused = apt("download", "openssl")
    assert refused.returncode != 0
    assert "Hash Sum mismatch" in refused.stderr
    assert "openssl" in refused.stderr
    assert not list((apt.root / "work").glob("openssl*.deb"))


def test_apt_names_a_package_that_is_not_there(apt: Apt, site: DepotSite, lock: dict[str, Any]) -> None:
    assert apt("update").returncode == 0
    with site.changed(f"apt/pool/{_deb(lock, 'openssl')['filename']}", flip=False):
        refused = apt("download", "openssl")
    assert refused.returncode != 0
    assert "openssl" in refused.stderr
    assert "404" in refused.stderr


def test_apt_refuses_a_changed_index(apt: Apt, site: DepotSite) -> None:
    index = "apt/dists/bookworm/main/binary-amd64/Packages"
    with site.changed(index), site.changed(f"{index}.gz"):
        refused = apt("update", "-o", "APT::Update::Error-Mode=any")
    assert refused.returncode != 0
    assert "Hash Sum mismatch" in refused.stderr


def test_apt_refuses_a_changed_signed_release(apt: Apt, site: DepotSite) -> None:
    here = "apt/dists/bookworm"
    with site.changed(f"{here}/InRelease"), site.changed(f"{here}/Release"):
        refused = apt("update", "-o", "APT::Update::Error-Mode=any")
    assert refused.returncode != 0


def test_apt_refuses_a_depot_signed_by_another_key(site: DepotSite, tmp_path: Path) -> None:
    (tmp_path / "other.asc").write_bytes(ReleaseKey(tmp_path / "keys").ensure())
    refused = Apt(site, tmp_path / "apt", tmp_path / "other.asc")(
        "update", "-o", "APT::Update::Error-Mode=any"
    )
    assert refused.returncode != 0
    assert "NO_PUBKEY" in refused.stderr


# --- pip ----------------------------------------------------------------------------------------------


def _pip(
    site: DepotSite, folder: Path, lock: dict[str, Any], *names: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    wheels = [wheel for wheel in lock["python"]["wheels"] if wheel["name"] in names]
    (folder / "requirements.txt").write_text(
        "".join(f"{wheel['name']}=={wheel['version']} --hash=sha256:{wheel['sha256']}\n" for wheel in wheels)
    )
    both = folder / "client.pem"
    both.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    return run(
        *(sys.executable, "-m", "pip", "download", "--no-cache-dir", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"),
        *("--platform", "manylinux_2_27_x86_64", "--platform", "manylinux2014_x86_64"),
        *("--index-url", f"https://{site.address}/pypi/simple/", "--cert", site.authority.root),
        *("--client-cert", both, "--retries", "0", "--dest", folder, "-r", folder / "requirements.txt"),
        env={"PIP_CONFIG_FILE": os.devnull},
    )


@pytest.fixture(autouse=True)
def _none_of_this_hosts_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The depot is the only index and the site's root the only authority: no variable says otherwise."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name in {
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        }:
            monkeypatch.delenv(name)


def test_pip_downloads_with_hashes(site: DepotSite, tmp_path: Path, lock: dict[str, Any]) -> None:
    names = ("h11", "numpy", "typing-extensions")
    assert _pip(site, tmp_path / "pip", lock, *names).returncode == 0
    got = sorted(sha256_file(path) for path in (tmp_path / "pip").glob("*.whl"))
    assert got == sorted(wheel["sha256"] for wheel in lock["python"]["wheels"] if wheel["name"] in names)


def test_pip_refuses_a_changed_wheel_and_names_it(
    site: DepotSite, tmp_path: Path, lock: dict[str, Any]
) -> None:
    filename = next(wheel["filename"] for wheel in lock["python"]["wheels"] if wheel["name"] == "h11")
    with site.changed(f"pypi/files/{filename}"):
        refused = _pip(site, tmp_path / "pip", lock, "h11")
    assert refused.returncode != 0
    assert "h11" in refused.stderr
    assert "Expected sha256" in refused.stderr


# --- images -------------------------------------------------------------------------------------------


@pytest.fixture
def cert_dir(site: DepotSite, tmp_path: Path) -> Path:
    folder = tmp_path / "certs.d" / site.address
    folder.mkdir(parents=True)
    shutil.copy(site.authority.root, folder / "ca.crt")
    shutil.copy(site.certificate, folder / "client.cert")
    shutil.copy(site.key, folder / "client.key")
    return folder


def _image(lock: dict[str, Any], role: str) -> dict[str, Any]:
    found: dict[str, Any] = next(image for image in lock["images"] if image["role"] == role)
    return found


def _layer(site: DepotSite, image: dict[str, Any]) -> str:
    blobs = site.depot / "v2" / image["name"] / "blobs"
    biggest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    return str(biggest.relative_to(site.depot))


def test_skopeo_inspects_and_copies(
    site: DepotSite, cert_dir: Path, tmp_path: Path, lock: dict[str, Any]
) -> None:
    image = _image(lock, "model")
    source = f"docker://{site.address}/{image['name']}"
    seen = run("skopeo", "inspect", "--cert-dir", cert_dir, f"{source}:{image['version']}")
    assert seen.returncode == 0
    assert image["digest"] in seen.stdout
    copied = run(
        "skopeo",
        "copy",
        "--preserve-digests",
        "--src-cert-dir",
        cert_dir,
        f"{source}@{image['digest']}",
        f"oci:{tmp_path}/oci",
    )
    assert copied.returncode == 0
    assert (tmp_path / "oci/blobs/sha256" / image["digest"].removeprefix("sha256:")).is_file()


def test_skopeo_refuses_a_changed_layer(
    site: DepotSite, cert_dir: Path, tmp_path: Path, lock: dict[str, Any]
) -> None:
    image = _image(lock, "model")
    layer = _layer(site, image)
    with site.changed(layer):
        refused = run(
            *("skopeo", "copy", "--src-cert-dir", cert_dir),
            *(f"docker://{site.address}/{image['name']}@{image['digest']}", f"oci:{tmp_path}/oci"),
        )
    assert refused.returncode != 0
    assert layer.rpartition("sha256:")[2] in refused.stderr


class Podman:
    """podman with storage of its own, and limits that hosts without CAP_SYS_RESOURCE allow."""

    def __init__(self, folder: Path) -> None:
        self._base = ("podman", "--root", folder / "root", "--runroot", folder / "run")
        self._base += ("--runtime", "runc", "--storage-driver", "vfs")  # type: ignore[assignment]

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*self._base, *words)

    def limits(self) -> tuple[str, ...]:
        files = min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        return "--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=1024:1024"


@pytest.fixture
def podman() -> Iterator[Podman]:
    # podman wants a short path: sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="ew-", ignore_cleanup_errors=True) as name:
        tool = Podman(Path(name))
        yield tool
        tool("rmi", "--all", "--force")


def test_podman_pulls_the_runtime_by_digest_and_it_imports_what_it_needs(
    site: DepotSite, cert_dir: Path, podman: Podman, lock: dict[str, Any]
) -> None:
    image = _image(lock, "runtime")
    name = f"{site.address}/{image['name']}@{image['digest']}"
    assert podman("pull", "--quiet", "--cert-dir", cert_dir, name).returncode == 0
    code = "import os, onnxruntime, ssl, edgewright_runtime.app; print(os.getuid(), onnxruntime.__version__)"
    done = podman(
        *("run", "--rm", "--pull", "never", "--network", "none", "--read-only", "--cap-drop", "all"),
        *(*podman.limits(), "--entrypoint", "/usr/bin/python3.11", name, "-c", code),
    )
    assert done.returncode == 0
    onnxruntime = next(w["version"] for w in lock["python"]["wheels"] if w["name"] == "onnxruntime")
    assert f"65532 {onnxruntime}" in done.stdout


def test_podman_refuses_a_changed_layer_and_keeps_nothing(
    site: DepotSite, cert_dir: Path, podman: Podman, lock: dict[str, Any]
) -> None:
    image = _image(lock, "model")
    layer = _layer(site, image)
    with site.changed(layer):
        refused = podman("pull", "--cert-dir", cert_dir, f"{site.address}/{image['name']}@{image['digest']}")
    assert refused.returncode != 0
    assert layer.rpartition("sha256:")[2] in refused.stderr
    assert podman("images", "--quiet").stdout.strip() == ""


def test_podman_names_a_digest_that_the_depot_lacks(site: DepotSite, cert_dir: Path, podman: Podman) -> None:
    wrong = f"{site.address}/edgewright/runtime@sha256:{'0' * 64}"
    refused = podman("pull", "--cert-dir", cert_dir, wrong)
    assert refused.returncode != 0
    assert "0" * 64 in refused.stderr


# --- verifying ----------------------------------------------------------------------------------------


def test_verify_names_each_wrong_file_with_expected_and_got(site: DepotSite, lock: dict[str, Any]) -> None:
    assert edgewright("depot", "verify", site.depot, "--release", RELEASE).returncode == 0
    layer = _layer(site, _image(lock, "model"))
    deb = f"apt/pool/{_deb(lock, 'openssl')['filename']}"
    with site.changed(layer) as file, site.changed(deb, flip=False):
        found = edgewright("depot", "verify", site.depot)
        got = sha256_file(file)
    assert found.returncode == 3
    assert f"{layer}: expected sha256 {layer.rpartition(':')[2]}, got {got}" in found.stdout
    assert f"{deb}: missing, expected sha256 {_deb(lock, 'openssl')['sha256']}" in found.stdout
    assert "build it again with `edgewright depot build" in found.stderr


def test_a_depot_that_lost_a_file_is_built_again(site: DepotSite, lock: dict[str, Any]) -> None:
    (site.depot / "apt/pool" / _deb(lock, "openssl")["filename"]).unlink()
    built = edgewright("depot", "build", RELEASE, "-o", site.depot, "--keys", site.depot.parent / "keys")
    assert "built in" in built.stdout
    assert edgewright("depot", "verify", site.depot).returncode == 0
    assert "up already" in edgewright("depot", "up", *site.options).stdout
    assert curl(site, "/depot.json").stdout.splitlines()[-1].startswith("200")


def test_a_taken_address_is_told(site: DepotSite, tmp_path: Path) -> None:
    taken = edgewright("depot", "up", *site.options, "--state", tmp_path / "second")
    assert taken.returncode == 2
    assert f"something else listens on {site.address}" in taken.stderr


@pytest.mark.slow
def test_images_built_elsewhere_have_the_locked_digests(
    site: DepotSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: dict[str, Any]
) -> None:
    """A second build, with nothing but the locked sources in another cache, gives the same digests."""
    sources = [deb["sha256"] for image in lock["images"] for deb in image.get("debs", [])]
    sources += [wheel["sha256"] for wheel in lock["python"]["wheels"]]
    sources += [image["wheel"]["sha256"] for image in lock["images"] if "wheel" in image]
    first = BlobStore()
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    second = BlobStore()
    for sha256 in sources:
        first.place(sha256, second.path(sha256))
    release, _ = load_release(RELEASE)
    described = {
        image["model"]: read_description(RELEASE, image["model"])
        for image in lock["images"]
        if "model" in image
    }
    built = build_images(lock, release, described, second)
    assert {key: image.digest for key, image in built.items()} == {
        (image["name"], image["platform"]): image["digest"] for image in lock["images"]
    }
