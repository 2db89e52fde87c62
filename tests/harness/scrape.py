"""Read what /metrics says, as Prometheus would."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from harness.site import Site


class Numbers:
    """The samples of a scrape."""

    def __init__(self, site: Site) -> None:
        response = site.get("/metrics")
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        self.families = list(text_string_to_metric_families(response.body.decode()))
        self.samples = [sample for family in self.families for sample in family.samples]

    def of(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples of this name that have these labels; None without any."""
        values = [
            sample.value
            for sample in self.samples
            if sample.name == f"email_batch_{name}" and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None
