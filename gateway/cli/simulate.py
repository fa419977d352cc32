"""`gateway simulate`: the tail latency of a cluster that you do not have, in virtual time."""

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hedgerow.common.errors import BadRequestError
from hedgerow.common.lifecycle import calm_collector
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.render import folded, plain
from hedgerow.gateway.simulate.report import Report, simulate
from hedgerow.gateway.simulate.scenario import load, shipped


def simulate_scenario(
    scenario: Annotated[
        str | None,
        typer.Argument(metavar="SCENARIO", help="Name of a built-in scenario, or a TOML file."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Seed of the random numbers.", show_default="the scenario's"
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the figures to FILE as JSON; - prints them."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the figures as SVG (needs the extra `plots`)."),
    ] = None,
    list_them: Annotated[
        bool, typer.Option("--list", help="List the built-in scenarios, and run none.")
    ] = False,
) -> None:
    """Run the gateway's policies over scripted shards in virtual time."""
    options.check_environment()
    console = Console()
    if list_them:
        for name in shipped():
            console.print(plain(f"{name:<24} {load(name).title}"), soft_wrap=True)
        return
    if scenario is None:
        raise typer.BadParameter("name a SCENARIO, or --list them", param_hint="SCENARIO")
    script = load(scenario)
    if plot is not None:
        from hedgerow.gateway.simulate.plot import check_can_draw  # noqa: PLC0415 - an optional extra

        check_can_draw()
    for option, path in (("--json", json_file), ("--plot", plot)):
        if path is not None and str(path) != "-":
            _check_can_write(option, path)  # fail before minutes of work, not after
    calm_collector()
    stderr = Console(stderr=True)
    started = time.monotonic()
    with stderr.status("") as status:
        report = simulate(script, seed, lambda run: status.update(f"simulating {run}"))
    took_s = time.monotonic() - started
    text = json.dumps(report, indent=1) + "\n"
    if json_file is not None and str(json_file) != "-":
        json_file.write_text(text, encoding="utf-8")
    if plot is not None:
        from hedgerow.gateway.simulate.plot import draw  # noqa: PLC0415 - as above

        plot.write_text(draw(report), encoding="utf-8")
    if json_file is not None and str(json_file) == "-":
        sys.stdout.write(text)
        return
    console.print(summary(report))
    num_requests = sum(run["requests"]["first"] for run in report["runs"])
    stderr.print(
        plain(
            f"{num_requests:,} shard requests simulated in {took_s:.1f} s, seed {report['seed']}"
        ),
        style="dim",
    )


def _check_can_write(option: str, path: Path) -> None:
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise BadRequestError(option, f"{path}: {error.strerror}") from error


def summary(report: Report) -> RenderableType:
    """Lay out a report for people: one line per run, and published figures beside ours."""
    runs = report["runs"]
    columns: dict[str, list[str]] = {
        "shards": [str(run["shards"]) for run in runs],
        **{
            heading: [_number(run["took_ms"][name]) for run in runs]
            for name, heading in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))
        },
        "coverage": [_percent(run["coverage"]["mean"]) for run in runs],
        "full": [_percent(run["coverage"]["full"]) for run in runs],
        "busy": [_percent(run["work"]["utilisation"]) for run in runs],
        "per s": [_number(run["answers_per_s"]) for run in runs],
    }
    if any(run["requests"]["copies"] for run in runs):
        columns["copies"] = [_percent(run["requests"]["copies_share"]) for run in runs]
    for limit in sorted({limit for run in runs for limit in run["over_ms"]}, key=float):
        columns[f">{limit}"] = [_percent(run["over_ms"].get(limit)) for run in runs]
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    longest = max(len(word) for run in runs for word in run["name"].split())
    table.add_column("run", style="bold", overflow="fold", min_width=longest)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for run, *values in zip(runs, *columns.values(), strict=True):
        table.add_row(folded(run["name"]), *values)
    legend = Text(
        "times in ms; full: answers with coverage 1; busy: of the servers' time; per s: answers; "
        "copies: second requests, of the first",
        style="dim",
    )
    parts: list[RenderableType] = [Text(report["title"], style="bold"), table, legend]
    if report["published"]:
        parts += [Text(""), _published(report["published"])]
    if report["source"]:
        parts += [Text(""), Text(f"source: {report['source']}", style="dim")]
    return Group(*parts)


def _published(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("run", style="bold", overflow="fold")
    table.add_column("figure")
    for heading in ("published", "ours"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        said = {True: "agrees", False: "DIFFERS", None: ""}[row["agrees"]]
        table.add_row(
            folded(row["run"]),
            plain(row["figure"]),
            _number(row["published"]),
            _number(row["ours"]),
            said,
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    if 0.99 < share < 1:  # rounded down, so that only 1 reads 100%
        return f"{math.floor(share * 1e5) / 1e3:g}%"
    return f"{100 * share:.3g}%"
