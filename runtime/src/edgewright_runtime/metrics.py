# SPDX-License-Identifier: Apache-2.0
"""The server's Prometheus metrics. A label's value never comes from a client."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from edgewright_runtime import __version__

__all__ = ["Metrics"]

# Seconds. From a quarter of a millisecond, what a small model takes, to where an edge answer is useless.
_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counters of one server process, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.info = Gauge(
            "edgewright_runtime_info", "1, with the version.", ["version"], registry=self.registry
        )
        self.info.labels(__version__).set(1)
        self.ready = Gauge(
            "edgewright_runtime_ready", "1 while the server takes requests.", registry=self.registry
        )
        self.model = Gauge(
            "edgewright_model_info",
            "1 for each model served; sha256 is of the model's file.",
            ["model", "version", "platform", "sha256"],
            registry=self.registry,
        )
        self.requests = Counter(
            "edgewright_inference_requests",
            "Inference requests answered, by HTTP status; an unknown model has empty labels.",
            ["model", "version", "code"],
            registry=self.registry,
        )
        self.refused = Counter(
            "edgewright_inference_refused",
            "Inference requests refused, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "edgewright_inference_in_flight",
            "Inference requests being received, waiting or computed.",
            registry=self.registry,
        )
        self.queue_seconds = Histogram(
            "edgewright_inference_queue_seconds",
            "Seconds from the request's last byte until a worker took it.",
            ["model", "version"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.compute_seconds = Histogram(
            "edgewright_inference_compute_seconds",
            "Seconds the model computed.",
            ["model", "version"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "edgewright_inference_request_seconds",
            "Seconds from the request's last byte to the encoded answer; only requests that got one.",
            ["model", "version"],
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
