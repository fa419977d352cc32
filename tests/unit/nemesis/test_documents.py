"""The checker of documents, over histories that are made up."""

from typing import Any

import pytest

from hedgerow.common.partition import shard_of
from nemesis.checkers.documents import allowed, check_documents
from nemesis.history import Hit, Read
from nemesis.layout import NUM_SHARDS
from tests.unit.nemesis.made_up import search, write


def found(version: int | None) -> tuple[Hit, ...]:
    """Hits of a search that shows one version."""
    return (Hit("r0x0", version),)


def read(at: float, version: int | None, status: int = 200) -> Read:
    """A reading at the end."""
    return Read(
        at=at, until=at + 0.1, gateway="gateway-0", id="r0x0", status=status, version=version
    )


def outcomes(num_shards: int, *, is_owner_ok: bool) -> tuple[tuple[int, str], ...]:
    """Of all shards, of which either the document's own is ok, or all others are."""
    owner = shard_of("r0x0", num_shards)
    return tuple(
        (shard, "ok" if (shard == owner) is is_owner_ok else "timed_out")
        for shard in range(num_shards)
    )


@pytest.mark.parametrize(
    "events",
    [
        [write(1, 1), search(2, hits=found(1))],
        [write(1, 1), write(2, 2), search(3, hits=found(2))],
        # It was only logged: a search may find it, or not yet.
        [write(1, 1), write(2, 2, wait="logged"), search(3, hits=found(1))],
        [write(1, 1), write(2, 2, wait="logged"), search(3, hits=found(2))],
        # Search and write at the same time.
        [write(1, 1), write(2, 2, until=4), search(3, hits=found(1))],
        [write(1, 1), write(2, 2, until=4), search(3, hits=found(2))],
        # What was not acknowledged may be there, or not, or come later.
        [write(1, 1), write(2, 2, end="unknown"), search(3, hits=found(1))],
        [write(1, 1), write(2, 2, end="unknown"), search(3, hits=found(2))],
        [write(1, 1, end="unknown"), write(2, 2), search(3, hits=found(1))],
        [write(1, 1, end="unknown"), search(3)],
        [write(1, 1), write(2, 2, end="unknown", is_delete=True), search(3)],
        # Deletes.
        [write(1, 1), write(2, 2, is_delete=True), search(3)],
        [write(1, 1), write(2, 2, is_delete=True), write(3, 3), search(4, hits=found(3))],
        # A hit without its fields says only that it is there.
        [write(1, 1), search(2, hits=found(None))],
        # Its shard was not searched.
        [write(1, 1), search(2, outcomes=outcomes(NUM_SHARDS, is_owner_ok=False))],
        [write(1, 1), search(2, outcomes=outcomes(2 * NUM_SHARDS, is_owner_ok=False))],
        [search(1)],
        # The final reading.
        [write(1, 1, wait="logged"), search(2, hits=found(1), purpose="final"), read(3, 1)],
        [write(1, 1, end="unknown"), read(3, None, 404)],
    ],
)
def test_what_a_register_may_show_is_no_violation(events: list[Any]) -> None:
    """A search or reading that some order of the concurrent writes explains is accepted."""
    assert check_documents(events) == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([write(1, 1), search(2)], "was not found"),
        (
            [write(1, 1), search(2, outcomes=outcomes(2 * NUM_SHARDS, is_owner_ok=True))],
            "was not found",
        ),
        ([write(1, 1), write(2, 2), search(3, hits=found(1))], "at version 1"),
        ([write(1, 1), write(2, 2, is_delete=True), search(3, hits=found(1))], "was found"),
        ([write(1, 1), search(2, hits=found(9))], "at version 9"),
        ([write(1, 1), search(2, hits=found(1) * 2)], "several times"),
        ([write(1, 1), search(2, hits=(*found(1), Hit("r1x1", 4)))], "found ['r1x1']"),
        # Refused: nothing was done.
        ([write(1, 1), write(2, 2, end="refused"), search(3, hits=found(2))], "at version 2"),
        # Logged is safe, so it counts at the end.
        ([write(1, 1, wait="logged"), search(2, purpose="final")], "was not found"),
        ([write(1, 1), write(2, 2, wait="logged"), read(3, 1)], "read at version 1"),
        ([write(1, 1), write(2, 2, end="logged"), read(3, 1)], "read at version 1"),
        ([write(1, 1), read(3, None, 404)], "is not there"),
        ([write(1, 1), read(3, None, 503)], "cannot be read"),
    ],
)
def test_a_lost_stale_or_repeated_document_is_a_violation(events: list[Any], text: str) -> None:
    """Each way to break the promise is found, once, and named."""
    (violation,) = check_documents(events)
    assert text in violation.text


def test_a_write_of_unknown_outcome_hides_no_lost_one() -> None:
    """What was acknowledged before it must be seen, unless what may have replaced it is."""
    writes = [write(1, 1), write(2, 2, end="unknown")]
    assert len(check_documents([*writes, search(3)])) == 1
    assert allowed(writes, 3, 4, is_final=False) == {1, 2}
