"""What `python -m bench.gateways` counts."""

import argparse
from pathlib import Path

import pytest

from bench.gateways import measure, to_row

pytestmark = pytest.mark.integration


async def test_the_processes_of_both_clusters_are_counted(tmp_path: Path) -> None:
    """After one turn, every part of both has used CPU time; the sum is that of the parts."""
    arguments = argparse.Namespace(processes=2, documents=500, searches=100, turns=1)
    found = await measure(arguments, tmp_path)
    assert list(found) == ["1 process", "2 processes"]
    for name, (turn,) in found.items():
        assert all(used > 0 for part, used in turn.items() if part != "supervisor")
        row = to_row(name, [turn])
        assert (row[0], len(row)) == (name, 7)
        parts, total = [int(cell.replace(",", "")) for cell in row[1:-1]], row[-1]
        assert abs(sum(parts) - int(total.replace(",", ""))) <= len(parts)
