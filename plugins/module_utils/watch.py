# SPDX-License-Identifier: Apache-2.0
"""The device's look at itself: the probe, compared with what the controller accepted, told as JSON and
metrics.

Run by the timer of the role `drift_watch` as `probe.py watch FILE`. The file holds the wants, which say where
to look, `accepted`: what the probe read when the controller found that it was as wanted, and `why`: what it
means when an item is otherwise. The rules that judge a reading are the controller's; here an item is equal to
the accepted one or not. Nothing but the two results is written, each by a rename, so that a reader sees the
old one or the new one. Standard library only, Python 3.9.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils import drift_watch, probe
from ansible_collections.edgewright.factory.plugins.module_utils.system import (
    LocalSystem,
    NoAnswerError,
    System,
)

SCHEMA = "edgewright.watch/v1"
# An item that was not read at all, which is not the same as one read as none.
_NOTHING = object()
NEVER = "was not as wanted when the watch was set"
# How much of a value, and of a cause, a sentence and a label hold; the whole value is in the report.
_VALUE_CHARS = 160
_CAUSE_CHARS = 480


def items(have: Mapping[str, Any], want: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """The items of an area that are compared, by name.

    Args:
        have: the area as read.
        want: the area's want. Of an item that is a mapping on both sides only the want's keys count: what the
            probe tells beside them, such as a certificate's serial, may change without being drift. The same
            where nothing is there.
    """
    for item, value in have.items():
        wanted = want.get(item)
        if (value is None or isinstance(value, dict)) and isinstance(wanted, dict) and wanted:
            for key in wanted:
                yield "%s.%s" % (item, key), (value or {}).get(key)
        else:
            yield item, value


def compare(
    area: str,
    have: Mapping[str, Any],
    accepted: Any,
    want: Mapping[str, Any],
    why: Optional[Mapping[str, str]] = None,
) -> List[Dict[str, Any]]:
    """Items of an area that are not as accepted.

    Args:
        area: its name.
        have: the area as read.
        accepted: the area as accepted.
        want: the area's want.
        why: what it means when an item is otherwise, by item.

    Returns:
        `area`, `item`, `have`, `accepted` and `cause`, a sentence, of each.
    """
    if not isinstance(accepted, dict):
        return [{"area": area, "item": "accepted", "have": None, "accepted": NEVER, "cause": NEVER}]
    now, then = dict(items(have, want)), dict(items(accepted, want))
    return [
        {
            "area": area,
            "item": item,
            "have": now.get(item),
            "accepted": then.get(item),
            "cause": cause(now.get(item), then.get(item), (why or {}).get(item.partition(".")[0])),
        }
        for item in dict.fromkeys([*then, *now])
        if now.get(item, _NOTHING) != then.get(item, _NOTHING)
    ]


def cause(have: Any, accepted: Any, why: Optional[str] = None) -> str:
    """What is otherwise than accepted, as one line: what came and what went of a list, else both values.

    Args:
        have: the item as read.
        accepted: the item as accepted.
        why: what it means, where that is known.
    """
    if isinstance(have, list) and isinstance(accepted, list):
        came = [_shown(each) for each in have if each not in accepted]
        gone = [_shown(each) for each in accepted if each not in have]
        parts = (["; ".join(came)] if came else []) + (["no longer " + "; ".join(gone)] if gone else [])
        told = "; ".join(parts) or "the same in another order"
    else:
        told = "%s, accepted was %s" % (_shown(have), _shown(accepted))
    told = "%s: %s" % (told, why) if why else told
    return told if len(told) <= _CAUSE_CHARS else told[: _CAUSE_CHARS - 3] + "..."


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    lines = text.strip().splitlines()
    if len(lines) > 1:
        text = "%d lines from %r on" % (len(lines), lines[0])
    text = text.strip()
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 3] + "..."


def look(system: System, kept: Mapping[str, Any]) -> Dict[str, Any]:
    """Read all areas and compare. An area that cannot be read is an error of its own; the others are told.

    Args:
        system: the device.
        kept: the watch's file.

    Returns:
        The report, without times.
    """
    drift: List[Dict[str, Any]] = []
    errors: List[str] = []
    counts: Dict[str, int] = {}
    accepted, why = kept.get("accepted") or {}, kept.get("why") or {}
    for area, want in kept["want"].items():
        try:
            have = probe.probe(system, {area: want})[area]
        except NoAnswerError as error:
            errors.append(str(error))
            continue
        except Exception as error:
            errors.append("%s: %s: %s" % (area, type(error).__name__, " ".join(str(error).split())))
            continue
        found = compare(area, have, accepted.get(area), want, why.get(area))
        counts[area] = len(found)
        drift += found
    return {"success": not errors, "errors": errors, "items": counts, "drift": drift}


def metrics(report: Mapping[str, Any]) -> str:
    """The report in Prometheus' text format, for a textfile collector."""
    release = report.get("release") or {}
    info = {
        "release": release.get("name", ""),
        "version": release.get("version", ""),
        "want_sha256": report.get("want_sha256") or "",
    }
    families: List[Tuple[str, str, List[Tuple[Dict[str, str], Any]]]] = [
        ("edgewright_watch_success", "Whether all areas could be read.", [({}, int(report["success"]))]),
        (
            "edgewright_watch_last_run_timestamp_seconds",
            "When the device last looked at itself, by its own clock.",
            [({}, "%.3f" % report["time"])],
        ),
        (
            "edgewright_watch_duration_seconds",
            "How long the last look took.",
            [({}, "%.6f" % report["duration_s"])],
        ),
        (
            "edgewright_watch_cpu_seconds",
            "CPU time of the last look, its commands included.",
            [({}, "%.6f" % report["cpu_s"])],
        ),
        ("edgewright_watch_info", "What the device is compared with.", [(info, 1)]),
        (
            "edgewright_drift_items",
            "Items that are not as accepted, by area.",
            [({"area": area}, count) for area, count in report["items"].items()],
        ),
        (
            "edgewright_drift_item",
            "1 for each item that is not as accepted.",
            [({"area": each["area"], "item": each["item"]}, 1) for each in report["drift"]],
        ),
        (
            "edgewright_drift_cause_info",
            "What is otherwise than accepted, as a sentence.",
            [({name: each[name] for name in ("area", "item", "cause")}, 1) for each in report["drift"]],
        ),
    ]
    lines: List[str] = []
    for name, text, samples in families:
        lines += ["# HELP %s %s" % (name, text), "# TYPE %s gauge" % name]
        for labels, value in samples:
            inner = ",".join('%s="%s"' % (key, _escaped(labels[key])) for key in labels)
            lines.append("%s%s %s" % (name, "{%s}" % inner if inner else "", value))
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def replace_file(path: str, text: str, mode: int) -> None:
    """Write a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".watch-")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def keep_digests(system: System, wants: Mapping[str, Any]) -> None:
    """Have the digests of the release's snaps computed here, by the timer, so that no probe has to."""
    from ansible_collections.edgewright.factory.plugins.module_utils import snap_digest, snap_files

    nvidia = wants.get("nvidia") or {}
    names = {*((wants.get("runtime") or {}).get("snaps") or {}), *(nvidia.get("components") or {})}
    names.add((nvidia.get("provider") or {}).get("name"))
    for snap in (system.snapd("/v2/snaps") or []) if names - {None} else []:
        for held in (snap, *snap_files.parts_of(snap)):
            path = "%s/%s" % (snap_files.SNAPS, snap_files.file_of(held))
            digest = snap_digest.sha3_384(system, path) if held["name"] in names else None
            if digest:
                try:
                    snap_digest.remember(system, path, digest)
                except OSError as error:
                    sys.stderr.write("edgewright watch: the digest of %s was not kept: %s\n" % (path, error))


