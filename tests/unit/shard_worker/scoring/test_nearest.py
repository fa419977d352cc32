"""Nearest vectors by a graph, compared with brute force."""

import importlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import tantivy

from hedgerow.common.collection import define
from hedgerow.common.wire.search_options import WantedVector
from hedgerow.shard_worker.storage import vector_writer
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

if TYPE_CHECKING:
    from numpy import ndarray

    from hedgerow.shard_worker.vectors.graph import Graph

NUM, DIMENSIONS, K = 3000, 32, 10


class Made(NamedTuple):
    """An index with a graph of all rows but the last, and the vectors in it."""

    searched: TextIndex
    graph: "Graph"
    vectors: "ndarray[Any, Any]"
    queries: "ndarray[Any, Any]"
    numbers: "ndarray[Any, Any]"


@pytest.fixture(scope="module")
def np() -> Any:
    """Numpy, by which properties take longer: it is loaded after they have run (conftest.py)."""
    return importlib.import_module("numpy")


@pytest.fixture(scope="module")
def nearest() -> Any:
    """The module that is tested, which loads numpy."""
    return importlib.import_module("hedgerow.shard_worker.scoring.nearest")


@pytest.fixture(scope="module", params=["none", "int8"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, np: Any) -> Made:
    """Clustered vectors, a tenth of them deleted, and some added after the graph."""
    from hedgerow.shard_worker.vectors.graph import Graph  # noqa: PLC0415 - loads numpy

    path = tmp_path_factory.mktemp("nearest") / "i"
    place = {"type": "vector", "dimensions": DIMENSIONS, "quantisation": request.param}
    collection = define("c", {"fields": {"n": "integer", "near": "float", "place": place}})
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(30, DIMENSIONS))
    drawn = centres[rng.integers(30, size=NUM + 20)] + 0.5 * rng.normal(size=(NUM + 20, DIMENSIONS))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    vectors, queries = drawn[:NUM].astype("f4"), drawn[NUM:].astype("f4")
    writer = TextIndexWriter.open(path, collection)

    def add(numbers: range) -> None:
        writer.apply(
            (),
            [
                (
                    f"{number:05}",
                    {
                        "n": number % 1000,
                        "near": float(vectors[number] @ queries[0]),
                        "place": vectors[number].tolist(),
                    },
                )
                for number in numbers
            ],
        )
        writer.commit()

    add(range(NUM - 100))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vector_writer, "MOST_SCANNED", 0)
        assert len(list(writer.build_graphs())) > 1
    add(range(NUM - 100, NUM))
    writer.apply([f"{number:05}" for number in range(0, NUM, 10)], ())
    writer.commit()
    writer.close()
    index = TextIndex.open(path)
    graph = index.vectors["place"].graph()
    assert graph is not None
    assert graph[0] == NUM - 100
    return Made(index, Graph(graph[1], graph[0]), vectors, queries, np.arange(NUM))


def found_by(made: Made, query: Any, restriction: tantivy.Query | None, k: int = K) -> list[int]:
    """The numbers of the documents that a search finds."""
    from hedgerow.shard_worker.scoring import nearest  # noqa: PLC0415 - loads numpy

    file = made.searched.vectors["place"]
    wanted = WantedVector("place", query.tobytes(), k, 128)
    search = nearest.Nearest(made.searched, file, made.graph, wanted, lambda: None)
    return [int(one) for _, one in search.find(restriction, k).hits]


