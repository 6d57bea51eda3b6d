# SPDX-License-Identifier: Apache-2.0
"""What is carried for bare controllers, and each way in which its first step refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tomllib
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tuf.api.metadata import Metadata, Root

from edgewright.bundle import installer_key
from edgewright.bundle.installer import controllers_of, installer_files
from edgewright.bundle.installer_key import INSTALLER_FIELD, installer_pin, keyring
from edgewright.bundle.installer_lock import (
    Environment,
    InstallerLock,
    load_installer_lock,
    wanted_requirements,
)
from edgewright.bundle.keys import KeySet
from edgewright.bundle.packing import collections_archive, own_wheel, used_collections
from edgewright.depot.blobs import BlobStore
from edgewright.depot.keys import ReleaseKey
from edgewright.errors import InputError, IntegrityError
from edgewright.release.wheels import normal_name
from tests.unit.bundle import installers
from tests.unit.bundle.installers import COLLECTIONS, HERE, LOCK, run_bootstrap, small_lock, wheel_bytes
from tests.unit.bundle.sticks import EXPIRES, SIGNED_AT, snapshot_of

ROOT = Path(__file__).resolve().parents[3]
needs_debian = pytest.mark.skipif(
    HERE.python != "3.11" or os.uname().machine != "x86_64" or not Path("/usr/bin/python3.11").exists(),
    reason="the bootstrap runs with Debian 12's own python3 on amd64 here",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with `keys/` and a `stick/` that no test changes; the cache is below it."""
    root = tmp_path_factory.mktemp("installer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CACHE", str(root / "cache"))
        keys = KeySet.develop(root / "keys")
        installers.make_stick(root / "stick", keys, BlobStore(), SIGNED_AT)
        yield root


@pytest.fixture
def stick(world: Path, tmp_path: Path) -> Path:
    """A stick of the test's own."""
    shutil.copytree(world / "stick", tmp_path / "stick")
    return tmp_path / "stick"


def fingerprint(world: Path) -> str:
    return KeySet.open(world / "keys").fingerprint


def test_pins_name_everything_and_are_signed(world: Path) -> None:
    place = world / "stick" / "installer"
    pins = json.loads((place / "pins.json").read_bytes())
    there = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
    for name in ("pins.json", "pins.json.sig", "keyring.pgp"):
        del there[name]
    assert pins["files"] == {
        name: {"size": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
        for name, path in there.items()
    }
    (one,) = pins["environments"]
    assert set(one["archives"]) == {name for name in there if not name.endswith(".py")}
    assert pins["root_sha256"] == fingerprint(world)
    subprocess.run(
        ["gpgv", "--keyring", place / "keyring.pgp", place / "pins.json.sig", place / "pins.json"],
        check=True,
        capture_output=True,
    )


def test_the_same_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    again = installers.make_stick(tmp_path / "again", KeySet.open(world / "keys"), BlobStore(), SIGNED_AT)
    assert snapshot_of(again) == snapshot_of(world / "stick")


def test_the_root_names_the_certificate(world: Path) -> None:
    keys = KeySet.open(world / "keys")
    ring = (world / "stick" / "installer" / "keyring.pgp").read_bytes()
    assert installer_pin(keys.roots[1]) == sha256(ring).hexdigest()
    assert keyring(keys.directory, keys.roots[1]) == ring


def test_another_certificate_than_the_root_names_is_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "keys", tmp_path / "keys")
    for name in ("release.key.asc", "release.pub.asc"):
        (tmp_path / "keys" / name).unlink()
    ReleaseKey(tmp_path / "keys").ensure()
    keys = KeySet.open(tmp_path / "keys")
    with pytest.raises(InputError, match="root 1 names the OpenPGP certificate with sha256"):
        installer_files(LOCK, keys, SIGNED_AT, EXPIRES, BlobStore(), carried=small_lock(BlobStore()))


