# SPDX-License-Identifier: Apache-2.0
"""What `/metrics` says, read with Prometheus' own parser."""

from __future__ import annotations

import hashlib
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from runtime_support.models import write_sum
from runtime_support.serving import Served


def samples(server: Served) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    status, text, headers = server.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_counts(tmp_path: Path) -> None:
    root = write_sum(tmp_path)
    row = {"shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    with Served(tmp_path) as server:
        for _ in range(3):
            request = {"inputs": [{"name": "a", **row}, {"name": "b", **row}]}
            assert server.ask("POST", "/v2/models/sum/infer", request)[0] == 200
        assert server.ask("POST", "/v2/models/sum/infer", {})[0] == 400
        assert server.ask("POST", "/v2/models/evil%C3%A4/infer", {})[0] == 404
        found = samples(server)

    def value(name: str, **labels: str) -> float:
        return found[(name, frozenset(labels.items()))]

    one = {"model": "sum", "version": "1"}
    assert value("edgewright_inference_requests_total", **one, code="200") == 3
    assert value("edgewright_inference_requests_total", **one, code="400") == 1
    assert value("edgewright_inference_requests_total", model="", version="", code="404") == 1
    assert value("edgewright_inference_refused_total", reason="unknown_model") == 1
    assert value("edgewright_inference_refused_total", reason="bad_request") == 1
    assert value("edgewright_inference_compute_seconds_count", **one) == 3
    assert value("edgewright_inference_request_seconds_count", **one) == 3
    assert value("edgewright_inference_queue_seconds_count", **one) == 4
    compute = value("edgewright_inference_compute_seconds_sum", **one)
    assert 0 < compute <= value("edgewright_inference_request_seconds_sum", **one)
    assert value("edgewright_runtime_ready") == 1
    assert value("edgewright_inference_in_flight") == 0
    digest = hashlib.sha256((root / "model.onnx").read_bytes()).hexdigest()
    assert value("edgewright_model_info", **one, platform="onnxruntime_onnx", sha256=digest) == 1
    assert value("process_resident_memory_bytes") > 10_000_000
    assert not [labels for _, labels in found if "evil" in str(labels)]
