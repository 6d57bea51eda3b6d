# SPDX-License-Identifier: Apache-2.0
"""How fast a depot is indexed and served, beside apt-ftparchive and docker-registry."""

from __future__ import annotations

import contextlib
import gzip
import random
import shutil
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.bundle_measure import (
    Action,
    Bench,
    command,
    forget,
    in_turns,
    nothing,
    quiet,
    ratio,
    skipped,
    table,
)
from benchmarks.bundle_world import make_debs
from edgewright.depot.build import build_depot
from edgewright.depot.keys import ReleaseKey
from edgewright.depot.serve import DepotService, ServeOptions
from edgewright.depot.trees import apt_tree
from edgewright.release.ocitar import image_blobs
from tests.integration.depot_site import Authority

__all__ = ["bench_apt", "bench_depot"]

_START_S = 10.0


def bench_apt(bench: Bench) -> list[str]:
    """A signed apt index of many packages against apt-ftparchive, from nothing and again."""
    room, store = bench.world.room, bench.world.store
    count = 300
    debs = make_debs(store, room / "apt-debs", count, 64 << 10, random.Random(2))  # noqa: S311
    lock = {**bench.world.lock, "apt": {**bench.world.lock["apt"], "packages": debs}}
    pool = room / "apt-pool"
    for deb in debs:
        store.place(deb["sha256"], pool / "pool" / deb["filename"])
    key = ReleaseKey(room / "keys")
    with quiet():
        key.ensure()
    tool = shutil.which("apt-ftparchive")
    if tool is None:
        return skipped("Apt index", "apt-ftparchive is not installed (apt-get install apt-utils)")

    def ours() -> None:
        apt_tree(lock, key, store)

    def theirs(*options: str) -> None:
        listing = subprocess.run(
            [tool, *options, "packages", "pool"], cwd=pool, capture_output=True, check=True
        ).stdout
        (pool / "Packages").write_bytes(listing)
        (pool / "Packages.gz").write_bytes(gzip.compress(listing, 9, mtime=0))
        release = subprocess.run([tool, "release", "."], cwd=pool, capture_output=True, check=True).stdout
        key.sign(b"Date: Thu, 19 Nov 2026 02:12:54 UTC\n" + release)

    only = [
        word
        for name in ("MD5", "SHA1", "SHA512")
        for word in ("-o", f"APT::FTPArchive::Packages::{name}=false")
    ]
    kept = ["--db", str(pool / "kept.db")]
    cold, full, lean, warm, cached = in_turns(
        bench.repeats,
        (lambda: forget(bench), ours),
        (nothing, theirs),
        (nothing, lambda: theirs(*only)),
        (nothing, ours),
        (lambda: _once(pool / "kept.db", lambda: theirs(*only, *kept)), lambda: theirs(*only, *kept)),
    )
    return [
        "## Apt index",
        "",
        f"{count} packages, index signed by the same gpg. The lock knows each package's SHA-256, so ours "
        "hashes none here (the build hashes each as it writes it); apt-ftparchive must hash them.",
        "",
        *table(
            ["", "ours, s", "apt-ftparchive, s", "ratio"],
            [
                ["from nothing, all its digests", cold, full, ratio(cold, full)],
                ["from nothing, SHA-256 only", cold, lean, ratio(cold, lean)],
                ["again, nothing changed (its --db)", warm, cached, ratio(warm, cached)],
            ],
        ),
    ]


def _once(place: Path, action: Action) -> None:
    if not place.exists():
        action()


