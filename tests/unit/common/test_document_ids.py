"""Which ids a document may have."""

import unicodedata
from itertools import compress
from operator import not_

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.document_ids import check_address_id, check_id, document_id, unusable_character
from hedgerow.common.errors import BadRequestError, TooLargeError


def is_usable(character: str) -> bool:
    """The rule by Unicode's own tables, of which the code's has a copy."""
    is_noncharacter = ord(character) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and not is_noncharacter


def test_every_character_is_usable_or_refused_by_its_kind() -> None:
    """Controls, separators of lines, surrogates and noncharacters are refused, and all else not."""
    characters = list(map(chr, range(0x110000)))
    usable = list(map(is_usable, characters))
    assert unusable_character("".join(compress(characters, usable))) is None
    refused = compress(characters, map(not_, usable))
    assert [one for one in refused if unusable_character(one) != f"U+{ord(one):04X}"] == []


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])).filter(str.strip))
def test_an_id_is_kept_as_it_is(text: str) -> None:
    """Slashes, spaces, quotes and any script are part of an id."""
    if all(map(is_usable, text)) and text not in (".", ".."):
        assert check_id(text, max_bytes=10_000) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a\nb", r"U\+000A"),
        ("victim\n", r"U\+000A"),
        ("a\0", r"U\+0000"),
        ("\x1b[2J", r"U\+001B"),
        ("a\x7f", r"U\+007F"),
        ("a\x85", r"U\+0085"),
        ("a\u2028", r"U\+2028"),
        ("\ud800", r"U\+D800"),
        ("\uffff", r"U\+FFFF"),
        ("\U0010fffe", r"U\+10FFFE"),
        (".", "step"),
        ("..", "step"),
    ],
)
def test_the_reason_names_the_character(value: str, reason: str) -> None:
    """An id is refused with what is wrong in it, as text that any terminal can show."""
    with pytest.raises(BadRequestError, match=reason) as refused:
        document_id({"id": value})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("value", ["...", "a/..", "../a", ".a", "a.", " ", " a ", "a//b", "%2F"])
def test_dots_and_slashes_are_allowed_beside_others(value: str) -> None:
    """Only what is a step in a path as a whole is refused."""
    assert check_id(value) == value


def test_a_long_id_is_refused_before_its_characters_are_looked_at() -> None:
    """A megabyte of id is over the limit, and its reason does not repeat it."""
    with pytest.raises(TooLargeError) as refused:
        check_id("\n" * 1_000_000)
    assert len(str(refused.value)) < 100


def test_an_address_is_wrong_where_a_body_would_be_too_large() -> None:
    """A long id in an address is a bad request, like any other id that cannot be."""
    with pytest.raises(BadRequestError) as refused:
        check_address_id("a" * 513, 512)
    assert not isinstance(refused.value, TooLargeError)
