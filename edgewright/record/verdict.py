# SPDX-License-Identifier: Apache-2.0
"""What a measurement says about the intent: verdicts, each with its reasons. Pure.

Three questions are judged apart, then together:

    function  does the device run what was locked, where it was meant to, and read every label rightly?
    kernel    did the kernel stay quiet while it was measured?
    time      did the model answer, and the isolated CPUs wake up, as fast as the intent asks?

    any `fail`             -> fail
    else any `inconclusive`-> inconclusive
    else                   -> pass

A limit on a quantile is met when the upper confidence bound keeps it, missed when the lower bound
breaks it, and undecided in between or with too few samples. A limit on the worst case is judged by the
worst that was observed; nothing here is guaranteed. Under emulation (a virtual CPU computed by another
CPU, not run by one) times say nothing about the device, so `time` is inconclusive whatever was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgewright.record.statistics import CONFIDENCE, Quantile, least_samples

__all__ = ["Judged", "Verdict", "combine", "emulation", "judge_function", "judge_kernel", "judge_time"]

Verdict = Literal["pass", "fail", "inconclusive"]

# Part of the wanted rate that must be reached for latencies to count as measured at that rate.
LEAST_RATE = 0.95


@dataclass(frozen=True)
class Judged:
    """A verdict with one sentence for each reason."""

    verdict: Verdict
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as a plain dictionary."""
        return {"verdict": self.verdict, "reasons": list(self.reasons)}


def combine(parts: Iterable[Judged]) -> Verdict:
    """The verdict over several."""
    verdicts = {part.verdict for part in parts}
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts else "pass"


def emulation(virtualisation: str | None) -> str | None:
    """Why times measured there say nothing of a device, or None when they do.

    Args:
        virtualisation: what `systemd-detect-virt` printed: "none" on bare hardware, "kvm" where a real
            CPU runs the guest, "qemu" where QEMU emulates one; None when it could not be asked.
    """
    if virtualisation == "qemu":
        return "the CPU is emulated by QEMU, so its times say nothing about a device"
    if not virtualisation:
        return "it is not known whether the CPU is real, because systemd-detect-virt gave no answer"
    return None


def judge_function(plan: Mapping[str, Any], facts: Mapping[str, Any], requests: Mapping[str, Any]) -> Judged:
    """Whether the device ran what it should and read what it should.

    Args:
        plan: `images` and `snaps` (wanted digests), `isolated`, `slice`, `expected` (the labels' texts in
            order).
        facts: `images`, `snaps` and `partition` as read on the device.
        requests: `sent`, `errors` (count), `error_examples`, `texts` (per label: text to count).
    """
    bad = []
    for name, digest in sorted(plan["images"].items()):
        got = facts["images"].get(name)
        if got != digest:
            bad.append(f"image {name}: the container ran {got or 'none'}, the lock says {digest}")
    for name, digest in sorted(plan.get("snaps", {}).items()):
        got = (facts.get("snaps", {}).get(name) or {}).get("sha3_384")
        if got != digest:
            bad.append(f"snap {name}: the device has {got or 'none'}, the lock says {digest}")
    if plan["isolated"] and facts["partition"] != "isolated":
        bad.append(f"{plan['slice']}: its partition reads {facts['partition'] or 'nothing'}, not isolated")
    if requests["errors"]:
        example = (requests["error_examples"] or ["no message"])[0]
        bad.append(f"{requests['errors']} of {requests['sent']} requests were not answered: {example}")
    for expected, read in zip(plan["expected"], requests["texts"], strict=True):
        if not read:
            bad.append(f"label {expected!r} was never answered")
        for text, count in read.items():
            if text != expected:
                bad.append(f"label {expected!r} was read as {text!r} {count} time{'s' if count != 1 else ''}")
    if bad:
        return Judged("fail", tuple(bad))
    answered = sum(sum(read.values()) for read in requests["texts"])
    return Judged("pass", (f"all {answered} answers to {len(plan['expected'])} fresh labels were right",))


