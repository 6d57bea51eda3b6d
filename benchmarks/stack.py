# SPDX-License-Identifier: Apache-2.0
"""How long the NVIDIA stack takes to solve, on all the facts that there are.

Solves questions of each kind, with a stack and without, on a universe made anew each time, and the stack of
the example release; writes medians and the size of the universe to RESULTS-stack.md. Nothing is asserted.

    python benchmarks/stack.py [--repeats 20]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import math
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import machine  # noqa: E402  the path above makes it importable
from edgewright.device.profile import carried_profiles, load_profile  # noqa: E402
from edgewright.release.documents import load_lock, read_release  # noqa: E402
from edgewright.release.stack.facts import carried_facts, load_facts  # noqa: E402
from edgewright.release.stack.locked import lock_stack  # noqa: E402
from edgewright.release.stack.solve import problem_of, solve  # noqa: E402
from edgewright.release.stack.universe import NUMBERS, WORDS, Universe, make_universe  # noqa: E402
from edgewright.release.stack.version import Want  # noqa: E402

RESULTS = ROOT / "benchmarks" / "RESULTS-stack.md"
RELEASE = ROOT / "releases" / "label-reader-t4"
DAY = datetime.date(2026, 11, 21)
ALL = "tensorrt onnxruntime-gpu container-toolkit"
QUESTIONS = (
    ("x86_t4", ""),
    ("x86_t4", "tensorrt>=10,<11 driver>=535"),
    ("x86_t4", ALL),
    ("x86_h200", f"{ALL} suite==bookworm cuda<13"),
    ("agx_thor", "tensorrt cudnn kernel-flavour==rt"),
    ("x86_t4", "tensorrt>=11 onnxruntime-gpu"),
    ("x86_t4", f"{ALL} suite==bookworm driver<536 cuda>=13"),
    ("x86_t4", "suite==bookworm module-flavour==open driver==535.309.01"),
    ("orin_nano_8gb", "l4t==36.4.3 cuda==12.2"),
)


def universe_of(profile: str) -> Universe:
    """A profile's universe on all facts."""
    found = load_profile(profile, [carried_profiles()])
    return make_universe(found.as_dict(), load_facts(), None, DAY)


def measured(repeats: int) -> list[str]:
    """The tables, as Markdown."""
    begun = time.perf_counter()
    facts = load_facts(carried_facts())
    read_ms = (time.perf_counter() - begun) * 1000
    lines = [
        f"Reading and checking {sum(map(len, facts.rows.values()))} facts, once a process: {read_ms:.0f} ms.",
        "",
        "| profile | wants | answer | items | combinations | median ms | worst ms | median CPU ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    load_facts()
    for profile, text in QUESTIONS:
        wants = [Want.parse(part, WORDS, NUMBERS) for part in text.split()]
        times, cpu = [], []
        for _ in range(repeats):
            universe = universe_of(profile)
            begun, used = time.perf_counter(), time.process_time()
            outcome = solve(universe, wants)
            cpu.append((time.process_time() - used) * 1000)
            times.append((time.perf_counter() - begun) * 1000)
        domains = problem_of(universe, wants).domains
        size = math.prod(len(each) for each in domains.values())
        answer = "fits" if outcome.ok else "refused"
        lines.append(
            f"| {profile} | {text or 'nothing'} | {answer} | {len(domains)} | {size:.1e} "
            f"| {statistics.median(times):.1f} | {max(times):.1f} | {statistics.median(cpu):.1f} |"
        )
    return [*lines, "", *_locking(repeats)]


def _locking(repeats: int) -> list[str]:
    """What the stack adds to `release lock` of the example release with NVIDIA's driver."""
    marked, _ = read_release(RELEASE)
    lock, _ = load_lock(RELEASE)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # its notices, once per run
            lock_stack(marked, lock, [carried_profiles()], load_facts(), DAY)
        times.append((time.perf_counter() - begun) * 1000)
    return [
        f"The stack's part of `release lock {RELEASE.relative_to(ROOT)}`: median"
        f" {statistics.median(times):.1f} ms, worst {max(times):.1f} ms.",
        "",
    ]


def main() -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description="Time the resolver of the NVIDIA stack.")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each question; the median is told")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where to write the page")
    arguments = parser.parse_args()
    lines = [
        "# Results: the resolver of the NVIDIA stack",
        "",
        f"* Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f"* Machine: {machine()}",
        f"* Command: `python benchmarks/stack.py --repeats {arguments.repeats}`",
        f"* Figures: {arguments.repeats} runs of each question, each on a universe made anew from all facts",
        f"* Load average before: {os.getloadavg()[0]:.1f}; others stretch wall times, not CPU times",
        "",
        *measured(arguments.repeats),
    ]
    page = "\n".join(lines)
    print(page)
    arguments.output.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