@pytest.mark.parametrize("field", [None, [], {}, {"keyring_sha256": 7}, {"keyring_sha256": "ab\n"}])
def test_a_root_without_a_pin_is_refused(world: Path, field: object) -> None:
    root = Metadata[Root].from_bytes(KeySet.open(world / "keys").roots[1])
    root.signed.unrecognized_fields[INSTALLER_FIELD] = field
    assert installer_key.installer_pin(root.to_bytes()) is None
    with pytest.raises(InputError, match="--no-installer"):
        keyring(world / "keys", root.to_bytes())


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([("bookworm", "amd64")], [("3.11", "amd64")]),
        ([("bookworm", "arm64")], [("3.11", "amd64"), ("3.11", "arm64")]),
        (
            [("bookworm", "amd64"), ("trixie", "arm64")],
            [("3.11", "amd64"), ("3.13", "amd64"), ("3.13", "arm64")],
        ),
    ],
)
def test_kinds_of_controller(targets: list[tuple[str, str]], expected: list[tuple[str, str]]) -> None:
    first, *others = [{"os": {"suite": suite, "arch": arch}} for suite, arch in targets]
    found = controllers_of({**first, "targets": others})
    assert found == tuple(Environment(*one) for one in expected)
    assert set(found) <= set(load_installer_lock().environments)


def test_a_suite_without_a_python_is_refused() -> None:
    with pytest.raises(InputError, match="buster on amd64: known are bookworm, trixie"):
        controllers_of({"os": {"suite": "buster", "arch": "amd64"}})


def test_the_carried_lock_is_that_of_the_projects_dependencies() -> None:
    lock = load_installer_lock()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert lock.requirements == wanted_requirements(project["dependencies"]), "run scripts/lock_installer.py"
    for environment, wheels in lock.environments.items():
        versions = {normal_name(wheel.name): wheel.version for wheel in wheels}
        for text in lock.requirements:
            wanted = Requirement(text)
            assert wanted.specifier.contains(versions[normal_name(wanted.name)]), (environment, text)
        assert "ansible" not in versions
    assert (
        InstallerLock(lock.requirements, lock.environments, lock.collections).dump()
        == (ROOT / "edgewright" / "data" / "installer" / "lock.json").read_bytes()
    )


def test_only_collections_that_plays_use(tmp_path: Path) -> None:
    assert used_collections() == COLLECTIONS, "what is carried is told in docs/reference/bundle.md"
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "a.yml").write_text(
        "# ansible.posix.sysctl\n- community.crypto.x509_crl:\n- a.b.c:\n"
    )
    assert used_collections(tmp_path) == ("community.crypto",)


def test_collections_without_their_tests_and_never_half(tmp_path: Path) -> None:
    lock = small_lock(BlobStore(tmp_path))
    packed = collections_archive(tmp_path / lock.collections.sha256, COLLECTIONS)
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    assert names == [
        f"ansible_collections/community/crypto/{name}" for name in ("MANIFEST.json", "meta/r.yml")
    ]
    with pytest.raises(IntegrityError, match=r"the collection ansible\.posix out of"):
        collections_archive(tmp_path / lock.collections.sha256, ["ansible.posix"])


def test_edgewrights_own_wheel_is_complete() -> None:
    name, data = own_wheel()
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = set(archive.namelist())
    factory = "ansible_collections/edgewright/factory"
    assert {
        "edgewright/cli/main.py",
        "edgewright/data/installer/bootstrap.py",
        "edgewright/data/installer/lock.json",
        f"{factory}/site.yml",
        f"{factory}/galaxy.yml",
        f"{factory}/roles/depot/tasks/main.yml",
    } <= names
    assert not any("__pycache__" in one or one.startswith("tests") for one in names)
    info = name.removesuffix("-py3-none-any.whl") + ".dist-info"
    assert b"edgewright = edgewright.cli.main:main" in archive.read(f"{info}/entry_points.txt")
    rows = list(csv.reader(io.StringIO(archive.read(f"{info}/RECORD").decode())))
    assert {row[0] for row in rows} == names
    for path, digest, size in rows:
        if digest:
            told = urlsafe_b64encode(sha256(archive.read(path)).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={told}", len(archive.read(path))), path


# -- the bootstrap, as `install` runs it -----------------------------------------------------------------


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    """A symbolic link to a right copy."""
    path.rename(path.with_name("copy"))
    path.symlink_to("copy")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


SMALL = "installer/wheels/small-1-py3-none-any.whl"
CASES: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("root changed", "metadata/1.root.json", flip, "has the fingerprint"),
    ("root missing", "metadata/1.root.json", Path.unlink, "No such file"),
    ("certificate changed", "installer/keyring.pgp", flip, "but the root names"),
    ("list changed", "installer/pins.json", flip, "the signature of installer/pins.json does not fit"),
    ("list cut", "installer/pins.json", cut, "the signature of installer/pins.json does not fit"),
    (
        "list is a bomb",
        "installer/pins.json",
        lambda path: os.truncate(path, 1 << 30),
        "more than 4194304 bytes",
    ),
    (
        "signature changed",
        "installer/pins.json.sig",
        flip,
        "the signature of installer/pins.json does not fit",
    ),
    ("signature empty", "installer/pins.json.sig", lambda path: os.truncate(path, 0), "does not fit"),
    ("wheel changed", SMALL, flip, f"verifying {SMALL}: expected"),
    ("wheel cut", SMALL, cut, f"verifying {SMALL}: expected"),
    ("wheel longer", SMALL, grow, f"reading {SMALL}"),
    ("wheel missing", SMALL, Path.unlink, f"reading {SMALL}"),
    ("wheel is a link", SMALL, link, f"reading {SMALL}"),
    ("wheel is a pipe", SMALL, pipe, "expected a plain file"),
    ("code changed", "installer/environment.py", flip, "verifying installer/environment.py"),
    ("collections changed", "installer/collections.zip", flip, "verifying installer/collections.zip"),
    ("directory is a link", "installer/wheels", link, "reading installer/wheels/"),
]


