# SPDX-License-Identifier: Apache-2.0
"""A record for a person, as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["loud", "summary"]


def loud(record: Mapping[str, Any]) -> list[str]:
    """What must be told wherever a record is named: snaps that nobody vouches for, and what only stands in.

    Args:
        record: a checked record.
    """
    return [*_snaps(record["release"]), *_stand_ins(record["device"])]


def summary(record: Mapping[str, Any]) -> str:
    """A page about one record: what the device is, what was seen, and what follows.

    Args:
        record: a checked record.
    """
    device, release = record["device"], record["release"]
    lines = [
        f"{record['host']}: {record['verdict'].upper()}",
        f"  {record['reason']}",
        "",
        f"release      {release['name']} {release['version']}, profile {record['profile']}",
        *_snaps(release),
        f"measured     {record['started']} to {record['finished']} (the device's clock)",
        *_system(device),
        f"kernel       {device['uname']}",
        f"command line {device['cmdline']}",
        f"CPUs         {record['wakeup']['cpus']} in {record['wakeup']['slice']}: partition reads"
        f" {device['partition'] or 'nothing'}",
        f"machine      {device['cpus']} CPUs, {_mib(device['memory_kib'])}, virtualisation:"
        f" {device['virtualisation'] or 'unknown'}",
        f"certificate  sha256 {record['certificate_sha256']}",
    ]
    lines[5:5] = [
        f"WAIVER       {each['what']}: {each['who']} answers for it until {each['until']}: {each['why']}"
        for each in record.get("waivers", [])
    ]
    lines += [f"image        {name} {digest}" for name, digest in sorted(device["images"].items())]
    lines += [f"snap         {_snap(name, snap)}" for name, snap in sorted(device.get("snaps", {}).items())]
    lines += [
        f"sets         {name}, revision {revision} of its assertion"
        for name, revision in sorted(release.get("validation_sets", {}).items())
    ]
    lines += [f"package      {name} {version}" for name, version in sorted(device["packages"].items())]
    lines += ["", *_times("latency", record["latency"], f"p99 <= {record['intent']['latency_p99_ms']:g} ms")]
    late = record["latency"]["late"]
    lines.append(
        f"             {record['latency']['rate_hz']:g} requests a second"
        f" (wanted {record['latency']['rate_wanted_hz']:g}), {late} planned times missed"
    )
    if record["wakeup"]["error"]:
        lines.append(f"wake-up      not measured: {record['wakeup']['error']}")
    else:
        lines += _times("wake-up", record["wakeup"], f"worst <= {record['intent']['wakeup_worst_us']:g} us")
    lines += ["", "labels"]
    lines += [f"  {label['text']:<16} read as {_read(label['read'])}" for label in record["labels"]]
    lines += [""]
    for name, judged in record["judged"].items():
        lines.append(f"{name:<12} {judged['verdict']}")
        lines += [f"             {reason}" for reason in judged["reasons"]]
    lines += ["", record["statement"]]
    return "\n".join(lines)


def _system(device: Mapping[str, Any]) -> list[str]:
    """The OS, where the record has it, and what only stands in for a part of it."""
    system = device.get("os")
    if not system:
        return []
    snapd = f", snapd {device['snapd']}" if device.get("snapd") else ""
    told = f"system       {system['id'] or 'unknown'} {system['version_id']}{snapd}".rstrip()
    return [told, *_stand_ins(device)]


def _stand_ins(device: Mapping[str, Any]) -> list[str]:
    names = sorted(name for name, snap in device.get("snaps", {}).items() if snap["stand_in"])
    if not names:
        return []
    return [f"STAND-INS    {', '.join(names)}: not Canonical's; this is a twin, no Ubuntu Core"]


def _snap(name: str, snap: Mapping[str, Any]) -> str:
    digest = f" sha3-384 {snap['sha3_384']}" if snap["sha3_384"] else ""
    return f"{name} {snap['version']} ({snap['revision']}){digest}"


def _snaps(release: Mapping[str, Any]) -> list[str]:
    """Snaps that nothing vouches for, loudly; nothing where every snap is asserted."""
    found = release.get("snaps")
    if not found:
        return []
    names = ", ".join(found["without_assertions"])
    return [f"GRADE        {found['grade'].upper()}: snaps without assertions: {names}"]


def _times(name: str, times: Mapping[str, Any], limit: str) -> list[str]:
    unit = times["unit"]
    head = f"{name:<12} N {times['n']} in {times['duration_s']:g} s; intent: {limit}"
    lines = [head]
    for entry in times["quantiles"]:
        low = "none" if entry["low"] is None else f"{entry['low']:g}"
        high = "none (too few)" if entry["high"] is None else f"{entry['high']:g}"
        lines.append(
            f"             p{entry['p'] * 100:g} observed {entry['value']:g} {unit}, bounds {low} to {high}"
        )
    if times["worst"] is not None:
        lines.append(f"             worst observed {times['worst']:g} {unit}")
    return lines


def _read(read: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{text!r} ({count} of {sum(read.values())})" for text, count in read.items()) or "nothing"
    )


def _mib(kib: int | None) -> str:
    return "memory unknown" if kib is None else f"{kib // 1024} MiB"
