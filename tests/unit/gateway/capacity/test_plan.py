"""What a load needs."""

import math
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.capacity.costs import MEASURED, cpu_of_search
from hedgerow.gateway.capacity.explained import assumptions, limits
from hedgerow.gateway.capacity.plan import Inputs, Plan, plan, slow_shard_ms

USUAL: Final = Inputs(
    documents=1e8,
    qps=5000,
    deadline_ms=200,
    replicas=3,
    fields=True,
    writes=0,
    shards=None,
    shard_documents=1e7,
    document_bytes=192,
    utilisation=0.6,
    cores=16,
    worker_cores=4,
    query_cost=1,
    ranking_ms=0,
    deadline_share=0.333,
    resident=1,
)
SHARES: Final = st.floats(0.05, 0.95)
LOADS: Final = st.fixed_dictionaries(
    {
        "documents": st.floats(1, 1e10),
        "qps": st.floats(0.01, 1e6),
        "deadline_ms": st.floats(50, 10_000),
        "replicas": st.integers(1, 5),
        "fields": st.booleans(),
        "writes": st.floats(0, 10_000),
        "shards": st.none() | st.integers(1, 3000),
        "shard_documents": st.floats(1000, 1e8),
        "document_bytes": st.floats(1, 1e6),
        "utilisation": SHARES,
        "cores": st.integers(1, 128),
        "worker_cores": st.integers(1, 64),
        "query_cost": st.floats(0.1, 20),
        "ranking_ms": st.floats(0, 5),
        "deadline_share": SHARES,
        "resident": st.floats(0, 1),
    }
)
FACTORS: Final = st.floats(1, 100)


def planned_for(load: dict[str, Any], **changes: float) -> Plan:
    """Plan the load, if there is a plan for it."""
    try:
        return plan(Inputs(**{**load, **changes}), MEASURED)
    except BadRequestError:
        assume(False)
        raise


def needed(planned: Plan) -> dict[str, float]:
    """Everything that costs something."""
    return {
        name: getattr(planned, name)
        for name in (
            *("redis_nodes", "gateways", "workers", "shards", "copies", "machines", "cores"),
            *("disk_bytes", "memory_mb"),
        )
    }


@pytest.mark.parametrize("member", ["qps", "documents", "writes", "ranking_ms", "query_cost"])
@given(load=LOADS, factor=FACTORS)
def test_more_load_never_needs_less(member: str, load: dict[str, Any], factor: float) -> None:
    """With more searches, documents, writes or work for each, nothing becomes fewer or smaller."""
    less = needed(planned_for(load))
    more = needed(planned_for(load, **{member: load[member] * factor}))
    assert {name: (less[name], more[name]) for name in less if more[name] < less[name]} == {}


@given(load=LOADS)
def test_nothing_is_busier_than_aimed_at(load: dict[str, Any]) -> None:
    """The utilisation of every part is at most the one that is asked for."""
    busy = planned_for(load).busy
    aim = load["utilisation"] + 1e-9
    assert max(busy.gateways, busy.redis, busy.workers, busy.worker_loops) <= aim


@given(load=LOADS)
def test_searches_leave_no_worker_without_a_shard(load: dict[str, Any]) -> None:
    """Without writes, there are at least as many copies of shards as workers."""
    planned = planned_for(load, writes=0.0)
    assert planned.shards * planned.copies >= planned.workers


@given(load=LOADS)
def test_a_shard_keeps_its_share_of_the_deadline(load: dict[str, Any]) -> None:
    """The slowest requests of a shard take at most the share of the deadline that is theirs."""
    planned = planned_for(load)
    assert planned.slow_shard_ms <= load["deadline_ms"] * load["deadline_share"] * (1 + 1e-9)


@given(load=LOADS)
def test_each_shard_has_its_replicas_in_each_cluster(load: dict[str, Any]) -> None:
    """There are copies and workers for all replicas that are asked for, and a gateway a server."""
    planned = planned_for(load)
    assert planned.clusters == planned.redis_nodes
    assert planned.copies >= load["replicas"] * planned.clusters
    assert planned.workers >= load["replicas"] * planned.clusters
    assert planned.gateways >= planned.clusters


