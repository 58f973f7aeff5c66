"""Counts and latencies of requests by route template, so that ids in paths do not multiply the series."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Admission takes milliseconds, a whole DAG seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry per application, so that two of them in one process do not collide."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vanta_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "vanta_http_request_seconds",
            "Time to the end of the answer, in seconds.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._payment_hooks = Counter(
            "vanta_payment_hooks",
            "Requests to the hooks of payment systems, by what became of them.",
            ["provider", "outcome"],
            registry=self._registry,
        )
        self._payment_events = Gauge(
            "vanta_payment_events",
            "Events of payment systems in the inbox: pending until acted on, orphaned as nobody's.",
            ["provider", "state"],
            registry=self._registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """`method`: one of a few known ones, as it is a label."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def payment_events(self, left: Mapping[tuple[str, str], int]) -> None:
        """Counted in the database, so that every process tells the same."""
        self._payment_events.clear()
        for (provider, state), number in left.items():
            self._payment_events.labels(provider, state).set(number)

    def payment_hook(self, provider: str, outcome: str) -> None:
        """Both are labels, and one of a few known ones."""
        self._payment_hooks.labels(provider, outcome).inc()

    def render(self) -> bytes:
        return generate_latest(self._registry)
