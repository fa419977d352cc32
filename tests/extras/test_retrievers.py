"""The retrievers of LangChain and LlamaIndex against a real cluster."""

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError, InsufficientCoverageError
from tests.support.blocking_up import Cluster, running_cluster
from tests.support.page_examples import output_of
from tests.support.waiting import block_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the frameworks, while they are imported
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.documents import Document
    from langchain_tests.integration_tests import RetrieversIntegrationTests
    from llama_index.core.base.base_retriever import BaseRetriever as LlamaRetriever
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

    from hedgerow.gateway.integrations import langchain, llamaindex

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:llama_index"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"
COLLECTION = "notes"
DEADLINE_MS = 3000.0
DOCUMENTS = [
    {"id": f"n{number}", "text": f"a lamp of kind {number}", "kind": number, "score": -1}
    for number in range(12)
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of four shards with a few notes."""
    folder = tmp_path_factory.mktemp("retrievers")
    with running_cluster(folder, "--shards", "4", "--workers", "1") as found:
        with found.client() as client:
            client.put_collection(COLLECTION, fields={"text": "text", "kind": "integer"})
            client.index(COLLECTION, DOCUMENTS, wait="applied")

            def are_known() -> bool:  # from heartbeats: what a shard that is missing would have
                (one,) = client.status().collections
                return one.documents == len(DOCUMENTS)

            block_until(are_known, what="the gateway knows how many documents there are")
        yield found


@contextmanager
def without_shard_of(cluster: Cluster, query: str) -> Iterator[None]:
    """Have the shard left out that holds the best hit of a query."""
    with cluster.client() as client:
        (best,) = client.search(COLLECTION, query, k=1, deadline_ms=DEADLINE_MS).hits
        client.set_breaker(best.shard, "forced_open")
        try:
            yield
        finally:
            client.set_breaker(best.shard, "closed")


def langchain_retriever(cluster: Cluster, **options: Any) -> langchain.HedgerowRetriever:
    """One of LangChain."""
    given = {"collection": COLLECTION, "url": cluster.url, "deadline_ms": DEADLINE_MS, **options}
    return langchain.HedgerowRetriever(**given)


def llama_retriever(cluster: Cluster, **options: Any) -> llamaindex.HedgerowRetriever:
    """One of LlamaIndex."""
    given = {"deadline_ms": DEADLINE_MS, **options}
    return llamaindex.HedgerowRetriever(COLLECTION, cluster.url, **given)


class TestLangchainStandard(RetrieversIntegrationTests):
    """LangChain's own tests of retrievers."""

    @pytest.fixture(autouse=True)
    def _find_cluster(self, cluster: Cluster) -> None:
        self.url = cluster.url

    @property
    def retriever_constructor(self) -> type[langchain.HedgerowRetriever]:
        """What is tested."""
        return langchain.HedgerowRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        """Where it asks."""
        return {"collection": COLLECTION, "url": self.url, "deadline_ms": DEADLINE_MS}

    @property
    def retriever_query_example(self) -> str:
        """A query that finds more than three documents."""
        return "lamp"


def both(cluster: Cluster, query: str, **options: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """What both retrievers return, blocking and not, which must be the same: id, text, metadata."""
    chain, llama = langchain_retriever(cluster, **options), llama_retriever(cluster, **options)

    async def ask() -> tuple[list[Document], list[NodeWithScore]]:
        return await chain.ainvoke(query), await llama.aretrieve(query)

    documents, nodes = asyncio.run(ask())
    answers = [
        [(str(one.id), one.page_content, one.metadata) for one in chain.invoke(query)],
        [(str(one.id), one.page_content, one.metadata) for one in documents],
        [(one.node_id, one.text, one.metadata) for one in llama.retrieve(query)],
        [(one.node_id, one.text, one.metadata) for one in nodes],
    ]
    for answer in answers:
        for _, _, metadata in answer:
            assert metadata.pop("took_ms") > 0
    assert answers[1:] == answers[:1] * 3
    return answers[0]


def test_a_document_has_its_text_its_fields_and_what_the_answer_covers(cluster: Cluster) -> None:
    """The metadata of a whole answer; a stored field named as one of ours is kept beside it."""
    ((document_id, text, metadata),) = both(cluster, "text:7", k=1)
    assert (document_id, text) == ("n7", "a lamp of kind 7")
    assert metadata.pop("score") > 0
    assert metadata.pop("shard") in range(4)
    assert metadata == {
        "id": "n7",
        "collection": COLLECTION,
        "kind": 7,
        "stored_score": -1,
        "partial": False,
        "exact": True,
        "coverage": 1.0,
        "documents_searched": 12,
        "documents_total": 12,
        "outcomes": {},
        "deadline_ms": DEADLINE_MS,
    }


def test_every_document_of_a_partial_answer_says_so(cluster: Cluster) -> None:
    """With a shard missing: the coverage, and how the shard ended."""
    with without_shard_of(cluster, "text:7"):
        found = both(cluster, "lamp", k=3)
    assert len(found) == 3
    for _, _, metadata in found:
        assert metadata["partial"] is True
        assert metadata["coverage"] == pytest.approx(metadata["documents_searched"] / 12, abs=1e-6)
        assert metadata["coverage"] < 1
        assert metadata["outcomes"] == {"breaker_open": 1}


def test_an_empty_partial_answer_is_no_empty_list(cluster: Cluster) -> None:
    """It raises, unless the caller wants it otherwise: what matches may be in the missing shard."""
    with without_shard_of(cluster, "text:7"):
        for retriever in (langchain_retriever(cluster), llama_retriever(cluster)):
            ask = retriever.retrieve if isinstance(retriever, LlamaRetriever) else retriever.invoke
            with pytest.raises(InsufficientCoverageError) as raised:
                ask("text:7")
            assert raised.value.result.coverage.fraction < 1
        assert both(cluster, "text:7", allow_empty_partial=True) == []
    assert both(cluster, "nothing") == []  # of a whole answer, it is true


def test_options_reach_the_search(cluster: Cluster) -> None:
    """Filter, content fields, and a minimum coverage, whose error has the partial answer."""
    found = both(cluster, "lamp", options={"filter": "kind:>=10"}, content_fields=["kind", "text"])
    assert {text for _, text, _ in found} == {
        "10\n\na lamp of kind 10",
        "11\n\na lamp of kind 11",
    }
    with without_shard_of(cluster, "text:7"), pytest.raises(InsufficientCoverageError):
        both(cluster, "lamp", options={"minimum_coverage": 1})
    with pytest.raises(BadRequestError, match="colour"):
        both(cluster, "lamp", options={"filter": "colour:red"})


def test_what_options_add_is_in_the_metadata(cluster: Cluster) -> None:
    """Highlights of a document, and what was probably meant; a model sees neither."""
    options = {"highlight": True, "did_you_mean": True}
    found = both(cluster, "lmap brass 7", k=1, options=options)
    ((document_id, _, metadata),) = found
    assert document_id == "n7"
    assert metadata["highlights"] == {"text": ["a lamp of kind <em>7</em>"]}
    assert metadata["did_you_mean"] == "lamp brass 7"
    (node,) = llama_retriever(cluster, k=1, options=options).retrieve("lmap brass 7")
    assert "<em>" not in node.node.get_content(MetadataMode.LLM)


def test_langchain_is_told_of_start_end_and_errors(cluster: Cluster) -> None:
    """Callbacks, on which tracing stands, get the documents; and batches work."""
    seen: list[str] = []

    class Handler(BaseCallbackHandler):
        def on_retriever_start(self, *_: Any, **__: Any) -> None:
            seen.append("start")

        def on_retriever_end(self, documents: Any, **_: Any) -> None:
            seen.append(f"end {len(documents)}")

        def on_retriever_error(self, error: BaseException, **_: Any) -> None:
            seen.append(type(error).__name__)

    retriever = langchain_retriever(cluster)
    config: Any = {"callbacks": [Handler()]}
    assert [len(one) for one in retriever.batch(["lamp", "text:7"], config)] == [4, 1]
    with pytest.raises(BadRequestError):
        retriever.invoke("lamp", config, filter="(")
    assert sorted(seen) == ["BadRequestError", "end 1", "end 4", "start", "start", "start"]


def test_a_token_is_not_shown(cluster: Cluster) -> None:
    """Neither in its representation nor where LangChain writes it for tracing."""
    retriever = langchain_retriever(cluster, token="very-secret")
    assert "very-secret" not in f"{retriever!r} {retriever.model_dump()} {retriever.to_json()}"


def test_a_model_sees_that_a_node_is_partial(cluster: Cluster) -> None:
    """LlamaIndex shows a model `partial` and `coverage`, and leaves both out of embeddings."""
    (node,) = llama_retriever(cluster, k=1).retrieve(QueryBundle("text:7"))
    shown = node.node.get_content(MetadataMode.LLM)
    assert "partial: False" in shown
    assert "coverage: 1.0" in shown
    assert "took_ms" not in shown
    assert "partial" not in node.node.get_content(MetadataMode.EMBED)


async def test_the_page_s_examples_do_what_it_says(cluster: Cluster, tmp_path: Path) -> None:
    """Each example of docs/integrations.md runs and prints what stands below it."""
    with cluster.client() as client, (EXAMPLES / "shop.jsonl").open("rb") as lines:
        client.put_collection("shop")
        client.index("shop", lines, wait="applied")
    printed, expected = await output_of("integrations.md", cluster.url, tmp_path)
    assert printed == expected
