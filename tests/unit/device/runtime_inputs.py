# SPDX-License-Identifier: Apache-2.0
"""Inputs that the areas runtime and acceptance accept, for their tests to change."""

from __future__ import annotations

from typing import Any

PROFILE: dict[str, Any] = {"name": "box", "cpus": 4, "boot": "grub"}
RUNTIME_DIGEST = "sha256:" + "a" * 64
MODEL_DIGEST = "sha256:" + "b" * 64
VARIABLES: dict[str, Any] = {
    "isolation_cpus": "2-3",
    "isolation_slice": "edgert.slice",
    "depot_client_url": "https://10.0.2.100:8443",
    "depot_client_suite": "bookworm",
    "runtime_listen": "0.0.0.0:8443",
    "runtime_max_request_bytes": 16777216,
    "runtime_threads": 0,
    "runtime_start_timeout_s": 180,
    "runtime_ready_timeout_s": 300,
    "acceptance_intent": {"latency_p99_ms": 50, "wakeup_worst_us": 100},
    "acceptance_rate_hz": 10.0,
    "acceptance_duration_s": 60.0,
    "acceptance_labels": 6,
    "acceptance_model": "",
    "acceptance_accept_inconclusive": False,
    "acceptance_wakeup_interval_us": 1000,
    "acceptance_wakeup_priority": 95,
}


def lock(**changes: Any) -> dict[str, Any]:
    """A lock with what these areas read."""
    packages = {"podman": "4.3.1", "crun": "1.8.1", "nginx": "1.22.1", "rt-tests": "2.4-1"}
    return {
        "release": {"name": "label-reader", "version": "1.0.0", "sha256": "0" * 64},
        "os": {"family": "debian", "suite": "bookworm", "arch": "amd64"},
        "kernel": {
            "package": "linux-image-6.1.0-9-rt-amd64",
            "version": "6.1",
            "release": "6.1.0-9-rt-amd64",
        },
        "apt": {"packages": [{"name": name, "version": version} for name, version in packages.items()]},
        "images": [
            {"role": "runtime", "name": "edgewright/runtime", "digest": RUNTIME_DIGEST},
            {"role": "model", "name": "edgewright/models/x", "model": "label-reader", "digest": MODEL_DIGEST},
        ],
        **changes,
    }
