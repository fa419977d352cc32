"""Words as people type them, through a whole cluster, as docs/words.md says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.collection import define
from hedgerow.common.query.as_typed import AS_WRITTEN, Typing
from tests.support.judged import Judged
from tests.support.page_examples import output_of
from tests.support.slips import with_slips
from tests.support.up import running_up
from tests.unit.support.split_index import SplitIndex

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TOLERANT = Typing(edits=16)


async def test_the_page_s_examples_do_what_it_says(tmp_path: Path) -> None:
    """Each example of docs/words.md runs, in order, and prints what stands below it."""
    async with running_up(tmp_path / "data", "--shards", "8") as up:
        printed, expected = await output_of("words.md", up.url, tmp_path)
    assert printed == expected


@pytest.fixture(scope="module", params=["cranfield", "cisi", "med", "scifact"])
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Judged, SplitIndex]]:
    """Each judged collection, in one index."""
    found = Judged.load(request.param)
    definition = define("quality", {"fields": {"title": "text", "text": "text"}})
    built = SplitIndex.build(tmp_path_factory.mktemp("judged"), definition, found.documents)
    yield found, built
    built.close()


def test_tolerance_costs_little_and_mends_slips(judged: tuple[Judged, SplitIndex]) -> None:
    """With `typos`, nDCG@10 of right queries falls by .01 at most; that of slips gets better."""
    collection, built = judged

    def quality(queries: dict[str, str], typing: Typing) -> float:
        return collection.ndcg10(
            {
                query: list(built.scores(text.replace('"', " "), typing, 10).items())
                for query, text in queries.items()
            }
        )

    slips = with_slips(collection.queries)
    assert quality(collection.queries, TOLERANT) >= quality(collection.queries, AS_WRITTEN) - 0.01
    assert quality(slips, TOLERANT) > quality(slips, AS_WRITTEN)
