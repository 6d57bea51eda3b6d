# SPDX-License-Identifier: Apache-2.0
"""Ten thousand changed bundles: none is accepted, none hangs, nothing is written outside staging, memory is
bounded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import BundleIndex
from edgewright.bundle.verify import open_bundle
from edgewright.errors import EdgewrightError, IntegrityError
from tests.unit.bundle.mutations import Workshop
from tests.unit.bundle.sticks import NOW, snapshot_of

TOTAL = 10_000
SHARDS = 20
SLICE = 300
HANG_S = 5.0
"""A hang guard: a change takes milliseconds; minutes would show a loop, not a slow machine."""

MEMORY_BYTES = 1 << 30
"""Address space of the process that verifies all kinds of changes, threads' stacks included."""


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory where there is one."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory, not a fixed name
    place = Path(tempfile.mkdtemp(prefix="ew-mutations-", dir=parent))
    yield place
    shutil.rmtree(place, ignore_errors=True)


def take_in(shop: Workshop, trust: Path, fingerprint: str | None, staging: Path) -> BundleIndex:
    """What a controller does with a stick, to the end."""
    with open_bundle(shop.stick, trust, fingerprint=fingerprint, now=NOW) as bundle:
        for blob in bundle.index.blobs:
            bundle.copy(blob, staging / blob)
        for name in bundle.index.documents:
            bundle.read(f"targets/documents/{name}", 1 << 20)
        bundle.check_all()
        bundle.accept()
        return bundle.index


def run(place: Path, seeds: range) -> Counter[str]:
    """Try these changes, in turn on a controller that knows the bundle and on one that does not."""
    (place / "tmp").mkdir()
    tempfile.tempdir = str(place / "tmp")
    try:
        shop = Workshop(place / "w", KeySet.develop(place / "keys"))
        shop.made.accept()
        known, staging = shop.made.trust, place / "staging"
        watched = {name: snapshot_of(place / "w" / name) for name in ("right", "other", "trust", "strange")}
        reasons: Counter[str] = Counter()
        for seed in seeds:
            staging.mkdir()
            told = shop.change(seed)
            began = time.monotonic()
            first = seed % 2
            trust = place / "new-trust" if first else known
            fingerprint = shop.made.keys.fingerprint if first else None
            try:
                take_in(shop, trust, fingerprint, staging)
            except EdgewrightError as error:
                assert isinstance(error, IntegrityError), f"{told}: {error!r}"
                reasons[getattr(error, "why", "index")] += 1
            else:
                raise AssertionError(f"accepted: {told}")
            spent = time.monotonic() - began
            assert spent < HANG_S, f"{told}: {spent:.1f} s"
            for left in staging.iterdir():
                assert sha256(left.read_bytes()).hexdigest() == left.name, f"{told}: {left.name} in staging"
            shutil.rmtree(staging)
            assert not (place / "new-trust").exists(), told
            assert not list((place / "tmp").iterdir()), told
            shop.mend()
        for name, before in watched.items():
            assert snapshot_of(place / "w" / name) == before, f"{name} was written to"
        assert sorted(path.name for path in place.iterdir()) == ["keys", "tmp", "w"]
        staging.mkdir()
        assert take_in(shop, known, None, staging).name == "label-reader 1.0.0"  # mended, it is right again
        return reasons
    finally:
        tempfile.tempdir = None


def test_a_slice(memory: Path) -> None:
    reasons = run(memory, range(SLICE))
    assert sum(reasons.values()) == SLICE
    assert len(reasons) >= 7, f"changes of many kinds have many reasons, got {reasons}"


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_ten_thousand(memory: Path, shard: int) -> None:
    each = TOTAL // SHARDS
    assert sum(run(memory, range(SLICE + shard * each, SLICE + (shard + 1) * each)).values()) == each


def test_memory_is_bounded(memory: Path) -> None:
    """The same in a process that may not have more: sparse terabytes and bombs among the changes."""
    program = (
        "import resource, sys; from pathlib import Path\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))\n"
        "from tests.unit.bundle.test_mutations import run\n"
        "print(sum(run(Path(sys.argv[1]), range(20_000, 20_150)).values()))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert peak < 400_000, f'{peak} KiB'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(memory)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.stdout == "150\n", done.stderr
