"""Metrics for Prometheus.

Each process counts for itself. Workers have no port, so they send their samples with their
announcements (relay/presence.py), and the app shows all of them at /metrics by the label `process`.
Metrics are lost with their process; the truth is in PostgreSQL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MEDIA_TYPE = CONTENT_TYPE_LATEST
# The most samples of one process, and bytes of a name or label; a real process has far fewer.
MAX_SAMPLES = 1000
MAX_LABEL = 100

_LABELS = {"method", "route", "status", "verdict", "reason", "state", "le", "nameserver", "answer"}

# A sample: name, labels, value.
Sample = tuple[str, dict[str, str], float]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

REQUESTS = Histogram(
    "email_batch_request_seconds",
    "Seconds from a request's arrival until its response began; streams and downloads last longer.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    registry=REGISTRY,
)
TURNS = Histogram(
    "email_batch_turn_seconds",
    "Seconds from the claim of a chunk until its outcomes were on the disk.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    registry=REGISTRY,
)
EMAILS = Counter(
    "email_batch_emails",
    "Emails processed, by outcome; the reasons of a team's own processor count as `own`.",
    ["verdict", "reason"],
    registry=REGISTRY,
)
PUT_OFF = Counter(
    "email_batch_put_off_emails",
    "Emails put off to a further round, once for each; the reason is theirs after the last one.",
    ["reason"],
    registry=REGISTRY,
)
UPLOADED = Counter("email_batch_uploaded_emails", "Emails of stored uploads.", registry=REGISTRY)
REPEATED_TURNS = Counter(
    "email_batch_repeated_turns",
    "Turns on a chunk of which an earlier turn was never committed.",
    registry=REGISTRY,
)
SWEEPS = Counter("email_batch_sweeps", "Sweeps for unfinished batches.", registry=REGISTRY)
RINGS = Counter("email_batch_rings", "Batch ids put on the Redis lists.", registry=REGISTRY)
STREAMS = Gauge("email_batch_streams", "Open event streams and downloads.", registry=REGISTRY)
DATABASE_CONNECTIONS = Gauge(
    "email_batch_database_connections", "Connections to PostgreSQL.", ["state"], registry=REGISTRY
)


class CountedElsewhere(Collector):
    """Metrics of what happens so often that a call for each time would take too long.

    Another module counts them as plain numbers. Its function `read`, which is called when somebody
    wants the metrics, returns name without prefix, label values and value of each number. No two
    may have the same name and labels.
    """

    def __init__(self, *families: tuple[type[Metric], str, str, list[str]]) -> None:
        """`families` are the class, name without prefix, explanation and labels of each metric."""
        self._families = families
        self.read: Callable[[], Iterable[tuple[str, tuple[str, ...], float]]] = tuple

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, each without a sample if nobody counts it."""
        families: dict[str, Any] = {
            name: kind(f"email_batch_{name}", about, labels=labels)  # type: ignore[call-arg]
            for kind, name, about, labels in self._families
        }
        for name, labels, value in self.read():
            families[name].add_metric(labels, value)
        yield from families.values()


# The check sets `read`. The labels are its own nameservers only, so that there are few samples.
DNS = CountedElsewhere(
    (
        CounterMetricFamily,
        "dns_queries",
        "Queries sent to a nameserver by UDP.",
        ["nameserver"],
    ),
    (
        CounterMetricFamily,
        "dns_answers",
        "Answers of a nameserver by UDP, by what they say.",
        ["nameserver", "answer"],
    ),
    (
        CounterMetricFamily,
        "dns_unusual_answers",
        "Answers by UDP that only the slow package could read.",
        ["nameserver"],
    ),
    (
        CounterMetricFamily,
        "dns_late_queries",
        "Queries that had no answer in time, so that they were asked again.",
        ["nameserver"],
    ),
    (
        CounterMetricFamily,
        "dns_lost_queries",
        "Queries that were lost: a later one with the same question was answered.",
        ["nameserver"],
    ),
    (
        GaugeMetricFamily,
        "dns_queries_under_way",
        "Queries whose answer is not late yet.",
        ["nameserver"],
    ),
    (GaugeMetricFamily, "dns_window", "The most queries under way just now.", ["nameserver"]),
    (
        GaugeMetricFamily,
        "dns_rate",
        "The most queries a second just now; 50,000 if there is no limit.",
        ["nameserver"],
    ),
    (GaugeMetricFamily, "dns_open_questions", "Questions without an answer yet.", []),
)
REGISTRY.register(DNS)


def samples() -> list[Sample]:
    """Return all samples of this process."""
    return [
        (sample.name, sample.labels, sample.value)
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]


def parse(value: Any) -> list[Sample]:
    """Return the samples that a process announced, checked.

    Raises ValueError, TypeError or AttributeError for anything else.
    """
    parsed = []
    for name, labels, number in value[:MAX_SAMPLES]:
        if not labels.keys() <= _LABELS:
            raise ValueError(labels)
        if any(len(text.encode()) > MAX_LABEL for text in (name, *labels.values())):
            raise ValueError(name)
        if not math.isfinite(number):
            raise ValueError(number)
        parsed.append((name, labels, float(number)))
    return parsed


def exposition(processes: Mapping[str, list[Sample]], gauges: Iterable[Metric]) -> bytes:
    """Return the samples of all processes, and `gauges`, as text for Prometheus.

    Samples whose name is not in REGISTRY are left out.
    """
    families = [*gauges]
    for known in REGISTRY.collect():
        family = Metric(known.name, known.documentation, known.type)
        names = {f"{known.name}{suffix}" for suffix in ("", "_total", "_bucket", "_sum", "_count")}
        for process, announced in processes.items():
            for name, labels, value in announced:
                if name in names:
                    family.add_sample(name, {**labels, "process": process}, value)
        families.append(family)
    text: bytes = generate_latest(SimpleNamespace(collect=lambda: families))
    return text


def gauge(name: str, about: str, value: float | None) -> Metric:
    """Return a gauge of the whole installation, without a sample if the value is None."""
    family = GaugeMetricFamily(f"email_batch_{name}", about)
    if value is not None:
        family.add_metric([], value)
    return family
