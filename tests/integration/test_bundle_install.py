# SPDX-License-Identifier: Apache-2.0
"""`install` on a bare Debian machine for real: no network, no pip, no openssl; what it refuses, and kills."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.installer import installer_files
from edgewright.bundle.keys import KeySet
from edgewright.twin.container import container_image, limits
from tests.unit.bundle.small_release import make_release

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers of root's podman"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="no podman"),
]

LATER = "Fri, 20 Nov 2026 02:12:54 UTC"
BIN = "/opt/edgewright/current/bin"
MADE = "/opt/edgewright /var/lib/edgewright"


def podman(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["podman", "--runtime", "runc", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


@dataclass(frozen=True)
class Office:
    """Where bundles are built: `first` and `later` are sticks of two releases, `keys` signed both."""

    first: Path
    later: Path
    keys: KeySet

    @property
    def fingerprint(self) -> str:
        return self.keys.fingerprint


@dataclass(frozen=True)
class Machine:
    """A bare Debian machine without a network, and the stick that is plugged into it."""

    name: str
    stick: Path

    def run(self, command: str, code: int | None = 0) -> str:
        """Run a shell command there; all that it printed. `code` None: any exit code will do."""
        done = podman("exec", self.name, "sh", "-c", command, check=False)
        told = done.stdout + done.stderr
        assert code is None or done.returncode == code, told
        return told

    def install(self, words: str, code: int | None = 0) -> str:
        return self.run(f"sh /media/stick/install {words}", code)

    def tree(self) -> str:
        """Everything that installing makes, with inode, time and size; Python's caches and locks apart."""
        skipped = "-name __pycache__ -prune -o -name lock -prune -o"
        return self.run(f"find {MADE} {skipped} -not -type d -printf '%p %l %i %T@ %s\\n' | sort")

    def is_bare(self) -> bool:
        return "bare" in self.run(f"ls -d {MADE} 2>/dev/null || echo bare", None)

    def cut_power(self) -> None:
        podman("kill", "-s", "KILL", self.name)
        podman("wait", self.name)
        podman("start", self.name)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Wheels come from the cache, or once from the package index."""
    root = tmp_path_factory.mktemp("office")
    keys = KeySet.develop(root / "keys")
    for name, debs, date in (("first", ("one",), None), ("later", ("one", "two"), LATER)):
        make_release(root / f"release-{name}", debs, *([date] if date else []))
        build_bundle(root / f"release-{name}", root / name, keys, installer=installer_files)
    return Office(root / "first", root / "later", keys)


@pytest.fixture(scope="module")
def image() -> str:
    return container_image(print)


def start_machine(image: str, stick: Path, *options: str) -> Machine:
    """Start a machine with that stick."""
    name = f"edgewright-install-{uuid.uuid4().hex[:8]}"
    hard = [resource.getrlimit(what)[1] for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
    podman(
        *("run", "--detach", "--name", name, "--hostname", "reader-01", "--network", "none"),
        *limits(*hard),
        *("--volume", f"{stick}:/media/stick:ro", *options, image, "sleep", "infinity"),
    )
    return Machine(name, stick)


@pytest.fixture
def boot(office: Office, image: str, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Starts machines, each with a copy of the first stick; they are gone afterwards."""
    started: list[str] = []

    def start(*options: str, image: str = image) -> Machine:
        stick = tmp_path / f"stick-{len(started)}"
        shutil.copytree(office.first, stick)
        machine = start_machine(image, stick, *options)
        started.append(machine.name)
        return machine

    yield start
    for name in started:
        podman("rm", "--force", "--time", "0", name)


@pytest.fixture
def bare(boot: Callable[..., Machine]) -> Machine:
    """A machine on which nothing was installed."""
    return boot()


@pytest.fixture(scope="module")
def installed_image(office: Office, image: str) -> Iterator[str]:
    """What the disk of a machine holds that took the first bundle: made once, for all who begin there."""
    machine = start_machine(image, office.first)
    name = f"localhost/{machine.name}"
    try:
        machine.install(f"--fingerprint {office.fingerprint}")
        podman("commit", "--quiet", machine.name, name)
    finally:
        podman("rm", "--force", "--time", "0", machine.name)
    yield name
    podman("rmi", "--force", name)


@pytest.fixture
def installed(boot: Callable[..., Machine], installed_image: str) -> Machine:
    """A machine that took the first bundle; overlay cannot rename its directories, of a lower layer."""
    return boot(image=installed_image)


def plug(machine: Machine, stick: Path) -> None:
    """Another bundle on the stick."""
    for path in machine.stick.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(stick, machine.stick, dirs_exist_ok=True)