def test_nodes_need_no_further_copies() -> None:
    """Clusters beside each other have all documents each; nodes share the shards of one."""
    load = replace(USUAL, documents=1e6, qps=30_000, replicas=2, worker_cores=16)
    beside, shared = plan(load, MEASURED), plan(replace(load, redis_cluster=True), MEASURED)
    assert beside.clusters > shared.clusters == 1
    assert beside.copies >= load.replicas * beside.clusters
    assert shared.copies < beside.copies
    assert (beside.control_servers, shared.control_servers) == (0, 1)


@given(documents=st.floats(1, 1e9), factor=FACTORS)
def test_a_larger_shard_costs_more_and_a_document_less(documents: float, factor: float) -> None:
    """A scorer's time grows with the documents, and at most in proportion to them."""
    small = MEASURED.scorer_us(documents, fields=True)
    large = MEASURED.scorer_us(documents * factor, fields=True)
    assert small <= large <= small * factor * (1 + 1e-9)


def test_the_load_of_the_documentation() -> None:
    """The example has one Redis server, whose load and capacity agree."""
    planned = plan(USUAL, MEASURED)
    assert planned.redis_nodes == 1
    assert planned.busy.redis == pytest.approx(0.6 * USUAL.qps / planned.redis_searches)
    assert planned.redis_shard_requests == pytest.approx(planned.redis_searches * planned.shards)


def test_writes_reach_every_cluster() -> None:
    """With several Redis servers, each executes all writes, and its log has them."""
    load = replace(USUAL, shards=200, writes=10_000)
    planned = plan(load, MEASURED)
    assert planned.redis_nodes > 1
    assert planned.log_in_bytes == load.writes * load.document_bytes * planned.redis_nodes
    searches_alone = plan(replace(load, writes=0), MEASURED)
    assert planned.redis_nodes >= searches_alone.redis_nodes
    assert planned.redis_searches < searches_alone.redis_searches


def test_more_waits_for_the_slowest_with_more_shards() -> None:
    """69 shards make the p99 of a shard the median of a search."""
    planned = plan(replace(USUAL, shards=69), MEASURED)
    assert planned.waits_for_slow == pytest.approx(0.5, abs=0.002)
    assert math.isclose(plan(replace(USUAL, shards=12), MEASURED).waits_for_slow, 1 - 0.99**12)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("documents", 0),
        ("documents", math.nan),
        ("qps", 0),
        ("qps", math.inf),
        ("deadline_ms", 0),
        ("replicas", 0),
        ("writes", -1),
        ("shards", 0),
        ("utilisation", 60),
        ("utilisation", 0),
        ("worker_cores", 0),
        ("deadline_share", 1),
        ("resident", 2),
    ],
)
def test_nonsense_is_refused_by_name(member: str, value: float) -> None:
    """An input that makes no sense is an error that names it."""
    with pytest.raises(BadRequestError) as refused:
        replace(USUAL, **{member: value})  # type: ignore[arg-type]
    assert refused.value.field == member


@pytest.mark.parametrize(
    ("member", "changes"),
    [
        ("shards", {"documents": 5, "shards": 6}),
        ("shards", {"shards": 2}),
        ("deadline_ms", {"deadline_ms": 2}),
        ("deadline_ms", {"ranking_ms": 50}),
        ("writes", {"writes": 1e6}),
        ("redis_cluster", {"qps": 1e6, "redis_cluster": True}),
        ("worker_cores", {"worker_cores": 17}),
    ],
)
def test_what_no_cluster_can_do_is_refused(member: str, changes: dict[str, Any]) -> None:
    """A deadline, number of shards or writes beyond any plan is an error that names it."""
    with pytest.raises(BadRequestError) as refused:
        plan(replace(USUAL, **changes), MEASURED)
    assert refused.value.field == member


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"documents": 1e14}, "must be from 1 to 10,000,000,000,000"),
        ({"utilisation": 2}, "must be from 0.01 to 0.99"),
        ({"ranking_ms": 10_000}, "its slowest 1 % take 25,0"),
    ],
)
def test_a_refusal_writes_numbers_as_people_do(changes: dict[str, Any], said: str) -> None:
    """Without exponents, however large they are."""
    with pytest.raises(BadRequestError) as refused:
        plan(replace(USUAL, **changes), MEASURED)
    assert said in refused.value.reason


