"""The index finds what was committed, and is rebuilt when it cannot be trusted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.word_analysis import TEXTS, WordAnalysis
from hedgerow.common.query.analysers import make_analyser
from hedgerow.common.query.searched import searched
from hedgerow.common.wire.messages import SearchPayload
from hedgerow.shard_worker.storage import text_index_writer
from hedgerow.shard_worker.storage.index_files import TextIndexError
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.support.full_disk import no_file_grows
from tests.unit.support.shards import EndlessBudget, OneShard

FIELDS = {"title": "text", "body": "text", "tag": "keyword", "year": "integer"}
COLLECTION = define("c", {"fields": FIELDS}, uid="u1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an index will be."""
    return tmp_path / "index"


@pytest.fixture
def writer(folder: Path) -> Iterator[TextIndexWriter]:
    """The writer of a new index."""
    opened = TextIndexWriter.open(folder, COLLECTION)
    opened.rebuild([])
    yield opened
    opened.close()


def ids(index: TextIndex, query: str) -> set[str]:
    """What tantivy's own parser finds, by id."""
    hits = index.searcher.search(index.parse_native(query), 100).hits
    return set(index.ids([address for _, address in hits]))


def test_a_writer_whose_commit_has_failed_commits_nothing_more(
    folder: Path, writer: TextIndexWriter
) -> None:
    """The one of tantivy would: it would remove what is replaced, and lose what is added."""
    writer.apply([], [("1", {"title": "one"})])
    writer.commit()
    writer.apply([], [("2", {"title": "two"})])
    with no_file_grows(), pytest.raises(ValueError, match="File too large"):
        writer.commit()
    writer.apply([], [("1", {"title": "new"})])
    with pytest.raises(OSError, match="must be opened again"):
        writer.commit()
    assert ids(TextIndex.open(folder), "title:one") == {"1"}


def test_an_upsert_replaces_and_a_delete_removes(folder: Path, writer: TextIndexWriter) -> None:
    """After a commit each id is there once, as it was last given."""
    writer.apply([], [("1", {"title": "old"}), ("2", {"title": "two"}), ("1", {"title": "new"})])
    writer.commit()
    writer.apply(["2", "never there"], [("3", {"title": "three"})])
    writer.commit()
    index = TextIndex.open(folder)
    assert index.num_documents == 2
    assert ids(index, "title:new") == {"1"}
    assert ids(index, "title:old title:two") == set()
    assert ids(index, "title:three") == {"3"}


def test_a_dead_writer_is_no_fault_of_the_document(folder: Path, writer: TextIndexWriter) -> None:
    """Tantivy's writer dies of a full disk; its refusals are not taken for bad documents."""
    with patch.object(writer, "_writer") as dead:
        dead.add_document.side_effect = ValueError("An index writer was killed..")
        with pytest.raises(OSError, match=rf"{folder}.*An index writer was killed"):
            writer.apply([], [("1", {"title": "one"})])
    with (
        patch.object(text_index_writer, "make_document", side_effect=TypeError("no text")),
        pytest.raises(TypeError, match="no text"),
    ):
        writer.apply([], [("1", {"title": "one"})])


def test_a_value_that_does_not_fit_its_field_is_left_out(
    folder: Path, writer: TextIndexWriter
) -> None:
    """The document is found by its other fields; a number among texts is found as written."""
    writer.apply([], [("1", {"title": 1984, "year": "no year"}), ("2", {"title": ["a", True]})])
    writer.commit()
    index = TextIndex.open(folder)
    assert ids(index, "title:1984") == {"1"}
    assert ids(index, "title:true") == {"2"}
    assert ids(index, "year:[* TO *]") == set()


