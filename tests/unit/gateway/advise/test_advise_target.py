"""Sample files, and how a function is called with them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.advise.figures import Kind
from hedgerow.gateway.advise.samples import read_samples
from hedgerow.gateway.advise.target import Target, load_target

FUNCTIONS = '''
"""Functions of a user."""
seen = []
def two(first, second=0): seen.append((first, second)); return first
def timed(seconds, budget): seen.append((seconds, budget.expired())); return seconds
def score(_query, documents): seen.append((_query, documents)); return [0.0] * len(documents)
def slow_score(query, documents, budget): seen.append(budget.expired()); return []
def rank(text, rows, time_left): seen.append(time_left.remaining_s()); return []
def enrich(documents): documents[0]["id"] = "changed"; return documents
async def later(seconds): return seconds
def lazy(seconds): yield seconds
number = 3
'''


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A user's module on the import path."""
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "advised_user.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(folder))
    yield lambda: sys.modules["advised_user"]
    sys.modules.pop("advised_user", None)


def written(folder: Path, text: str, name: str = "samples.jsonl") -> Path:
    """Write a sample file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path, function: str, kind: Kind | None = None, **given: Any) -> Target:
    """Load a function of the user's module."""
    arguments = {"query": None, "num_documents": None, **given}
    return load_target(f"advised_user:{function}", path, kind, **arguments)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CALLS = st.lists(JSON_VALUES, max_size=3) | st.dictionaries(st.text(), JSON_VALUES, max_size=3)


@settings(max_examples=30)
@example([["not\u2028the\x85end"]], False)
@given(st.lists(CALLS, min_size=1, max_size=5), st.booleans())
def test_a_line_is_a_call(tmp_path_factory: Any, calls: list[Any], is_ascii: bool) -> None:
    """What is written as NDJSON is read as it was; empty lines are passed over but counted."""
    lines = [json.dumps(one, ensure_ascii=is_ascii) for one in calls]
    path = tmp_path_factory.getbasetemp() / "samples.jsonl"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    found = read_samples(path)
    assert [one.value for one in found] == calls
    assert [one.where for one in found] == [f"line {2 * at + 1}" for at in range(len(calls))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no samples"),
        ("\n\n", "holds no samples"),
        ("[1]\n{no", "line 2: not JSON"),
        ("[1]\n\n3", "line 3: a sample is a list of positional arguments, or an object"),
        ('"text"', "line 1: a sample is a list"),
        ("null", "not null"),
        ("[" * 100_000, "line 1: "),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """The error says which line, and what is wrong with it."""
    with pytest.raises(BadRequestError) as refused:
        read_samples(written(tmp_path, text))
    assert refused.value.field == "--sample"
    assert reason in str(refused.value)


def test_an_editor_s_mark_at_the_start_is_no_part_of_a_sample(tmp_path: Path) -> None:
    """Some editors begin a UTF-8 file with a byte order mark."""
    assert [one.value for one in read_samples(written(tmp_path, "\ufeff[1]\n"))] == [[1]]


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    """The error names the file and the reason."""
    with pytest.raises(BadRequestError, match="No such file"):
        read_samples(tmp_path / "none.jsonl")
    with pytest.raises(BadRequestError, match="no such file"):
        read_samples(tmp_path / "none.py")
    (tmp_path / "bytes.jsonl").write_bytes(b"[\xff]")
    with pytest.raises(BadRequestError, match="not UTF-8"):
        read_samples(tmp_path / "bytes.jsonl")


@pytest.mark.parametrize(
    "text",
    [
        'samples = [(1, b"x"), [2], {"first": 3}]',
        'def samples():\n    yield (1, b"x")\n    yield [2]\n    yield {"first": 3}',
    ],
)
def test_python_makes_what_json_cannot_say(tmp_path: Path, text: str) -> None:
    """A .py file defines `samples`, or a function that returns them."""
    found = read_samples(written(tmp_path, text, "samples.py"))
    assert [one.value for one in found] == [[1, b"x"], [2], {"first": 3}]
    assert [one.where for one in found] == ["sample 1", "sample 2", "sample 3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("other = 1", "defines no `samples`"),
        ("samples = [(1,), 2]", "sample 2: a sample is a list"),
        ("samples = 1 / 0", "raised ZeroDivisionError: division by zero"),
        ("def samples(): raise KeyError('x')", "raised KeyError"),
        ("samples = []", "holds no samples"),
    ],
)
def test_a_bad_python_file_is_told(tmp_path: Path, text: str, reason: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(BadRequestError) as refused:
        read_samples(written(tmp_path, text, "samples.py"))
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("function", "text", "field", "reason"),
    [
        ("missing", "[1]", "module:function", "advised_user has no missing"),
        ("number", "[1]", "module:function", "is not a function"),
        ("lazy", "[1]", "module:function", "is a generator"),
        ("two", "[1]\n[1, 2, 3]", "--sample", "line 2: too many positional arguments"),
        ("two", '{"first": 1}\n{"second": 1}', "--sample", "line 2: missing a required argument"),
        ("two", '{"first": 1, "third": 2}', "--sample", "takes (first, second=0)"),
        ("score", '{"id": "1"}', "--query", "a second phase needs one"),
        ("enrich", '{"id": "1"}\n[1]', "--sample", "line 2: a document is an object"),
    ],
)
def test_what_does_not_fit_the_function_is_told(
    tmp_path: Path, function: str, text: str, field: str, reason: str
) -> None:
    """The error names the option, the line where there is one, and the reason."""
    with pytest.raises(BadRequestError) as refused:
        load(written(tmp_path, text), function)
    assert refused.value.field == field
    assert reason in str(refused.value)


