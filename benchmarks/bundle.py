# SPDX-License-Identifier: Apache-2.0
"""What a bundle costs, beside what others take for the same bytes, in one run on one machine.

    python benchmarks/bundle.py                          # all pieces with 1 GiB: writes RESULTS-bundle.md
    python benchmarks/bundle.py --only verify --mib 64   # one piece, printed only

Pieces: `build` (and the bytes on the stick), `rebuild`, `verify`, `apt`, `depot`. Ours and theirs take turns,
every figure is the median of `--repeats` with its spread, and the ratio is ours over theirs: below 1 ours
needs less. Everything was read once before, so both sides find it in memory; what is written is on the medium
before the clock stops. A piece whose tools are missing is named as skipped.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bundle_measure import (  # noqa: E402  the path above makes it importable
    Bench,
    command,
    forget,
    in_turns,
    nothing,
    quiet,
    ratio,
    table,
)
from benchmarks.bundle_serving import bench_apt, bench_depot  # noqa: E402
from benchmarks.bundle_world import make_world  # noqa: E402
from benchmarks.run import machine  # noqa: E402
from edgewright.bundle.build import build_bundle  # noqa: E402
from edgewright.bundle.medium import sync  # noqa: E402
from edgewright.bundle.modelsigning import ModelKey  # noqa: E402
from edgewright.bundle.verify import open_bundle  # noqa: E402

RESULTS = ROOT / "benchmarks" / "RESULTS-bundle.md"
MODEL_SIGNING = Path(sys.executable).with_name("model_signing")
EDGEWRIGHT = Path(sys.executable).with_name("edgewright")


def build_into(bench: Bench, stick: Path) -> None:
    """Build the release's bundle."""
    with quiet():
        build_bundle(bench.world.release_dir, stick, bench.keys)


def pack(bench: Bench, archive: Path) -> None:
    """`tar | zstd -3 -T2` over the same inputs."""
    with archive.open("wb") as out:
        tar = subprocess.Popen(
            ["tar", "-C", str(bench.world.inputs), "-cf", "-", "."], stdout=subprocess.PIPE
        )
        zstd = subprocess.Popen(["zstd", "-q", "-3", "-T2", "-c"], stdin=tar.stdout, stdout=out)
        assert tar.stdout is not None  # noqa: S101 - a pipe was asked for
        tar.stdout.close()
        if zstd.wait() or tar.wait():
            raise SystemExit("bench: tar | zstd failed")
    sync(archive.parent)


def _places(bench: Bench) -> list[tuple[str, Path]]:
    places = [("the cache's own file system (hard links)", bench.world.room)]
    if bench.elsewhere is not None:
        places.append((f"another file system ({bench.elsewhere.parent}, copies)", bench.elsewhere))
    return places


def bench_build(bench: Bench) -> list[str]:
    """Cold build against tar | zstd, and how many bytes either leaves."""
    rows, sizes = [], []
    for what, place in _places(bench):
        stick, archive = place / "stick", place / "inputs.tar.zst"
        ours, theirs = in_turns(
            bench.repeats,
            (partial(forget, bench, stick), partial(build_into, bench, stick)),
            (partial(archive.unlink, missing_ok=True), partial(pack, bench, archive)),
        )
        rows.append([f"bundle on {what}", ours, theirs, ratio(ours, theirs)])
        sizes = [_size(stick), archive.stat().st_size]
        forget(bench, stick)
        archive.unlink()
    inputs = bench.world.size
    return [
        "## Cold build",
        "",
        f"{inputs / 1e6:.0f} MB of weights, wheels, text and packages, as after downloading. Ours hashes, "
        "lays out, signs, and writes SBOM and provenance; theirs packs. Target: ratio 1.00 or less.",
        "",
        *table(["", "ours, s", "tar \\| zstd -3 -T2, s", "ratio"], rows),
        *table(
            ["bytes", "MB", "over the sum of inputs"],
            [
                ["inputs", f"{inputs / 1e6:.1f}", "1.000"],
                ["bundle, all of it", f"{sizes[0] / 1e6:.1f}", f"{sizes[0] / inputs:.3f}"],
                ["tar \\| zstd", f"{sizes[1] / 1e6:.1f}", f"{sizes[1] / inputs:.3f}"],
            ],
        ),
        "A bundle stores, it does not squeeze: where text makes much of a release, the archive is smaller.",
        "",
    ]


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def bench_rebuild(bench: Bench) -> list[str]:
    """After one changed file, against the cold build and against packing anew."""
    stick, archive = bench.world.room / "stick", bench.world.room / "inputs.tar.zst"
    cold_stick = bench.world.room / "cold"
    changed = [0]

    def change() -> None:
        changed[0] = bench.world.change_one_file()

    build_into(bench, stick)
    ours, cold, theirs = in_turns(
        bench.repeats,
        (change, lambda: build_into(bench, stick)),
        (lambda: forget(bench, cold_stick), lambda: build_into(bench, cold_stick)),
        (lambda: archive.unlink(missing_ok=True), lambda: pack(bench, archive)),
    )
    forget(bench, cold_stick)
    archive.unlink()
    return [
        "## Rebuild after one changed file",
        "",
        f"A text of {changed[0] / 1e3:.0f} kB changes, the release gets a new version, the bundle is built "
        "on the same stick. What lies there as the last build noted it is not read again, and the bill of "
        "materials is made anew only where it changed. Target: a tenth of the cold build.",
        "",
        *table(
            ["", "s", "rebuild over it"],
            [
                ["rebuild", ours, ""],
                ["cold build (hard links)", cold, ratio(ours, cold)],
                ["tar \\| zstd -3 -T2, anew", theirs, ratio(ours, theirs)],
            ],
        ),
    ]