def test_what_is_not_committed_is_as_if_not_done(folder: Path) -> None:
    """Neither a reader nor the next writer sees it."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.apply([], [("1", {"title": "one"})])
    writer.commit()
    writer.apply(["1"], [("2", {"title": "two"})])
    assert TextIndex.open(folder).num_documents == 1
    writer.close()
    again = TextIndexWriter.open(folder, COLLECTION)
    again.commit()
    again.close()
    assert ids(TextIndex.open(folder), "*") == {"1"}


def test_a_reader_keeps_its_snapshot(folder: Path, writer: TextIndexWriter) -> None:
    """What is committed later is seen by readers that are opened later."""
    writer.apply([], [("1", {"title": "one"})])
    writer.commit()
    before = TextIndex.open(folder)
    writer.apply(["1"], [("2", {"title": "two"})])
    writer.commit()
    assert ids(before, "*") == {"1"}
    assert ids(TextIndex.open(folder), "*") == {"2"}


def test_the_generation_grows_with_each_commit_and_over_a_rebuild(folder: Path) -> None:
    """By it readers know whether they are out of date, even when the folder was lost."""
    generations = []
    for _ in range(2):
        writer = TextIndexWriter.open(folder, COLLECTION)
        writer.rebuild([])
        generations.append(writer.generation)
        for number in range(3):
            writer.apply([], [(str(number), {})])
            generations.append(writer.commit())
            assert TextIndex.open(folder).generation == generations[-1]
        writer.close()
        (folder / "meta.json").unlink()
    assert generations == sorted(set(generations))


def test_a_commit_of_nothing_is_no_new_generation(writer: TextIndexWriter) -> None:
    """Replayed batches that change nothing send no reader away."""
    writer.apply([], [("1", {})])
    generation = writer.commit()
    writer.apply([], [])
    assert writer.commit() == generation


@pytest.mark.parametrize("damage", ["meta.json", "hedgerow.json", "all", "garbage"])
def test_a_damaged_index_is_made_anew_and_rebuilt(folder: Path, damage: str) -> None:
    """The writer says that it starts empty; the store's documents bring everything back."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.rebuild([("1", json.dumps({"title": "one"}).encode())])
    writer.close()
    for path in folder.iterdir():
        if damage in (path.name, "all"):
            path.unlink()
        elif damage == "garbage" and path.name == "meta.json":
            path.write_text("{")
    with pytest.raises(TextIndexError):
        TextIndex.open(folder)
    writer = TextIndexWriter.open(folder, COLLECTION)
    assert writer.is_new
    assert writer.rebuild([("1", json.dumps({"title": "one"}).encode())]) == 1
    assert not writer.is_new
    writer.close()
    assert ids(TextIndex.open(folder), "title:one") == {"1"}


def test_an_index_that_cannot_be_had_now_is_not_deleted(folder: Path) -> None:
    """Neither another writer's lock nor a file that may not be read is taken for damage."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.rebuild([("1", json.dumps({"title": "one"}).encode())])
    with pytest.raises(OSError, match="LockBusy"):
        TextIndexWriter.open(folder, COLLECTION)
    writer.close()
    with (
        patch.object(Path, "read_bytes", side_effect=PermissionError("not now")),
        pytest.raises(PermissionError),
    ):
        TextIndexWriter.open(folder, COLLECTION)
    assert ids(TextIndex.open(folder), "title:one") == {"1"}


def test_a_rebuild_that_was_cut_short_starts_again(folder: Path) -> None:
    """Half an index is never shown."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.close()
    with pytest.raises(TextIndexError, match="rebuild"):
        TextIndex.open(folder)
    again = TextIndexWriter.open(folder, COLLECTION)
    assert again.is_new
    again.close()


