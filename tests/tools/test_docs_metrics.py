"""docs/metrics.md against the metrics, and what is shipped for Prometheus and Grafana against both.

`python -m tests.tools.test_docs_metrics` writes the tables again after a metric has changed.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from hedgerow.common.metrics.metric import Kind, Metric
from hedgerow.common.metrics.process_metrics import PROCESS_METRICS
from hedgerow.common.metrics.worker_metrics import WORKER_METRICS
from hedgerow.gateway.metrics.catalogue import GATEWAY_METRICS
from hedgerow.gateway.metrics.collector import CONNECTION_LIMITS, OWN_COUNTERS
from tests.support import doc_blocks
from tests.support.needs import missing

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "metrics.md"
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "hedgerow.json"
ALL = (*GATEWAY_METRICS, *WORKER_METRICS, *PROCESS_METRICS)
BY_TABLE = {
    "gateway": GATEWAY_METRICS,
    "workers": WORKER_METRICS,
    "processes": PROCESS_METRICS,
}


def render(metrics: Sequence[Metric]) -> str:
    """The table of some metrics."""
    rows = [
        (
            f"`{one.name}`",
            one.kind.value,
            ", ".join(f"`{label}`" for label in one.labels),
            one.about,
        )
        for one in metrics
    ]
    return doc_blocks.table(("metric", "kind", "labels", "meaning"), rows)


def test_each_metric_has_a_row_and_each_row_a_metric() -> None:
    """The tables are those of the code."""
    found = doc_blocks.blocks(DOCUMENT)
    for name, metrics in BY_TABLE.items():
        assert found[name] == render(metrics), f"write it again: python -m {__name__}"
    names = [one.name for one in ALL]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    """Prefix, `_total` for counters alone, base units at the end, labels in lower case.

    https://prometheus.io/docs/practices/naming/
    """
    assert re.fullmatch(r"(hedgerow|process)_[a-z_]+[a-z]", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    bare = metric.name.removesuffix("_total")
    assert not re.search(r"_(ms|us|s|mb|kb|percent|milliseconds|count|sum|bucket)$", bare)
    for unit in ("seconds", "bytes", "ratio"):
        assert f"_{unit}" not in bare or bare.endswith(f"_{unit}")
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
    assert not set(metric.labels) & {"le", "quantile", "job", "instance", "query", "id", "document"}


def sample_names() -> set[str]:
    """The names that an expression may ask for."""
    names = {"up", "ALERTS"}
    for one in ALL:
        ends = ("_bucket", "_count", "_sum") if one.kind is Kind.HISTOGRAM else ("",)
        names |= {one.name + end for end in ends}
    return names


def labels_of(name: str) -> set[str]:
    """The labels of a metric, and those that Prometheus adds."""
    own = {one.name: set(one.labels) for one in ALL} | {"up": set()}
    bare = re.sub(r"_(bucket|count|sum)$", "", name)
    return own.get(name, own.get(bare, set())) | {"le", "job", "instance"}


def groups(name: str) -> Iterator[dict[str, Any]]:
    """The rules of a file."""
    read = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))
    for group in read["groups"]:
        yield from group["rules"]


RECORDED = list(groups("hedgerow.rules.yml"))
ALERTS = list(groups("hedgerow.alerts.yml"))
BOARD = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [
    *(rule["expr"] for rule in (*RECORDED, *ALERTS)),
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_rules_and_panels_ask_for_what_there_is(expression: str) -> None:
    """Each name is that of a metric or of a recording rule, and each label one that it has."""
    recorded = {rule["record"] for rule in RECORDED}
    for name in re.findall(r"\b(?:hedgerow[_:]|process_)[a-z0-9_:]+", expression):
        assert name in recorded or name in sample_names() or "{__name__" in expression, name
    for name, selector in re.findall(r"\b([a-z_]+)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            assert label in labels_of(name), f"{name} has no label {label}"


def test_each_alert_leads_to_a_section_that_exists() -> None:
    """A runbook's link names a page, and a heading of it by its anchor, as GitHub makes it."""
    for rule in ALERTS:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        text = (ROOT / page).read_text(encoding="utf-8")
        headings = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
        assert page.startswith("docs/")
        assert not anchor or anchor in anchors, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_each_alert_is_documented_and_tested() -> None:
    """The page lists each; and each has a case in which it fires, and one in which it does not."""
    names = {rule["alert"] for rule in ALERTS}
    assert set(re.findall(r"`(Hedgerow\w+)`", DOCUMENT.read_text(encoding="utf-8"))) == names
    tests = yaml.safe_load((PROMETHEUS / "hedgerow.tests.yml").read_text(encoding="utf-8"))
    cases = [case for test in tests["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "hedgerow.rules.yml", "hedgerow.alerts.yml"),
        ("test", "rules", "hedgerow.tests.yml"),
    ],
    ids=" ".join,
)
def test_promtool_passes(arguments: tuple[str, ...]) -> None:
    """Prometheus's own tool reads the files, and the tests of the rules pass."""
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool (apt-get install prometheus)")
    assert promtool is not None
    done = subprocess.run(
        [promtool, *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_panel_says_what_it_shows() -> None:
    """A title of its own, a unit, and no overlap with another panel."""
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def test_limits_that_begin_at_zero_are_the_counters_of_connections() -> None:
    """Those that docs/http-connections.md lists, which a test holds to the code."""
    text = (ROOT / "docs" / "http-connections.md").read_text(encoding="utf-8")
    table = text.partition("\n| counter | counts |\n")[2].partition("\n\n")[0]
    assert set(CONNECTION_LIMITS) == set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_each_other_counter_of_a_gateway_has_a_metric_of_its_own() -> None:
    """A new one would be taken for a limit that clients hit: docs/watching.md lists them."""
    text = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    assert set(OWN_COUNTERS) == set(re.findall(r"^\| `(\w+)` \| gateway \|", text, re.MULTILINE))


def test_images_are_pinned_by_version() -> None:
    """The compose file names a version of each image, and mounts what is in the repository."""
    read = yaml.safe_load((ROOT / "compose.observe.yaml").read_text(encoding="utf-8"))
    for name in ("prometheus", "grafana"):
        service = read["services"][name]
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), service["image"]
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_dir(), source


if __name__ == "__main__":
    written = doc_blocks.blocks(DOCUMENT)
    doc_blocks.write(DOCUMENT, {**written, **{k: render(v) for k, v in BY_TABLE.items()}})