def bench_verify(bench: Bench) -> list[str]:
    """Verifying, against model_signing and against one SHA-256 pass on all cores."""
    import model_signing.hashing  # noqa: PLC0415 - after its piece was asked for
    import model_signing.signing  # noqa: PLC0415
    import model_signing.verifying  # noqa: PLC0415

    stick, room = bench.world.room / "stick", bench.world.room
    build_into(bench, stick)
    targets, signature = stick / "targets", room / "targets.sig"
    key = ModelKey(room / "keys")
    (room / "targets.pub").write_bytes(key.ensure())
    model_signing.signing.Config().use_elliptic_key_signer(private_key=key.path).sign(targets, signature)
    fingerprint = bench.keys.fingerprint

    def ours() -> None:
        with open_bundle(stick, room / "no-trust", fingerprint=fingerprint) as bundle:
            bundle.check_all()

    def theirs() -> None:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=room / "targets.pub").verify(
            targets, signature
        )

    def floor() -> None:
        files = sorted(
            (path for path in stick.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size
        )
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(_digest, files))

    floor()  # into memory
    found = in_turns(
        bench.repeats,
        (nothing, ours),
        (nothing, theirs),
        (nothing, floor),
        (
            nothing,
            lambda: command(EDGEWRIGHT, "bundle", "verify", stick, "--fingerprint", fingerprint),
        ),
        (
            nothing,
            lambda: command(
                *(MODEL_SIGNING, "verify", "key", targets),
                *("--signature", signature, "--public_key", room / "targets.pub"),
            ),
        ),
    )
    gigabytes = _size(stick) / 1e9
    names = (
        "the bundle, as a function",
        "model_signing, as a function",
        "one SHA-256 pass, a thread for each core",
        "`edgewright bundle verify`, the whole command",
        "`model_signing verify key`, the whole command",
    )
    mine, sign, once, whole, sign_whole = found
    compared = (
        "",
        f"ours over it: {ratio(mine, sign)}",
        f"ours over it: {ratio(mine, once)}",
        "",
        f"ours over it: {ratio(whole, sign_whole)}",
    )
    rows = [
        [name, times, f"{times.median / gigabytes:.2f}", told]
        for name, times, told in zip(names, found, compared, strict=True)
    ]
    return [
        "## Verify",
        "",
        f"The same {gigabytes:.2f} GB by each. Target: half of model_signing's time; the pass is the floor, "
        f"which itself takes {ratio(once, sign)} of model_signing's time: where that is more than a half, "
        "hashing with SHA-256 on these cores cannot reach the target.",
        "",
        *table(["", "s", "s per GB", ""], rows),
    ]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


PIECES: dict[str, Callable[[Bench], list[str]]] = {
    "build": bench_build,
    "rebuild": bench_rebuild,
    "verify": bench_verify,
    "apt": bench_apt,
    "depot": bench_depot,
}


def elsewhere(named: Path | None, room: Path, mib: int) -> Path | None:
    """A directory on another file system with room for the bundle twice, or none."""
    place = named or Path("/dev/shm")  # noqa: S108 - only bytes to measure with go there
    fits = place.is_dir() and place.stat().st_dev != room.stat().st_dev
    if fits and shutil.disk_usage(place).free > (3 * mib) << 20:
        return Path(tempfile.mkdtemp(prefix="edgewright-bench-", dir=place))
    return None


def main() -> int:
    """Measure, and write the page when everything was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PIECES, help="this piece; may be given again")
    parser.add_argument("--mib", type=int, default=1024, help="content of the release in MiB (default 1024)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each measurement (default 3)")
    parser.add_argument("--room", type=Path, help="where to work; a directory below it is made and removed")
    parser.add_argument(
        "--elsewhere", type=Path, help="a directory on another file system (default /dev/shm)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help=f"where to write the page (default {RESULTS.name} when all pieces are measured, else nowhere)",
    )
    arguments = parser.parse_args()
    if arguments.mib < 16 or arguments.repeats < 1:
        parser.error("expected --mib 16 or more and --repeats 1 or more")
    asked = arguments.only or list(PIECES)
    output = arguments.output or (RESULTS if len(set(asked)) == len(PIECES) else None)
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-", dir=arguments.room) as name:
        room = Path(name)
        room.chmod(0o755)  # nginx's workers read the depot below it
        print(f"bench: making {arguments.mib} MiB of content in {room}", flush=True)
        with quiet():
            world = make_world(room, arguments.mib)
        other = elsewhere(arguments.elsewhere, room, arguments.mib)
        lines = [
            "# Results: bundles",
            "",
            f"* Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
            f"* Machine: {machine()}",
            f"* Command: `python benchmarks/bundle.py {' '.join(sys.argv[1:])}`".replace(" `", "`"),
            f"* Figures: median of {arguments.repeats} turns (smallest to largest); ratios are ours/theirs",
            "",
        ]
        try:
            bench = Bench(world, arguments.repeats, other)
            with quiet():
                build_into(bench, room / "first")  # keys are made, everything is in memory
            shutil.rmtree(room / "first")
            for piece in dict.fromkeys(asked):
                print(f"bench: {piece}", flush=True)
                found = PIECES[piece](bench)
                print("\n".join(found), flush=True)
                lines += found
        finally:
            if other is not None:
                shutil.rmtree(other, ignore_errors=True)
    if output is not None:
        output.write_text("\n".join(lines), encoding="utf-8")
        print(f"bench: wrote {output}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
