"""An answer says so while fields of the collection are being filled."""

from dataclasses import replace
from typing import Any

from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.shapes.collection import Filling
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, FixedView, searcher_over


def warnings_of(filling: Filling | None, revision: int) -> list[Any]:
    """The warnings of an answer over one shard, which replies at once."""

    async def scenario() -> list[Any]:
        transport = ScriptedTransport({0: Script((0.001,))})
        searcher = searcher_over(transport, [1])
        assert isinstance(searcher._view, FixedView)
        searcher._view.filling = filling
        query = SearchQuery("things", "x", fields=False, deadline_ms=300)
        found = await searcher.search(query, replace(COLLECTION, revision=revision))
        return list(found.warnings)

    return run_virtually(scenario())


def test_fields_that_are_being_filled_are_named() -> None:
    """The warning has the share of the documents that have them, and names at most ten."""
    names = [f"f{number}" for number in range(12)]
    (warning,) = warnings_of(Filling(names, 0.4, 3), revision=1)
    assert "(40% of the documents): f0, f1" in warning
    assert warning.endswith("f9 and 2 more.")


def test_nothing_is_said_when_all_are_filled() -> None:
    """There is no warning; of a collection without added fields, the view is not asked."""
    assert warnings_of(None, revision=1) == []
    assert warnings_of(Filling(["a"], 0.0, 1), revision=0) == []
