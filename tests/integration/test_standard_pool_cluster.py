"""Clusters whose scorers run in `ProcessPoolExecutor`s, held to claims about supervised ones.

The tests that are imported run here too, over this module's clusters. Left out is what the executor
cannot do: put the query that has killed a scorer in quarantine.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from tests.integration.test_failures import (  # noqa: F401 - a test that is imported is a test here
    logged,
    outcomes_of,
    prepared,
    test_a_draining_worker_answers_what_it_has_pulled,
    test_a_stopped_worker_opens_its_breakers_and_its_return_closes_them,
    test_a_users_exception_is_logged_with_its_traceback,
    test_a_users_exception_is_told_in_its_last_line,
    test_a_whole_cluster_finds_everything,
    test_the_second_phase_decides_the_order,
)
from tests.integration.test_quality_through_a_cluster import (
    answers_of,
    indexed,
    patient_gateway_to,
)
from tests.integration.test_ranking_quality import build, close
from tests.support.clusters import Cluster, ask, gateway_to, running_cluster
from tests.support.judged import Judged, mean, overlap
from tests.support.servers import DURABLE, running_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module; each test leaves it whole."""
    with (
        tempfile.TemporaryDirectory(prefix="hedgerow-test-") as folder,
        running_server(Path(folder), *DURABLE) as server,
        running_cluster(
            server,
            Path(folder),
            log=Path(folder) / "workers.log",
            environment={
                "HEDGEROW_WORKER__PROCESS_POOL": "executor",
                "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "3.0",
            },
        ) as cluster,
    ):
        yield cluster


async def test_shards_rank_as_one_index(cluster: Cluster, tmp_path: Path) -> None:
    """The first queries after a load overlap by 97 %: scorers rank by the collection's statistics.

    A part of the collection shows that; how well it is ranked is the same in each pool.
    """
    judged = Judged.load("scifact")
    documents, queries = judged.documents[:1000], dict(list(judged.queries.items())[:100])
    one = build(tmp_path, documents, 1)
    expected = {query: one.search(text)[1] for query, text in queries.items()}
    close(one)
    async with patient_gateway_to(cluster) as gateway:
        await indexed(gateway, "scifact", documents)
        answers = await answers_of(gateway, "scifact", queries)
    overlaps = [
        overlap((best for _, best in expected[query]), (hit.id for hit in answers[query].hits))
        for query in queries
    ]
    assert all(expected.values())
    assert mean(overlaps) >= 0.97


async def test_a_query_that_kills_scorers_fails_and_harms_no_later_one(cluster: Cluster) -> None:
    """It fails as crashed each time that it is asked, and the pools come back."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)

        async def is_whole() -> bool:
            try:
                result = await ask(
                    gateway, "hedges", "hedge", rank_profile="numbers", deadline_ms=2000.0
                )
            except InsufficientCoverageError:
                return False
            return result.coverage.is_full

        for _ in range(2):
            with pytest.raises(InsufficientCoverageError) as refused:
                await ask(
                    gateway, "hedges", "hedge crash", rank_profile="numbers", deadline_ms=60_000
                )
            result = refused.value.result
            assert set(outcomes_of(result).values()) == {Outcome.FAILED}
            assert all("process of the pool died" in detail.reason for detail in result.detail)
            await until(is_whole)
        # Work that ignores its budget is, if a test before had a scorer killed for it.
        accused = [entry["query"] for entry in (await gateway.status())["quarantine"]]
        assert not [query for query in accused if "crash" in query]

        async def are_told() -> bool:
            lanes = [w["lanes"]["process"] for w in (await gateway.status())["workers"]]
            return all(
                lane["crashes"] >= 2 and lane["alive"] == len(lane["pids"]) for lane in lanes
            )

        await until(are_told)