def bench_depot(bench: Bench) -> list[str]:
    """Bytes per second that nginx serves from the depot, against docker-registry, both with mTLS."""
    missing = [tool for tool in ("docker-registry", "skopeo", "curl") if shutil.which(tool) is None]
    if missing:
        return skipped("Depot", f"{', '.join(missing)} not installed (apt-get install {' '.join(missing)})")
    room = bench.world.room
    with quiet():
        build_depot(bench.world.release_dir, room / "depot", room / "keys")
    authority = Authority(room / "authority")
    certificate, key = authority.leaf("bench")
    places = [f"127.0.0.1:{_free_port()}" for _ in range(2)]
    image = next(image for image in bench.world.lock["images"] if image["role"] == "model")
    blobs = image_blobs(image["digest"], bench.world.store) or []
    largest = max(blobs, key=lambda blob: bench.world.store.path(blob).stat().st_size)
    size = bench.world.store.path(largest).stat().st_size
    layer = f"v2/{image['name']}/blobs/sha256:{largest}"
    manifest = f"v2/{image['name']}/manifests/{image['digest']}"
    service = DepotService(room / "depot-service")
    certificates = room / "certs.d"
    certificates.mkdir()
    for name, source in (("ca.crt", authority.root), ("client.cert", certificate), ("client.key", key)):
        shutil.copyfile(source, certificates / name)

    def fetch(address: str, path: str, times: int, parallel: int) -> None:
        tls: list[str | Path] = ["--cacert", authority.root, "--cert", certificate, "--key", key]
        words: list[str | Path] = [
            "curl",
            "-fsS",
            *tls,
            "-H",
            "Accept: application/vnd.oci.image.manifest.v1+json",
        ]
        words += ["--parallel", "--parallel-max", str(parallel)] if parallel > 1 else []
        for _ in range(times):
            words += ["-o", "/dev/null", f"https://{address}/{path}"]
        command(*words)

    service.up(ServeOptions(room / "depot", [places[0]], certificate, key, authority.root))
    registry = _registry(room, places[1], certificate, key, authority.root)
    try:
        command(
            *("skopeo", "copy", "--insecure-policy", "--preserve-digests"),
            *("--src-cert-dir", certificates, "--dest-cert-dir", certificates),
            f"docker://{places[0]}/{image['name']}@{image['digest']}",
            f"docker://{places[1]}/{image['name']}:{image['version']}",
        )
        rows = []
        for what, path, times, parallel in (
            ("the model's layer, one client", layer, 4, 1),
            ("the model's layer, four at once", layer, 8, 4),
            ("1,000 manifests, one kept connection", manifest, 1000, 1),
        ):
            found = in_turns(
                bench.repeats,
                *((nothing, partial(fetch, place, path, times, parallel)) for place in places),
            )
            rates = [
                f"{size * times / 1e6 / one.median:.0f} MB/s"
                if path == layer
                else f"{times / one.median:.0f} per s"
                for one in found
            ]
            rows.append([what, rates[0], rates[1], found[0], found[1], ratio(found[0], found[1])])
    finally:
        service.down()
        registry.terminate()
        registry.wait()
    return [
        "## Depot",
        "",
        "nginx as `edgewright depot up` starts it, and Debian's docker-registry on files; a layer of "
        f"{size / 1e6:.0f} MB, TLS with client certificates on both. curl runs on the same machine and "
        "takes its share of the cores.",
        "",
        *table(["", "ours", "docker-registry", "ours, s", "docker-registry, s", "ratio of times"], rows),
    ]


def _registry(room: Path, address: str, certificate: Path, key: Path, root: Path) -> subprocess.Popen[bytes]:
    config = room / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage:\n  filesystem:\n    rootdirectory: {room / 'registry'}\n"
        f"  cache: {{blobdescriptor: inmemory}}\nhttp:\n  addr: {address}\n"
        f"  tls:\n    certificate: {certificate}\n    key: {key}\n    clientcas: [{root}]\n"
        "    minimumtls: tls1.2\n"
    )
    log = (room / "registry.log").open("wb")
    started = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and started.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return started
        time.sleep(0.05)
    started.terminate()
    raise SystemExit(f"bench: docker-registry did not come up:\n{(room / 'registry.log').read_text()}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
