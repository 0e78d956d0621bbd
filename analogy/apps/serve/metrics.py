"""The metrics of the service: counters of requests and jobs, which Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Media type of the text that `Metrics.text` returns."""


class Metrics:
    """Metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "analogy_requests",
            "Number of answers, by method, route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.jobs = Counter(
            "analogy_jobs", "Number of ended jobs, by their final state.", ["state"], registry=self.registry
        )
        self.seconds = Histogram(
            "analogy_job_seconds",
            "Seconds that the transfers took.",
            registry=self.registry,
            buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500),
        )
        self.restarts = Counter(
            "analogy_worker_restarts", "Number of workers that were replaced.", registry=self.registry
        )

    def gauge(self, name: str, words: str, value: Callable[[], float]) -> None:
        """Add a metric whose value is computed when Prometheus asks for it."""
        Gauge(name, words, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return all metrics as text for Prometheus."""
        return generate_latest(self.registry)