def test_the_machine_is_bare(bare: Machine) -> None:
    missing = (
        "for tool in pip3 openssl nginx ansible; do command -v $tool; done; python3 -c 'import ensurepip'"
    )
    told = bare.run(missing, 1)
    assert "No module named 'ensurepip'" in told
    assert "/bin/" not in told
    assert [line.split(":")[0].strip() for line in bare.run("cat /proc/net/dev").splitlines()[2:]] == ["lo"]


def test_install_and_again(bare: Machine, office: Office) -> None:
    told = bare.install(f"--fingerprint '{office.fingerprint[:32]} {office.fingerprint[32:].upper()}'")
    assert "signed with DEVELOPMENT keys" in told
    assert "label-reader 1.0.0 is on this controller. Next:" in told
    assert bare.run(f"{BIN}/edgewright --version").startswith("edgewright ")
    assert "core 2.19" in bare.run(f"{BIN}/ansible-playbook --version")
    depot = "/var/lib/edgewright/depots/current"
    assert "files of label-reader 1.0.0 are right" in bare.run(
        f"{BIN}/edgewright depot verify {depot} --release /var/lib/edgewright/release"
    )
    before = bare.tree()
    again = bare.install("")
    assert "is served already, nothing to do" in again
    assert again.count("nothing to do") == 2, "the environment is there, too"
    assert bare.tree() == before


def test_the_environment_runs_what_the_roles_need(installed: Machine) -> None:
    """A collection's module, with Python packages of the environment, in check mode and for real."""
    key = "community.crypto.openssl_privatekey -a 'path=/root/key.pem type=ECC curve=secp256r1'"
    told = installed.run(f"{BIN}/ansible localhost -e ansible_python_interpreter={BIN}/python3 -m {key}")
    assert "CHANGED" in told
    assert installed.run("head -n 1 /root/key.pem").startswith("-----BEGIN")
    told = installed.run(f"{BIN}/ansible-doc -t module edgewright.factory.device_state")
    assert "device_state" in told
    for other in ("ansible.posix.sysctl", "community.general.cpanm"):
        assert "was not found" in installed.run(f"{BIN}/ansible-doc -t module {other}", None)


def test_the_fingerprint_is_typed(bare: Machine, office: Office) -> None:
    typed = (
        f"echo '{office.fingerprint}' | script --quiet --return --command 'sh /media/stick/install' /dev/null"
    )
    told = bare.run(typed)
    assert "Fingerprint of the root key" in told
    assert bare.run(f"{BIN}/edgewright --version").startswith("edgewright ")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (f"--fingerprint {'0' * 64}", 3, "the bundle was signed by somebody else"),
        ("", 2, "the root's fingerprint is needed"),
    ],
)
def test_a_wrong_or_no_fingerprint(bare: Machine, words: str, code: int, told: str) -> None:
    assert told in bare.install(words, code)
    assert bare.is_bare()


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("installer/wheels/cryptography-*", "verifying installer/wheels/cryptography-"),
        ("installer/pins.json", "the signature of installer/pins.json does not fit"),
        ("installer/bootstrap.py", "verifying installer/bootstrap.py"),
        ("targets/blobs/*", "targets/blobs/"),
        ("targets/documents/release.lock.yml", "targets/documents/release.lock.yml"),
        ("metadata/timestamp.json", "timestamp"),
    ],
)
def test_a_changed_byte(bare: Machine, office: Office, pattern: str, told: str) -> None:
    path = next(iter(sorted(bare.stick.glob(pattern))))
    if path.name == "bootstrap.py":  # in a comment: it still runs, and finds that it is not what was signed
        path.write_bytes(path.read_bytes().replace(b"# SPDX", b"# spdx", 1))
    else:
        change(path)
    assert told in bare.install(f"--fingerprint {office.fingerprint}", 3)
    assert bare.run(f"ls {BIN}/edgewright 2>/dev/null || echo none").strip() == "none"
    assert bare.run("ls /var/lib/edgewright/depots/current 2>/dev/null || echo none").strip() == "none"


def test_without_python3(bare: Machine, office: Office) -> None:
    bare.run("mv /usr/bin/python3 /usr/bin/python3.away")
    assert "install Debian's package python3" in bare.install(f"--fingerprint {office.fingerprint}", 5)
    bare.run("printf '#!/bin/sh\\nexit 1\\n' > /usr/bin/python3 && chmod +x /usr/bin/python3")
    assert "is too old, expected 3.11 or newer" in bare.install(f"--fingerprint {office.fingerprint}", 5)
    assert bare.is_bare()