@needs_debian
@pytest.mark.parametrize(
    ("target", "change", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_bootstrap_refuses(
    world: Path, stick: Path, target: str, change: Callable[[Path], None], told: str
) -> None:
    tmp_path = stick.parent
    change(stick / target)
    done = run_bootstrap(stick, tmp_path, "--fingerprint", fingerprint(world))
    assert done.returncode == 3, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "prefix").exists()
    assert not (tmp_path / "state").exists()


@needs_debian
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--fingerprint", "0" * 64], 3, "the bundle was signed by somebody else"),
        (["--fingerprint", "12 34"], 2, "expected 64 hexadecimal digits (spaces do not matter), got 4"),
        (["--fingerprint", "g" * 64], 2, "expected 64 hexadecimal digits"),
        ([], 2, "no bundle was accepted here yet, so the root's fingerprint is needed"),
        (["--keep", "0"], 2, "reading --keep: expected 1 or more"),
        (["--prefix", "relative"], 2, "reading --prefix: expected an absolute path"),
        (["--prefix", "/a b"], 2, "reading --prefix: expected an absolute path"),
        (["--prefix", "/" + "a" * 90], 2, "reading --prefix: expected an absolute path"),
        (["--profile", "x86_vm"], 2, "reading --profile: it belongs to --self"),
        (["--pins-sha256", "0" * 64], 3, "it was changed just now"),
        (["--unknown"], 2, "unrecognized arguments"),
    ],
)
def test_words_that_the_bootstrap_refuses(
    world: Path, tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    done = run_bootstrap(world / "stick", tmp_path, *words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "prefix").exists()


@needs_debian
def test_a_list_that_another_key_signed(world: Path, stick: Path, tmp_path: Path) -> None:
    other = ReleaseKey(tmp_path / "other")
    other.ensure()
    pins = (stick / "installer" / "pins.json").read_bytes()
    (stick / "installer" / "pins.json.sig").write_bytes(other.sign_apart(pins, SIGNED_AT))
    done = run_bootstrap(stick, tmp_path, "--fingerprint", fingerprint(world))
    assert (done.returncode, "does not fit" in done.stderr) == (3, True), done.stderr
    (stick / "installer" / "keyring.pgp").write_bytes(other.certificate())
    done = run_bootstrap(stick, tmp_path, "--fingerprint", fingerprint(world))
    assert (done.returncode, "but the root names" in done.stderr) == (3, True), done.stderr


def resign(world: Path, stick: Path, **changes: object) -> None:
    """Change the list as its signer could."""
    path = stick / "installer" / "pins.json"
    pins = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps(pins))
    signature = ReleaseKey(world / "keys").sign_apart(path.read_bytes(), SIGNED_AT)
    (stick / "installer" / "pins.json.sig").write_bytes(signature)


ENVIRONMENT = {
    "python": "3.11",
    "machine": "x86_64",
    "archives": [],
    "unpacked_files": 1,
    "unpacked_bytes": 1,
}
PIN = {"size": 1, "sha256": "0" * 64}


