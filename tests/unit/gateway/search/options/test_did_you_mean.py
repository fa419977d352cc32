"""Did you mean: corrections that find more, in words as documents have them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from hedgerow.common.collection import define
from hedgerow.common.wire.messages import SearchBody
from hedgerow.common.wire.search_options import SearchExtras, Slip
from hedgerow.gateway.search.options.did_you_mean import (
    forms_in,
    merged_slips,
    to_correct,
    with_word,
    written_as,
)
from hedgerow.gateway.search.result import Hit
from tests.unit.support.real_shards import RealShards

FIELDS = {"name": "text", "about": "text", "brand": "keyword"}
COLLECTION = define("shop", {"fields": FIELDS}, uid="u1")
WORDS = {  # how often documents have each
    "pandas": 30,
    "panda": 3,
    "universities": 4,
    "university": 9,
    "universal": 20,
    "libraries": 12,
    "library": 2,
    "machine": 15,
    "learning": 25,
    "Café": 6,
    "pandsa": 1,  # somebody's slip
    "zymurgy": 2,
}


def documents() -> list[dict[str, Any]]:
    """Each has one of the words."""
    rows = []
    for word, count in WORDS.items():
        rows += [
            {"name": f"{word} of kind{number}", "about": "text", "brand": f"b{number % 2}"}
            for number in range(count)
        ]
    return [{"id": f"d{number}", **row} for number, row in enumerate(rows)]


@pytest.fixture(scope="module", params=[1, 8])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RealShards:
    """The same documents in one shard, and in eight."""
    made = RealShards(tmp_path_factory.mktemp("shop"), COLLECTION, request.param)
    made.put(documents())
    made.collect_statistics()
    return made


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pandsa", "pandas"),  # not panda, the stem
        ("univercity", "university"),  # not universal, which has the same stem
        ("libary", "library"),  # though more documents have libraries
        ("libarries", "libraries"),
        ("machne lerning", "machine learning"),
        ("+name:machne -learning", "+name:machine -learning"),
        ('"machine lerning"', None),  # no document has the phrase
        ("Pandsas PANDSAS", "Pandas PANDAS"),
        ("caffe", "café"),
        ("universtiy univerxal", "university universal"),
        ("machine", None),
        ("zymurgy", None),
        ("xyzzyxyzzy", None),
        ("pand", "panda"),  # pandas is two edits away, which is much for a short word
        ("pan", None),
        ("machne*", None),
        ("machne~1", None),
        ("-machne", None),
        ("the 12345 日本語", None),
    ],
)
def test_misspelt_words_are_corrected(shop: RealShards, query: str, expected: str | None) -> None:
    """To what documents have, if that finds more; other words stay as they are."""
    found = shop.search(query, did_you_mean=True)
    assert (None if found.did_you_mean is UNSET else found.did_you_mean) == expected
    without = shop.search(query)
    assert without.did_you_mean is UNSET
    assert [hit.id for hit in found.hits] == [hit.id for hit in without.hits]


def test_a_filter_that_excludes_what_was_meant_leaves_no_suggestion(shop: RealShards) -> None:
    """A suggestion finds more with all else that the search asks for."""
    assert shop.search("machne", filter="brand:b1", did_you_mean=True).did_you_mean == "machine"
    assert shop.search("machne", filter="brand:b7", did_you_mean=True).did_you_mean is UNSET


def test_before_the_first_statistics_nothing_is_suggested(tmp_path: Path) -> None:
    """Nothing says yet how often words occur."""
    new = RealShards(tmp_path, COLLECTION, 2)
    new.put(documents()[:10])
    assert new.search("pandsas", did_you_mean=True).did_you_mean is UNSET


def test_a_search_that_has_used_its_time_has_no_suggestion(tmp_path: Path) -> None:
    """It ends by its deadline, with what the shards have said."""
    shop = RealShards(tmp_path, COLLECTION, 4)
    shop.put(documents())
    shop.collect_statistics()
    shop.down = {2}
    found = shop.search("machne lerning", did_you_mean=True, deadline_ms=200)
    assert 0 < found.coverage.fraction < 1
    assert found.did_you_mean is UNSET
    assert found.took_ms <= found.deadline_ms == 200


RARE = Slip("pandsa", "_text", 2, (("panda", 30),))
UNKNOWN = Slip("machne", "_text", 0, (("machin", 30),))


def test_rare_words_are_corrected_only_if_few_documents_match() -> None:
    """A word that no document has is, in any case."""
    assert to_correct([RARE, UNKNOWN], 5) == [RARE, UNKNOWN]
    assert to_correct([RARE, UNKNOWN], 6) == [UNKNOWN]
    assert len(to_correct([UNKNOWN] * 5, 0)) == 2


def test_a_word_that_a_shard_knows_is_not_misspelt() -> None:
    """It may be newer than the statistics; a shard that has not answered says nothing."""

    def body(*slips: Slip) -> SearchBody:
        return SearchBody(1, 0, True, [], [], extras=SearchExtras(slips=slips))

    assert merged_slips([(1, body(UNKNOWN)), (0, body(RARE, UNKNOWN))]) == (UNKNOWN,)
    assert merged_slips([]) == ()


def test_a_form_that_is_not_like_what_was_typed_is_not_shown() -> None:
    """Of several, the nearest is, and then the most frequent; markup is text."""

    def hit(*snippets: str) -> Hit:
        made = Hit("a", 1.0, 0)
        made.marked = msgspec.Raw(msgspec.json.encode({"name": snippets}))
        return made

    def written(*candidates: list[Hit]) -> str | None:
        return written_as(RARE, [forms_in(hits) for hits in candidates])

    panda, pandas = hit("<em>panda</em>"), hit("<em>Pandas</em>", "<em>pandas</em>")
    assert written([hit("<em>extraordinary</em>")]) is None
    assert written([panda, pandas]) == "panda"
    assert written([panda, pandas, pandas]) == "pandas"
    assert written([pandas], [panda, panda]) == "pandas"
    assert written([Hit("a", 1.0, 0)]) is None
    assert written([hit("<em>PANDAS</em>"), hit("<em>b&lt;c</em>")]) == "pandas"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pandsa pandsas pandsa's", "pandas pandsas pandas's"),
        ("pandsa:pandsa", "pandsa:pandas"),
        ("+pandsa -(pandsa_x)", "+pandas -(pandas_x)"),
        ("no", "no"),
    ],
)
def test_whole_words_are_replaced(query: str, expected: str) -> None:
    """And the syntax around them stays."""
    assert with_word(query, "pandsa", "pandas") == expected
