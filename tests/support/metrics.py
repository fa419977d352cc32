"""Metrics as prometheus-client reads them."""

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """One scrape.

    Attributes:
        text: as it came.
    """

    def __init__(self, text: str) -> None:
        """Read OpenMetrics.

        Raises:
            ValueError: it is not that, or has a series twice.
        """
        self.text = text
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for found in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
            for sample in found.samples:
                key = sample.name, frozenset(sample.labels.items())
                if key in self._values:
                    raise ValueError(f"{key} is there twice")
                self._values[key] = float(sample.value)

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {name for name, _ in self._values}

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels, whatever others they have; 0 if none has."""
        wanted = set(labels.items())
        return sum(
            value
            for (own, its), value in self._values.items()
            if own == name and wanted.issubset(its)
        )

    def label(self, name: str, label: str) -> set[str]:
        """The values of a label of a metric."""
        return {dict(its)[label] for own, its in self._values if own == name}


async def scrape(client: httpx.AsyncClient, url: str = "/metrics", **headers: str) -> Scrape:
    """Scrape, as Prometheus does."""
    response = await client.get(url, headers={"Accept": OPENMETRICS, **headers})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == f"{OPENMETRICS}; charset=utf-8"
    return Scrape(response.text)
