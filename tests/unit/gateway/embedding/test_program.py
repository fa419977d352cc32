"""The program of a process that embeds."""

import io
import struct
from collections.abc import Sequence

import pytest

from hedgerow.common.errors import EmbeddingError, WorkError
from hedgerow.gateway.embedding.embed_process import EmbedProcess
from hedgerow.gateway.embedding.frames import (
    HEAD_BYTES,
    Texts,
    Vectors,
    length_in,
    pack,
    read_vectors,
)
from hedgerow.gateway.embedding.program import serve

FUNCTION = f"{__name__}:embed"


def embed(texts: Sequence[str]) -> list[list[float]]:
    """The length of each text."""
    if "bad" in texts:
        raise ValueError("a bad text \ud800")
    return [[float(len(text))] for text in texts]


def answers(*requests: Texts) -> list[Vectors]:
    """What the program answers."""
    replies = io.BytesIO()
    serve(io.BytesIO(b"".join(map(pack, requests))), replies)
    replies.seek(0)
    found = []
    while head := replies.read(HEAD_BYTES):
        found.append(read_vectors(replies.read(length_in(head))))
    return found


def test_each_request_has_its_answer() -> None:
    """In order; a failure of one does not end the program."""
    found = answers(Texts(FUNCTION, ["a", "bb"]), Texts(FUNCTION, ["bad"]), Texts(FUNCTION, ["c"]))
    assert found[0] == Vectors([struct.pack("<f", 1), struct.pack("<f", 2)])
    assert not found[1].vectors
    assert "ValueError: a bad text" in found[1].error
    assert found[2] == Vectors([struct.pack("<f", 1)])


def test_loading_calls_the_function_once() -> None:
    """Models load on their first call, which has a text."""
    assert len(answers(Texts(FUNCTION, []))[0].vectors) == 1


def test_a_function_that_is_not_there_is_an_answer_too() -> None:
    """With the reason."""
    assert "no_such_module" in answers(Texts("no_such_module:embed", ["a"]))[0].error


def test_a_request_that_is_cut_short_ends_the_program() -> None:
    """The gateway has ended."""
    replies = io.BytesIO()
    serve(io.BytesIO(b"\x00\x00"), replies)
    assert replies.getvalue() == b""


async def test_a_real_process_embeds_and_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It imports from the folder that it is started in, whatever is printed, until it is closed."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "shouting_model.py").write_text(
        "import os\n"
        "def embed(texts):\n"
        "    print('loading', flush=True)\n"
        "    if 'die' in texts: os._exit(3)\n"
        "    if 'bad' in texts: raise ValueError('bad')\n"
        "    return [[len(one), 1] for one in texts]\n"
    )
    monkeypatch.chdir(folder)
    process = await EmbedProcess.start()
    try:
        await process.load("shouting_model:embed")
        assert await process.embed("shouting_model:embed", ["abc"]) == [struct.pack("<2f", 3, 1)]
        with pytest.raises(EmbeddingError, match=r"ValueError: bad \(shouting_model.py:5"):
            await process.embed("shouting_model:embed", ["bad"])
        with pytest.raises(WorkError, match="ended: status 3"):
            await process.embed("shouting_model:embed", ["die"])
    finally:
        await process.close()
    await process.close()
