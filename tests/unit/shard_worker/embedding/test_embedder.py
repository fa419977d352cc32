"""Making the vectors of documents."""

import struct
from collections.abc import Callable, Iterator, Sequence

import pytest

from hedgerow.common.errors import EmbeddingError, WorkError
from hedgerow.shard_worker.embedding import embedder as module
from hedgerow.shard_worker.embedding.embedder import EmbedConfig, Embedder

FUNCTION = f"{__name__}:embed"
calls: list[list[str]] = []


def embed(texts: Sequence[str]) -> list[list[float]]:
    """The length of each text; refuses a batch with "bad" in it."""
    calls.append(list(texts))
    if "bad" in texts:
        raise ValueError("a bad text")
    return [[float(len(text)), 0.0] for text in texts]


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def embedder(batch: int = 2) -> Embedder:
    """One that may call `embed`."""
    return Embedder(EmbedConfig(frozenset({FUNCTION}), batch, 60.0))


def test_texts_are_embedded_in_batches() -> None:
    """Each document gets its own vector, and no call has more texts than a batch."""
    found = embedder().vectors(FUNCTION, 2, {"a": "x", "b": "xx", "c": "xxx"})
    assert {one: struct.unpack("<2f", vector)[0] for one, vector in found.items()} == {
        "a": 1,
        "b": 2,
        "c": 3,
    }
    assert calls == [["x", "xx"], ["xxx"]]


def test_what_was_embedded_is_not_embedded_again() -> None:
    """A batch that failed costs only the texts that were not embedded yet."""
    ours = embedder(1)
    with pytest.raises(EmbeddingError):
        ours.vectors(FUNCTION, 2, {"a": "x", "b": "bad"})
    calls.clear()
    ours.vectors(FUNCTION, 2, {"a": "x"})
    assert calls == []


def test_texts_before_the_one_at_fault_are_embedded_once() -> None:
    """A batch is applied several times until it is known which document is at fault."""
    ours = embedder(4)
    texts = {"a": "x", "b": "xx", "c": "bad", "d": "xxxx"}
    for _ in range(3):
        with pytest.raises(EmbeddingError, match="'c'"):
            ours.vectors(FUNCTION, 2, texts)
    assert calls == [
        ["x", "xx", "bad", "xxxx"],
        ["x"],
        ["xx"],
        ["bad"],
        *[["bad", "xxxx"], ["bad"]] * 2,
    ]
    assert ours.take_counts()[:3] == (2, 3, 8)
    calls.clear()
    assert set(ours.vectors(FUNCTION, 2, {"a": "x", "b": "xx"})) == {"a", "b"}
    assert calls == []


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest vectors are forgotten first."""
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 16)
    ours = embedder()
    ours.vectors(FUNCTION, 2, {"a": "x", "b": "xx", "c": "xxx"})
    calls.clear()
    ours.vectors(FUNCTION, 2, {"b": "xx", "c": "xxx"})
    assert calls == []
    ours.vectors(FUNCTION, 2, {"a": "x"})
    assert calls == [["x"]]


def test_a_batch_that_fails_is_tried_text_by_text() -> None:
    """So the error names the document that is at fault."""
    with pytest.raises(EmbeddingError, match=r"document 'b'.*a bad text"):
        embedder(3).vectors(FUNCTION, 2, {"a": "x", "b": "bad", "c": "xxx"})
    assert calls == [["x", "bad", "xxx"], ["x"], ["bad"]]


def test_the_dimensions_are_those_of_the_field() -> None:
    """A function of another model is found out at the first document."""
    with pytest.raises(EmbeddingError, match="2 dimensions for document 'a'; the field has 3"):
        embedder().vectors(FUNCTION, 3, {"a": "x"})


@pytest.mark.parametrize("function", ["os:system", f"{__name__}:other"])
def test_only_functions_of_the_settings_are_called(function: str) -> None:
    """A definition names the function, and a definition comes from a caller."""
    with pytest.raises(WorkError, match="not among") as caught:
        embedder().vectors(function, 2, {"a": "x"})
    assert type(caught.value) is WorkError  # no document is at fault


def test_a_function_that_cannot_be_imported_is_no_documents_fault() -> None:
    """The error is not one for which documents are set aside."""
    ours = Embedder(EmbedConfig(frozenset({"no_such_module:embed"})))
    with pytest.raises(WorkError, match="no_such_module") as caught:
        ours.vectors("no_such_module:embed", 2, {"a": "x"})
    assert type(caught.value) is WorkError


def test_each_call_is_watched() -> None:
    """The watch begins before the call and ends after it, also if it fails."""
    events: list[str] = []

    def watch(limit_s: float, function: str) -> Iterator[None]:
        events.append(f"{function.rpartition(':')[2]} {limit_s:g}")
        try:
            yield
        finally:
            events.append("done")

    watched: Callable[[float, str], Iterator[None]] = watch
    ours = Embedder(EmbedConfig(frozenset({FUNCTION}), 1, 5.0), watched)
    with pytest.raises(EmbeddingError):
        ours.vectors(FUNCTION, 2, {"a": "x", "b": "bad"})
    assert events == ["embed 5", "done", "embed 5", "done"]