def test_a_short_deadline_makes_more_shards() -> None:
    """Where `shard_documents` leaves a shard too slow, shards are as large as the deadline lets."""
    planned = plan(replace(USUAL, deadline_ms=100), MEASURED)
    assert planned.shards > 10
    fuller = USUAL.documents / (planned.shards - 1)
    may_take_ms = 100 * USUAL.deadline_share
    assert planned.slow_shard_ms <= may_take_ms < slow_shard_ms(USUAL, MEASURED, fuller)


@pytest.mark.parametrize(
    ("changes", "word", "is_said"),
    [
        ({}, "at most 1,000,000 were measured", True),
        ({"shard_documents": 1e6}, "at most 1,000,000 were measured", False),
        ({"shards": 64}, "at most 64 were", False),
        ({"shards": 65}, "at most 64 were", True),
        ({}, "Several Redis servers", False),
        ({"shards": 200}, "Several Redis servers", True),
        ({"shards": 200}, "With --redis-cluster", True),
        ({"shards": 200, "redis_cluster": True}, "Several Redis servers", False),
        ({"shards": 200, "redis_cluster": True}, "the busiest has 16 of 200 shards", True),
        ({"shards": 200, "redis_cluster": True}, "when at most 3 were measured", True),
        ({"qps": 12_000, "redis_cluster": True}, "when at most 3 were measured", False),
        ({"redis_cluster": True}, "one server is enough", True),
        ({}, "one server is enough", False),
        ({}, "Hedging removes", True),
        ({"replicas": 1}, "nothing can be hedged", True),
        ({}, "Copies: 5 of each document instead of 3", True),
        ({"qps": 50}, "Copies:", False),
        ({"documents": 1e6, "qps": 1, "writes": 5e5}, "the writes need more shards", True),
        ({"qps": 50, "replicas": 1}, "documents are missing from answers", True),
        ({}, "measured on 2 cores", True),
    ],
)
def test_limits_are_stated_where_they_apply(
    changes: dict[str, Any], word: str, is_said: bool
) -> None:
    """What bounds a plan, or was not measured, is said of the plans that it concerns."""
    inputs = replace(USUAL, **changes)
    said = "\n".join(limits(inputs, plan(inputs, MEASURED)))
    assert (word in said) is is_said, said


def test_every_assumption_has_a_source() -> None:
    """Each assumption names its page, or says why it was chosen."""
    assumed = assumptions(USUAL, plan(USUAL, MEASURED), MEASURED)
    assert all(entry.what and entry.value and entry.source for entry in assumed)
    assert len({entry.what for entry in assumed}) == len(assumed)


def test_what_nodes_cost_is_assumed_where_there_are_some() -> None:
    """A plan with one server says nothing of them."""
    nodes = replace(USUAL, qps=20_000, redis_cluster=True)
    for inputs, is_said in ((USUAL, False), (nodes, True)):
        assumed = assumptions(inputs, plan(inputs, MEASURED), MEASURED)
        assert any("node" in entry.what for entry in assumed) is is_said


def test_fields_cost_more() -> None:
    """A search with fields takes more CPU in every part than one without."""
    parts = ("gateway", "redis", "workers", "scorers")
    plain, full = (cpu_of_search(MEASURED, 4, 1e6, fields=fields) for fields in (False, True))
    assert all(getattr(full, part) > getattr(plain, part) for part in parts)