def expected(made: Made, query: Any, matching: "ndarray[Any, Any]", k: int = K) -> list[int]:
    """The same by brute force."""
    numbers = made.numbers[matching & (made.numbers % 10 != 0)]
    scores = made.vectors[numbers] @ query
    best: list[int] = numbers[(-scores).argsort(kind="stable")][:k].tolist()
    return best


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.001])
def test_recall_with_a_filter(
    made: Made, nearest: Any, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """At each selectivity, at least .98 of the nearest are found, and never too few."""
    # Else such an index would not use its graph.
    monkeypatch.setattr(nearest, "MOST_COMPARED", 20)
    monkeypatch.setattr(nearest, "_COMPARED_PER_NAMED", 0)
    most = max(round(1000 * share), 3)
    below = tantivy.Query.range_query(
        made.searched.schema, "n", tantivy.FieldType.Integer, 0, most, include_upper=False
    )
    matching = made.numbers % 1000 < most
    hits = 0
    wanted = 0
    for query in made.queries:
        found = found_by(made, query, None if share == 1 else below)
        best = expected(made, query, matching)
        assert len(found) == len(best)
        hits += len(set(found) & set(best))
        wanted += len(best)
    assert hits / wanted >= 0.98


def test_a_filter_against_the_vector(
    made: Made, nearest: Any, np: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the filter lets only far documents through, the nearest of these are found."""
    monkeypatch.setattr(nearest, "MOST_COMPARED", 20)
    monkeypatch.setattr(nearest, "_COMPARED_PER_NAMED", 0)
    monkeypatch.setattr(nearest, "_MOST_NAMED", 1000)
    index, query = made.searched, made.queries[0]
    near = made.vectors @ query
    edge = float(np.quantile(near, 0.3))
    far = tantivy.Query.range_query(index.schema, "near", tantivy.FieldType.Float, None, edge)
    assert found_by(made, query, far) == expected(made, query, near.astype("f8") <= edge)


def test_more_than_there_are(made: Made) -> None:
    """A search for more documents than match finds all of them, best first."""
    found = found_by(made, made.queries[1], None, NUM)
    assert found == expected(made, made.queries[1], made.numbers >= 0, NUM)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_without_a_graph_hits_are_exact(tmp_path: Path, nearest: Any, np: Any, metric: str) -> None:
    """Of rows that single precision cannot tell apart, the nearest come first, ties by id."""
    place = {"type": "vector", "dimensions": DIMENSIONS, "metric": metric}
    collection = define("c", {"fields": {"n": "integer", "place": place}})
    rng = np.random.default_rng(2)
    base = rng.normal(size=DIMENSIONS)
    drawn = [base + (number % 7) * 1e-7 * rng.normal(size=DIMENSIONS) for number in range(300)]
    vectors = np.array(drawn).astype("f4")
    numbers = rng.permutation(300).tolist()
    writer = TextIndexWriter.open(tmp_path / "i", collection)
    writer.apply((), [(f"{n:05}", {"n": n % 5, "place": vectors[n].tolist()}) for n in numbers])
    writer.commit()
    writer.close()
    index = TextIndex.open(tmp_path / "i")
    some = tantivy.Query.range_query(index.schema, "n", tantivy.FieldType.Integer, 1, 4)
    query = (base + 0.1 * rng.normal(size=DIMENSIONS)).astype("f4")
    wanted = WantedVector("place", query.tobytes(), K, 128)
    search = nearest.Nearest(index, index.vectors["place"], None, wanted, lambda: None)
    for restriction, num_matching in ((None, 300), (some, 240)):
        found = search.find(restriction, K).hits
        every = search.find(restriction, 300).hits
        assert len(every) == num_matching
        assert found == sorted(every, key=lambda hit: (-hit[0], hit[1]))[:K]


@pytest.mark.parametrize(("num", "share", "named"), [(10, 1.0, 10), (10, 0.5, 29), (1, 0.1, 29)])
def test_more_are_looked_up_the_fewer_match(
    nearest: Any, num: int, share: float, named: int
) -> None:
    """As many as two standard deviations beyond the mean want, and no more if all match."""
    assert nearest.num_named(num, share) == named


def test_a_search_gives_up_between_its_steps(made: Made, nearest: Any) -> None:
    """The budget is looked at while a search runs."""
    index = made.searched
    wanted = WantedVector("place", made.queries[0].tobytes(), K, 128)

    def check() -> None:
        raise TimeoutError

    search = nearest.Nearest(index, index.vectors["place"], None, wanted, check)
    with pytest.raises(TimeoutError):
        search.find(None, K)


def test_hits_are_plain_values(made: Made, nearest: Any) -> None:
    """What is found goes over the wire as Python's own numbers, not numpy's."""
    index = made.searched
    wanted = WantedVector("place", made.queries[0].tobytes(), K, 128)
    found = nearest.Nearest(index, index.vectors["place"], None, wanted, lambda: None).find(None, K)
    assert b"numpy" not in pickle.dumps(found.hits)
