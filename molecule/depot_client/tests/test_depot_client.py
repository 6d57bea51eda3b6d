# SPDX-License-Identifier: Apache-2.0
"""What the device's own apt and podman do: they take from the depot, and from nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DEPOT_HOST = "10.213.0.1"
DEPOT = f"{DEPOT_HOST}:18443"
# The host's limits allow this storage in a container; the flags change where images lie, not how they come.
PODMAN = "podman --root /var/tmp/images --runroot /run/images --storage-driver vfs"

# An image in a directory, as somebody may bring on a stick; refused before its blobs are looked for.
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": "sha256:" + "0" * 64,
        "size": 2,
    },
    "layers": [],
}


def model() -> str:
    """The locked model's image, named by digest."""
    lock = yaml.safe_load((ROOT / "releases/label-reader/release.lock.yml").read_text(encoding="utf-8"))
    (image,) = [image for image in lock["images"] if image["role"] == "model"]
    return f"{DEPOT}/{image['name']}@{image['digest']}"


def test_apt_knows_the_depot_only(host: Any) -> None:
    uris = host.check_output("apt-get indextargets --format '$(REPO_URI)'").split()
    assert set(uris) == {f"https://{DEPOT}/apt/"}
    host.check_output("apt-get update --option APT::Update::Error-Mode=any")


def test_apt_reads_the_key_as_its_sandbox_user(host: Any) -> None:
    assert host.check_output("apt-config dump APT::Sandbox::User") == 'APT::Sandbox::User "_apt";'
    assert host.check_output("stat -c '%U %a' /etc/edgewright/identity/device.key") == "_apt 400"


def test_without_a_certificate_the_depot_gives_nothing(host: Any) -> None:
    nothing = " ".join(f"--option Acquire::https::{DEPOT_HOST}::{name}=" for name in ("SslCert", "SslKey"))
    done = host.run(f"apt-get update --option APT::Update::Error-Mode=any {nothing}")
    assert done.rc != 0
    assert "400  Bad Request" in done.stdout + done.stderr


def test_replaced_sources_are_kept(host: Any) -> None:
    kept = "/var/lib/edgewright/depot_client/replaced/etc/apt/sources.list.d/vendor.list"
    assert "http://vendor.example/debian" in host.file(kept).content_string
    assert not host.file("/etc/apt/sources.list.d/vendor.list").exists


@pytest.fixture(scope="module")
def podman(host: Any) -> str:
    """podman's command line; the package comes from the depot, without a question about its settings."""
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends podman")
    return PODMAN


def test_podman_takes_an_image_by_digest_with_the_devices_certificate(host: Any, podman: str) -> None:
    host.check_output(f"{podman} pull --quiet {model()}")
    assert model().partition("@")[2] in host.check_output(f"{podman} images --digests")


def test_podman_refuses_every_other_source(host: Any, podman: str) -> None:
    manifest = json.dumps(MANIFEST)
    host.check_output(f"mkdir -p /var/tmp/other && echo '{manifest}' > /var/tmp/other/manifest.json")
    foreign = host.run(f"{podman} pull dir:/var/tmp/other")
    assert foreign.rc != 0
    assert "rejected by policy" in foreign.stderr
    short = host.run(f"{podman} pull some-image")
    assert short.rc != 0
    assert "no unqualified-search registries are defined" in short.stderr


def test_a_wrong_digest_is_refused(host: Any, podman: str) -> None:
    wrong = model().partition("@")[0] + "@sha256:" + "0" * 64
    done = host.run(f"{podman} pull --quiet {wrong}")
    assert done.rc != 0
    assert (
        "manifest unknown" in done.stderr.lower()
        or "not found" in done.stderr.lower()
        or "404" in done.stderr
    )
