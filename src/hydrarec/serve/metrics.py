"""What a server measures of itself, for Prometheus. Nothing in it names a user or an item."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = CONTENT_TYPE_LATEST
REFUSED = "hydrarec.refused"  # in the scope of a request: why it was
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is looked up when it is asked for.

    Attributes:
        store_bytes: None where the store cannot be asked.
        index: recall of the index, and how many items it does not know as they are; None where every item is scored.
    """

    queues: dict[str, int]
    states_made: int
    items: int
    store_bytes: int | None
    version: str
    index: tuple[float, int] | None


class Metrics:
    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read, self._registry = read, CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # CPU and memory, on Linux
        self.requests = Counter("hydrarec_requests", "Requests answered.", ["route", "status"], registry=self._registry)
        self.seconds = Histogram(
            "hydrarec_request_seconds",
            "From a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.refused = Counter("hydrarec_refused", "Requests refused, by reason.", ["reason"], registry=self._registry)
        self.reloads = Counter("hydrarec_reloads", "Reloads, done or failed.", ["was"], registry=self._registry)
        self.events = Counter(
            "hydrarec_events", "Events applied, and those known before.", ["was"], registry=self._registry
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        reading = self._read()
        queues = GaugeMetricFamily("hydrarec_waiting", "Events, requests and items that wait.", labels=["queue"])
        for name, count in reading.queues.items():
            queues.add_metric([name], count)
        yield queues
        yield CounterMetricFamily("hydrarec_states_made", "States made from histories.", reading.states_made)
        yield GaugeMetricFamily("hydrarec_catalog_items", "Items that can be recommended.", reading.items)
        if reading.store_bytes is not None:
            yield GaugeMetricFamily("hydrarec_store_bytes", "Size of the files of the store.", reading.store_bytes)
        if reading.index is not None:
            recall, stale = reading.index
            yield GaugeMetricFamily(
                "hydrarec_index_recall", "Share of the best 100 items that the index finds.", recall
            )
            yield GaugeMetricFamily(
                "hydrarec_index_stale", "Items that came, changed or went since it was built.", stale
            )
        yield InfoMetricFamily("hydrarec_model", "What answers.", {"version": reading.version})


class _Collected:
    """Families to be written."""

    def __init__(self) -> None:
        self.families: dict[str, Metric] = {}

    def collect(self) -> Iterator[Metric]:
        yield from self.families.values()


def by_worker(texts: Mapping[int, str]) -> bytes:
    """What several workers say, as one, with a label that tells which of them."""
    all_of_them = _Collected()
    for worker, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text):
            known = all_of_them.families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                known.add_sample(sample.name, {**sample.labels, "worker": str(worker)}, sample.value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(all_of_them)
    return generate_latest(registry)


class Measured:
    """Middleware: counts requests and takes their time, by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
            if reason := scope.get(REFUSED):
                self._metrics.refused.labels(reason).inc()
