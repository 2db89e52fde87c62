"""What /metrics tells of the DNS: read when it is wanted, because counting must take no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from processors.domains.exchange import Exchange
from processors.domains.pace import FASTEST


def read(exchange: Exchange) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield name, label values and value of each number of runtime.metrics.DNS."""
    yield "dns_open_questions", (), exchange.open
    # Summed up, because the same nameserver may be named twice.
    numbers: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for nameserver in exchange.nameservers:
        label, counts, pace = str(nameserver), nameserver.counts, nameserver.pace
        for answer, number in counts.answers.items():
            numbers["dns_answers", (label, answer)] += number
        for name, value in {
            "dns_queries": counts.queries,
            "dns_unusual_answers": counts.unusual,
            "dns_late_queries": counts.late,
            "dns_lost_queries": counts.lost,
            "dns_queries_under_way": pace.flying,
            "dns_window": int(pace.window),
            "dns_rate": int(min(pace.rate, FASTEST)),  # it is infinite without a limit
        }.items():
            numbers[name, (label,)] += value
    for (name, labels), number in numbers.items():
        yield name, labels, number
