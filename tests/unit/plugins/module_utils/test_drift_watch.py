# SPDX-License-Identifier: Apache-2.0
"""The device's side of its watch: what is compared, what is told, and what a probe reads of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import drift_watch, probe, watch
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem, Result, System


class Device(System):
    """Files as a mapping, and a timer that systemd knows."""

    def __init__(self, files: dict[str, str], timer: str = "") -> None:
        self.files, self.timer = files, timer

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def read_bytes(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:  # noqa: ARG002 - the interface's
        return Result(0, self.timer, "")


BOOT = {"/proc/uptime": "5000.00 1.00\n", "/proc/sys/kernel/random/boot_id": "this\n"}
SCOPE = {
    "at": {"program": "/p", "want": "/w", "report": "/r", "timer": "t.timer"},
    "period_s": 600,
    "files": {"/u": "text"},
}
RUNNING = "ActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"


def report(**changes: Any) -> str:
    made = {"schema": drift_watch.REPORT_SCHEMA, "boot_id": "this", "uptime_s": 4500.0, "drift": []}
    return json.dumps({**made, **changes})


def test_a_device_that_watches_itself_is_read() -> None:
    files = {**BOOT, "/p": "x", "/w": '{"want": {}}', "/r": report(), "/u": "text"}
    have = drift_watch.read(Device(files, RUNNING), SCOPE)
    assert have == {
        "program": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        "wanted": drift_watch.want_digest({}),
        "files": {"/u": "text"},
        "timer": {"enabled": True, "active": True, "stale": False},
        "fresh": True,
        "findings": [],
    }


def test_a_bare_device_is_read() -> None:
    have = drift_watch.read(Device(dict(BOOT)), SCOPE)
    assert have == {
        "program": None,
        "wanted": None,
        "files": {"/u": None},
        "timer": {"enabled": False, "active": False, "stale": False},
        "fresh": False,
        "findings": [],
    }
    assert drift_watch.read(Device({}), {}) == {}


def test_without_a_period_systemd_is_not_asked() -> None:
    device = Device({"/p": "x"})
    device.run = None  # type: ignore[assignment,method-assign]
    assert set(drift_watch.read(device, {**SCOPE, "period_s": 0})) == {"program", "files"}


FRESH = {
    "just made": (report(), "5000.0", True),
    "as old as may be": (report(uptime_s=3200.0), "5000.0", True),
    "older": (report(uptime_s=3199.0), "5000.0", False),
    "from the future": (report(uptime_s=5001.0), "5000.0", False),
    "none, just after the boot": (None, "1800.0", True),
    "none, long after it": (None, "1801.0", False),
    "of another boot": (report(boot_id="other"), "10.0", False),
    "without its time": (report(uptime_s=None), "5000.0", False),
    "no JSON": ("{", "5000.0", False),
    "another schema": (report(schema="x"), "5000.0", False),
    "a list": ("[]", "5000.0", False),
}


@pytest.mark.parametrize("case", FRESH)
def test_a_report_grows_old_by_the_clock_that_nobody_sets(case: str) -> None:
    text, uptime, fresh = FRESH[case]
    files = {**BOOT, "/proc/uptime": uptime + " 1", **({} if text is None else {"/r": text})}
    have = drift_watch.read(Device(files), SCOPE)
    assert have["fresh"] is fresh


FOUND = [{"area": "acceptance", "item": "verdict"}, {"area": "acceptance", "item": "record"}]
RECEIPT = '{"schema": "edgewright.receipt/v1", "accepted_for": "x", "verdict": "%s", "record": "r"}'


def findings(receipt: str | None, accepted: Any, want: Any = None) -> list[str] | None:
    """Findings of a device whose report has `FOUND`, by what its receipt is now."""
    wants = {"acceptance": {"at": {"receipt": "/receipt"}}} if want is None else want
    files = {**BOOT, "/r": report(drift=FOUND), "/w": json.dumps({"want": wants, "accepted": accepted})}
    if receipt:
        files["/receipt"] = RECEIPT % receipt
    found: list[str] | None = drift_watch.read(Device(files), SCOPE)["findings"]
    return found


ACCEPTED = {"acceptance": {"accepted_for": "x", "verdict": "pass", "record": "r"}}


def test_findings_that_are_so_still_are_named() -> None:
    assert findings(None, ACCEPTED) == ["acceptance.record", "acceptance.verdict"]
    assert findings("fail", ACCEPTED) == ["acceptance.verdict"]


def test_what_came_and_went_is_no_finding() -> None:
    assert findings("pass", ACCEPTED) == []


def test_findings_that_cannot_be_looked_at_again_stay() -> None:
    both = ["acceptance.record", "acceptance.verdict"]
    assert findings("pass", ACCEPTED, want=[]) == both
    assert findings("pass", ACCEPTED, want={"acceptance": {"at": 1}}) == both


UNREAD = {
    "still unread": ({"at": 1}, {}, ["acceptance.unread"]),
    "can be read now, and is as accepted": ({"at": {"receipt": "/receipt"}}, {}, []),
    "had an answer": ({"at": 1}, {"acceptance": 0}, []),
    "a report that names no items": ({"at": 1}, None, []),
}


@pytest.mark.parametrize("case", UNREAD)
def test_an_area_that_the_watch_could_not_read_is_a_finding(case: str) -> None:
    want, items, told = UNREAD[case]
    kept = json.dumps({"want": {"acceptance": want}, "accepted": ACCEPTED})
    files = {**BOOT, "/r": report(items=items), "/w": kept, "/receipt": RECEIPT % "pass"}
    assert drift_watch.read(Device(files), SCOPE)["findings"] == told


COMPARED = {
    "equal": ({"a": 1}, {"a": 1}, {"a": 1}, []),
    "a value": ({"a": 2}, {"a": 1}, {"a": 1}, ["a"]),
    "an item that is gone": ({}, {"a": 1}, {"a": 1}, ["a"]),
    "an item more": ({"a": 1, "b": 2}, {"a": 1}, {"a": 1}, ["b"]),
    "part of a mapping": ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 1}}, {"a": {"x": 1, "y": 1}}, ["a.y"]),
    "what nobody wants of a mapping": ({"a": {"x": 1, "n": 2}}, {"a": {"x": 1, "n": 1}}, {"a": {"x": 1}}, []),
    "a mapping that is gone": ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}, ["a.x"]),
    "wanted otherwise than read": ({"verdict": "pass"}, {"verdict": "pass"}, {"verdict": ["pass"]}, []),
    "never accepted": ({"a": 1}, None, {"a": 1}, ["accepted"]),
    "empty": ({}, {}, {}, []),
}


@pytest.mark.parametrize("case", COMPARED)
def test_items_are_equal_to_the_accepted_or_not(case: str) -> None:
    have, accepted, want, items = COMPARED[case]
    assert sorted(item["item"] for item in watch.compare("x", have, accepted, want)) == items


CLAIM = "system.slice claims CPU 2-3 (set by /etc/systemd/system.control/system.slice.d/50-AllowedCPUs.conf)"
INVALID = "isolated invalid (Cpu list in cpuset.cpus not exclusive)"
CAUSES = {
    "who claims, and where": ([CLAIM], [], CLAIM),
    "what came and what went": (["b", "c"], ["a", "b"], "c; no longer a"),
    "what went": ([], ["nohz_full=2-3", "rcu_nocbs=2-3"], "no longer nohz_full=2-3; rcu_nocbs=2-3"),
    "another order": ([1, 2], [2, 1], "the same in another order"),
    "a text": (INVALID, "isolated", f"{INVALID}, accepted was isolated"),
    "a truth": (True, False, "true, accepted was false"),
    "what is gone": (None, "535.309.01", "nothing, accepted was 535.309.01"),
    "a list that is gone": (None, [1], "nothing, accepted was [1]"),
    "an empty text": ("", "a", ", accepted was a"),
    "a file": ("a\nb\n", "a\n", "2 lines from 'a' on, accepted was a"),
    "a mapping": ({"b": 1, "a": 2}, {}, '{"a": 2, "b": 1}, accepted was {}'),
    "one that is long": ("x" * 200, None, "x" * 157 + "..., accepted was nothing"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_a_cause_tells_what_is_otherwise(case: str) -> None:
    have, accepted, told = CAUSES[case]
    assert watch.cause(have, accepted) == told
    assert watch.cause(have, accepted, "why") == told + ": why"


def test_a_cause_that_is_long_is_cut() -> None:
    assert len(watch.cause([f"{number:04}" for number in range(1000)], [])) == 480


def test_what_it_means_is_that_of_the_item() -> None:
    want, why = {"packages": {"crun": "1"}}, {"packages": "behind our back", "crun": "no"}
    (found,) = watch.compare("x", {"packages": {"crun": "2"}}, {"packages": {"crun": "1"}}, want, why)
    assert (found["item"], found["cause"]) == ("packages.crun", "2, accepted was 1: behind our back")


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Any]:
    """A watch over the one area that needs no process: the receipt."""
    receipt = tmp_path / "receipt.json"
    receipt.write_text(
        '{"schema": "edgewright.receipt/v1", "accepted_for": "x", "verdict": "pass", "record": "r"}'
    )
    want = {"at": {"receipt": str(receipt)}, "accepted_for": "x", "verdict": ["pass"]}
    return {
        "schema": watch.SCHEMA,
        "release": {"name": 'la"bel', "version": "1.0.0"},
        "at": {"report": str(tmp_path / "report.json"), "metrics": str(tmp_path / "m.prom")},
        "want": {"acceptance": want},
        "accepted": probe.probe(LocalSystem(), {"acceptance": want}),
        "why": {"acceptance": {"verdict": 'the "why" of it'}},
    }


def run(kept: dict[str, Any], tmp_path: Path) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Look once: exit code, report, and the metrics by name with labels."""
    path = tmp_path / "want.json"
    path.write_text(json.dumps(kept))
    code = watch.main([str(path)])
    found = json.loads((tmp_path / "report.json").read_text())
    lines = (tmp_path / "m.prom").read_text().splitlines()
    return code, found, dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_a_device_as_accepted_says_so(kept: dict[str, Any], tmp_path: Path) -> None:
    code, found, metrics = run(kept, tmp_path)
    assert (code, found["drift"], found["success"], found["items"]) == (0, [], True, {"acceptance": 0})
    assert metrics['edgewright_drift_items{area="acceptance"}'] == "0"
    assert metrics["edgewright_watch_success"] == "1"
    assert float(metrics["edgewright_watch_cpu_seconds"]) >= 0
    digest = drift_watch.want_digest(kept["want"])
    info = f'edgewright_watch_info{{release="la\\"bel",version="1.0.0",want_sha256="{digest}"}}'
    assert metrics[info] == "1"
    assert oct((tmp_path / "report.json").stat().st_mode)[-3:] == "600"
    assert oct((tmp_path / "m.prom").stat().st_mode)[-3:] == "644"
    assert sorted(path.name for path in tmp_path.glob(".watch-*")) == []


