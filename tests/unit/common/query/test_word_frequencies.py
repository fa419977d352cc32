"""What is listed of the frequent words of a collection is right, and nothing more is claimed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import WireError
from hedgerow.common.query.word_frequencies import pack_frequencies, unpack_frequencies

_words = st.dictionaries(st.text(max_size=3), st.integers(1, 9), max_size=20)


@given(st.dictionaries(st.sampled_from(["title", "body"]), _words), st.integers(0, 30))
def test_what_is_listed_is_right_and_what_is_not_is_rarer(
    fields: dict[str, dict[str, int]], room: int
) -> None:
    """No word is listed with another number than its own; of each frequency, all words or none."""
    kept = unpack_frequencies(pack_frequencies(50, fields, room))
    assert (kept.documents, kept.fields) == (50, frozenset(fields))
    counts = [
        (count, kept.of(name, word))
        for name, words in fields.items()
        for word, count in words.items()
    ]
    listed = [count for count, found in counts if found]
    assert all(found in (0, count) for count, found in counts)
    assert len(listed) <= room
    assert kept.size == 12 * len(listed)
    others = [count for count, found in counts if not found]
    assert not listed or min(listed) > max(others, default=1)


def test_a_field_or_a_format_that_is_unknown_is_refused() -> None:
    """What is damaged is, too."""
    packed = pack_frequencies(3, {"text": {"red": 2}})
    with pytest.raises(KeyError):
        unpack_frequencies(packed).of("title", "red")
    for damaged in (
        packed[:-1],
        msgspec.msgpack.encode([2, 3, {}]),
        msgspec.msgpack.encode([1, 3, {"text": [b"12345678", b"1"]}]),
    ):
        with pytest.raises(WireError):
            unpack_frequencies(damaged)
