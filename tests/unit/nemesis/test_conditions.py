"""The checker of writes on a condition, over histories that are made up."""

from typing import Any

import pytest

from nemesis.checkers.conditions import check_conditions
from nemesis.checkers.documents import check_documents
from nemesis.history import Read
from nemesis.layout import member_of
from tests.unit.nemesis.made_up import write


@pytest.mark.parametrize(
    "events",
    [
        [write(1, 1), write(2, 2, condition="right")],
        [write(1, 1), write(2, 2, condition="wrong", end="refused", status=412)],
        # What was not acknowledged may have come in between.
        [
            write(1, 1, end="unknown"),
            write(2, 2),
            write(3, 3, condition="right", end="refused", status=412),
        ],
        [write(1, 1), write(2, 2, condition="right", end="unknown", status=503)],
        [write(1, 1), write(2, 2, condition="right", end="refused", status=429)],
    ],
)
def test_a_write_that_ends_as_its_condition_says_is_no_violation(events: list[Any]) -> None:
    """Or as it may, where the writer cannot know."""
    assert check_conditions(events) == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([write(1, 1), write(2, 2, condition="wrong")], "did not hold"),
        ([write(1, 1), write(2, 2, condition="wrong", end="logged")], "did not hold"),
        (
            [write(1, 1), write(2, 2, condition="right", end="refused", status=412)],
            "though the condition held",
        ),
    ],
)
def test_a_condition_that_is_judged_wrongly_is_a_violation(events: list[Any], text: str) -> None:
    """It is found, once, and named."""
    (violation,) = check_conditions(events)
    assert text in violation.text


def test_a_lost_change_of_a_shared_document_is_a_violation() -> None:
    """Each writer's member counts as a document of its own."""
    name = member_of("shared0", 3)
    lost = Read(at=3, until=3.1, gateway="gateway-0", id=name, status=200, version=1)
    (violation,) = check_documents([write(1, 1, id=name), write(2, 2, id=name), lost])
    assert "shared0.w3" in violation.text
