"""What is written is what prometheus-client reads, in both formats."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from hedgerow.common.metrics.exposition import TextFormat, wanted_format, write
from hedgerow.common.metrics.histogram import Histogram
from hedgerow.common.metrics.metric import Family, Kind, Metric, family, single, summed

OPENMETRICS, PROMETHEUS = TextFormat.OPENMETRICS, TextFormat.PROMETHEUS
READERS: dict[TextFormat, Callable[[str], Iterable[object]]] = {
    OPENMETRICS: read_openmetrics,
    PROMETHEUS: read_prometheus,
}
JUMPS = Metric("fleas_jumps_total", Kind.COUNTER, 'Jumps "so far"\nby \\ place', ("place",))
LENGTH = Metric("fleas_length_seconds", Kind.HISTOGRAM, "Length of a jump", ("place",))
NOW = Metric("fleas_now", Kind.GAUGE, "Fleas now")


def read(families: Iterable[Family], form: TextFormat) -> dict[str, object]:
    """The samples, by name and labels, as prometheus-client's parser finds them."""
    text = "".join(write(families, form))
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for found in READERS[form](text)
        for sample in found.samples  # type: ignore[attr-defined] # a Metric
    }


@pytest.mark.parametrize("form", TextFormat)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers(0) | st.floats(0, allow_nan=False),
        max_size=4,
    )
)
def test_any_label_and_number_arrives(form: TextFormat, values: dict[str, float]) -> None:
    """Quotes, backslashes, line feeds and other characters in labels are read as they were."""
    found = read([family(JUMPS, list(values.items()))], form)
    assert found == {
        f"fleas_jumps_total{[('place', place)]}": value for place, value in values.items()
    }


@pytest.mark.parametrize("form", TextFormat)
@pytest.mark.parametrize("place", ["", "dog"])
def test_a_histogram_has_buckets_count_and_sum(form: TextFormat, place: str) -> None:
    """Buckets add up, and the last is that of infinity."""
    histogram = Histogram((0.1, 1.0))
    for length in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(length)
    found = read([family(LENGTH, [(place, histogram.distribution())])], form)
    label = ("place", place)
    assert found == {
        f"fleas_length_seconds_bucket{[('le', '0.1'), label]}": 2,
        f"fleas_length_seconds_bucket{[('le', '1.0'), label]}": 3,
        f"fleas_length_seconds_bucket{[('le', '+Inf'), label]}": 4,
        f"fleas_length_seconds_count{[label]}": 4,
        f"fleas_length_seconds_sum{[label]}": pytest.approx(7.65),
    }


def test_openmetrics_names_units_and_ends() -> None:
    """A counter's family has no `_total` there, a unit is named, and an end shows that all came."""
    lines = "".join(write([family(JUMPS, []), family(LENGTH, []), single(NOW, 3)], OPENMETRICS))
    assert "# TYPE fleas_jumps counter\n" in lines
    assert "# UNIT fleas_length_seconds seconds\n" in lines
    assert lines.endswith("# EOF\n")
    text = "".join(write([family(JUMPS, []), family(LENGTH, []), single(NOW, 3)], PROMETHEUS))
    assert "# TYPE fleas_jumps_total counter\n" in text
    assert "UNIT" not in text
    assert text.endswith("fleas_now 3\n")


def test_a_large_family_is_written_in_parts() -> None:
    """A part has a few hundred lines, so that other work can come between two parts."""
    parts = list(write([family(JUMPS, ((n, n) for n in range(5_000)))], PROMETHEUS))
    assert len(parts) > 10
    assert max(part.count("\n") for part in parts) < 500
    assert len(read_back := list(read_prometheus("".join(parts)))) == 1
    assert len(read_back[0].samples) == 5_000


def test_rows_with_the_same_labels_are_added_up() -> None:
    """A scrape with the same series twice would be refused as a whole."""
    assert list(summed([("a", 1), ("b", 2), ("a", 3)])) == [("a", 4), ("b", 2)]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/html, */*;q=0.1", PROMETHEUS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", PROMETHEUS),
        ("application/openmetrics-text;q=0", PROMETHEUS),
        ("application/openmetrics-text;q=nonsense", PROMETHEUS),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.9", PROMETHEUS),
        ("text/plain,application/openmetrics-text", OPENMETRICS),
        # As Prometheus 2.53 sends it.
        (
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;"
                "version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
            ),
            OPENMETRICS,
        ),
    ],
)
def test_the_client_chooses_the_format(accept: str, expected: TextFormat) -> None:
    """The preferred format of an Accept header; Prometheus's own, if it names neither."""
    assert wanted_format(accept) is expected
