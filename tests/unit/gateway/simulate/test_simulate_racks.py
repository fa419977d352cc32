"""Racks and several gateways in the simulator."""

from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.simulate.racks import place
from hedgerow.gateway.simulate.report import simulate
from hedgerow.gateway.simulate.scenario import Racks, parse

RACKS = """
title = "x"
queries = 60
arrivals = { kind = "constant", rate_per_s = 100 }
heartbeat_expiry_s = 60
[query]
deadline_ms = 50
[shards]
count = 12
replicas = 3
service = { kind = "constant", ms = 5 }
[racks]
count = 4
workers = 16
[[crashes]]
rack = 0
at_s = 0.0
lasts = { kind = "constant", ms = 60000 }
[[runs]]
name = "known"
[[runs]]
name = "unknown"
racks.are_known = false
"""


def runs_of(text: str) -> dict[str, dict[str, Any]]:
    """Simulate a scenario; its runs by name."""
    return {run["name"]: run for run in simulate(parse("x", text))["runs"]}


def num_in_one_rack(*, are_known: bool) -> int:
    """How many shards have all their replicas in one rack."""
    script = parse("x", RACKS).runs[0].shards
    placed = place(Racks(count=4, workers=16, are_known=are_known), script)
    assert all(len(racks) == script.replicas for racks in placed)
    return sum(len(set(racks)) == 1 for racks in placed)


def test_known_racks_hold_a_replica_each() -> None:
    """No shard has all its replicas in one rack, as some have if racks are unknown."""
    assert num_in_one_rack(are_known=True) == 0
    assert num_in_one_rack(are_known=False) > 0


def test_a_rack_that_fails_costs_documents_only_if_racks_are_unknown() -> None:
    """With replicas in other racks every answer is whole; else shards of the rack are missing."""
    runs = runs_of(RACKS)
    assert runs["known"]["coverage"]["min"] == 1
    assert 0 < runs["unknown"]["coverage"]["mean"] < 1


def test_only_the_rack_fails() -> None:
    """If the rack that fails is another, other shards are missing, and never all of them."""
    coverages = []
    for rack in range(4):
        run = runs_of(RACKS.replace("rack = 0", f"rack = {rack}"))["unknown"]
        coverages.append(run["coverage"]["mean"])
    assert all(0 < coverage <= 1 for coverage in coverages)
    assert len([coverage for coverage in coverages if coverage < 1]) > 1


@pytest.mark.parametrize("num_gateways", [1, 4])
def test_each_gateway_learns_by_itself(num_gateways: int) -> None:
    """Gateways ask the same servers, and each opens a breaker of its own for a slow shard."""
    slow = """
title = "x"
queries = 80
arrivals = { kind = "constant", rate_per_s = 20 }
[query]
deadline_ms = 50
[shards]
count = 4
service = { kind = "constant", ms = 5 }
[[different]]
shards = [0]
service = { kind = "constant", ms = 1000 }
[breaker]
wait_duration_in_open_state_s = 30
"""
    run = runs_of(f"gateways = {num_gateways}\n{slow}")["run"]
    assert run["breakers_opened"] == num_gateways
    assert sum(run["outcomes"].values()) == 80 * 4
    assert run["outcomes"]["ok"] == 80 * 3


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("rack = 0", "rack = 4", "names rack 4, but racks.count is 4"),
        ("[racks]\ncount = 4\nworkers = 16\n", "", "names rack 0, but racks.count is 0"),
        ("workers = 16", "workers = 3", "racks.workers is less than racks.count"),
        ("count = 4\nworkers = 16", "count = 1\nworkers = 2", "racks.workers is less than shards"),
    ],
)
def test_racks_that_make_no_sense_are_refused(old: str, new: str, reason: str) -> None:
    """A rack that is not there, or too few workers, is an error that says so."""
    text = RACKS.replace('[[runs]]\nname = "unknown"\nracks.are_known = false\n', "")
    with pytest.raises(BadRequestError, match=reason):
        parse("x", text.replace(old, new))
