"""What `python -m bench.served` compares, and that it counts what it should."""

import argparse
import json
from pathlib import Path

import pytest

from bench.served import comparisons, measure_all

pytestmark = pytest.mark.integration


def test_the_questions_of_a_comparison_differ_in_what_is_compared_alone() -> None:
    """Two questions about fields differ in the fields, and two about ties in the field searched."""
    for one in comparisons(["cheap lamp"]):
        first, second = (json.loads(next(side.bodies())) for side in (one.one, one.other))
        differing = {name for name in first | second if first.get(name) != second.get(name)}
        assert differing == ({"fields"} if one.name.startswith("fields") else {"query"})
        assert first["deadline_ms"] == second["deadline_ms"] > 1000


async def test_each_part_of_a_cluster_is_counted(tmp_path: Path) -> None:
    """After one turn, every part has used CPU time for both questions of each comparison."""
    arguments = argparse.Namespace(documents=2_000, turns=1, ties_only=True, cache=tmp_path)
    found, _ = await measure_all(arguments, tmp_path / "data")
    assert len(found) == 6
    for one in found:
        for turn in (one.costs[0][0], one.costs[1][0]):
            assert set(turn) == {"gateway", "Redis", "workers", "scorers"}
            assert all(used > 0 for used in turn.values())
        assert len(one.to_row()) == 7
