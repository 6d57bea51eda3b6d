# SPDX-License-Identifier: Apache-2.0
"""Inputs that all areas accept of a device with `edgewright_os: ubuntu_core`, for their tests to change."""

from __future__ import annotations

from typing import Any

from tests.unit.device import runtime_inputs

RUNTIME_SHA3 = "A" * 64
MODEL_SHA3 = "B" * 64
PROFILE: dict[str, Any] = {
    "name": "x86_vm_snapd",
    "arch": "amd64",
    "cpus": 4,
    "boot": "given",
    "gpu": "none",
    "power_modes": [],
}
SNAPS: list[dict[str, Any]] = [
    {
        "name": "edgewright-model-label-reader",
        "grade": "dangerous",
        "filename": "edgewright-model-label-reader_dangerous.snap",
        "size": 20,
        "sha3_384": MODEL_SHA3,
    },
    {
        "name": "edgewright-runtime",
        "grade": "dangerous",
        "filename": "edgewright-runtime_dangerous.snap",
        "size": 10,
        "sha3_384": RUNTIME_SHA3,
    },
]
VARIABLES: dict[str, Any] = {
    **runtime_inputs.VARIABLES,
    "edgewright_os": "ubuntu_core",
    "edgewright_snap_grade": "dangerous",
    "identity_name": "reader-02",
    "identity_names": ["localhost", "127.0.0.1"],
    "identity_organisation": "Edgewright site",
    "identity_valid_days": 825,
    "identity_renew_days": 90,
    "__identity_site_root_sha256": "c" * 64,
    "kernel_cmdline": ["skew_tick=1"],
    "kernel_sysctl": {"kernel.panic": 10},
    "isolation_kind": "isolated",
    "drift_watch_period_s": 600,
    "drift_watch_textfile_directory": "/var/lib/prometheus/node-exporter",
}


def lock(**changes: Any) -> dict[str, Any]:
    """A lock whose runtime and model are packed as snaps."""
    made = runtime_inputs.lock(snaps=SNAPS)
    made["kernel"] = {**made["kernel"], "flavour": "rt"}
    return {**made, **changes}
