"""Which name is proposed for one that does not exist."""

import pytest

from hedgerow.common.fields.nearest_name import nearest_name, suggestion

NAMES = ("id", "title", "year", "popularity", "Published")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("titel", "title"),
        ("yaer", "year"),
        ("popularty", "popularity"),
        ("published", "Published"),
        ("TITLE", "title"),
        ("clicks", None),
        ("", None),
        ("y" * 500, None),
    ],
)
def test_the_nearest_name_is_found_if_one_is_near(name: str, nearest: str | None) -> None:
    """Names with swapped or missing letters, or of another case, are found."""
    assert nearest_name(name, NAMES) == nearest
    assert nearest_name(name, ()) is None
    assert suggestion(name, NAMES) == (f" (nearest: {nearest})" if nearest else "")