def main(argv: List[str]) -> int:
    """Look once.

    Args:
        argv: the watch's file.

    Returns:
        0 when the results were written, drift or not; 1 when not, with the reason on standard error.
    """
    begun, system = time.monotonic(), LocalSystem()
    try:
        with open(argv[0]) as stream:
            kept = json.load(stream)
        if kept["schema"] != SCHEMA:
            raise ValueError("expected schema %s, got %r" % (SCHEMA, kept["schema"]))
        at = kept["at"]
        report = {"schema": drift_watch.REPORT_SCHEMA, "release": kept["release"]}
        report["want_sha256"] = drift_watch.want_digest(kept["want"])
    except (IndexError, KeyError, OSError, TypeError, ValueError) as error:
        sys.stderr.write("edgewright watch: %s cannot be used: %s; run site.yml again\n" % (argv, error))
        return 1
    try:
        keep_digests(system, kept["want"])
    except NoAnswerError as error:
        sys.stderr.write("edgewright watch: digests were not computed: %s\n" % error)
    report.update(look(system, kept))
    times = os.times()
    report.update(
        {
            "time": time.time(),
            "boot_id": drift_watch.boot_id(system),
            "uptime_s": drift_watch.uptime_s(system),
            "duration_s": round(time.monotonic() - begun, 6),
            "cpu_s": round(times.user + times.system + times.children_user + times.children_system, 6),
        }
    )
    status = 0
    for path, text, mode in (
        (at["report"], json.dumps(report, indent=1, sort_keys=True) + "\n", 0o600),
        (at["metrics"], metrics(report), 0o644),
    ):
        try:
            replace_file(path, text, mode)
        except OSError as error:
            sys.stderr.write("edgewright watch: %s was not written: %s\n" % (path, error))
            status = 1
    for each in report["drift"]:
        told = (each["area"], each["item"], each["cause"])
        sys.stderr.write("edgewright watch: %s.%s is not as accepted: %s\n" % told)
    for line in report["errors"]:
        sys.stderr.write("edgewright watch: could not read %s\n" % line)
    return status
