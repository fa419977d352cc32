"""The figures of `gateway plan` against the pages that they are taken from, and its predictions."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from hedgerow.gateway.capacity import costs, figures
from hedgerow.gateway.capacity.costs import MEASURED, MILLION, cpu_of_search
from hedgerow.gateway.capacity.figures import Cell, Quote
from hedgerow.gateway.cli import main

DOCS: Final = Path(__file__).parents[2] / "docs"
NAMED: Final = {
    **{name: each for name, each in vars(figures).items() if isinstance(each, Cell | Quote)},
    **{f"SCORERS_{shards}": cell for shards, cell in figures.SCORERS_BY_SHARDS.items()},
}
WORDS: Final = {2: "twice", 3: "third", 4: "four"}
# By what a cluster's CPU and throughput may differ from the prediction, at most.
FACTOR: Final = 1.3


def page(name: str) -> str:
    """Read a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def tables(name: str) -> Iterator[list[list[str]]]:
    """The tables of a page, as rows of cells, headings first."""
    for block in re.findall(r"(?:^\|.*\|\n)+", page(name), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines(block)]
        yield [[cell.strip("| ") for cell in row] for row in rows]


def lines(block: str) -> list[str]:
    """The lines of a table, without the one beneath the headings."""
    return [line for line in block.splitlines() if not re.fullmatch(r"[|\s-]+", line)]


def rows(name: str, row: str, column: str) -> list[float]:
    """The figures of a page in that row and column."""
    return [
        float(cells[table[0].index(column)].replace(",", ""))
        for table in tables(name)
        if column in table[0]
        for cells in table[1:]
        if cells[0] == row
    ]


@pytest.mark.parametrize("name", NAMED)
def test_each_figure_is_that_of_its_page(name: str) -> None:
    """A cell has the figure, and a sentence stands on the page and has it."""
    figure = NAMED[name]
    if isinstance(figure, Cell):
        assert rows(figure.page, figure.row, figure.column)[:1] == [figure.value]
        return
    assert " ".join(figure.text.split()) in " ".join(page(figure.page).split())
    written = rf"(?<![\d.,]){figure.value:,}(?![\d.]|,\d)|{WORDS.get(int(figure.value), '(?!)')}"
    assert re.search(written, figure.text), figure


def test_the_fit_is_near_what_was_measured() -> None:
    """The formula for a scorer's time is within 3 % of the figures that it was fitted to."""
    for shards, cell in figures.SCORERS_BY_SHARDS.items():
        millions = 1 / shards
        fitted = costs.FIT_SHARD_US + costs.FIT_MILLION_US * millions**costs.FIT_POWER
        assert fitted * shards == pytest.approx(cell.value, rel=0.03)


def test_the_default_is_reproduced_part_by_part() -> None:
    """For the measured default, each part's CPU is that of the page."""
    for fields, parts in (
        (False, (figures.GATEWAY, figures.REDIS, figures.WORKERS, figures.SCORERS)),
        (
            True,
            (
                figures.GATEWAY_FIELDS,
                figures.REDIS_FIELDS,
                figures.WORKERS_FIELDS,
                figures.SCORERS_FIELDS,
            ),
        ),
    ):
        documents = figures.USED_DOCUMENTS.value
        cpu = cpu_of_search(MEASURED, 2, documents, fields=fields)
        found = (cpu.gateway, cpu.redis, cpu.workers, cpu.scorers)
        assert found == pytest.approx([cell.value for cell in parts])


@pytest.mark.parametrize("fields", [True, False])
def test_the_throughput_of_the_default_is_predicted(fields: bool) -> None:
    """Two cores divided by the CPU of a search are near the searches a second of the page."""
    name = "`gateway up`, HTTP" + ("" if fields else ", `fields: false`")
    (client,) = rows(figures.USED, name, "client")
    measured = rows(figures.USED, name, "whole answers/s")[1]  # with 32 in flight
    cpu = cpu_of_search(MEASURED, 2, figures.USED_DOCUMENTS.value, fields=fields)
    predicted = figures.CORES.value * 1e6 / (cpu.total + client)
    assert 1 / 1.11 < predicted / measured < 1.11


# The plan counts shards, not processes: it leaves out that four workers take turns on two cores.
@pytest.mark.parametrize(
    ("row", "below"),
    [("1 on 1", 1.0), ("2 on 1", 1.0), ("4 on 1", 1.0), ("8 on 1", 1.0), ("8 on 4", 1.17)],
)
def test_other_numbers_of_shards_are_predicted(row: str, below: float) -> None:
    """Of clusters that no cost was taken from, both are within a factor; CPU is hardly below."""
    (measured_us,) = rows(figures.USED, row, "CPU of a whole answer, µs")
    (measured_qps,) = rows(figures.USED, row, "32 in flight: whole answers/s")
    (client,) = rows(figures.USED, "`gateway up`, HTTP", "client")
    cpu = cpu_of_search(MEASURED, int(row[0]), 100_000, fields=True)
    predicted_us = cpu.total + client
    assert 1 / below < predicted_us / measured_us < FACTOR
    assert 1 / FACTOR < figures.CORES.value * 1e6 / predicted_us / measured_qps < FACTOR


def test_the_formula_is_continuous_at_a_million() -> None:
    """Where the measured growth ends and the assumed one begins, the time does not jump."""
    below, above = (MEASURED.scorer_us(MILLION + by, fields=False) for by in (-1, 1))
    assert below == pytest.approx(above, rel=1e-4)


def test_the_example_of_the_page_is_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table in docs/sizing.md is that of the command above it."""
    shown = re.search(
        r"```sh\n(gateway plan .*)\n```\n\n<!-- plan: begin -->\n\n```\n(.*?)```",
        page(figures.SIZING),
        re.DOTALL,
    )
    assert shown is not None
    monkeypatch.setattr("sys.argv", shlex.split(shown[1]))
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main.run()
    printed = capsys.readouterr().out.splitlines()
    written = shown[2].splitlines()
    assert [line.rstrip() for line in printed[: len(written)]] == written