def test_what_changed_is_named(
    kept: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "receipt.json").unlink()
    code, found, metrics = run(kept, tmp_path)
    assert code == 0
    assert [item["item"] for item in found["drift"]] == ["accepted_for", "verdict", "record"]
    assert found["drift"][0]["accepted"] == "x"
    assert metrics['edgewright_drift_items{area="acceptance"}'] == "3"
    assert metrics['edgewright_drift_item{area="acceptance",item="verdict"}'] == "1"
    assert found["drift"][0]["cause"] == "nothing, accepted was x"
    label = 'area="acceptance",item="verdict",cause="nothing, accepted was pass: the \\"why\\" of it"'
    assert metrics["edgewright_drift_cause_info{" + label + "}"] == "1"
    told = 'acceptance.verdict is not as accepted: nothing, accepted was pass: the "why" of it'
    assert told in capsys.readouterr().err


def test_an_area_that_cannot_be_read_is_no_area_without_drift(kept: dict[str, Any], tmp_path: Path) -> None:
    kept["want"] = {"kernal": {}, "depot_client": {"depot": 1}, **kept["want"]}
    code, found, metrics = run(kept, tmp_path)
    assert (code, found["success"], len(found["errors"])) == (0, False, 2)
    assert metrics["edgewright_watch_success"] == "0"
    assert 'edgewright_drift_items{area="kernal"}' not in metrics
    assert metrics['edgewright_drift_items{area="acceptance"}'] == "0"