@needs_debian
@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"schema": "edgewright.installer/v2"}, 3, "expected schema edgewright.installer/v1"),
        ({"expires": "2026-11-19T00:00:00Z"}, 3, "it ended 2026-11-19T00:00:00Z"),
        ({"root_sha256": "0" * 64}, 3, "not to this one"),
        ({"version": "../1"}, 3, "version '../1'"),
        ({"files": {"../../etc/passwd": PIN}}, 3, "the entry '../../etc/passwd'"),
        ({"files": {"a": {"size": 1, "sha256": "0"}}}, 3, "the entry 'a'"),
        ({"files": {"a": {"size": 1 << 40, "sha256": "0" * 64}}}, 3, "1099511627776 bytes of a"),
        ({"files": []}, 3, "reading installer/pins.json"),
        ({"environments": [ENVIRONMENT | {"archives": ["b"]}]}, 3, "no size and sha256 of b"),
        ({"environments": [ENVIRONMENT | {"unpacked_bytes": 1 << 50}]}, 3, "bytes unpacked"),
        ({"environments": [ENVIRONMENT | {"python": "3.9"}]}, 2, "the bundle carries one for Python 3.9"),
        ({"environments": [ENVIRONMENT | {"machine": "riscv64"}]}, 2, "3.11 on riscv64"),
        ({"environments": [ENVIRONMENT | {"archives": ["collections.zip"]}]}, 3, "more than was announced"),
    ],
)
def test_lists_that_make_no_sense(
    world: Path, stick: Path, changes: dict[str, object], code: int, told: str
) -> None:
    tmp_path = stick.parent
    resign(world, stick, **changes)
    done = run_bootstrap(stick, tmp_path, "--fingerprint", fingerprint(world))
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "prefix").exists()


@needs_debian
def test_an_environment_that_cannot_take_the_bundle_in_goes_again(world: Path, tmp_path: Path) -> None:
    """The small installer lacks what Edgewright needs, so its staged Edgewright fails."""
    done = run_bootstrap(world / "stick", tmp_path, "--fingerprint", fingerprint(world))
    assert done.returncode == 1, done.stderr
    assert "the bundle was not taken in, as told above; nothing was installed" in done.stderr
    assert not (tmp_path / "prefix").exists()


