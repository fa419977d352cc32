"""What a metric is: declared once, and sampled when it is scraped.

Nothing is registered and nothing is looked up while the product serves. What the parts count anyway
is read at a scrape; what needs a distribution is kept in a `Histogram`.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from hedgerow.common.metrics.histogram import Distribution


class Kind(StrEnum):
    """The kinds of metrics, by the names that both text formats have for them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """A metric, as its documentation and its samples need it.

    Attributes:
        name: its name by Prometheus's conventions; that of a counter ends with `_total`.
        kind: its kind.
        about: what it measures, as a sentence without a full stop.
        labels: the names of its labels.
    """

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """One value of a metric.

    Attributes:
        labels: the values of the metric's labels, in their order.
        value: a number, or the distribution of a histogram.
    """

    labels: tuple[str, ...]
    value: "float | Distribution"


# A metric with its samples. They are computed while they are written, so that writing may pause.
Family = tuple[Metric, Iterable[Sample]]


def family(metric: Metric, rows: Iterable[Sequence[object]]) -> Family:
    """A metric with its samples.

    Args:
        metric: the metric.
        rows: the values of its labels in order, and then the sample's value.
    """
    return metric, _samples(rows)


def single(metric: Metric, value: "float | Distribution") -> Family:
    """A metric without labels, with its value."""
    return metric, (Sample((), value),)


def _samples(rows: Iterable[Sequence[object]]) -> Iterator[Sample]:
    for *labels, value in rows:
        if isinstance(value, int | float | Distribution):
            yield Sample(tuple(map(str, labels)), value)


def summed(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Add up the values of rows with the same labels."""
    sums: dict[tuple[Any, ...], float] = {}
    for *labels, value in rows:
        sums[tuple(labels)] = sums.get(tuple(labels), 0) + value
    return ((*labels, value) for labels, value in sums.items())


def together(families: Iterable[Family]) -> list[Family]:
    """Join the samples of families of the same metric; each metric is written once.

    The metrics are in the order in which they first appear.
    """
    joined: dict[str, tuple[Metric, list[Iterable[Sample]]]] = {}
    for metric, samples in families:
        joined.setdefault(metric.name, (metric, []))[1].append(samples)
    return [(metric, _chained(parts)) for metric, parts in joined.values()]


def _chained(parts: list[Iterable[Sample]]) -> Iterator[Sample]:
    for samples in parts:
        yield from samples
