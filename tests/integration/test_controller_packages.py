# SPDX-License-Identifier: Apache-2.0
"""`edgewright controller packages nginx` on a bare Debian machine without a network, from a bundle's depot.

The bundle is small and real: Debian's nginx with what it needs, signed, installed by its own `install`.
"""

from __future__ import annotations

import os
import resource
import shutil
import uuid
from collections.abc import Iterator
from email.parser import HeaderParser
from typing import Any

import pytest

from edgewright.archives import address
from edgewright.bundle.build import build_bundle
from edgewright.bundle.installer import installer_files
from edgewright.bundle.keys import KeySet
from edgewright.bundle.needs import deb_needs
from edgewright.depot.blobs import BlobStore, Wanted
from edgewright.depot.debfile import control_fields
from edgewright.depot.progress import Progress
from edgewright.release.documents import LOCK_FILE, dump_lock, load_lock_file
from edgewright.twin.container import container_image, limits
from tests.integration.test_bundle_install import BIN, Machine, podman
from tests.unit.bundle.small_release import EXAMPLE, make_release

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers of root's podman"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="no podman"),
]

PACKAGES = f"{BIN}/edgewright controller packages"
POOL = "/var/lib/edgewright/depots/current/apt/pool"


def _closure(name: str) -> list[dict[str, Any]]:
    """A package of the example release and what it needs there, fetched into the cache."""
    lock, _ = load_lock_file(EXAMPLE / LOCK_FILE)
    known = {deb["name"]: deb for deb in lock["apt"]["packages"]}
    store, found, waiting = BlobStore(), {}, [name]
    while waiting:
        deb = known[waiting.pop()]
        if deb["name"] in found:
            continue
        found[deb["name"]] = deb
        wanted = Wanted(deb["filename"], address(deb["url"]), deb["size"], deb["sha256"])
        if not store.has(deb["sha256"], deb["size"]):
            store.fetch([wanted], Progress(f"fetching {deb['name']}", deb["size"]))
        control = HeaderParser().parsestr(control_fields(store.path(deb["sha256"]), deb["filename"]))
        groups = f"{control['Depends'] or ''}, {control['Pre-Depends'] or ''}".replace("|", ",").split(",")
        waiting += [word for word in (group.split("(")[0].strip() for group in groups) if word in known]
    debs = sorted(found.values(), key=lambda deb: str(deb["name"]))
    assert deb_needs(debs, store)[found[name]["filename"]], "nginx needs nginx-common at the least"
    return debs


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the bundle was installed: no network, no nginx."""
    root = tmp_path_factory.mktemp("packages")
    release, keys = make_release(root / "release", ("one",)), KeySet.develop(root / "keys")
    lock, _ = load_lock_file(release / LOCK_FILE)
    lock["apt"]["packages"] = sorted(
        [*lock["apt"]["packages"], *_closure("nginx")], key=lambda deb: str(deb["name"])
    )
    (release / LOCK_FILE).write_bytes(dump_lock(lock))
    build_bundle(release, root / "stick", keys, installer=installer_files)
    name = f"edgewright-packages-{uuid.uuid4().hex[:8]}"
    hard = [resource.getrlimit(what)[1] for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
    podman(
        *("run", "--detach", "--name", name, "--hostname", "office-01", "--network", "none", *limits(*hard)),
        *("--volume", f"{root / 'stick'}:/media/stick:ro", container_image(print), "sleep", "infinity"),
    )
    try:
        made = Machine(name, root / "stick")
        made.install(f"--fingerprint {keys.fingerprint}")
        yield made
    finally:
        podman("rm", "--force", "--time", "0", name)


def test_what_the_bundle_lacks_is_named_and_nothing_happens(machine: Machine) -> None:
    before = machine.run("dpkg-query --show | sha256sum")
    told = machine.run(f"{PACKAGES} nginx no-such-package", 2)
    assert "release label-reader does not carry no-such-package; add it to apt.packages" in told
    assert "'../x' is no package's name" in machine.run(f"{PACKAGES} ../x", 2)
    assert machine.run("dpkg-query --show | sha256sum") == before


def test_a_changed_package_in_the_depot_is_refused_by_apt(machine: Machine) -> None:
    deb = machine.run(f"ls {POOL}/nginx_*.deb").strip()
    machine.run(f"cp -p {deb} /root/kept && printf x | dd of={deb} bs=1 seek=2000 conv=notrunc status=none")
    told = machine.run(f"{PACKAGES} nginx", 1)
    assert "installing nginx: apt-get ended with status 100" in told
    assert "nginx" in machine.run("dpkg-query --show nginx 2>&1", 1)
    machine.run(f"cp -p /root/kept {deb}")


def test_nginx_is_installed_once_from_the_depot_alone(machine: Machine) -> None:
    sources = machine.run("find /etc/apt -type f | sort | xargs sha256sum")
    assert "packages nginx: installed\n" in machine.run(f"{PACKAGES} nginx")
    assert "nginx version" in machine.run("nginx -v")
    assert "install ok installed" in machine.run("dpkg-query --show --showformat='${Status}' nginx-common")
    assert "packages nginx: installed already" in machine.run(f"{PACKAGES} nginx")
    assert machine.run("find /etc/apt -type f | sort | xargs sha256sum") == sources, (
        "its sources stay as they were"
    )
    assert not machine.run("dpkg --audit").strip()
