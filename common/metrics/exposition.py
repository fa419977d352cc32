"""Writes metrics in the two text formats that Prometheus reads.

- OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/);
- Prometheus's own text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).

They differ in the name of a counter in its comments, in the units, and in the end.
prometheus-client also writes both, but takes ten times as long and adds 12 MB to each process that
imports it. The tests read what is written here with its parser, with promtool and with Prometheus.
"""

import math
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from hedgerow.common.metrics.histogram import Distribution
from hedgerow.common.metrics.metric import Family, Kind, Metric, Sample

_UNITS: Final = ("seconds", "bytes", "ratio")
_TO_ESCAPE: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_CHUNK: Final = 200  # samples, of about 1 µs each, between two pauses


class TextFormat(Enum):
    """A format; its value is its media type."""

    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def wanted_format(accept: str) -> TextFormat:
    """The format that an Accept header prefers (RFC 9110, 12.5.1); without one, Prometheus's."""
    open_metrics = text = 0.0
    for part in accept.split(","):
        media_type, _, rest = part.partition(";")
        parameters = dict(_parameter(one) for one in rest.split(";"))
        quality = _quality(parameters.get("q", "1"))
        match media_type.strip().lower():
            case "application/openmetrics-text":
                # Version 0.0.1 was a draft; a client that takes only it gets the other format.
                if parameters.get("version", "1.0.0") == "1.0.0":
                    open_metrics = max(open_metrics, quality)
            case "text/plain" | "text/*" | "*/*":
                text = max(text, quality)
    prefers = open_metrics > 0 and open_metrics >= text
    return TextFormat.OPENMETRICS if prefers else TextFormat.PROMETHEUS


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0


def write(families: Iterable[Family], form: TextFormat) -> Iterator[str]:
    """Yield the text in parts, each of which takes a fraction of a millisecond to make."""
    for metric, samples in families:
        lines = list(_head(metric, form))
        for number, sample in enumerate(samples, start=1):
            lines += _lines(metric, sample)
            if number % _CHUNK == 0:
                yield "".join(lines)
                lines.clear()
        yield "".join(lines)
    if form is TextFormat.OPENMETRICS:
        yield "# EOF\n"


def _head(metric: Metric, form: TextFormat) -> Iterator[str]:
    name, about = metric.name, metric.about.replace("\\", r"\\").replace("\n", r"\n")
    if form is TextFormat.OPENMETRICS and metric.kind is Kind.COUNTER:
        name = name.removesuffix("_total")
    yield f"# HELP {name} {about}\n"
    yield f"# TYPE {name} {metric.kind.value}\n"
    if form is TextFormat.OPENMETRICS:
        unit = name.rpartition("_")[2]
        if unit in _UNITS:
            yield f"# UNIT {name} {unit}\n"


def _lines(metric: Metric, sample: Sample) -> Iterator[str]:
    labels = ",".join(
        f'{name}="{value.translate(_TO_ESCAPE)}"'
        for name, value in zip(metric.labels, sample.labels, strict=True)
    )
    if not isinstance(sample.value, Distribution):
        yield (
            f"{metric.name}{{{labels}}} {_number(sample.value)}\n"
            if labels
            else (f"{metric.name} {_number(sample.value)}\n")
        )
        return
    name, found = metric.name, sample.value
    comma, own = ("," if labels else ""), (f"{{{labels}}}" if labels else "")
    for bound, count in zip((*found.bounds, math.inf), found.cumulative, strict=True):
        yield f'{name}_bucket{{{labels}{comma}le="{_number(float(bound))}"}} {count}\n'
    yield f"{name}_count{own} {found.cumulative[-1]}\n"
    yield f"{name}_sum{own} {_number(found.total)}\n"


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    return repr(value) if isinstance(value, float) else str(int(value))