@needs_debian
@pytest.mark.skipif(shutil.which("sqv") is None, reason="sqv is not installed")
@pytest.mark.parametrize("right", [True, False])
def test_sqv_instead_of_gpgv(
    world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: bool
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sqv").symlink_to(str(shutil.which("sqv")))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    bootstrap = installers.load("bootstrap.py")
    place = world / "stick" / "installer"
    ring, pins, signature = (
        (place / name).read_bytes() for name in ("keyring.pgp", "pins.json", "pins.json.sig")
    )
    if right:
        bootstrap.check_signature(ring, pins, signature)
    else:
        with pytest.raises(bootstrap.InstallError, match="sqv says"):
            bootstrap.check_signature(ring, pins + b" ", signature)


def test_neither_gpgv_nor_sqv(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bootstrap = installers.load("bootstrap.py")
    with pytest.raises(bootstrap.InstallError, match="neither gpgv nor sqv is here") as told:
        bootstrap.check_signature(b"", b"", b"")
    assert told.value.code == 5


# -- laying out -----------------------------------------------------------------------------------------


def lay_out(tmp_path: Path, *archives: bytes, files: int = 100, size: int = 1 << 20) -> Path:
    environment = installers.load("environment.py")
    one = {"archives": list(range(len(archives))), "unpacked_files": files, "unpacked_bytes": size}
    environment.lay_out(str(tmp_path / "staging"), "/opt/final", one, lambda number: archives[number])
    return tmp_path / "staging"


def test_an_environment_is_laid_out(tmp_path: Path) -> None:
    points = "[console_scripts]\nRun-It = small.cli:main.start [extra]\n[other]\nx = y\n"
    members = {
        "small/cli.py": "",
        "small-1.dist-info/entry_points.txt": points,
        "small-1.data/scripts/tool": "#!python\nprint(1)\n",
        "small-1.data/scripts/shell": "#!/bin/sh\n",
        "small-1.data/data/share/x.txt": "x",
        "small-1.data/purelib/more.py": "1",
        "small-1.data/headers/x.h": "x",
    }
    staging = lay_out(tmp_path, wheel_bytes(members), wheel_bytes({"small/cli.py": "", "other.py": ""}))
    library = staging / "lib" / f"python{HERE.python}" / "site-packages"
    there = {
        str(path.relative_to(staging))
        for path in staging.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    assert {name for name in there if not name.startswith("lib/")} == {
        *("bin/Run-It", "bin/python", "bin/python3", "bin/shell", "bin/tool", "pyvenv.cfg", "share/x.txt")
    }
    assert {str(path.relative_to(library)) for path in library.rglob("*") if path.is_file()} == {
        *("small/cli.py", "small-1.dist-info/entry_points.txt", "more.py", "other.py")
    }
    script = (staging / "bin" / "Run-It").read_text()
    assert script.startswith("#!/opt/final/bin/python3\n")
    assert "from small.cli import main\n" in script
    assert "sys.exit(main.start())" in script
    assert (staging / "bin" / "tool").read_text() == "#!/opt/final/bin/python3\nprint(1)\n"
    assert (staging / "bin" / "shell").read_text() == "#!/bin/sh\n"
    assert (staging / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert (library / "more.py").stat().st_mode & 0o777 == 0o644
    told = subprocess.run(
        [staging / "bin" / "python3", "-I", "-c", "import sys, other; print(sys.prefix, other.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [str(staging), str(library / "other.py")]


def zipped_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("archives", "told"),
    [
        ([wheel_bytes({"../up": "x"})], "'../up' has no place"),
        ([wheel_bytes({"/etc/x": "x"})], "'/etc/x' has no place"),
        ([wheel_bytes({"a/../../x": "x"})], "has no place"),
        ([wheel_bytes({"a\\x": "x"})], "has no place"),
        ([wheel_bytes({"a-1.data/scripts/../../x": "x"})], "has no place"),
        ([zipped_link()], "'link' has no place"),
        ([wheel_bytes({"a": "1"}), wheel_bytes({"a": "2"})], "two archives hold different files"),
        ([wheel_bytes({"a": "x" * (1 << 21)})], "more than was announced"),
        ([wheel_bytes({f"f{number}": "" for number in range(101)})], "more than was announced"),
        (
            [wheel_bytes({"a-1.dist-info/entry_points.txt": "[console_scripts]\n../x = a:b\n"})],
            "'../x' has no place",
        ),
        (
            [wheel_bytes({"a-1.dist-info/entry_points.txt": "[console_scripts]\nx = a:b();c\n"})],
            "'x' has no place",
        ),
    ],
)
def test_archives_that_have_no_place(tmp_path: Path, archives: list[bytes], told: str) -> None:
    with pytest.raises(Exception, match="laying out") as refused:
        lay_out(tmp_path, *archives)
    assert type(refused.value).__name__ == "EnvironmentFault"
    assert told in str(refused.value)
    assert not (tmp_path / "up").exists()
    assert not (tmp_path / "x").exists()


def test_no_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    environment = installers.load("environment.py")
    one = {"archives": [], "unpacked_files": 1, "unpacked_bytes": 1 << 60}
    called: list[str] = []
    with pytest.raises(environment.EnvironmentFault, match="MB are available") as told:
        environment.install(str(tmp_path / "a" / "prefix"), "1-x", one, called.append, [], 3)
    assert told.value.code == 2
    assert (called, (tmp_path / "a").exists()) == ([], False)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    environment = installers.load("environment.py")
    with environment._held(str(tmp_path)), pytest.raises(environment.EnvironmentFault, match="another run"):
        environment.install(str(tmp_path), "1-x", {}, None, [], 3)


def environment_of(prefix: Path, name: str, number: int) -> Path:
    path = prefix / "releases" / name
    path.mkdir(parents=True)
    (path / ".number").write_text(f"{number}\n")
    return path


def test_the_newest_environments_stay_by_count_not_by_clock(tmp_path: Path) -> None:
    environment = installers.load("environment.py")
    for number, name in enumerate(["c", "a", "b"], 1):
        environment_of(tmp_path, name, number)
    staging = tmp_path / ".staging"
    staging.mkdir()
    assert environment.put_in_place(str(tmp_path), str(staging), str(tmp_path / "releases" / "new"), 2)
    assert {path.name for path in (tmp_path / "releases").iterdir()} == {"b", "new"}
    assert (tmp_path / "current").readlink() == Path("releases/new")
    assert (tmp_path / "releases" / "new" / ".number").read_text() == "4\n"
    assert not environment.put_in_place(str(tmp_path), None, str(tmp_path / "releases" / "new"), 2)
