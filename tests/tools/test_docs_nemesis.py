"""docs/nemesis.md against the code that writes it."""

from pathlib import Path

import pytest

from nemesis.checkers.all_checks import CHECKS
from nemesis.faults.catalogue import CARDS
from nemesis.findings import FINDINGS
from nemesis.schedule import Card

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "nemesis.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.kind)
def test_each_kind_of_fault_is_on_the_page_and_was_injected(card: Card) -> None:
    """The page counts how often; a kind that no run has injected says nothing."""
    begins = f"| {card.kind} | {card.says} |"
    row = next(line for line in PAGE.splitlines() if line.startswith(begins))
    assert int(row.split("|")[3]) > 0


def test_each_promise_is_on_the_page_and_held() -> None:
    """The runs that the page shows have violated none."""
    for name, (says, _) in CHECKS.items():
        assert f"| {name} | {says} | 0 |" in PAGE


def test_each_finding_names_tests_that_are_there() -> None:
    """What was mended stays mended by a test."""
    for finding in FINDINGS:
        assert finding.cause in PAGE
        for part in finding.now.split("`")[1::2]:
            assert (ROOT / part).exists()
