"""Verdicts as a table for people, as JSON, and as the part of docs/security.md that is measured."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.harness.report import machine
from tests.hostile.attack import Attack
from tests.hostile.verdict import Verdict
from tests.support import doc_blocks

BLOCK = "attacks"
_LIGHT = (
    "At the strength of the ring: 100 documents instead of 400, 40 collections instead of 5,000, "
    "and some seconds of each generator; `make attack` has the full strength."
)
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def line_of(verdict: Verdict) -> str:
    """A verdict in one line, and a further line for each failure."""
    how = "holds" if verdict.holds else "FAILS"
    parts = "  ".join(f"{part} {memory.peak:.0f}" for part, memory in verdict.memory.items())
    line = (
        f"{verdict.attack:<24} {how}  {verdict.answered:6.1%} of {verdict.num_searches:<4} "
        f"p50 {verdict.p50_ms:4.0f}  p99 {verdict.p99_ms:5.0f} ms  coverage {verdict.coverage:.2f}"
        f"  lag {verdict.loop_lag_ms:4.0f} ms  MB: {parts}"
    )
    return "\n".join([line, *(f"    - {failure}" for failure in verdict.failures)])


def as_json(verdicts: Sequence[Verdict], seed: int) -> str:
    """Every figure."""
    found = [dataclasses.asdict(verdict) for verdict in verdicts]
    return json.dumps({"machine": machine(), "seed": seed, "verdicts": found}, indent=2) + "\n"


def table(
    attacks: Mapping[str, Attack], verdicts: Sequence[Verdict], command: str, *, is_full: bool
) -> str:
    """The measured part of the page.

    Args:
        attacks: name → attack.
        verdicts: the newest of each attack.
        command: what measured them.
        is_full: whether they had their full strength.
    """
    lines = [
        f"Measured by `{command}` on {machine()}; the normal client searched every 50 ms."
        + ("" if is_full else f" {_LIGHT}"),
        "",
        "| attack | what it sends | before | answered in time | p50, p99 | gateway | worker |",
        "|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        attack = attacks[verdict.attack]
        cells = (
            f"`{verdict.attack}`" + ("" if verdict.holds else " **(does not hold)**"),
            attack.sends,
            attack.was or "held",
            f"{verdict.answered:.1%} of {verdict.num_searches}",
            f"{verdict.p50_ms:.0f} ms, {verdict.p99_ms:.0f} ms",
            _peak(verdict, "gateway"),
            _peak(verdict, "worker-0"),
        )
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)


def _peak(verdict: Verdict, part: str) -> str:
    return f"{verdict.memory[part].peak:.0f} MB" if part in verdict.memory else "-"


def write_page(text: str, page: Path = PAGE) -> None:
    """Put the measured part between the page's markers.

    Raises:
        ValueError: the page has lost them.
    """
    doc_blocks.write(page, {BLOCK: text})