def test_a_function_that_does_not_fit_its_kind_is_told(tmp_path: Path) -> None:
    """The function is at fault, and not a line, when it cannot be called as a hook."""
    with pytest.raises(BadRequestError, match=r"module:function: .*missing a required argument"):
        load(written(tmp_path, '{"id": "1"}'), "slow_score", Kind.ENRICH)


@pytest.mark.parametrize(
    ("function", "kind", "takes_budget"),
    [
        ("two", Kind.FUNCTION, False),
        ("score", Kind.SECOND_PHASE, False),
        ("slow_score", Kind.SECOND_PHASE, True),
        ("enrich", Kind.ENRICH, False),
    ],
)
def test_hooks_are_known_by_their_parameters(
    tmp_path: Path, function: str, kind: Kind, takes_budget: bool
) -> None:
    """Without being told, what is written like a hook is called like one."""
    text = '{"first": 1}'
    subject = load(written(tmp_path, text), function, query="q").subject
    assert (subject.kind, subject.takes_budget) == (kind, takes_budget)


def test_arguments_come_as_they_are_written(tmp_path: Path, functions: Any) -> None:
    """A list holds positional arguments, an object keyword arguments."""
    target = load(written(tmp_path, '[1]\n[1, 2]\n{"second": 3, "first": 4}'), "two")
    for one in target.calls:
        target.invoke(one.fresh())
    assert functions().seen == [(1, 0), (1, 2), (4, 3)]


def test_a_budget_is_given_to_who_takes_one(tmp_path: Path, functions: Any) -> None:
    """By name to a function, as third argument to a second phase; unless the sample has one."""
    target = load(written(tmp_path, "[1]"), "timed")
    target.invoke(target.calls[0].fresh(), 60.0)
    target.invoke(target.calls[0].fresh(), 0.0)
    assert functions().seen == [(1, False), (1, True)]
    functions().seen.clear()
    target = load(written(tmp_path, '{"id": "1"}'), "rank", Kind.SECOND_PHASE, query="q")
    target.invoke(target.calls[0].fresh(), 60.0)
    assert 59 < functions().seen[0] <= 60
    assert not load(written(tmp_path, "[1, 2]"), "timed").subject.takes_budget


def test_a_second_phase_gets_candidates(tmp_path: Path, functions: Any) -> None:
    """It gets as many documents as wanted, the file repeated, each with id and falling score."""
    path = written(tmp_path, '{"id": "a", "_score": 7.5}\n{"title": "x"}')
    target = load(path, "score", query="desk", num_documents=5)
    assert target.subject.num_documents == 5
    target.invoke(target.calls[0].fresh())
    ((query, documents),) = functions().seen
    assert query == "desk"
    assert [one["id"] for one in documents] == ["a", "1", "a", "1", "a"]
    assert [one["_score"] for one in documents] == [7.5, 8.0, 7.5, 4.0, 7.5]
    assert load(path, "score", query="desk").subject.num_documents == 100
    assert load(path, "enrich").subject.num_documents == 10


def test_every_document_is_in_some_call(tmp_path: Path) -> None:
    """A file of more documents than a call has makes several calls."""
    path = written(tmp_path, "\n".join(f'{{"id": "{at}"}}' for at in range(25)))
    target = load(path, "enrich")
    ids = [[document["id"] for document in one.arguments[0]] for one in target.calls]
    assert [len(one) for one in ids] == [10, 10, 10]
    assert {id_ for one in ids for id_ in one} == {str(at) for at in range(25)}
    assert [one.where for one in target.calls] == [
        "documents 1 to 10",
        "documents 11 to 20",
        "documents 21 to 25",
    ]


def test_a_hook_may_change_its_documents(tmp_path: Path) -> None:
    """Each call of a hook gets documents of its own."""
    target = load(written(tmp_path, '{"id": "a"}'), "enrich")
    for _ in range(2):
        given = target.calls[0].fresh()
        assert given[0][0][0]["id"] == "a"
        target.invoke(given)


def test_arguments_are_named_as_the_function_names_them(tmp_path: Path) -> None:
    """An argument that cannot cross is named by place and parameter."""
    target = load(written(tmp_path, '[1]\n{"second": 3, "first": 4}'), "two")
    assert target.named_arguments(target.calls[0]) == {"1 (first)": 1}
    assert target.named_arguments(target.calls[1]) == {"1 (first)": 4, "2 (second)": 3}


def test_an_async_function_is_known_as_one(tmp_path: Path) -> None:
    """`async def` is distinguished from `def`."""
    assert load(written(tmp_path, "[1]"), "later").subject.is_async
    assert not load(written(tmp_path, "[1]"), "two").subject.is_async
