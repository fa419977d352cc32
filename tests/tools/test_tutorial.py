"""docs/tutorial.md as a reader follows it: every block in order, in an empty folder."""

from pathlib import Path

import pytest

from tests.support.pages import blocks_of
from tests.tools.support.reader import Reader, is_as_shown

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("out", "expected", "is_shown"),
    [
        ("a   1\nb 2\n", "a 1\nb 2\n", True),
        ("a 1\nmore\nb 2\n", "a …\nb 2\n", True),
        ("b 2\na 1\n", "a 1\nb 2\n", False),
        ("a 1\n", "a 1\nb 2\n", False),
        ("a 12\n", "a 1\n", False),
    ],
)
def test_what_is_shown_is_compared(out: str, expected: str, is_shown: bool) -> None:
    """Missing lines, those in another order and those longer than shown are distinguished."""
    assert is_as_shown(out, expected) is is_shown


async def test_every_block_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """A reader who does what the page says sees what it shows."""
    folder = tmp_path / "empty"
    folder.mkdir()
    blocks = blocks_of("tutorial.md")
    assert sum(block.language == "sh" for block in blocks) > 10
    reader = Reader(folder)
    try:
        await reader.follow_all(blocks)
    finally:
        if reader.up is not None:
            await reader.up.destroy()
