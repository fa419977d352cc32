"""Ranges and beginnings of keywords find what comparing strings finds, whatever the characters."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.query.tree import Prefix, Range
from hedgerow.shard_worker.scoring.keyword_range import Span, native, prefix_span
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import retrieve
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

COLLECTION = define("c", {"fields": {"tag": "keyword", "t.a": "keyword"}}, uid="u")
LAST = "\U0010ffff"
AWKWARD = [
    "",
    " ",
    "*",
    "**",
    "*a",
    "*\0",
    ")",
    f"){LAST}",
    f"){LAST}{LAST}",
    f"){LAST}a",
    "+",
    "(",
    "TO",
    "TO b",
    "IN",
    "AND",
    "NOT",
    "a TO b",
    "\\",
    "\\\\",
    "\\*",
    "a\\",
    '"',
    '""',
    "'a'",
    "[",
    "]",
    "{",
    "}",
    "[a",
    "a]",
    "a}",
    "<",
    ">=",
    ":",
    "a:b",
    "/a/",
    "^2",
    "~1",
    "`",
    "-",
    "+a",
    "\n",
    "a\nb",
    "\t",
    "\0",
    "\0\0",
    "\x1f",
    "\x7f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u202e",
    "é",
    "中",
    "\ud7ff",
    "\ue000",
    "\ufdd0",
    "\uffff",
    "\U0001f600",
    LAST,
    LAST * 2,
    f"a{LAST}",
    "a",
    "ab",
    "a b",
    "a.b",
    "b",
    "z",
    "~",
    "0",
    "-5",
]
keywords = st.one_of(
    st.sampled_from(AWKWARD),
    st.lists(st.sampled_from(AWKWARD), max_size=3).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
bounds = st.one_of(st.none(), keywords)
# Some documents have several keywords, none of which may be within a range that two of them span.
DOCUMENTS: dict[str, list[str]] = {
    **{f"one{number}": [value] for number, value in enumerate(AWKWARD)},
    **{f"two{number}": [value, AWKWARD[-number]] for number, value in enumerate(AWKWARD)},
    "none": [],
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> TextIndex:
    """An index of documents with awkward keywords."""
    folder = tmp_path_factory.mktemp("keywords") / "index"
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.apply(
        [],
        [
            (one, {"id": one, "tag": values, "t.a": values} if values else {"id": one})
            for one, values in DOCUMENTS.items()
        ],
    )
    writer.commit()
    writer.close()
    return TextIndex.open(folder)


def found(index: TextIndex, node: Range | Prefix) -> set[str]:
    """The documents that a part of a query matches."""
    query = QueryBuilder(index, None).build(node)
    return {one for _, one in retrieve(index, query, len(DOCUMENTS)).hits}


def expected(node: Range | Prefix) -> set[str]:
    """The same, by comparing strings."""

    def matches(value: str) -> bool:
        if isinstance(node, Prefix):
            return value.startswith(node.text)
        if node.lower is not None and not str(node.lower) <= value:
            return False
        if node.upper is not None and not value <= str(node.upper):
            return False
        is_lower, is_upper = value == node.lower, value == node.upper
        return not ((is_lower and not node.include_lower) or (is_upper and not node.include_upper))

    return {one for one, values in DOCUMENTS.items() if any(map(matches, values))}


@settings(max_examples=400, deadline=None)
@given(
    field=st.sampled_from(["tag", "t.a"]),
    lower=bounds,
    upper=bounds,
    include_lower=st.booleans(),
    include_upper=st.booleans(),
)
@example(field="tag", lower=None, upper="", include_lower=True, include_upper=False)
@example(field="tag", lower="", upper=None, include_lower=True, include_upper=True)
@example(field="tag", lower="", upper=None, include_lower=False, include_upper=True)
@example(field="tag", lower=None, upper="*", include_lower=True, include_upper=False)
@example(field="tag", lower="*", upper=None, include_lower=True, include_upper=True)
@example(field="tag", lower="*", upper="*", include_lower=True, include_upper=True)
@example(field="tag", lower=f"){LAST}a", upper="*", include_lower=True, include_upper=False)
def test_a_range_of_keywords_is_that_of_their_characters(
    index: TextIndex,
    field: str,
    lower: str | None,
    upper: str | None,
    *,
    include_lower: bool,
    include_upper: bool,
) -> None:
    """Every bound is taken as it is: empty, `*`, operators, quotes, brackets, any Unicode."""
    node = Range(field, lower, upper, include_lower, include_upper)
    assert found(index, node) == expected(node)


@settings(max_examples=200, deadline=None)
@given(keywords)
@example("")
@example(")")
@example("*")
@example("\ud7ff")
@example(LAST)
def test_the_beginning_of_a_keyword_is_taken_as_it_is(index: TextIndex, prefix: str) -> None:
    """What begins with the text is found, and nothing else."""
    node = Prefix("tag", prefix)
    assert found(index, node) == expected(node)


def test_a_range_that_would_be_misread_is_refused() -> None:
    """A bound that the language has no word for raises, instead of meaning something else."""
    for lower, upper in (("*", None), ("", None), (None, "*"), (None, "")):
        with pytest.raises(ValueError, match="cannot be written"):
            native("tag", Span(lower, upper))


@given(keywords.filter(lambda text: prefix_span(text) is not None))
def test_the_span_of_a_beginning_ends_right_behind_it(prefix: str) -> None:
    """The longest continuation lies within the span, and its end does not begin with the text."""
    span = prefix_span(prefix)
    assert span is not None
    assert span.lower == prefix
    assert span.upper is not None
    assert prefix + LAST * 3 < span.upper
    assert not span.upper.startswith(prefix)