class Busy(LocalSystem):
    """A device whose podman does not answer in time."""

    def run(self, argv: list[str], timeout_s: float = 30.0) -> Result:
        if argv[0] == "podman":
            return Result(124, "", f"no answer within {timeout_s:g} s")
        return Result(0, "podman\tinstalled\t4\n" if argv[0] == "dpkg-query" else "", "")


def test_a_command_without_an_answer_is_an_error_and_no_finding() -> None:
    at = {
        **{"unit": "u", "container": "c", "socket": "/none", "default_site": "/none/d", "identity": "/none"},
        **{"frontend": ["127.0.0.1", 1], "references": {"runtime": "r@d"}},
    }
    want = {"runtime": {"at": at, "packages": {"podman": "4"}, "files": {}}}
    found = watch.look(Busy(), {"want": want, "accepted": {"runtime": {"image": "d"}}})
    assert (found["drift"], found["items"], found["success"]) == ([], {}, False)
    assert found["errors"] == [
        "runtime: `podman container inspect c`: no answer within 30 s, so what it would tell is not known"
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "x"}', '{"schema": "edgewright.watch/v1"}'])
def test_a_damaged_file_is_told_and_nothing_is_written(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "want.json").write_text(text)
    assert watch.main([str(tmp_path / "want.json")]) == 1
    assert "cannot be used" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["want.json"]


def test_a_result_that_cannot_be_written_is_told_and_the_other_is_there(
    kept: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept["at"]["metrics"] = str(tmp_path / "none" / "m.prom")
    path = tmp_path / "want.json"
    path.write_text(json.dumps(kept))
    assert watch.main([str(path)]) == 1
    assert "m.prom was not written" in capsys.readouterr().err
    assert json.loads((tmp_path / "report.json").read_text())["success"] is True