def test_other_fields_or_another_language_make_the_index_anew(folder: Path) -> None:
    """What was analysed in another way cannot be searched; another rank profile changes nothing."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.rebuild([])
    writer.close()
    same = define("renamed", {"fields": FIELDS, "rank_profile": "other"}, uid="u1")
    more = define("c", {"fields": FIELDS | {"more": "text"}})
    for collection, is_new in (
        (same, False),
        (more, False),  # the index is used as it is until the field is filled
        (define("c", {"fields": FIELDS, "language": "german"}), True),
        (more, True),
        (define("c", {"fields": FIELDS}), True),
    ):
        writer = TextIndexWriter.open(folder, collection)
        assert writer.is_new is is_new
        assert (writer.collection.fields == collection.fields) == (is_new or collection is not more)
        writer.rebuild([])
        writer.close()


def test_english_forgets_endings_and_stop_words(tmp_path: Path) -> None:
    """The running dogs are found by "run" and "dog"; with language "none" by their words alone."""
    documents = [{"id": "1", "t": "The RUNNING dogs"}]
    english = OneShard.of(tmp_path / "en", {"t": "text"}, documents)
    none = OneShard.of(tmp_path / "none", {"t": "text"}, documents, language="none")
    assert english.search("run").ids == english.search("dog").ids == ["1"]
    assert english.search("the").ids == []
    assert none.search("run").ids == none.search("dog").ids == []
    assert none.search("the").ids == none.search("running").ids == ["1"]


def test_every_language_analyses_its_own_way() -> None:
    """German stems as German: "Häuser" and "Haus" are one word, in English they are two."""
    german, english = (
        make_analyser(WordAnalysis(language, TEXTS, folding=True))
        for language in ("german", "english")
    )
    assert german.analyze("Häuser") == german.analyze("Hauses")
    assert english.analyze("Häuser") != english.analyze("Hauses")


def test_the_only_text_field_is_not_indexed_twice() -> None:
    """All text is a field of its own only where there is more than one to join."""
    for fields, names in (
        ({"t": "text", "k": "keyword"}, ["t"]),
        ({"t": "text", "u": "text"}, ["_text"]),
        ({"k": "keyword"}, []),
    ):
        assert [one.name for one in searched(define("c", {"fields": fields}))] == names


documents = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "title": st.sampled_from(["red", "blue", "red blue"]),
            "tag": st.sampled_from(["x", "y", ["x", "y"], "x y"]),
            "year": st.integers(-3, 3),
            "price": st.sampled_from([-1.5, 0.0, 0.25, 3.0]),
            "new": st.booleans(),
            "day": st.sampled_from(["2020-01-01", "2020-01-01T12:00:00Z", "2020-01-02"]),
        },
    ),
    max_size=8,
)


def has(tag: str, document: dict[str, Any]) -> bool:
    """Whether a keyword is among a document's."""
    value = document.get("tag")
    return value == tag or (isinstance(value, list) and tag in value)


MATCHES: dict[str, Any] = {
    "year:>=1": lambda d: d.get("year", -9) >= 1,
    "year:<0": lambda d: d.get("year", 9) < 0,
    "year:{-2 TO 2]": lambda d: -2 < d.get("year", -9) <= 2,
    "year:0": lambda d: d.get("year") == 0,
    "year:IN [1 3]": lambda d: d.get("year") in (1, 3),
    "year:*": lambda d: "year" in d,
    "price:>0": lambda d: d.get("price", -9.0) > 0,
    "price:0.25": lambda d: d.get("price") == 0.25,
    "new:true": lambda d: d.get("new") is True,
    "tag:x": lambda d: has("x", d),
    'tag:"x y"': lambda d: has("x y", d),
    "tag:IN [x y]": lambda d: has("x", d) or has("y", d),
    "tag:>=x\\ y": lambda d: has("x y", d) or has("y", d),
    "tag:x*": lambda d: has("x", d) or has("x y", d),
    "day:2020-01-01": lambda d: d.get("day", "").startswith("2020-01-01"),
    "day:>2020-01-01": lambda d: d.get("day", "")[:10] > "2020-01-01",  # days that come after it
    "day:2020-01-01T12:00:00Z": lambda d: d.get("day", "").endswith("Z"),
    "title:*": lambda d: "title" in d,
    "title:red AND year:>0": lambda d: "red" in d.get("title", "") and d.get("year", 0) > 0,
    "-title:red": lambda d: "red" not in d.get("title", ""),
    "NOT (tag:x OR year:0)": lambda d: not (has("x", d) or d.get("year") == 0),
    "*": lambda _: True,
}


