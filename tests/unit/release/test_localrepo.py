# SPDX-License-Identifier: Apache-2.0
"""Packages out of a local repository package: of the documented layout, made here by Debian's own tools."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from edgewright.cli.main import main
from edgewright.depot.blobs import BlobStore
from edgewright.errors import InputError, IntegrityError
from edgewright.release.files import lock_files
from edgewright.release.localrepo import LocalRepository
from edgewright.release.supplied import read_supplied
from edgewright.release.yamlmarks import read_marked

NAME = "nv-tensorrt-local-repo-debian12-10.4.0-cuda-12.6"

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is missing")


def package(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A package, its data packed by xz as NVIDIA's are."""
    room = folder / f"{name}.tree"
    (room / "DEBIAN").mkdir(parents=True)
    told = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@archive.example>\n"
    (room / "DEBIAN/control").write_text(f"{told}Description: made up\n")
    for path, data in files.items():
        (room / path).parent.mkdir(parents=True, exist_ok=True)
        (room / path).write_bytes(data)
    target = folder / f"{name}_{version.rpartition(':')[2]}_amd64.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z0", "--build", str(room), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


@dataclass
class Made:
    """A repository in the making: change what is in it, then `deb` packs it."""

    folder: Path
    debs: dict[str, bytes] = field(default_factory=dict)
    index: str = ""
    others: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, version: str) -> None:
        built = package(self.folder, name, version, {f"usr/lib/{name}": name.encode() * 99})
        self.debs[built.name] = data = built.read_bytes()
        self.index += (
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: ./{built.name}\n"
            f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\nDescription: x\n  y\n\n"
        )

    def release(self) -> str:
        data = self.index.encode()
        files = {"Packages": data, "Packages.gz": gzip.compress(data, mtime=0)}
        sums = "".join(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in files.items()
        )
        self.others = {**files, **self.others}
        return f"Origin: NVIDIA\nMD5Sum:\n {'0' * 32} 1 Packages\nSHA256:\n{sums}"

    def deb(self, name: str = NAME) -> Path:
        if "InRelease" not in self.others:
            self.others["InRelease"] = self.release().encode()
        files = {f"var/{NAME}/{key}": data for key, data in {**self.debs, **self.others}.items() if data}
        return package(self.folder, name, "1.0-1", files)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    found = Made(tmp_path / "made")
    found.folder.mkdir()
    found.add("libnvinfer10", "10.4.0.26-1+cuda12.6")
    found.add("libnvinfer-plugin10", "10.4.0.26-1+cuda12.6")
    found.add("other", "1:2.0")
    return found


def test_packages_are_listed_and_taken_once(made: Made, tmp_path: Path) -> None:
    found = LocalRepository.open(made.deb())
    assert [each.name for each in found.packages] == ["libnvinfer10", "libnvinfer-plugin10", "other"]
    taken = found.take(["libnvinfer*", "other"], tmp_path / "out")
    assert [each.filename for each in taken] == sorted(made.debs)
    for each in taken:
        path = tmp_path / "out" / each.filename
        assert path.read_bytes() == made.debs[each.filename]
    first = tmp_path / "out" / taken[0].filename
    before = first.stat().st_ino
    (tmp_path / "out" / taken[1].filename).write_bytes(b"cut short")
    found.take(["*"], tmp_path / "out")
    assert first.stat().st_ino == before, "what is right stays"
    assert (tmp_path / "out" / taken[1].filename).read_bytes() == made.debs[taken[1].filename]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(made.debs)


def test_a_packed_index_does_as_well(made: Made) -> None:
    release = made.release().encode()
    made.others = {**made.others, "Packages": b"", "InRelease": b"", "Release": release}
    assert len(LocalRepository.open(made.deb()).packages) == 3