def test_an_ordinary_user_is_told(bare: Machine, office: Office) -> None:
    command = (
        f"setpriv --reuid 65534 --clear-groups sh /media/stick/install --fingerprint {office.fingerprint}"
    )
    assert "root must do it" in bare.run(command, 2)
    assert bare.is_bare()


def test_too_little_space_for_the_environment(boot: Callable[..., Machine], office: Office) -> None:
    machine = boot("--tmpfs", "/opt:size=60m")
    assert "MB are available" in machine.install(f"--fingerprint {office.fingerprint}", 2)
    assert machine.is_bare()


def test_too_little_space_for_the_depot(boot: Callable[..., Machine], office: Office) -> None:
    machine = boot("--tmpfs", "/var/lib/edgewright:size=40k")
    told = machine.install(f"--fingerprint {office.fingerprint}", 2)
    assert "/var/lib/edgewright/depots needs" in told
    assert "nothing was installed" in told
    assert machine.run("ls /opt").strip() == ""


def test_the_power_is_cut_in_the_middle(bare: Machine, office: Office) -> None:
    """At moments over the run: what is there then works or is not there, and the next run finishes."""

    def names() -> set[str]:
        return set(bare.run(f"find {MADE} -name __pycache__ -prune -o -print").split())

    words = f"--fingerprint {office.fingerprint}"
    start = time.monotonic()
    bare.install(words)
    whole = time.monotonic() - start
    clean = names()
    for share in (0.15, 0.45, 0.7, 0.85, 0.95):
        bare.run(f"rm -rf {MADE}")
        command = [
            "podman",
            "--runtime",
            "runc",
            "exec",
            bare.name,
            "sh",
            "/media/stick/install",
            *words.split(),
        ]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
            time.sleep(share * whole)
            bare.cut_power()
            running.wait()
        if bare.run(f"ls {BIN} 2>/dev/null || echo none").strip() != "none":
            bare.run(f"{BIN}/edgewright --version")
        bare.install(words)
        assert names() == clean, f"cut at {share:.0%}"


def test_a_later_bundle_by_what_is_here(bare: Machine, office: Office) -> None:
    """What is reclaimed is renamed first, as `installed` cannot."""
    installed = bare
    installed.install(f"--fingerprint {office.fingerprint}")
    plug(installed, office.later)
    command = f"{BIN}/edgewright controller install /media/stick"
    before = installed.run("readlink /opt/edgewright/current")
    told = installed.run(f"{command} --keep 2")
    assert "from the stick" in told
    assert installed.run("readlink /opt/edgewright/current") != before
    assert len(installed.run("ls /opt/edgewright/releases").split()) == 2
    assert len(installed.run("ls /var/lib/edgewright/releases").split()) == 2
    now = installed.tree()
    plug(installed, office.first)
    told = installed.run(command, 3)
    assert "older" in told
    assert installed.tree() == now
    told = installed.run(f"{BIN}/edgewright controller reclaim")
    assert "removed the environment" in told
    assert len(installed.run("ls /opt/edgewright/releases").split()) == 1
    assert (
        len(installed.run("ls /var/lib/edgewright/releases /var/lib/edgewright/depots/releases").split()) == 4
    )


@pytest.mark.parametrize(
    "name", ["installer/pins.json", "installer/pins.json.sig", "metadata/timestamp.json"]
)
def test_a_later_bundle_that_was_changed(installed: Machine, office: Office, name: str) -> None:
    """The stick's own bootstrap is not asked: TUF's metadata says it, before anything of the stick runs."""
    plug(installed, office.later)
    change(installed.stick / name)
    bootstrap = installed.stick / "installer" / "bootstrap.py"
    bootstrap.write_text("raise SystemExit('this must never run')")
    before = installed.tree()
    told = installed.run(f"{BIN}/edgewright controller install /media/stick", 3)
    assert "must never run" not in told
    assert installed.tree() == before


def test_a_lone_device(installed: Machine) -> None:
    """Inventory is made and site.yml begins; this small release has nothing for a device's first steps."""
    told = installed.install("--self", 2)
    assert "provisioning this machine, reader-01, as its own controller and device" in told
    assert "no package is marked `bootstrap: true`" in told
    listed = installed.run(f"{BIN}/ansible-inventory -i /etc/edgewright/site/hosts.yml --graph")
    assert "@controller" in listed
    assert "reader-01" in listed
    written = installed.run("cat /etc/edgewright/site/host_vars/reader-01/edgewright.yml")
    assert "edgewright_profile: this_machine" in written
    installed.run("echo '# mine' >> /etc/edgewright/site/hosts.yml")
    assert "as it was" in installed.install("--self --profile x86_container", 2)
    assert "# mine" in installed.run("cat /etc/edgewright/site/hosts.yml")