def judge_kernel(log: Mapping[str, Any], emulated: str | None) -> Judged:
    """Whether the kernel complained while it was measured.

    Args:
        log: `found` (kind to count: bug, warning, lockup, stall), `examples`, `complete`, `error`.
        emulated: from `emulation`.
    """
    if log["error"]:
        return Judged("inconclusive", (f"the kernel's log could not be read: {log['error']}",))
    found = {kind: count for kind, count in log["found"].items() if count}
    if found:
        said = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(found.items()))
        reason = f"the kernel's log has {said}: {(log['examples'] or [''])[0]}"
        if emulated and set(found) <= {"lockup", "stall"}:
            return Judged("inconclusive", (f"{reason}; {emulated}, and its host may have paused it",))
        return Judged("fail", (reason,))
    if not log["complete"]:
        return Judged("inconclusive", ("the kernel wrote more than its log holds, so lines were lost",))
    return Judged("pass", ("the kernel's log has no BUG, WARNING, lockup or stall of that time",))


def judge_time(
    *,
    intent: Mapping[str, float],
    latency: Quantile | None,
    samples: int,
    rate: tuple[float, float],
    wakeup: tuple[Sequence[int], float] | str,
    emulated: str | None,
) -> Judged:
    """Whether the times keep the intent.

    Args:
        intent: `latency_p99_ms` and `wakeup_worst_us`.
        latency: 99th percentile in ms with its bounds; None where nothing was answered.
        samples: number of latencies.
        rate: wanted and observed requests a second.
        wakeup: CPUs and worst wake-up latency in us; or a text that says why it was not measured.
        emulated: from `emulation`.
    """
    parts = [
        _latency(intent["latency_p99_ms"], latency, samples),
        _rate(*rate),
        _wakeup(intent["wakeup_worst_us"], wakeup),
    ]
    reasons = tuple(reason for part in parts for reason in part.reasons)
    if emulated:
        seen = (f"seen all the same: {'; '.join(reasons)}",) if reasons else ()
        return Judged("inconclusive", (emulated, *seen))
    return Judged(combine(parts), reasons)


def _latency(limit: float, latency: Quantile | None, samples: int) -> Judged:
    if latency is None:
        return Judged("inconclusive", ("no latency was observed",))
    sure = f"{CONFIDENCE:.0%} confidence"
    seen = f"latency p99: observed {latency.value:.3g} ms in {samples} requests, limit {limit:g} ms"
    if latency.low is not None and latency.low > limit:
        return Judged("fail", (f"{seen}; not below {latency.low:.3g} ms with {sure}",))
    if latency.high is None:
        need = least_samples(latency.p)
        return Judged(
            "inconclusive",
            (f"{seen}; too few for an upper bound, which takes {need} with {sure}: measure longer",),
        )
    if latency.high <= limit:
        return Judged("pass", (f"{seen}; not above {latency.high:.3g} ms with {sure}",))
    bounds = f"between {'-' if latency.low is None else format(latency.low, '.3g')} and {latency.high:.3g} ms"
    return Judged("inconclusive", (f"{seen}; {bounds} with {sure} each: measure longer",))


def _rate(wanted: float, observed: float) -> Judged:
    seen = f"rate: observed {observed:.3g} requests a second, wanted {wanted:g}"
    return Judged("pass" if observed >= LEAST_RATE * wanted else "fail", (seen,))


def _wakeup(limit: float, wakeup: tuple[Sequence[int], float] | str) -> Judged:
    if isinstance(wakeup, str):
        return Judged("inconclusive", (f"wake-up latency was not measured: {wakeup}",))
    cpus, worst = wakeup
    where = ", ".join(str(cpu) for cpu in cpus)
    seen = f"wake-up latency on CPU {where}: worst observed {worst:g} us, limit {limit:g} us"
    return Judged("pass" if worst <= limit else "fail", (seen,))