@settings(max_examples=10, deadline=None)
@given(documents)
def test_every_kind_of_filter_finds_what_reading_all_documents_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    """Ranges, values, sets, presence and negation match exactly what the condition says."""
    kinds = FIELDS | {"price": "float", "new": "boolean", "day": "date"}
    numbered = [{**row, "id": str(number)} for number, row in enumerate(rows)]
    shard = OneShard.of(tmp_path_factory.mktemp("shard"), kinds, numbered)
    with shard.searching() as search:
        for query, matches in MATCHES.items():
            wanted = sorted(row["id"] for row in numbered if matches(row))
            body = search(SearchPayload("u1", "*", 10, "bm25", query, False), EndlessBudget())
            assert (query, body.ids, body.total) == (query, wanted, len(wanted))
            body = search(SearchPayload("u1", query, 10, "bm25", "", True), EndlessBudget())
            assert (query, sorted(body.ids)) == (query, wanted)


def block_bytes(folder: Path) -> int:
    """The size of the blocks that ids are read from."""
    meta = json.loads((folder / "meta.json").read_bytes())
    return int(meta["index_settings"]["docstore_blocksize"])


def test_ids_lie_in_small_blocks(folder: Path) -> None:
    """A new index has them, and keeps them over commits, a rebuild and reopening."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    assert block_bytes(folder) == 512
    for number in range(3):
        writer.apply([], [(str(number), {"title": "one"})])
        writer.commit()
    writer.rebuild([(str(number), b'{"title": "two"}') for number in range(90)])
    writer.close()
    again = TextIndexWriter.open(folder, COLLECTION)
    again.apply([], [("90", {"title": "two"})])
    again.commit()
    again.close()
    assert block_bytes(folder) == 512
    assert ids(TextIndex.open(folder), "title:two") == {str(number) for number in range(91)}


def test_an_index_with_the_blocks_of_before_stays_as_it_is(folder: Path) -> None:
    """So does one of a tantivy that calls the setting something else: it is read and written."""
    with patch("hedgerow.shard_worker.storage.schema._BLOCK_SETTING", "called_something_else"):
        first = TextIndexWriter.open(folder, COLLECTION)
        first.rebuild([("1", b'{"title": "one"}')])
        first.close()
    before = block_bytes(folder)
    assert before > 512
    writer = TextIndexWriter.open(folder, COLLECTION)
    assert not writer.is_new
    writer.apply([], [("2", {"title": "one"})])
    writer.commit()
    writer.close()
    assert ids(TextIndex.open(folder), "title:one") == {"1", "2"}
    assert block_bytes(folder) == before


def test_the_definition_is_kept_with_the_index(folder: Path, writer: TextIndexWriter) -> None:
    """A reader needs nothing but the folder."""
    assert writer.collection == COLLECTION
    read: Collection = TextIndex.open(folder).collection
    assert read == COLLECTION


def test_the_words_of_a_field_are_counted_whatever_words_other_indexes_have(tmp_path: Path) -> None:
    """Another index may lack the most frequent one, or have it in deleted documents only."""
    trees = ("oak ash", "oak elm yew", "oak", "box bay")
    documents = [{"id": str(number), "trees": some} for number, some in enumerate(trees)]
    deleted = OneShard.of(tmp_path / "deleted", {"trees": "text"}, documents)
    deleted.put([], ["0", "1", "2"])
    whole = OneShard.of(tmp_path / "whole", {"trees": "text"}, documents)
    without = OneShard.of(tmp_path / "without", {"trees": "text"}, documents[3:])
    empty = OneShard.of(tmp_path / "empty", {"trees": "text"}, [])
    for _ in range(2):
        index = deleted.open()
        assert (index.num_documents, index.max_doc) == (1, 4)  # until a merge drops the others
        assert index.total_words("trees") == 8
        assert whole.open().total_words("trees") == 8
        assert without.open().total_words("trees") == 2
        assert empty.open().total_words("trees") == 0