def test_the_command_lists_and_prints_what_release_yml_wants(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deb = made.deb()
    assert main(["release", "unpack", str(deb)]) == 0
    told = capsys.readouterr().out
    assert "3 packages, their index held to no key" in told
    assert "libnvinfer10 10.4.0.26-1+cuda12.6 amd64" in told
    out = tmp_path / "release" / "supplied"
    assert main(["release", "unpack", str(deb), "--take", "libnvinfer10", "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "path: supplied/libnvinfer10_10.4.0.26-1+cuda12.6_amd64.deb" in told
    assert hashlib.sha256(next(iter(made.debs.values()))).hexdigest() in told
    assert main(["release", "unpack", str(tmp_path / "none.deb")]) == 2

    # What is printed is what a release takes, but for whoever answers for the licence.
    content = yaml.safe_load(told[told.index("files:") :].replace("DATE", "2099-01-01"))
    (tmp_path / "release" / "release.yml").write_text(yaml.safe_dump(content))
    store = BlobStore(tmp_path / "blobs")
    marked = read_marked((tmp_path / "release" / "release.yml").read_bytes(), Path("release.yml"))
    (supplied,) = read_supplied(marked, lock_files(marked, tmp_path / "release", store), store).packages
    assert (supplied.name, supplied.version) == ("libnvinfer10", "10.4.0.26-1+cuda12.6")


def spoil_index(made: Made) -> None:
    made.others["InRelease"] = made.release().encode()
    made.others["Packages"] = made.others["Packages"].replace(b"10.4.0", b"10.4.1")


def spoil_package(made: Made) -> None:
    name = next(iter(made.debs))
    made.debs[name] = made.debs[name][:-1] + b"!"


def no_sums(made: Made) -> None:
    made.release()
    made.others["InRelease"] = b"Origin: NVIDIA\n"


def another_place(made: Made) -> None:
    made.index = made.index.replace("Filename: ./lib", "Filename: ../../etc/lib", 1)


def no_digest(made: Made) -> None:
    made.index = made.index.replace("SHA256", "SHA1")


def strange_version(made: Made) -> None:
    made.index = made.index.replace("Version: 10", "Version: ../10", 1)


def no_package(made: Made) -> None:
    made.debs.pop(next(iter(made.debs)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_index, r"its Release file expects Packages with \d+ bytes"),
        (spoil_package, r"its index expects \d+ bytes with sha256 [0-9a-f]+, got \d+ with"),
        (no_sums, "gives no SHA256 of Packages, so nothing vouches for it"),
        (another_place, r"has the file name '\.\./\.\./etc/lib\S+', outside of it"),
        (no_digest, "package libnvinfer10 with no SHA256"),
        (strange_version, "a name, version or size that is none"),
        (no_package, r"its index lists libnvinfer10_\S+, which it does not hold"),
    ],
)
def test_a_repository_that_is_not_what_it_says_gives_nothing(
    made: Made, tmp_path: Path, spoil: Callable[[Made], None], said: str
) -> None:
    spoil(made)
    deb = made.deb()
    with pytest.raises(IntegrityError, match=said):
        LocalRepository.open(deb).take(["libnvinfer10"], tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_what_is_no_local_repository_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a local repository package"):
        LocalRepository.open(made.deb("tensorrt"))
    with pytest.raises(IntegrityError, match="expected one /var/NAME with Packages, found none"):
        LocalRepository.open(package(tmp_path, NAME, "1", {"var/x": b"x"}))
    with pytest.raises(
        InputError, match=r"holds no such package; it holds libnvinfer-plugin10, libnvinfer10"
    ):
        LocalRepository.open(made.deb()).take(["cudnn"], tmp_path / "out")
    cut = tmp_path / "cut.deb"
    whole = made.deb("again-local-repo-x").read_bytes()
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(IntegrityError, match="get the file again"):
        LocalRepository.open(cut).take(["*"], tmp_path / "out")


@pytest.fixture
def gpg() -> Iterator[Callable[..., bytes]]:
    home = tempfile.mkdtemp(prefix="ew-gpg-")  # gpg's socket wants a short path

    def run(*words: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", home, "--batch", "--yes", "--quiet", "--passphrase", "", *words]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    yield run
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.skipif(
    shutil.which("gpg") is None or shutil.which("gpgv") is None, reason="gpg or gpgv is missing"
)
def test_a_signature_counts_with_the_makers_key_alone(
    made: Made, tmp_path: Path, gpg: Callable[..., bytes]
) -> None:
    for who in ("maker", "other"):
        gpg("--quick-gen-key", f"{who} <{who}@archive.example>", "ed25519", "sign", "never")
        (tmp_path / f"{who}.asc").write_bytes(gpg("--armor", "--export", f"{who}@archive.example"))
        (tmp_path / f"{who}.gpg").write_bytes(gpg("--export", f"{who}@archive.example"))
    signed = gpg("--local-user", "maker@archive.example", "--clearsign", data=made.release().encode())
    made.others["InRelease"] = signed
    deb = made.deb()
    assert LocalRepository.open(deb, tmp_path / "maker.asc").signed
    assert LocalRepository.open(deb, tmp_path / "maker.gpg").signed
    with pytest.raises(IntegrityError, match="its index is not signed by the key"):
        LocalRepository.open(deb, tmp_path / "other.asc")
    (tmp_path / "none.asc").write_text("-----BEGIN\n\n?\n-----END\n")
    with pytest.raises(InputError, match="it is no armoured OpenPGP key"):
        LocalRepository.open(deb, tmp_path / "none.asc")
    made.others["InRelease"] = signed.replace(b"Origin: NVIDIA", b"Origin: nvidia")
    shutil.rmtree(made.folder / f"{NAME}.tree")
    with pytest.raises(IntegrityError, match="its index is not signed by the key"):
        LocalRepository.open(made.deb(), tmp_path / "maker.asc")
