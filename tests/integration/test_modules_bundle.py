# SPDX-License-Identifier: Apache-2.0
"""A release with `modules:` from its lock to a device's apt: bundle, verification, depot, both documents.

The example for a T4 carries the real driver's modules; they are in the cache, or built once, as in
test_modules_build.py, which also kills a bundle's build while it compiles.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.dsse import verify as verify_envelope
from edgewright.bundle.keys import KeySet
from edgewright.bundle.takein import CURRENT, take_in
from edgewright.bundle.verify import open_bundle
from edgewright.depot.blobs import sha256_file
from edgewright.depot.build import verify_depot
from edgewright.depot.trees import ARCHIVE_KEY
from edgewright.modules.inspect import inspect_package
from edgewright.release.documents import load_lock
from tests.integration.depot_site import served
from tests.integration.test_depot_clients import Apt
from tests.unit.modules.tiny import make_mok

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="the clean tree and an isolated apt take root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare"),
    pytest.mark.skipif(
        "VERSION_CODENAME=bookworm" not in Path("/etc/os-release").read_text("utf-8"),
        reason="this host's packages stand for a Debian 12 device's",
    ),
]

RELEASE = Path(__file__).resolve().parents[2] / "releases" / "label-reader-t4"


@dataclass(frozen=True)
class Made:
    """A bundle and what it was made with."""

    stick: Path
    keys: KeySet
    entry: dict[str, Any]
    room: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The example's bundle, its modules signed by a machine owner's key."""
    room = tmp_path_factory.mktemp("bundle")
    keys = KeySet.develop(room / "keys")
    make_mok(room / "keys")
    build_bundle(RELEASE, room / "stick", keys)
    (entry,) = load_lock(RELEASE)[0]["modules"]
    yield Made(room / "stick", keys, entry, room)
    shutil.rmtree(room)


def documents(
    stick: Path, keys: KeySet, package: str
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The bill's component of a package, and the provenance's subjects and dependencies by name."""
    here = stick / "targets" / "documents"
    bill = json.loads((here / "sbom.cdx.json").read_bytes())
    (component,) = (each for each in bill["components"] if each["bom-ref"] == f"file:{package}")
    public = [signer.public_key for signer in keys.signers("targets")]
    told = json.loads(verify_envelope((here / "provenance.json").read_bytes(), public))
    listed = told["predicate"]["buildDefinition"]["resolvedDependencies"]
    subjects, needs = (
        {one["name"]: one["digest"]["sha256"] for one in part} for part in (told["subject"], listed)
    )
    return component, subjects, needs


def test_from_the_lock_to_a_devices_apt(made: Made) -> None:
    """Verified, taken in, served: the real apt resolves the driver with the modules, and gets these bytes."""
    with open_bundle(made.stick, made.room / "trust", fingerprint=made.keys.fingerprint) as bundle:
        bundle.check_all()
        take_in(bundle, made.room / "depots")
        bundle.accept()
    depot = made.room / "depots" / CURRENT
    assert verify_depot(depot, RELEASE) == []
    package, filename = made.entry["package"], made.entry["filename"]
    with served(depot, made.room) as site:
        apt = Apt(site, made.room / "apt", site.depot / ARCHIVE_KEY)
        assert apt("update", "-o", "APT::Update::Error-Mode=any").returncode == 0
        assert apt("download", package).returncode == 0
        # On a device that has Debian 12's base: this host's list of packages stands for it.
        shutil.copy("/var/lib/dpkg/status", apt.root / "status")
        wanted = apt("install", "--simulate", "--no-install-recommends", package, "libcuda1").stdout
        kernel = made.entry["kernel"]["package"]
        got = (apt.root / "work" / filename).rename(made.room / "got.deb")
        with site.changed(f"apt/pool/{filename}"):
            assert "Hash Sum mismatch" in apt("download", package).stderr
    installing = {line.split()[1] for line in wanted.splitlines() if line.startswith("Inst ")}
    assert {package, kernel, *(name.split(" ")[0] for name in made.entry["needs"])} <= installing
    assert not installing & {"dkms", "gcc", "make"}
    got = made.room / "got.deb"
    shipped = sha256_file(got)
    assert shipped != made.entry["sha256"], "signed: another file than the lock's"
    lines = inspect_package(got, made.room / "keys" / "mok.crt")
    assert all("preempt_rt" in line and line.endswith("signature right") for line in lines[1:])

    # What a device has is told by both documents: the package, and each module by the bytes that lie there.
    component, subjects, needs = documents(made.stick, made.keys, filename)
    told = {one["name"]: one["value"] for one in component["properties"]}
    assert component["hashes"] == [{"alg": "SHA-256", "content": shipped}]
    assert told["edgewright:unsigned_sha256"] == made.entry["sha256"]
    assert subjects[filename] == shipped
    assert needs[f"{filename} before signing"] == made.entry["sha256"]
    device = made.room / "device"
    subprocess.run(["dpkg-deb", "-x", str(got), str(device)], check=True)
    modules = {str(path.relative_to(device)): sha256_file(path) for path in device.rglob("*.ko")}
    assert len(modules) == 5
    for path, digest in modules.items():
        assert told[f"edgewright:sha256:{path}"] == digest
        assert subjects[path] == digest
