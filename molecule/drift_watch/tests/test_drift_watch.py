# SPDX-License-Identifier: Apache-2.0
"""What systemd and the files say of the device's watch, asked without Edgewright's own probe."""

from __future__ import annotations

import json
from typing import Any

REPORT = "/run/edgewright/drift_watch/report.json"
METRICS = "/var/lib/prometheus/node-exporter/edgewright_drift_watch.prom"
# Share of one CPU that a watch with its usual period may cost.
USUAL_PERIOD_S = 600
MOST_SHARE = 0.001


def test_the_timer_runs_and_comes_back(host: Any) -> None:
    timer = host.service("edgewright-drift-watch.timer")
    assert timer.is_running
    assert timer.is_enabled
    assert host.check_output("systemd-analyze verify --man=no edgewright-drift-watch.timer 2>&1") == ""


def test_the_program_is_what_its_name_says(host: Any) -> None:
    (path,) = host.check_output("ls /var/lib/edgewright/probe/*").split()
    assert host.file(path).sha256sum in path
    assert host.file(path).user == "root"
    assert host.file(path).mode == 0o644


def test_the_device_finds_itself_as_accepted(host: Any) -> None:
    report = json.loads(host.file(REPORT).content_string)
    assert report["success"] is True
    assert report["drift"] == []
    assert set(report["items"]) >= {"identity", "depot_client", "kernel", "runtime"}
    assert host.file(REPORT).mode == 0o600
    assert 'edgewright_drift_items{area="depot_client"} 0' in host.file(METRICS).content_string


def test_a_look_costs_little(host: Any) -> None:
    """CPU, not wall time: a busy machine makes it wait, not work."""
    report = json.loads(host.file(REPORT).content_string)
    assert report["cpu_s"] / USUAL_PERIOD_S < MOST_SHARE
