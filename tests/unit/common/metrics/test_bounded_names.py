"""The number of series is bounded, whatever names come."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.metrics.bounded_names import OTHER, BoundedNames


@given(st.lists(st.text(max_size=3)), st.integers(1, 5))
def test_the_first_names_keep_their_own(names: list[str], most: int) -> None:
    """The first names that come stay themselves for ever, and all others are `other`."""
    bounded = BoundedNames(most)
    first = list(dict.fromkeys(names))[:most]
    assert [bounded.of(name) for name in names] == [
        name if name in first else OTHER for name in names
    ]
    assert [bounded.of(name) for name in first] == first


def test_a_name_that_is_gone_makes_room() -> None:
    """A collection that was dropped does not take a place for ever."""
    bounded = BoundedNames(2)
    for name in ("a", "b", "c"):
        bounded.of(name)
    assert bounded.of("c") == OTHER
    assert bounded.keep({"b", "c"}) == {"a"}
    assert bounded.of("c") == "c"
    assert bounded.of("d") == OTHER
