"""`POST /v1/reload` on a running cluster: of functions that have changed, and of bad ones."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.blocking_up import Cluster, running_cluster
from tests.support.trees import loaded
from tests.support.up import Caller

pytestmark = pytest.mark.integration

SETTINGS = """
[rank_profiles.mine]
second_phase = "my_ranking:score"
enrich = "my_ranking:enrich"
"""
RANKING = """
def score(query, documents):
    return [{score} for _ in documents]

def enrich(documents):
    return [document | {{"version": {score}}} for document in documents]
"""


class Folder:
    """Where a cluster is started."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, score: int, settings: str = SETTINGS, more: str = "") -> None:
        """Write the settings, and functions that score so; `more` ends their module."""
        (self.path / "hedgerow.toml").write_text(settings)
        (self.path / "my_ranking.py").write_text(RANKING.format(score=score) + more)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two workers for the module, in a folder with a function that scores 1."""
    folder = tmp_path_factory.mktemp("reload")
    Folder(folder).write(1)
    # Two versions of a module may be written within one second, by which Python tells them apart.
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    with running_cluster(
        folder, "--shards", "2", "--workers", "2", environment=environment
    ) as cluster:
        yield cluster


@pytest.fixture
def folder(cluster: Cluster) -> Folder:
    """The folder in which the cluster was started."""
    return Folder(cluster.output.parent)


@pytest.fixture
async def caller(cluster: Cluster, folder: Folder) -> AsyncIterator[Caller]:
    """A caller of the cluster, which has some documents and uses the function that scores 1."""
    async with Caller(cluster.url) as caller:
        await loaded(caller)
        yield caller
        (await caller.http.delete("/v1/collections/trees")).raise_for_status()
        folder.write(1)
        assert (await reload(caller))[0] == 200


async def versions(caller: Caller, profile: str = "mine") -> tuple[set[float], set[int]]:
    """Which second phase has scored the hits of a search, and which `enrich` has seen them."""
    found = await caller.found("trees", "amber", rank_profile=profile, k=20, deadline_ms=5000)
    assert found["coverage"]["is_full"]
    assert {hit["shard"] for hit in found["hits"]} == {0, 1}
    scores = {hit["score"] for hit in found["hits"]}
    return scores, {hit["fields"]["version"] for hit in found["hits"]}


async def reload(caller: Caller) -> tuple[int, dict[str, Any]]:
    """Reload; the status of the answer, and its body."""
    answer = await caller.http.post("/v1/reload")
    return answer.status_code, answer.json()


async def test_changed_functions_and_new_profiles_are_used(caller: Caller, folder: Folder) -> None:
    """Of second phase and `enrich` alike; a profile that is gone is refused as unknown."""
    assert await versions(caller) == ({1.0}, {1})
    folder.write(22, SETTINGS + SETTINGS.replace(".mine", ".other"))
    status, body = await reload(caller)
    assert (status, body["workers"]) == (200, ["worker-0", "worker-1"])
    assert body["rank_profiles"] == ["bm25", "mine", "noop", "other"]
    assert await versions(caller) == ({22.0}, {22})
    assert await versions(caller, "other") == ({22.0}, {22})
    described = (await caller.http.get("/v1/collections/trees")).json()
    assert described["rank_profiles"] == body["rank_profiles"]
    folder.write(333, SETTINGS.replace(".mine", ".other"))
    assert (await reload(caller))[0] == 200
    assert await versions(caller, "other") == ({333.0}, {333})
    refused = await caller.search("trees", "amber", rank_profile="mine")
    assert (refused.status_code, refused.json()["field"]) == (400, "rank_profile")


@pytest.mark.parametrize(
    ("more", "settings", "reason"),
    [
        ("import nowhere_at_all", SETTINGS, "No module named 'nowhere_at_all'"),
        ("", SETTINGS.replace(":score", ":scores"), "my_ranking has no scores"),
        ("", SETTINGS.replace(":enrich", ":enriches"), "my_ranking has no enriches"),
        (
            "",
            SETTINGS.replace("second_phase", "second_fase"),
            "did you mean rank_profiles.mine.second_phase?",
        ),
        ("", "no toml", "hedgerow.toml"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_its_reason(
    caller: Caller, folder: Folder, more: str, settings: str, reason: str
) -> None:
    """The functions from before answer on, and a reload of what was mended succeeds."""
    folder.write(22, settings, more)
    status, body = await reload(caller)
    assert (status, body["type"]) == (409, "urn:problem-type:hedgerow:conflict")
    assert reason in body["detail"]
    assert await versions(caller) == ({1.0}, {1})
    folder.write(4444)
    assert (await reload(caller))[0] == 200
    assert await versions(caller) == ({4444.0}, {4444})


async def test_searches_go_on_through_a_reload(caller: Caller, folder: Folder) -> None:
    """Each is answered in full, by what was there when it began or by what has come."""
    folder.write(22)
    reloading = asyncio.create_task(reload(caller))
    seen: set[float] = set()
    while not reloading.done() or 22.0 not in seen:
        scores, _ = await versions(caller)
        seen |= scores
    assert (await reloading)[0] == 200
    assert seen <= {1.0, 22.0}
    assert await versions(caller) == ({22.0}, {22})
